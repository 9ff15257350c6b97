"""A canary before the keys one has pinned: their certificates, gpg's word on each signature, and the verdict.

Each judgement has a keyring of its own, made from the folder of public keys: a key that was revoked there since the
last one counts as revoked in this one. It takes some tens of milliseconds, and happens when something was published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from signer import published
from signer.canary_check import check
from signer.canary_signatures import read_signatures
from signer.faults import PgpError
from signer.pgp import Keyring

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from runtime.settings import Settings
    from signer.canary_check import Predecessor, Verdict
    from signer.statement import Document


@dataclass(frozen=True, slots=True)
class Pins:
    """Whose signatures count: whole fingerprints of primary keys, how many of them, and where their public keys are."""

    fingerprints: tuple[str, ...]
    threshold: int
    folder: Path

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Return those of the settings, None where no key is pinned; raises `SettingsError` without PUBLIC_KEYS."""
        if not settings.canary_keys:
            return None
        settings.require("public_keys")
        assert settings.public_keys is not None  # noqa: S101 - narrowed by require()
        threshold = settings.canary_threshold or len(settings.canary_keys)
        return cls(settings.canary_keys, threshold, settings.public_keys)

    async def judge(
        self,
        content: bytes,
        signatures: Mapping[str, bytes],
        *,
        now: datetime,
        previous: Document | Predecessor,
        at: datetime | None = None,
        is_superseded: bool = False,
    ) -> Verdict:
        """Check a canary as of `now`, with its signatures by name; keys as they were `at` a moment, or are.

        Raises `PgpError` when gpg cannot be asked or a public key cannot be read.
        """
        async with Keyring() as keyring:
            await published.take_needed(keyring, self.folder, self.fingerprints)
            signed = await read_signatures(keyring, content, signatures, at=at)
        return check(
            content, signed, pinned=self.fingerprints, threshold=self.threshold, now=now, previous=previous,
            is_superseded=is_superseded,
        )  # fmt: skip

    async def keygrips(self) -> dict[str, str]:
        """Return the keygrips of all pinned keys and their subkeys, each with its primary key's fingerprint.

        Raises `PgpError` when the folder lacks one of the keys: nothing could be verified then.
        """
        keys = await published.read(self.folder)
        found: dict[str, str] = {}
        for fingerprint in self.fingerprints:
            key = published.find(keys, fingerprint)
            if key is None:
                raise PgpError(f"the folder of public keys {self.folder} lacks the canary's key {fingerprint}")
            found |= {each.keygrip: fingerprint for each in key.certificate.keys}
        return found
