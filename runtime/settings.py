"""Every setting of the service, each with its meaning: the one list `config`, the docs and the tests read.

Sources, the first that has a value wins: explicit overrides (command line, `--embedded`), the environment
(`HELIOGRAPH_*`), the TOML file (`--config` or `HELIOGRAPH_CONFIG`), what an embedded server left beside the socket
that `DATABASE_URL` points to, the default. A name nobody knows is an error: a misspelt limit that is silently
ignored is worse than a refused start.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import os
import re
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit, urlunsplit

from pydantic import BeforeValidator, Field, FilePath, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

PREFIX = "HELIOGRAPH_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
SECRET_KEY_BYTES = 32
MASK = "********"
#: Left by `serve --embedded` in the private folder of its PostgreSQL socket: whoever reaches that database also
#: gets the keys and addresses made up for it, so `emit` and `webhook add` need nothing but DATABASE_URL.
BESIDE_SOCKET = "heliograph.toml"
LOOPBACK = ("127.0.0.0/8", "::1/128")


class SettingsError(Exception):
    """A setting is missing, unknown or wrong; the text is one line and names it."""


def _split(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Port = Annotated[int, Field(ge=1, le=65535)]
Ports = Annotated[tuple[Port, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """All settings; field names are the names in the TOML file, upper-cased after the prefix elsewhere."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    env: Literal["production", "development"] = Field(
        "production", description="production refuses what is only safe on a developer's machine"
    )
    profile: str = Field("nordbastion", description="house style of the provider")
    public_url: str = Field("http://localhost:8080", description="where customers reach this service; in user-agent")
    data_dir: Path | None = Field(None, description="where --embedded keeps its data (a temporary folder when unset)")

    database_url: SecretStr | None = Field(None, description="PostgreSQL, as postgresql://user:password@host/name")
    database_pool: int = Field(8, ge=3, le=100, description="connections this process may hold")

    kafka_bootstrap: CommaSeparated = Field((), description="brokers, host:port, comma-separated")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how to speak to the brokers"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="used with a SASL_* protocol"
    )
    kafka_sasl_username: str | None = Field(None, description="user for SASL")
    kafka_sasl_password: SecretStr | None = Field(None, description="password for SASL")
    kafka_ssl_cafile: FilePath | None = Field(None, description="CA bundle for the brokers (the system's when unset)")
    kafka_ssl_certfile: FilePath | None = Field(None, description="client certificate for the brokers")
    kafka_ssl_keyfile: FilePath | None = Field(None, description="key of that certificate")
    kafka_group: str = Field("heliograph", description="consumer group")
    kafka_session_timeout: Seconds = Field(
        10, description="seconds after which the group gives a silent member's partitions to others"
    )
    kafka_topic_events: str = Field("controlplane.events", description="domain events in")
    kafka_topic_dead_letters: str = Field("heliograph.deadletters", description="what could not be handled")
    kafka_topic_announcements: str = Field("heliograph.events", description="what this service tells, out")
    kafka_batch: int = Field(1000, ge=1, le=10_000, description="records in one transaction at most")
    kafka_record_bytes: int = Field(1_048_576, ge=1024, description="a larger record is a dead letter")
    dead_letter_share: float = Field(
        0.5, gt=0, le=1, description="share of bad records within the window that stops the consumer"
    )
    dead_letter_window: Seconds = Field(60, description="seconds over which that share is counted")
    dead_letter_minimum: int = Field(20, ge=1, description="bad records below this number never stop the consumer")

    api_listen: str = Field("127.0.0.1:8080", description="public HTTP API, host:port (port 0 picks a free one)")
    admin_listen: str = Field("127.0.0.1:9090", description="metrics and health, not public")

    secret_keys: SecretStr | None = Field(
        None, description="id:base64 of 32 bytes, comma-separated; encrypt webhook secrets at rest, the first is used"
    )
    secret_overlap: float = Field(
        86_400, ge=0, le=604_800, description="seconds a replaced webhook secret goes on signing beside the new one"
    )

    egress_allow: CommaSeparated = Field(
        (), description="CIDRs receivers may have although they are refused, http too; development only"
    )
    egress_deny: CommaSeparated = Field((), description="CIDRs receivers may not have, beside the special-purpose ones")
    egress_ports: Ports = Field((443, 8443), description="ports of receivers")

    retries: int = Field(3, ge=0, le=20, description="attempts after the first")
    window: Seconds = Field(3600, description="seconds from the first attempt within which the last one ends")
    max_retries: int = Field(10, ge=0, le=20, description="retries an endpoint may choose at most")
    max_window: float = Field(
        86_400, ge=1, le=2_592_000, description="seconds of window an endpoint may choose at most"
    )
    attempt_timeout: Seconds = Field(15, description="seconds one attempt may take, connect to last byte read")
    lease_margin: Seconds = Field(15, description="seconds a lease outlives the attempt it covers")
    disable_after: Seconds = Field(432_000, description="seconds an endpoint may fail without one success")
    disable_dropped: int = Field(20, ge=1, description="dropped deliveries it takes besides to disable it")
    max_in_flight: int = Field(512, ge=1, le=20_000, description="attempts under way at once in this process")
    endpoint_in_flight: int = Field(10, ge=1, le=1000, description="of them, to one endpoint")
    account_in_flight: int = Field(50, ge=1, le=10_000, description="of them, to all endpoints of one account")
    stall: Seconds = Field(2, description="seconds after which an unanswered attempt keeps others to its endpoint back")
    circuit_share: float = Field(
        0.7, gt=0, le=1, description="share of failed attempts that opens an endpoint's circuit: one probe at a time"
    )
    circuit_minimum: int = Field(10, ge=1, description="attempts below this number never open it")
    circuit_window: Seconds = Field(300, description="seconds over which that share is counted")
    circuit_probe: Seconds = Field(30, description="seconds between two probes")
    account_queue: int = Field(
        100_000, ge=1, description="deliveries an account may have waiting; further ones are logged as cancelled"
    )
    claim_interval: Seconds = Field(1, description="seconds between looks for due retries when nothing wakes us")
    record_interval: float = Field(0.02, ge=0, le=1, description="seconds results wait to be written together")
    response_bytes: int = Field(16_384, ge=0, le=1_048_576, description="of a receiver's answer that is read and kept")

    retention_payloads: Seconds = Field(604_800, description="seconds a message's payload is kept")
    retention_attempts: Seconds = Field(2_592_000, description="seconds the delivery log and its attempts are kept")
    retention_dedup: Seconds = Field(3_888_000, description="seconds within which an event that comes again is known")

    startup_timeout: Seconds = Field(60, description="seconds to wait for database and broker at start")
    drain_timeout: float = Field(6, ge=0, le=7, description="seconds attempts under way may take to end at shutdown")

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="what is logged")
    log_format: Literal["auto", "json", "text"] = Field("auto", description="auto: text on a terminal, else JSON")

    @field_validator("api_listen", "admin_listen")
    @classmethod
    def _listen(cls, value: str) -> str:
        listen_address(value)
        return value

    @field_validator("public_url")
    @classmethod
    def _public_url(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[!-~]+", value):
            msg = "must be http(s)://host in printable ASCII without spaces or line ends: it is sent in a header"
            raise ValueError(msg)
        return value

    @field_validator("kafka_bootstrap")
    @classmethod
    def _bootstrap(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for broker in value:
            if not re.fullmatch(r"[^\s:]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", broker):
                msg = f"{broker!r} is not host:port"
                raise ValueError(msg)
        return value

    @field_validator("database_url")
    @classmethod
    def _database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value.get_secret_value())
            _ = parts.port
        except ValueError:  # its text repeats what was taken for the port, which may be half a password
            msg = "is not a URL (write / ? # [ ] @ in a user or password as %2F %3F %23 %5B %5D %40)"
            raise ValueError(msg) from None
        if parts.scheme not in {"postgresql", "postgres"}:
            msg = "must begin with postgresql://"
            raise ValueError(msg)
        return value

    @field_validator("secret_keys")
    @classmethod
    def _secret_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_secret_keys(value.get_secret_value())
        return value

    @field_validator("egress_allow", "egress_deny")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network)
        return value

    @model_validator(mode="after")
    def _no_exemption_in_production(self) -> Self:
        if self.env == "production" and self.egress_allow:
            msg = f"{PREFIX}EGRESS_ALLOW: is for {PREFIX}ENV=development; production calls no private address"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _sasl(self) -> Self:
        if self.kafka_security_protocol.startswith("SASL") and not (
            self.kafka_sasl_username and self.kafka_sasl_password
        ):
            msg = f"{PREFIX}KAFKA_SASL_USERNAME and {PREFIX}KAFKA_SASL_PASSWORD are needed with a SASL_* protocol"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _window(self) -> Self:
        needed = (self.retries + 1) * self.attempt_timeout
        if self.retries and self.window <= needed:
            attempts = f"{self.retries + 1} attempts of up to {self.attempt_timeout:g} s"
            msg = f"{PREFIX}WINDOW: {attempts} need more than {needed:g} s"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _retention(self) -> Self:
        for shorter, longer, why in (
            ("window", "retention_payloads", "a retry needs its payload"),
            ("max_window", "retention_payloads", "a retry needs its payload"),
            ("retention_payloads", "retention_attempts", "a payload is found through the log"),
        ):
            least = getattr(self, shorter)
            if getattr(self, longer) < least:
                msg = f"{variable(longer)}: {why}, so it is at least {variable(shorter)} ({least:.12g} s)"
                raise ValueError(msg)
        if self.retention_dedup <= self.retention_attempts:
            least = self.retention_attempts
            msg = f"{variable('retention_dedup')}: must be more than {variable('retention_attempts')} ({least:.12g} s)"
            raise ValueError(msg)
        return self

    @property
    def lease(self) -> float:
        """Seconds a claimed delivery belongs to its worker: a whole attempt and the margin."""
        return self.attempt_timeout + self.lease_margin

    def require(self, *names: str) -> None:
        """Raise `SettingsError` for the first of `names` that has no value."""
        for name in names:
            if not getattr(self, name):
                meaning = type(self).model_fields[name].description
                msg = f"{variable(name)} is not set ({meaning})"
                raise SettingsError(msg)

    def dsn(self) -> str:
        """Return the database URL in clear; for connecting only."""
        self.require("database_url")
        assert self.database_url is not None  # noqa: S101 - narrowed by require()
        return self.database_url.get_secret_value()

    def keys(self) -> dict[str, bytes]:
        """Return the at-rest keys by id, the encrypting one first."""
        self.require("secret_keys")
        assert self.secret_keys is not None  # noqa: S101 - narrowed by require()
        return parse_secret_keys(self.secret_keys.get_secret_value())


