"""Settings of the warrant canary: whose signatures count."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings

from runtime.settings.values import PREFIX, CommaSeparated

#: A whole fingerprint of an OpenPGP version 4 key (RFC 9580, 5.5.4); key ids are too short to be pinned.
FINGERPRINT = re.compile(r"[0-9A-F]{40}")


def parse_fingerprint(text: str) -> str:
    """Return a fingerprint as gpg prints it, spaces or not, as 40 upper-case digits; raises ValueError."""
    digits = "".join(text.split()).upper()
    if not FINGERPRINT.fullmatch(digits):
        msg = f"{text!r} is not a fingerprint of 40 hexadecimal digits"
        raise ValueError(msg)
    return digits


class CanarySettings(BaseSettings):
    """Which keys a canary must be signed with. Public ones: the service never holds the secret parts."""

    canary_keys: CommaSeparated = Field(
        (), description="fingerprints of the primary keys that sign the canary, comma-separated"
    )
    canary_threshold: int | None = Field(
        None, ge=1, description="how many of CANARY_KEYS must have signed a canary (all of them when unset)"
    )

    @field_validator("canary_keys")
    @classmethod
    def _canary_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        keys = tuple(map(parse_fingerprint, value))
        if len(set(keys)) < len(keys):
            msg = "names a key twice"
            raise ValueError(msg)
        return keys

    @model_validator(mode="after")
    def _threshold_can_be_met(self) -> Self:
        if self.canary_threshold is not None and self.canary_keys and self.canary_threshold > len(self.canary_keys):
            msg = f"{PREFIX}CANARY_THRESHOLD: is {self.canary_threshold}, of {len(self.canary_keys)} keys"
            raise ValueError(msg)
        return self
