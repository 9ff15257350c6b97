"""Webhook secrets: made, shown once, sealed at rest; and so are the answers that showed them, while those are kept.

AES-GCM with a random nonce; the associated data ties a ciphertext to its account, endpoint, version and kind, so
that rows cannot be swapped between endpoints. Keys live outside the database and carry an id, which is stored, so
that a key can be replaced while old rows still open.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Kinds of secrets, and what an endpoint may choose: with `ed25519` it has one of each.
ALGORITHMS = HMAC, ED25519 = "hmac-sha256", "ed25519"
#: A symmetric secret, and the seed of a private key.
SECRET_BYTES = 32
NONCE_BYTES = 12
#: Standard Webhooks' marks of a symmetric secret and of a public key.
PREFIX, PUBLIC_PREFIX = "whsec_", "whpk_"


class SealError(Exception):
    """A sealed secret cannot be opened; the text names the row and the key, never the content."""


class Sealed(NamedTuple):
    """A secret at rest: the id of the key, and nonce with ciphertext."""

    key_id: str
    blob: bytes


class Owner(NamedTuple):
    """Whose secret it is; bound into the ciphertext."""

    account: str
    endpoint: str
    version: int
    kind: str = HMAC


def new_secret() -> bytes:
    """Return 32 random bytes."""
    return os.urandom(SECRET_BYTES)


def shown(secret: bytes) -> str:
    """Return a secret as the customer gets it, `whsec_<base64>`."""
    return PREFIX + base64.b64encode(secret).decode()


def public_half(seed: bytes) -> bytes:
    """Return the 32-byte Ed25519 public key of a private key's seed."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def shown_public(key: bytes) -> str:
    """Return a public key as the customer gets it, `whpk_<base64>`."""
    return PUBLIC_PREFIX + base64.b64encode(key).decode()


class Answer(NamedTuple):
    """Whose answer it is, and the SHA-256 of the Idempotency-Key it is kept for; bound into the ciphertext."""

    account: str
    key_hash: bytes


class Vault:
    """Seals with the first key, opens with any."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """Take 32-byte keys by id; the first one seals."""
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        #: Id of the key that seals.
        self.current = next(iter(keys))

    def seal(self, secret: bytes, owner: Owner | Answer) -> Sealed:
        """Encrypt for `owner`."""
        nonce = os.urandom(NONCE_BYTES)
        return Sealed(self.current, nonce + self._ciphers[self.current].encrypt(nonce, secret, _bind(owner)))

    def open(self, sealed: Sealed, owner: Owner | Answer) -> bytes:
        """Decrypt what was sealed for `owner`; raises `SealError` otherwise."""
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise SealError(
                f"{_name(owner)} was sealed with key {sealed.key_id!r}, which is not in HELIOGRAPH_SECRET_KEYS"
            )
        try:
            return cipher.decrypt(sealed.blob[:NONCE_BYTES], sealed.blob[NONCE_BYTES:], _bind(owner))
        except (InvalidTag, ValueError):  # the latter for what is too short to hold a nonce
            raise SealError(
                f"{_name(owner)} does not open with key {sealed.key_id!r}: the key or the row was changed"
            ) from None


def _name(owner: Owner | Answer) -> str:
    if isinstance(owner, Answer):
        return "an answer kept for an Idempotency-Key"
    return f"the secret of endpoint {owner.endpoint}"


def _bind(owner: Owner | Answer) -> bytes:
    """Name the owner in bytes; a symmetric secret's kind goes unsaid, as it did when there was no other.

    No two owners have the same name: a version is a number, which no hash of 64 hex digits fits into.
    """
    if isinstance(owner, Answer):
        return f"idempotency|{owner.account}|{owner.key_hash.hex()}".encode()
    kind = "" if owner.kind == HMAC else f"|{owner.kind}"
    return f"{owner.account}|{owner.endpoint}|{owner.version}{kind}".encode()