def variable(name: str) -> str:
    """Return the environment name of a field."""
    return PREFIX + name.upper()


def listen_address(value: str) -> tuple[str, int]:
    """Split `host:port` (`[v6]:port`); raises ValueError saying what is wrong."""
    match = re.fullmatch(r"(?:\[(?P<v6>[0-9a-fA-F:]+)\]|(?P<host>[^:\s]+)):(?P<port>\d{1,5})", value)
    if match is None or int(match["port"]) > 65535:  # noqa: PLR2004 - the largest port
        msg = f"{value!r} is not host:port"
        raise ValueError(msg)
    return match["v6"] or match["host"], int(match["port"])


def parse_secret_keys(value: str) -> dict[str, bytes]:
    """Parse `id:base64,id:base64`; raises ValueError that never repeats key material."""
    keys: dict[str, bytes] = {}
    for position, part in enumerate(filter(None, (piece.strip() for piece in value.split(","))), 1):
        key_id, separator, encoded = part.partition(":")
        if not separator or not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", key_id):
            msg = f"key {position} is not id:base64"
            raise ValueError(msg)
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            key = b""
        if len(key) != SECRET_KEY_BYTES:
            msg = f"key {key_id!r} is not the base64 of {SECRET_KEY_BYTES} bytes (make one: openssl rand -base64 32)"
            raise ValueError(msg)
        if key_id in keys:
            msg = f"key id {key_id!r} is used twice"
            raise ValueError(msg)
        keys[key_id] = key
    if not keys:
        msg = "holds no key"
        raise ValueError(msg)
    return keys


