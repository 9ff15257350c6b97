"""Whether a keyring is fit to sign feeds: it holds what signs for the feed key, and no other secret at all.

A primary key whose subkey signs is another: it certifies, so it belongs offline. One that signs itself has to be here.
The canary's keys above all: a service that could sign a canary would be one that can be made to. A secret key whose
certificate is not in the keyring has no fingerprint there, so whatever is not the feed key's is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from signer import certificates
from signer.faults import PgpError

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from signer.pgp import Keyring


@dataclass(frozen=True, slots=True)
class FeedKey:
    """The key that signs, and the certificate it is verified with."""

    primary: str
    signer: str
    expires_at: datetime | None
    armored: bytes

    def is_expired(self, now: datetime) -> bool:
        """Say whether it cannot sign any more."""
        return self.expires_at is not None and self.expires_at <= now


async def admit(keyring: Keyring, fingerprint: str, canary: Collection[str], now: datetime) -> FeedKey:
    """Return the feed key, named by its primary key or by one of its subkeys.

    `canary` are fingerprints of the canary's keys. Raises `PgpError` when the keyring is not fit.
    """
    known = await keyring.certificates()
    secrets = await keyring.secret_fingerprints()
    of_canary = set(canary).union(*(each.fingerprints for each in known if not each.fingerprints.isdisjoint(canary)))
    if held := sorted(of_canary & secrets):
        raise PgpError(
            f"the keyring {keyring.home} holds the secret part of the canary's key {held[0]}: "
            "whoever runs this service could be made to sign with it; remove it from this machine"
        )
    certificate = certificates.of_key(known, fingerprint)
    if not of_canary.isdisjoint(certificate.fingerprints):
        raise PgpError(f"the feed key {fingerprint} is a key of the canary's; it needs to be another one")
    own = {key.keygrip for key in certificate.keys}
    if foreign := sorted(await keyring.secret_keygrips() - own):
        raise PgpError(
            f"the keyring {keyring.home} holds a secret key that is not the feed key's "
            f"(private-keys-v1.d/{foreign[0]}.key); a signer's keyring holds the feed key alone"
        )
    key = certificates.signing_key(certificate, fingerprint, secrets, now)
    if key.fingerprint != certificate.fingerprint and certificate.fingerprint in secrets:
        raise PgpError(
            f"the keyring {keyring.home} holds the secret part of the feed key's primary key {certificate.fingerprint}"
            f" (private-keys-v1.d/{certificate.keygrip}.key), and its subkey {key.fingerprint} signs: whoever breaks in"
            " here would get the whole key; keep the primary offline, and take its secret part away from this machine"
        )
    ends = [moment for moment in (key.expires_at, certificate.expires_at) if moment is not None]
    return FeedKey(
        primary=certificate.fingerprint,
        signer=key.fingerprint,
        expires_at=min(ends, default=None),
        armored=await keyring.export(certificate.fingerprint, armored=True),
    )
