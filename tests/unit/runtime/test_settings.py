"""Settings: where each value comes from, what a wrong one says, and that no text ever holds a secret."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr, ValidationError

from runtime import settings
from runtime.settings import (
    Settings,
    SettingsError,
    environ_of,
    listen_address,
    load,
    masked,
    parse_secret_keys,
    variable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(bytes(range(32, 64))).decode()
DSN = "postgresql://heliograph:hunter2@db.example/heliograph"


def _load(config: Path | None = None, /, **environ: str) -> Settings:
    return load(config, environ={f"HELIOGRAPH_{name}": value for name, value in environ.items()})


def _refused(config: Path | None = None, /, **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        _load(config, **environ)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    assert "hunter2" not in text
    assert caught.value.__cause__ is None
    return text


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "heliograph.toml"


# --- sources ---------------------------------------------------------------------------------------------------------


def test_nothing_set_gives_the_contracts_defaults() -> None:
    made = _load()
    assert (made.env, made.profile) == ("production", "nordbastion")
    assert (made.api_listen, made.admin_listen) == ("127.0.0.1:8080", "127.0.0.1:9090")
    assert (made.retries, made.window, made.attempt_timeout) == (3, 3600, 15)
    assert (made.kafka_topic_events, made.kafka_topic_dead_letters) == ("controlplane.events", "heliograph.deadletters")
    assert made.kafka_topic_announcements == "heliograph.events"
    assert made.kafka_topic_telemetry == "computeapi.telemetry"
    assert made.database_url is None
    assert made.egress_allow == ()
    assert made.egress_ports == (443, 8443)


def test_every_setting_has_a_meaning() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_environment_is_read_and_what_is_not_ours_is_left_alone() -> None:
    made = load(
        environ={
            "HELIOGRAPH_RETRIES": "5",
            "HELIOGRAPH_WINDOW": "7200",
            "HELIOGRAPH_ENV": "development",
            "HELIOGRAPH_EGRESS_ALLOW": "10.0.0.0/8, ::1/128",
            "HELIOGRAPH_KAFKA_BOOTSTRAP": "a:9092, b:9092,[::1]:9092 ,",
            "HELIOGRAPH_DATABASE_URL": DSN,
            "DATABASE_URL": "mysql://not/ours",
            "RETRIES": "9",
        }
    )
    assert (made.retries, made.window) == (5, 7200)
    assert made.kafka_bootstrap == ("a:9092", "b:9092", "[::1]:9092")
    assert made.dsn() == DSN
    assert made.egress_allow == ("10.0.0.0/8", "::1/128")


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_PROFILE", "shardlyn")
    assert load().profile == "shardlyn"
    assert load(environ={}).profile == "nordbastion"


def test_an_empty_variable_is_one_that_is_not_set(toml: Path) -> None:
    toml.write_text("retries = 5\nwindow = 7200")
    assert _load(toml, RETRIES="").retries == 5
    assert _load(RETRIES="", CONFIG="").retries == 3


def test_a_toml_file_has_the_same_keys_in_either_case(toml: Path) -> None:
    toml.write_text('retries = 5\nWINDOW = 7200\nkafka_bootstrap = ["a:9092", "b:9092"]\nkafka_group = "g"')
    made = _load(toml)
    assert (made.retries, made.window, made.kafka_group) == (5, 7200, "g")
    assert made.kafka_bootstrap == ("a:9092", "b:9092")
    toml.write_text('kafka_bootstrap = "a:9092,b:9092"')
    assert _load(toml).kafka_bootstrap == ("a:9092", "b:9092")


def test_precedence_overrides_environment_file_beside_the_socket_default(tmp_path: Path) -> None:
    (tmp_path / settings.BESIDE_SOCKET).write_text('kafka_group = "beside"\nprofile = "beside"\nretries = 1\n')
    config = tmp_path / "config.toml"
    config.write_text('profile = "file"\nretries = 2\nkafka_topic_events = "file"')
    environ = {"HELIOGRAPH_DATABASE_URL": f"postgresql://postgres@/postgres?host={tmp_path}", "HELIOGRAPH_RETRIES": "4"}
    made = load(config, environ=environ, kafka_topic_events="override")
    assert made.kafka_topic_events == "override"
    assert made.retries == 4
    assert made.profile == "file"
    assert made.kafka_group == "beside"
    assert made.window == 3600


def test_config_beats_the_config_variable(toml: Path, tmp_path: Path) -> None:
    toml.write_text("retries = 5")
    other = tmp_path / "other.toml"
    other.write_text("retries = 6")
    assert _load(CONFIG=str(toml)).retries == 5
    assert _load(other, CONFIG=str(toml)).retries == 6


def test_what_is_given_is_told_from_what_is_default() -> None:
    assert _load(RETRIES="3").model_fields_set == {"retries"}


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        _load().retries = 9  # type: ignore[misc]


# --- the file beside an embedded server's socket ---------------------------------------------------------------------


def test_whoever_reaches_an_embedded_database_gets_what_goes_with_it(tmp_path: Path) -> None:
    (tmp_path / settings.BESIDE_SOCKET).write_text(
        f'env = "development"\nkafka_bootstrap = "127.0.0.1:9999"\nsecret_keys = "embedded:{KEY}"\n'
    )
    made = _load(DATABASE_URL=f"postgresql://postgres@/postgres?host={tmp_path}")
    assert made.env == "development"
    assert made.kafka_bootstrap == ("127.0.0.1:9999",)
    assert made.keys() == {"embedded": bytes(range(32))}


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://db.example/x",
        "postgresql:///x?host=relative",
        "postgresql:///x?host=/nowhere/at/all",
        "postgresql:///x?host=",
    ],
)
def test_a_database_elsewhere_has_no_such_file(dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / settings.BESIDE_SOCKET).write_text('env = "development"')
    monkeypatch.chdir(tmp_path)
    assert _load(DATABASE_URL=dsn).env == "production"


def test_a_broken_file_beside_the_socket_is_named(tmp_path: Path) -> None:
    (tmp_path / settings.BESIDE_SOCKET).write_text("env = ")
    text = _refused(DATABASE_URL=f"postgresql:///x?host={tmp_path}")
    assert text.startswith(f"{tmp_path / settings.BESIDE_SOCKET}: is not TOML")


# --- unknown names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("RETIRES", "; did you mean HELIOGRAPH_RETRIES?"),
        ("KAFKA_BOOTSTRAP_SERVERS", "; did you mean HELIOGRAPH_KAFKA_BOOTSTRAP?"),
        ("DATABASEURL", "; did you mean HELIOGRAPH_DATABASE_URL?"),
        ("SECRET_KEY", "; did you mean HELIOGRAPH_SECRET_KEYS?"),
        ("XYZZY", ""),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(name: str, hint: str, toml: Path) -> None:
    assert _refused(**{name: "hunter2"}) == f"HELIOGRAPH_{name} in the environment is not a setting{hint}"
    toml.write_text(f'{name.lower()} = "hunter2"')
    assert _refused(toml) == f"{name.lower()} in {toml} is not a setting{hint}"


def test_a_table_in_the_file_is_an_unknown_name(toml: Path) -> None:
    toml.write_text('[kafka]\nbootstrap = "a:9092"')
    assert _refused(toml).startswith(f"kafka in {toml} is not a setting")


# --- wrong values ----------------------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, str], str]] = [
    ({"ENV": "staging"}, "HELIOGRAPH_ENV: Input should be 'production' or 'development'"),
    ({"RETRIES": "three"}, "HELIOGRAPH_RETRIES: Input should be a valid integer"),
    ({"RETRIES": "-1"}, "HELIOGRAPH_RETRIES: Input should be greater than or equal to 0"),
    ({"RETRIES": "21"}, "HELIOGRAPH_RETRIES: Input should be less than or equal to 20"),
    ({"WINDOW": "0"}, "HELIOGRAPH_WINDOW: Input should be greater than 0"),
    ({"WINDOW": "1h"}, "HELIOGRAPH_WINDOW: Input should be a valid number"),
    ({"WINDOW": "nan"}, "HELIOGRAPH_WINDOW: Input should be"),
    ({"WINDOW": "60"}, "HELIOGRAPH_WINDOW: 4 attempts of up to 15 s need more than 60 s"),
    ({"ATTEMPT_TIMEOUT": "1000"}, "HELIOGRAPH_WINDOW: 4 attempts of up to 1000 s need more than 4000 s"),
    ({"MAX_IN_FLIGHT": "0"}, "HELIOGRAPH_MAX_IN_FLIGHT: "),
    ({"DATABASE_POOL": "2"}, "HELIOGRAPH_DATABASE_POOL: "),
    ({"LOG_LEVEL": "loud"}, "HELIOGRAPH_LOG_LEVEL: "),
    ({"API_LISTEN": "8080"}, "HELIOGRAPH_API_LISTEN: '8080' is not host:port"),
    ({"API_LISTEN": "127.0.0.1:99999"}, "HELIOGRAPH_API_LISTEN: '127.0.0.1:99999' is not host:port"),
    ({"ADMIN_LISTEN": "::1:9090"}, "HELIOGRAPH_ADMIN_LISTEN: '::1:9090' is not host:port"),
    ({"KAFKA_BOOTSTRAP": "broker"}, "HELIOGRAPH_KAFKA_BOOTSTRAP: 'broker' is not host:port"),
    ({"KAFKA_BOOTSTRAP": "a:9092,b 1:2"}, "HELIOGRAPH_KAFKA_BOOTSTRAP: 'b 1:2' is not host:port"),
    ({"KAFKA_SECURITY_PROTOCOL": "TLS"}, "HELIOGRAPH_KAFKA_SECURITY_PROTOCOL: Input should be 'PLAINTEXT', 'SSL'"),
    ({"KAFKA_SSL_CAFILE": "/nowhere/ca.pem"}, "HELIOGRAPH_KAFKA_SSL_CAFILE: "),
    (
        {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_PASSWORD": "hunter2"},
        "HELIOGRAPH_KAFKA_SASL_USERNAME and HELIOGRAPH_KAFKA_SASL_PASSWORD are needed with a SASL_* protocol",
    ),
    ({"DATABASE_URL": "mysql://u:hunter2@db/x"}, "HELIOGRAPH_DATABASE_URL: must begin with postgresql://"),
    ({"DATABASE_URL": "hunter2"}, "HELIOGRAPH_DATABASE_URL: must begin with postgresql://"),
    ({"DATABASE_URL": "postgresql://u:hunter2/x@db/y"}, "HELIOGRAPH_DATABASE_URL: is not a URL"),
    ({"SECRET_KEYS": "hunter2"}, "HELIOGRAPH_SECRET_KEYS: key 1 is not id:base64"),
    ({"SECRET_KEYS": f"a:{KEY},b c:{KEY}"}, "HELIOGRAPH_SECRET_KEYS: key 2 is not id:base64"),
    ({"SECRET_KEYS": "a:hunter2"}, "HELIOGRAPH_SECRET_KEYS: key 'a' is not the base64 of 32 bytes"),
    ({"SECRET_KEYS": f"a:{KEY[:-4]}"}, "HELIOGRAPH_SECRET_KEYS: key 'a' is not the base64 of 32 bytes"),
    ({"SECRET_KEYS": f"a:{KEY},a:{OTHER_KEY}"}, "HELIOGRAPH_SECRET_KEYS: key id 'a' is used twice"),
    ({"SECRET_KEYS": " , "}, "HELIOGRAPH_SECRET_KEYS: holds no key"),
    ({"CONFIG": "/nowhere/heliograph.toml"}, "/nowhere/heliograph.toml: cannot be read (No such file or directory)"),
    ({"CONFIG": "/"}, "/: cannot be read (Is a directory)"),
]


@pytest.mark.parametrize(("environ", "says"), WRONG, ids=lambda value: value[:40] if isinstance(value, str) else "")
def test_a_wrong_value_is_one_line_that_names_its_setting(environ: dict[str, str], says: str) -> None:
    text = _refused(**environ)
    assert text.startswith(says)
    assert KEY not in text


def test_a_wrong_value_in_the_file_names_the_file(toml: Path) -> None:
    toml.write_text('Retries = "many"')
    assert _refused(toml).startswith(f"Retries in {toml}: Input should be a valid integer")
    toml.write_text("database_url = 5")
    assert _refused(toml).startswith(f"database_url in {toml}: ")
    toml.write_text("retries = ")
    assert _refused(toml).startswith(f"{toml}: is not TOML")
    toml.write_bytes(b'profile = "\xff"')
    assert _refused(toml).startswith(f"{toml}: is not TOML")


def test_a_wrong_override_names_its_setting() -> None:
    with pytest.raises(SettingsError, match=r"^HELIOGRAPH_RETRIES: "):
        load(environ={}, retries=99)
    with pytest.raises(SettingsError, match=r"^HELIOGRAPH_RETRISE: "):
        load(environ={}, retrise=1)


@pytest.mark.parametrize(
    ("name", "environ"),
    [
        ("window", {"WINDOW": "inf"}),
        ("lease_margin", {"LEASE_MARGIN": "inf"}),
        ("claim_interval", {"CLAIM_INTERVAL": "inf"}),
        ("disable_after", {"DISABLE_AFTER": "inf"}),
        ("max_window", {"MAX_WINDOW": "inf"}),
        ("secret_overlap", {"SECRET_OVERLAP": "nan"}),
    ],
)
def test_a_number_of_seconds_is_finite(name: str, environ: dict[str, str]) -> None:
    assert _refused(**environ).startswith(f"{variable(name)}: ")


@pytest.mark.parametrize("dsn", ["postgresql://[::1/x", "postgresql://heliogr\u2100ph:hunter2@db.example/x"])
def test_a_url_that_python_cannot_split_is_a_settings_error(dsn: str) -> None:
    assert _refused(DATABASE_URL=dsn).startswith("HELIOGRAPH_DATABASE_URL: is not a URL")


# --- what is asked of them -------------------------------------------------------------------------------------------


def test_what_is_required_is_named_with_its_meaning() -> None:
    with pytest.raises(SettingsError, match=r"^HELIOGRAPH_DATABASE_URL is not set \(PostgreSQL, as postgresql://"):
        _load().dsn()
    with pytest.raises(SettingsError, match=r"^HELIOGRAPH_SECRET_KEYS is not set \("):
        _load().keys()
    with pytest.raises(SettingsError, match=r"^HELIOGRAPH_KAFKA_BOOTSTRAP is not set \("):
        _load(DATABASE_URL=DSN).require("database_url", "kafka_bootstrap", "secret_keys")
    _load(DATABASE_URL=DSN).require("database_url")


def test_keys_keep_their_order_the_first_encrypts() -> None:
    keys = _load(SECRET_KEYS=f"new:{OTHER_KEY}, old:{KEY} ,").keys()
    assert list(keys.items()) == [("new", bytes(range(32, 64))), ("old", bytes(range(32)))]
    assert list(parse_secret_keys(f"a-1_B:{KEY}")) == ["a-1_B"]


def test_a_lease_outlives_the_attempt() -> None:
    made = _load(ATTEMPT_TIMEOUT="10", LEASE_MARGIN="7")
    assert made.lease == 17


def test_retention_grows_from_payloads_over_the_log_to_what_events_are_known() -> None:
    made = _load()
    assert (made.retention_payloads, made.retention_attempts, made.retention_dedup) == (604_800, 2_592_000, 3_888_000)
    least = _load(MAX_WINDOW="7200", RETENTION_PAYLOADS="7200", RETENTION_ATTEMPTS="7200", RETENTION_DEDUP="7201")
    assert least.retention_dedup == 7201


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        (
            {"RETENTION_PAYLOADS": "86399"},
            "HELIOGRAPH_RETENTION_PAYLOADS: a retry needs its payload, so it is at least HELIOGRAPH_MAX_WINDOW (86400",
        ),
        (
            {"RETENTION_PAYLOADS": "86400", "WINDOW": "86401"},
            "HELIOGRAPH_RETENTION_PAYLOADS: a retry needs its payload, so it is at least HELIOGRAPH_WINDOW (86401 s)",
        ),
        (
            {"RETENTION_ATTEMPTS": "604799"},
            "HELIOGRAPH_RETENTION_ATTEMPTS: a payload is found through the log, so it is at least HELIOGRAPH_RETENTION",
        ),
        (
            {"RETENTION_DEDUP": "2592000"},
            "HELIOGRAPH_RETENTION_DEDUP: must be more than HELIOGRAPH_RETENTION_ATTEMPTS (2592000 s)",
        ),
        ({"RETENTION_DEDUP": "inf"}, "HELIOGRAPH_RETENTION_DEDUP: Input should be"),
    ],
)
def test_a_retention_that_would_take_what_is_needed_is_refused(environ: dict[str, str], text: str) -> None:
    assert _refused(**environ).startswith(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("localhost:0", ("localhost", 0)), ("[::]:65535", ("::", 65535))],
)
def test_a_listen_address(text: str, address: tuple[str, int]) -> None:
    assert listen_address(text) == address


# --- shown to people -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("profile", "nordbastion", "nordbastion"),
        ("retries", 3, "3"),
        ("data_dir", None, ""),
        ("data_dir", Path("/var/lib/heliograph"), "/var/lib/heliograph"),
        ("kafka_bootstrap", ("a:1", "b:2"), "a:1,b:2"),
        ("secret_keys", SecretStr(f"a:{KEY}"), "********"),
        ("kafka_sasl_password", SecretStr("hunter2"), "********"),
        ("database_url", SecretStr(DSN), "postgresql://heliograph:********@db.example/heliograph"),
        ("database_url", SecretStr("postgresql://u@db/x"), "postgresql://u@db/x"),
        ("database_url", SecretStr("postgresql://u:hunter2@a:1,b:2/x"), "postgresql://u:********@a:1,b:2/x"),
        ("database_url", SecretStr("postgresql://u:hun@ter2@db/x"), "postgresql://u:********@db/x"),
        (
            "database_url",
            SecretStr("postgresql://db/x?user=u&password=hunter2&sslpassword=hunter2"),
            "postgresql://db/x?user=u&password=********&sslpassword=********",
        ),
        pytest.param(
            "database_url",
            SecretStr("postgresql:///x?host=/run"),
            "postgresql:///x?host=/run",
        ),
    ],
)
def test_a_setting_is_shown_without_its_secret(name: str, value: object, shown: str) -> None:
    assert masked(name, value) == shown


def test_no_rendering_of_the_settings_tells_a_secret() -> None:
    secrets: Mapping[str, Any] = {
        "database_url": DSN,
        "secret_keys": f"a:{KEY}",
        "kafka_sasl_username": "u",
        "kafka_sasl_password": "hunter2",
    }
    made = load(environ={}, **secrets)
    for text in (repr(made), str(made), repr(made.model_dump()), made.model_dump_json()):
        assert "hunter2" not in text
        assert KEY not in text


@pytest.mark.parametrize("url", ["https://hooks.example\n", "https://a b", "https://ä.example", "hooks.example"])
def test_a_public_url_that_would_break_every_request_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^HELIOGRAPH_PUBLIC_URL: must be"):
        load(environ={"HELIOGRAPH_PUBLIC_URL": url})


def test_another_process_can_be_told_all_of_them(tmp_path: Path) -> None:
    certificates = tmp_path / "ca.pem"
    certificates.touch()
    made = load(
        environ={},
        env="development",
        database_url="postgresql://user:pass%40word@host/name",
        kafka_bootstrap=("a:1", "b:2"),
        kafka_ssl_cafile=certificates,
        egress_ports=(443, 8443, 9443),
        egress_allow=(),
        retries=0,
        record_interval=0.05,
        jwt_secret="x" * 32,
        jwt_issuer="urn:panel",
        jwt_audience="heliograph",
        feed_key=None,
    )
    environ = environ_of(made)
    assert load(environ=environ) == made
    assert environ["HELIOGRAPH_JWT_SECRET"] == "x" * 32
    assert environ["HELIOGRAPH_EGRESS_PORTS"] == "443,8443,9443"
    assert "HELIOGRAPH_FEED_KEY" not in environ
