"""The public keys that readers verify with, from a folder of `*.asc` files: the feed's, the canary's, former ones too.

A folder, because whoever runs the service can see at a glance what is vouched for, and because a key that has been
revoked or prolonged is replaced there by a copy, without a restart. Secret keys are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from signer.faults import PgpError
from signer.pgp import Keyring

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from signer.certificates import Certificate

#: A file of the folder is no longer.
MAX_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A public key as readers get it: what is in it, and its bytes in both forms."""

    certificate: Certificate
    armored: bytes
    binary: bytes


async def read(folder: Path) -> tuple[PublishedKey, ...]:
    """Return the keys of a folder, by fingerprint; raises `PgpError` naming the file that holds none, or a secret."""
    async with Keyring() as keyring:
        await take(keyring, folder)
        known = sorted(await keyring.certificates(), key=lambda each: each.fingerprint)
        return tuple([
            PublishedKey(
                each,
                await keyring.export(each.fingerprint, armored=True),
                await keyring.export(each.fingerprint, armored=False),
            )
            for each in known
        ])  # fmt: skip


async def take(keyring: Keyring, folder: Path) -> None:
    """Import the keys of a folder; raises `PgpError` as `read` does."""
    for path in _paths(folder):
        try:
            await keyring.import_certificates(_content(path))
        except PgpError as error:
            raise PgpError(f"{path}: {error}") from None


def find(keys: Iterable[PublishedKey], fingerprint: str) -> PublishedKey | None:
    """Return the key whose primary key has this fingerprint, None where there is none."""
    return next((each for each in keys if each.certificate.fingerprint == fingerprint), None)


def _paths(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".asc")
    except OSError as error:
        raise PgpError(f"the folder of public keys {folder} cannot be read ({error.strerror})") from None


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PgpError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) > MAX_BYTES:
        raise PgpError(f"{path}: is longer than {MAX_BYTES} bytes")
    return content
