"""Settings of the HTTP listeners: where they are, who may call them, whom they believe."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Self

from pydantic import Field, FilePath, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from runtime.settings.values import PREFIX, CommaSeparated, Seconds, listen_address

#: HS256 keys shorter than its hash can be guessed offline from one token (RFC 7518, 3.2).
JWT_SECRET_BYTES = 32


class ApiSettings(BaseSettings):
    """The public API and the admin listener."""

    api_listen: str = Field("127.0.0.1:8080", description="public HTTP API, host:port (port 0 picks a free one)")
    admin_listen: str = Field("127.0.0.1:9090", description="metrics and health, not public")
    api_tls_certfile: FilePath | None = Field(None, description="certificate chain: the API then speaks TLS itself")
    api_tls_keyfile: FilePath | None = Field(None, description="key of that certificate")
    api_tls_client_cafile: FilePath | None = Field(
        None, description="CA bundle that client certificates must descend from; asks clients for one"
    )
    trusted_proxies: CommaSeparated = Field(
        (), description="CIDRs of proxies whose X-Forwarded-For and CLIENT_CERT_HEADER are believed"
    )
    client_cert_header: str | None = Field(
        None, description="header in which a trusted proxy names the client certificate: its SHA-256, or itself as PEM"
    )
    onion_location: str | None = Field(None, description="onion service of this API; HTML pages point to it")

    jwt_secret: SecretStr | None = Field(
        None, description="HS256 secret of the control plane's tokens, 32 bytes or more"
    )
    jwt_jwks_url: str | None = Field(None, description="where the control plane's public keys are, instead")
    jwt_issuer: str | None = Field(None, description="`iss` a token must have")
    jwt_audience: str | None = Field(None, description="`aud` a token must have")
    jwt_algorithms: CommaSeparated = Field(("RS256", "ES256", "EdDSA"), description="algorithms taken with a JWKS")
    jwt_jwks_refresh: Seconds = Field(300, description="seconds between two looks at the JWKS")
    jwt_jwks_cooldown: Seconds = Field(30, description="seconds between two looks that unknown key ids cause")

    ratelimit_store: str = Field(
        "memory", description="where request counters live: memory, or redis://host:port/0 for all processes together"
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

    @field_validator("ratelimit_store")
    @classmethod
    def _store(cls, value: str) -> str:
        if value != "memory" and not re.match(r"rediss?://", value):
            msg = "must be memory, or a URL that begins with redis:// or rediss://"
            raise ValueError(msg)
        return value

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
        if (self.jwt_secret or self.jwt_jwks_url) and not (self.jwt_issuer and self.jwt_audience):
            msg = f"{PREFIX}JWT_ISSUER and {PREFIX}JWT_AUDIENCE are needed to believe a token"
            raise ValueError(msg)
        return self
