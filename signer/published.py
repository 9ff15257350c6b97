"""The public keys that readers verify with, from a folder of `*.asc` files: the feed's, the canary's, former ones too.

A folder, because whoever runs the service can see at a glance what is vouched for, and because a key that has been
revoked or prolonged is replaced there by a copy, without a restart. Secret keys are refused.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from signer import wkd
from signer.faults import GpgUnavailableError, PgpError
from signer.pgp import Keyring

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from signer.certificates import Certificate

logger = logging.getLogger(__name__)

#: A file of the folder is no longer.
MAX_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A public key as readers get it: what is in it, and its bytes in both forms."""

    certificate: Certificate
    armored: bytes
    binary: bytes

    @property
    def user_ids(self) -> tuple[str, ...]:
        """Its names; of a key that is revoked those it had, for gpg takes them for revoked with it."""
        return self.certificate.user_ids or wkd.user_ids(self.binary)


async def read(folder: Path | None, extra: bytes | None = None) -> tuple[PublishedKey, ...]:
    """Return the keys of a folder, by fingerprint; raises `PgpError` naming the file that holds none, or a secret.

    `extra` is one more certificate, such as the signing process hands out; what both have of a key is put together.
    """
    if folder is None and extra is None:
        return ()
    async with Keyring() as keyring:
        if folder is not None:
            await take(keyring, folder)
        if extra is not None:
            await keyring.import_certificates(extra)
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
    if faults := await _take(keyring, folder):
        raise faults[0]


async def take_needed(keyring: Keyring, folder: Path, needed: Collection[str]) -> None:
    """Import what a folder has of keys; raises `PgpError` only where one of `needed`, primary fingerprints, is missing.

    A file beside them that will not do is logged: it may not keep anybody from seeing what is revoked.
    """
    faults = await _take(keyring, folder)
    known = {each.fingerprint for each in await keyring.certificates()}
    if missing := [each for each in needed if each not in known]:
        raise faults[0] if faults else PgpError(f"the folder of public keys {folder} lacks the key {missing[0]}")
    for fault in faults:
        logger.warning("a file of the public keys is left out: %s", fault)


async def _take(keyring: Keyring, folder: Path) -> list[PgpError]:
    """Import what can be; return what is wrong with the rest. Raises `PgpError` for the folder itself."""
    faults = []
    for path in await asyncio.to_thread(_paths, folder):
        try:
            await keyring.import_certificates(await asyncio.to_thread(_content, path))
        except GpgUnavailableError:
            raise
        except PgpError as error:
            text = str(error)
            faults.append(PgpError(text if text.startswith(str(path)) else f"{path}: {text}"))
    return faults


def seen(folder: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Return what tells that a file of the folder was added, removed or replaced; raises `PgpError`.

    Name, time of change (ns), size and inode: a copy put in place within one tick of the clock has another inode.
    """
    found = []
    for path in _paths(folder):
        try:
            status = path.stat()
        except OSError as error:
            raise PgpError(f"{path}: cannot be read ({error.strerror})") from None
        found.append((path.name, status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


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
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # nobody may write to a pipe
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise PgpError(f"{path}: is not a file")
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PgpError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) > MAX_BYTES:
        raise PgpError(f"{path}: is longer than {MAX_BYTES} bytes")
    return content
