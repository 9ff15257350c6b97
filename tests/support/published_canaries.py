"""Canaries that were really signed and stored: a council of signers, and what a service knows of them.

Signatures are made at the moment the canary says, whatever day it is today: gpg is told another time.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feeds import documents
from feeds.canary_standing import Standing
from feeds.documents import Feed, Published, Signature
from signer.canary_judge import Pins
from tests.support import canaries, gpg
from tests.support.gpg import FOREVER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from runtime.database import Connection
    from signer.statement import Document
    from tests.support.gpg import Home

#: Before every canary of the tests.
LONG_AGO = "20200101T000000"
#: From `issued_at` to the signatures, and to the publication.
SIGNED_AFTER, PUBLISHED_AFTER = timedelta(minutes=1), timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Council:
    """Signers, in the order of their fingerprints; `folder` holds their public keys as a service has them."""

    home: Home
    keys: tuple[str, ...]
    folder: Path

    def pins(self, threshold: int = 2, *, folder: Path | None = None) -> Pins:
        """Return what a service pins."""
        return Pins(self.keys, threshold, folder or self.folder)

    def first(self, now: datetime = canaries.FIRST, **changes: Any) -> Document:
        """Return a first canary of this council."""
        return canaries.first(now, **({"signers": self.keys, "threshold": 2} | changes))

    def successor(self, previous: Document, now: datetime, **changes: Any) -> Document:
        """Return the canary after `previous`."""
        return canaries.successor(previous, now, **({"signers": self.keys, "threshold": 2} | changes))

    def retirement(self, now: datetime = canaries.FIRST, **changes: Any) -> Document:
        """Return what ends it."""
        return canaries.retirement(now, **({"signers": self.keys, "threshold": 2} | changes))

    def signatures(self, document: Document, keys: Sequence[str] | None = None) -> tuple[Signature, ...]:
        """Have a canary signed, by all signers if none are named, a minute after it was issued."""
        at = f"{document.statement.issued_at + SIGNED_AFTER:%Y%m%dT%H%M%S}"
        return tuple(
            Signature(key, self.home.sign(document.content, key=key, at=at))
            for key in (self.keys if keys is None else keys)
        )

    async def publish(
        self,
        connection: Connection,
        document: Document,
        *,
        number: int | None = None,
        keys: Sequence[str] | None = None,
        published_at: datetime | None = None,
    ) -> Published:
        """Store a canary, signed, as the next one; nobody judges it, nobody is told."""
        number = number or await documents.last(connection, Feed.CANARY) + 1
        moment = published_at or document.statement.issued_at + PUBLISHED_AFTER
        made = self.signatures(document, keys)
        await documents.save(
            connection, Feed.CANARY, number, document.content, signatures=made, published_at=moment
        )  # fmt: skip
        return Published(number, document.content, document.sha256, moment, made)


@contextlib.contextmanager
def council(size: int = 2) -> Iterator[Council]:
    """Make keys, and a folder with their public parts."""
    with gpg.home() as home, tempfile.TemporaryDirectory(prefix="hgp-") as folder:
        keys = sorted(
            home.make(f"Signer {n} <s{n}@provider.example>", expires=FOREVER, at=LONG_AGO) for n in range(size)
        )
        for key in keys:
            Path(folder, f"{key}.asc").write_bytes(home.public(key))
        yield Council(home, tuple(keys), Path(folder))


async def tamper(connection: Connection, number: int, content: bytes) -> None:
    """Change a stored canary as somebody could who owns the database."""
    await connection.execute("ALTER TABLE documents DISABLE TRIGGER documents_stay")
    await connection.execute("UPDATE documents SET content = $2 WHERE number = $1", number, content)
    await connection.execute("ALTER TABLE documents ENABLE TRIGGER documents_stay")


# --- without keys and database ----------------------------------------------------------------------------------------


def believed(document: Document, *, number: int | None = None, **changes: Any) -> Standing:
    """Return how a canary stands whose signatures nobody doubts; `changes` are the standing's."""
    moment = document.statement.issued_at + PUBLISHED_AFTER
    sha256 = hashlib.sha256(document.content).hexdigest()
    signed = tuple(Signature(key, b"of " + key.encode()) for key in document.statement.signers)
    published = Published(number or document.statement.sequence or 2, document.content, sha256, moment, signed)
    standing = Standing(published, document.statement, needed=document.statement.threshold)
    return replace(standing, **changes)


@dataclass(slots=True)
class Watching:
    """Knows how the newest canary stands because it was told."""

    standing: Standing
    judged_at: datetime | None = None
