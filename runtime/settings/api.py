"""Settings of the HTTP listeners: where they are, who may call them, whom they believe."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, FilePath, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from runtime.settings.values import PREFIX, CommaSeparated, Seconds, listen_address

#: HS256 keys shorter than its hash can be guessed offline from one token (RFC 7518, 3.2).
JWT_SECRET_BYTES = 32
#: What a JWKS can verify. HS* are not among them: a public key must never serve as a shared secret (RFC 8725, 3.1).
JWT_ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
#: Where request counters live when no other process shares them.
MEMORY = "memory"
#: The name of a header field (RFC 9110, 5.6.2).
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
#: A version 3 onion service: 56 characters of base32.
ONION = re.compile(r"https?://([a-z0-9-]+\.)*[a-z2-7]{56}\.onion(:\d{1,5})?(/[!-~]*)?")


class ApiSettings(BaseSettings):
    """The public API and the admin listener."""

    api_listen: str = Field("127.0.0.1:8080", description="public HTTP API, host:port (port 0 picks a free one)")
    admin_listen: str = Field("127.0.0.1:9090", description="metrics and health, not public")
    api_tls_certfile: FilePath | None = Field(None, description="certificate chain: the API then speaks TLS itself")
    api_tls_keyfile: FilePath | None = Field(None, description="key of that certificate")
    api_tls_client_cafile: FilePath | None = Field(
        None, description="CA bundle that client certificates must descend from; asks clients for one"
    )
    api_connections: int = Field(
        10_000, ge=1, description="connections to the API at once; fewer where the process may not open as many files"
    )
    trusted_proxies: CommaSeparated = Field(
        (), description="CIDRs of proxies whose X-Forwarded-For and CLIENT_CERT_HEADER are believed"
    )
    client_cert_header: str | None = Field(
        None,
        description="header in which a trusted proxy names the client certificate: its SHA-256, or itself as PEM or "
        "as in RFC 9440",
    )
    onion_location: str | None = Field(
        None, description="onion service of this API, as http://….onion; HTML pages point to it"
    )

    jwt_secret: SecretStr | None = Field(
        None, description="HS256 secret of the control plane's tokens, 32 bytes or more"
    )
    jwt_jwks_url: str | None = Field(None, description="where the control plane's public keys are, instead")
    jwt_issuer: str | None = Field(None, description="`iss` a token must have")
    jwt_audience: str | None = Field(None, description="`aud` a token must have")
    jwt_algorithms: CommaSeparated = Field(("RS256", "ES256", "EdDSA"), description="algorithms taken with a JWKS")
    jwt_jwks_refresh: Seconds = Field(300, description="seconds between two looks at the JWKS")
    jwt_jwks_cooldown: Seconds = Field(30, description="seconds between two looks that unknown key ids cause")

    ratelimit_store: SecretStr = Field(
        SecretStr(MEMORY),
        description="where request counters live: memory, or redis://host:port/0 for all processes together",
    )

    @field_validator("api_listen", "admin_listen")
    @classmethod
    def _listen(cls, value: str) -> str:
        listen_address(value)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network)
        return value

    @field_validator("jwt_secret")
    @classmethod
    def _jwt_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < JWT_SECRET_BYTES:
            msg = f"must have at least {JWT_SECRET_BYTES} bytes (make one: openssl rand -base64 32)"
            raise ValueError(msg)
        return value

    @field_validator("jwt_algorithms")
    @classmethod
    def _algorithms(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in JWT_ALGORITHMS]
        if unknown or not value:
            msg = f"{unknown[0]!r} is not among" if unknown else "needs at least one of"
            raise ValueError(f"{msg} {', '.join(JWT_ALGORITHMS)}")
        return value

    @field_validator("client_cert_header")
    @classmethod
    def _header(cls, value: str | None) -> str | None:
        if value is not None and not HEADER_NAME.fullmatch(value):
            msg = f"{value!r} is not the name of a header"
            raise ValueError(msg)
        return value

    @field_validator("onion_location")
    @classmethod
    def _onion(cls, value: str | None) -> str | None:
        if value is not None and not ONION.fullmatch(value):
            msg = "must be http(s)://, 56 characters of base32 and .onion: browsers ignore anything else"
            raise ValueError(msg)
        return value

    @field_validator("ratelimit_store")
    @classmethod
    def _store(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url == MEMORY:
            return value
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError:  # its text repeats what was taken for the port, which may be half a password
            msg = "is not a URL (write / ? # [ ] @ in a user or password as %2F %3F %23 %5B %5D %40)"
            raise ValueError(msg) from None
        if parts.scheme in {"redis", "rediss"} and parts.hostname and re.fullmatch(r"/?\d*", parts.path):
            return value
        if parts.scheme == "unix" and parts.path.startswith("/"):
            return value
        msg = "must be memory, redis://host:port/0, rediss:// (with TLS) or unix:///path/of/socket"
        raise ValueError(msg)

    @model_validator(mode="after")
    def _tls(self) -> Self:
        if (self.api_tls_certfile is None) != (self.api_tls_keyfile is None):
            msg = f"{PREFIX}API_TLS_CERTFILE and {PREFIX}API_TLS_KEYFILE go together"
            raise ValueError(msg)
        if self.api_tls_client_cafile and not self.api_tls_certfile:
            msg = f"{PREFIX}API_TLS_CLIENT_CAFILE: needs {PREFIX}API_TLS_CERTFILE, or nobody is asked for a certificate"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _jwt(self) -> Self:
        if self.jwt_secret and self.jwt_jwks_url:
            msg = f"{PREFIX}JWT_SECRET and {PREFIX}JWT_JWKS_URL: set one of them"
            raise ValueError(msg)
        if self.jwt_jwks_url and not re.fullmatch(r"https?://[^\s/?#]+[!-~]*", self.jwt_jwks_url):
            msg = f"{PREFIX}JWT_JWKS_URL: must be https://host/path"
            raise ValueError(msg)
        if (self.jwt_secret or self.jwt_jwks_url) and not (self.jwt_issuer and self.jwt_audience):
            msg = f"{PREFIX}JWT_ISSUER and {PREFIX}JWT_AUDIENCE are needed to believe a token"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _proxy(self) -> Self:
        if self.client_cert_header and not self.trusted_proxies:
            msg = f"{PREFIX}CLIENT_CERT_HEADER: needs {PREFIX}TRUSTED_PROXIES, or nobody is believed who sends it"
            raise ValueError(msg)
        return self

    def shared_store(self) -> str | None:
        """Return the URL of the store that counters are shared in, in clear; for connecting only. None for memory."""
        url = self.ratelimit_store.get_secret_value()
        return None if url == MEMORY else url
