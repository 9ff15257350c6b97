"""Settings of signing: the feed key, where its keyring and its process are, and the public keys readers get."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from runtime.settings.canary import parse_fingerprint


class SigningSettings(BaseSettings):
    """What signs feeds and answers, and what they are verified with."""

    gnupghome: Path | None = Field(None, description="keyring of the signing role: it holds FEED_KEY's secret alone")
    feed_key: str | None = Field(
        None, description="fingerprint of the key that signs feeds and answers; nothing is signed without one"
    )
    signer_socket: Path | None = Field(
        None, description="unix socket of the signing process (a private one when the service starts it itself)"
    )
    public_keys: Path | None = Field(
        None, description="folder of public keys (*.asc) that readers verify with: the feed's and the canary's"
    )

    @field_validator("feed_key")
    @classmethod
    def _feed_key(cls, value: str | None) -> str | None:
        return None if value is None else parse_fingerprint(value)
