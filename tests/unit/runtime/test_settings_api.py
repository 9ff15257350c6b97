"""Settings of the HTTP listeners: what is refused before it lets anybody in, and that no text holds a secret."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from runtime.settings import Settings, SettingsError, load, masked, variable

ONION = f"http://{'abcdefgh' * 7}.onion"
JWKS = {"JWT_ISSUER": "https://panel.example", "JWT_AUDIENCE": "heliograph"}
NOT_A_STORE = (
    "HELIOGRAPH_RATELIMIT_STORE: must be memory, redis://host:port/0, rediss:// (with TLS) or unix:///path/of/socket"
)


def _load(**environ: str) -> Settings:
    return load(environ={f"HELIOGRAPH_{name}": value for name, value in environ.items()})


def _refused(**environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        _load(**environ)
    text = str(caught.value)
    assert "\n" not in text
    assert "hunter2" not in text
    return text


def test_nothing_set_trusts_nobody_and_counts_in_memory() -> None:
    made = _load()
    assert (made.trusted_proxies, made.client_cert_header, made.onion_location) == ((), None, None)
    assert made.shared_store() is None
    assert made.api_connections == 10_000
    assert made.jwt_algorithms == ("RS256", "ES256", "EdDSA")


@pytest.mark.parametrize(
    "environ",
    [
        {"RATELIMIT_STORE": "redis://localhost"},
        {"RATELIMIT_STORE": "redis://:hunter2@redis.example:6379/3"},
        {"RATELIMIT_STORE": "rediss://u:hunter2@[::1]:6379/0"},
        {"RATELIMIT_STORE": "unix:///run/redis.sock?db=1"},
        {"ONION_LOCATION": ONION},
        {"ONION_LOCATION": ONION.replace("http://", "https://api.") + ":8080/v1"},
        {"CLIENT_CERT_HEADER": "X-SSL-Client-Cert", "TRUSTED_PROXIES": "10.0.0.0/8"},
        {"TRUSTED_PROXIES": "10.0.0.1, fd00::/8"},
        {"JWT_ALGORITHMS": "PS512, ES384,EdDSA"},
        {**JWKS, "JWT_JWKS_URL": "https://panel.example/jwks.json"},
        {**JWKS, "JWT_JWKS_URL": "http://127.0.0.1:8000/jwks.json", "ENV": "development"},
        {"API_CONNECTIONS": "1"},
    ],
)
def test_these_are_taken(environ: dict[str, str]) -> None:
    _load(**environ)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"RATELIMIT_STORE": "Memory"}, NOT_A_STORE),
        ({"RATELIMIT_STORE": "redis://"}, NOT_A_STORE),
        ({"RATELIMIT_STORE": "redis://:hunter2@/0"}, NOT_A_STORE),
        ({"RATELIMIT_STORE": "redis://h/hunter2"}, NOT_A_STORE),
        ({"RATELIMIT_STORE": "memcached://:hunter2@h"}, NOT_A_STORE),
        ({"RATELIMIT_STORE": "unix://hunter2"}, NOT_A_STORE),
        ({"RATELIMIT_STORE": "redis://u:hunter2/x@h/0"}, "HELIOGRAPH_RATELIMIT_STORE: is not a URL"),
        ({"RATELIMIT_STORE": "redis://[hunter2/0"}, "HELIOGRAPH_RATELIMIT_STORE: is not a URL"),
        ({"ONION_LOCATION": "http://short.onion"}, "HELIOGRAPH_ONION_LOCATION: must be http(s)://, 56 characters"),
        ({"ONION_LOCATION": ONION + ".example"}, "HELIOGRAPH_ONION_LOCATION: "),
        ({"ONION_LOCATION": ONION.removeprefix("http://")}, "HELIOGRAPH_ONION_LOCATION: "),
        ({"ONION_LOCATION": ONION + "\n"}, "HELIOGRAPH_ONION_LOCATION: "),
        ({"CLIENT_CERT_HEADER": "a b", "TRUSTED_PROXIES": "::1"}, "HELIOGRAPH_CLIENT_CERT_HEADER: 'a b' is not"),
        ({"CLIENT_CERT_HEADER": "a:", "TRUSTED_PROXIES": "::1"}, "HELIOGRAPH_CLIENT_CERT_HEADER: 'a:' is not"),
        ({"CLIENT_CERT_HEADER": "X-Cert"}, "HELIOGRAPH_CLIENT_CERT_HEADER: needs HELIOGRAPH_TRUSTED_PROXIES"),
        ({"TRUSTED_PROXIES": "proxy.example"}, "HELIOGRAPH_TRUSTED_PROXIES: "),
        ({"TRUSTED_PROXIES": "10.0.0.1/8"}, "HELIOGRAPH_TRUSTED_PROXIES: "),
        ({"JWT_ALGORITHMS": "RS256,HS256"}, "HELIOGRAPH_JWT_ALGORITHMS: 'HS256' is not among RS256, "),
        ({"JWT_ALGORITHMS": "none"}, "HELIOGRAPH_JWT_ALGORITHMS: 'none' is not among"),
        ({"JWT_ALGORITHMS": ","}, "HELIOGRAPH_JWT_ALGORITHMS: needs at least one of RS256, "),
        ({**JWKS, "JWT_JWKS_URL": "http://panel.example/k"}, "HELIOGRAPH_JWT_JWKS_URL: must be https:// (http is for"),
        ({**JWKS, "JWT_JWKS_URL": "panel.example"}, "HELIOGRAPH_JWT_JWKS_URL: must be https://host/path"),
        ({**JWKS, "JWT_JWKS_URL": "file:///k"}, "HELIOGRAPH_JWT_JWKS_URL: must be https://host/path"),
        ({**JWKS, "JWT_JWKS_URL": "https://a b/"}, "HELIOGRAPH_JWT_JWKS_URL: must be https://host/path"),
        ({**JWKS, "JWT_JWKS_URL": "https:///k"}, "HELIOGRAPH_JWT_JWKS_URL: must be https://host/path"),
        ({"JWT_JWKS_URL": "https://panel.example"}, "HELIOGRAPH_JWT_ISSUER and HELIOGRAPH_JWT_AUDIENCE are needed"),
        ({**JWKS, "JWT_SECRET": "hunter2"}, "HELIOGRAPH_JWT_SECRET: must have at least 32 bytes"),
        (
            {**JWKS, "JWT_SECRET": "s" * 32, "JWT_JWKS_URL": "https://panel.example"},
            "HELIOGRAPH_JWT_SECRET and HELIOGRAPH_JWT_JWKS_URL: set one of them",
        ),
        ({"API_CONNECTIONS": "0"}, "HELIOGRAPH_API_CONNECTIONS: "),
        ({"API_TLS_CERTFILE": __file__}, "HELIOGRAPH_API_TLS_CERTFILE and HELIOGRAPH_API_TLS_KEYFILE go together"),
        ({"API_TLS_CLIENT_CAFILE": __file__}, "HELIOGRAPH_API_TLS_CLIENT_CAFILE: needs HELIOGRAPH_API_TLS_CERTFILE"),
    ],
)
def test_these_are_one_line_that_names_the_setting(environ: dict[str, str], says: str) -> None:
    assert _refused(**environ).startswith(says)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("memory", "memory"),
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:hunter2@localhost/0", "redis://:********@localhost/0"),
        ("rediss://u:hunter2@[::1]:6379/0", "rediss://u:********@[::1]:6379/0"),
        ("redis://localhost/0?password=hunter2", "redis://localhost/0?password=********"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("unix://u:hunter2@/run/redis.sock?db=1", "unix://u:********@/run/redis.sock?db=1"),
    ],
)
def test_the_store_is_shown_without_its_password(url: str, shown: str) -> None:
    made = _load(RATELIMIT_STORE=url)
    assert masked("ratelimit_store", made.ratelimit_store) == shown
    assert masked("ratelimit_store", SecretStr(url)) == shown
    for text in (repr(made), str(made), repr(made.model_dump()), made.model_dump_json()):
        assert "hunter2" not in text
    assert made.shared_store() == (None if url == "memory" else url)


def test_a_secret_of_tokens_is_masked() -> None:
    made = _load(**JWKS, JWT_SECRET="hunter2" * 5)
    assert masked("jwt_secret", made.jwt_secret) == "********"
    assert "hunter2" not in repr(made)
    assert variable("jwt_secret") == "HELIOGRAPH_JWT_SECRET"