def load(config: Path | None = None, *, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:  # noqa: ANN401 - settings are of many types; pydantic checks each
    """Read, check and freeze the settings; raises `SettingsError` with one line that names the culprit.

    `config` beats `HELIOGRAPH_CONFIG`; `overrides` (field names) beat everything.
    """
    environ = os.environ if environ is None else environ
    known = Settings.model_fields
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    path = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    if path is not None:
        for name, value in _read_toml(path).items():
            _check_known(name.lower(), name, f"in {path}", known)
            values[name.lower()] = value
            origin[name.lower()] = f"{name} in {path}"
    for name, value in environ.items():
        if name.startswith(PREFIX) and name != CONFIG_VARIABLE:
            field = name.removeprefix(PREFIX).lower()
            _check_known(field, name, "in the environment", known)
            if value == "":
                continue
            values[field] = value
            origin[field] = name
    for name, value in overrides.items():
        values[name] = value
        origin[name] = variable(name)
    for name, value in _beside_socket(values.get("database_url")).items():
        values.setdefault(name, value)
    try:
        return _Explicit(**values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        message = re.sub(r"^Value error, ", "", first["msg"])
        name = origin.get(field, variable(field)) if field else ""
        raise SettingsError(f"{name}: {message}" if name else message) from None


class _Explicit(Settings):
    """Settings from the given values alone: `load` has already merged the sources in its own order."""

    @classmethod
    def settings_customise_sources(cls, settings_cls: Any, init_settings: Any, **_: Any) -> tuple[Any, ...]:  # type: ignore[override]  # noqa: ANN401, ARG003 - the signature is pydantic-settings' own
        return (init_settings,)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not TOML ({error})") from None


def _beside_socket(dsn: object) -> dict[str, Any]:
    if not isinstance(dsn, str):
        return {}
    try:
        host = parse_qs(urlsplit(dsn).query).get("host", [""])[0]
    except ValueError:  # said by the validation that follows
        return {}
    path = Path(host, BESIDE_SOCKET)
    return _read_toml(path) if host.startswith("/") and path.is_file() else {}


def _check_known(field: str, shown: str, where: str, known: Mapping[str, FieldInfo]) -> None:
    if field not in known:
        near = difflib.get_close_matches(field, known, n=1)
        hint = f"; did you mean {variable(near[0])}?" if near else ""
        raise SettingsError(f"{shown} {where} is not a setting{hint}")


def masked(name: str, value: object) -> str:
    """Render a setting for people: secrets masked, a URL's password too, tuples as they are written."""
    if value is None:
        return ""
    if name == "database_url" and isinstance(value, SecretStr):
        parts = urlsplit(value.get_secret_value())
        if parts.password:
            userinfo, _, host = parts.netloc.rpartition("@")
            parts = parts._replace(netloc=f"{userinfo.partition(':')[0]}:{MASK}@{host}")
        query = re.sub(r"(password=)[^&]*", rf"\1{MASK}", parts.query)
        shown = urlunsplit(parts._replace(query=query))
        return shown if parts.netloc else shown.replace(":", "://", 1)  # urlunsplit drops an empty host's slashes
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)
