"""Settings of the service as a whole: what it is, its database, its keys, its log."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from runtime.settings.values import Seconds, parse_secret_keys


class ServiceSettings(BaseSettings):
    """What every role takes."""

    env: Literal["production", "development"] = Field(
        "production", description="production refuses what is only safe on a developer's machine"
    )
    profile: str = Field("nordbastion", description="house style of the provider")
    public_url: str = Field("http://localhost:8080", description="where customers reach this service; in user-agent")
    data_dir: Path | None = Field(None, description="where --embedded keeps its data (a temporary folder when unset)")

    database_url: SecretStr | None = Field(None, description="PostgreSQL, as postgresql://user:password@host/name")
    database_pool: int = Field(8, ge=3, le=100, description="connections this process may hold")

    secret_keys: SecretStr | None = Field(
        None, description="id:base64 of 32 bytes, comma-separated; encrypt webhook secrets at rest, the first is used"
    )
    secret_overlap: float = Field(
        86_400, ge=0, le=604_800, description="seconds a replaced webhook secret goes on signing beside the new one"
    )

    startup_timeout: Seconds = Field(60, description="seconds to wait for database and broker at start")
    drain_timeout: float = Field(6, ge=0, le=7, description="seconds attempts under way may take to end at shutdown")

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="what is logged")
    log_format: Literal["auto", "json", "text"] = Field("auto", description="auto: text on a terminal, else JSON")
    log_attempts: Literal["failed", "all"] = Field(
        "failed", description="which attempts have a line at info each; the others have one at debug"
    )
    log_requests: Literal["failed", "credentialed", "all"] = Field(
        "credentialed",
        description="which requests have one: credentialed adds all but feeds and pages to those that fail",
    )

    @field_validator("public_url")
    @classmethod
    def _public_url(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[!-~]+", value):
            msg = "must be http(s)://host in printable ASCII without spaces or line ends: it is sent in a header"
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
