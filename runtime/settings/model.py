"""All settings in one model: what each part of the service takes, and what holds across them."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator
from pydantic_settings import SettingsConfigDict

from runtime.settings.api import ApiSettings
from runtime.settings.canary import CanarySettings
from runtime.settings.delivery import DeliverySettings
from runtime.settings.kafka import KafkaSettings
from runtime.settings.service import ServiceSettings
from runtime.settings.signing import SigningSettings
from runtime.settings.tracing import TracingSettings
from runtime.settings.values import PREFIX, SettingsError, parse_secret_keys, variable


class Settings(
    TracingSettings, CanarySettings, SigningSettings, DeliverySettings, ApiSettings, KafkaSettings, ServiceSettings
):
    """All settings; field names are the names in the TOML file, upper-cased after the prefix elsewhere."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _no_exemption_in_production(self) -> Self:
        if self.env == "production" and self.egress_allow:
            msg = f"{PREFIX}EGRESS_ALLOW: is for {PREFIX}ENV=development; production calls no private address"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _keys_come_over_tls_in_production(self) -> Self:
        if self.env == "production" and self.jwt_jwks_url and not self.jwt_jwks_url.startswith("https://"):
            msg = f"{PREFIX}JWT_JWKS_URL: must be https:// (http is for {PREFIX}ENV=development)"
            raise ValueError(msg)
        return self

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
