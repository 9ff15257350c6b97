"""What was published, as it was signed: exact bytes and detached signatures. Owns `documents`, `document_signatures`.

Each feed numbers its documents from 1, without gaps. Nothing is changed afterwards; the database sees to it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from runtime.database import Connection

SAVE = "INSERT INTO documents (feed, number, content, published_at) VALUES ($1, $2, $3, $4)"
SAVE_SIGNATURES = """
INSERT INTO document_signatures (feed, number, fingerprint, armored)
SELECT $1, $2, fingerprint, armored FROM unnest($3::text[], $4::bytea[]) AS given (fingerprint, armored)
"""
LAST = "SELECT coalesce(max(number), 0) FROM documents WHERE feed = $1"
COUNT = "SELECT count(*) FROM documents WHERE feed = $1"
READ = """
SELECT d.number, d.content, encode(d.sha256, 'hex') AS sha256, d.published_at,
       array_agg(s.fingerprint ORDER BY s.fingerprint) FILTER (WHERE s.fingerprint IS NOT NULL) AS fingerprints,
       array_agg(s.armored ORDER BY s.fingerprint) FILTER (WHERE s.fingerprint IS NOT NULL) AS signatures
FROM documents d LEFT JOIN document_signatures s USING (feed, number)
WHERE d.feed = $1 AND {}
GROUP BY d.feed, d.number
ORDER BY d.number DESC
"""
READ_LATEST = READ.format("d.number = (SELECT max(number) FROM documents WHERE feed = $1)")
READ_ONE = READ.format("d.number = $2")
READ_PAGE = READ.format("true") + "OFFSET $2 LIMIT $3"
READ_PAGE_ASCENDING = READ_PAGE.replace("DESC", "ASC")


class Feed(enum.StrEnum):
    """What is published; also the name in routes."""

    CANARY = "canary"
    PEERING = "peering"
    INCIDENTS = "incidents"
    STATUS = "status"


class Signature(NamedTuple):
    """A detached signature, armored; `fingerprint` is the signer's primary key."""

    fingerprint: str
    armored: bytes


@dataclass(frozen=True, slots=True)
class Published:
    """A document of a feed; `sha256` is lower-case hexadecimal, signatures are in the order of fingerprints."""

    number: int
    content: bytes
    sha256: str
    published_at: datetime
    signatures: tuple[Signature, ...]


class NumberTakenError(Exception):
    """Another process has published under this number meanwhile."""


async def save(
    connection: Connection,
    feed: Feed,
    number: int,
    content: bytes,
    *,
    signatures: Iterable[Signature],
    published_at: datetime,
) -> None:
    """Store a document in the caller's transaction; raises `NumberTakenError`, after which that is to be rolled back.

    `number` is the one after `last`.
    """
    try:
        await connection.execute(SAVE, feed, number, content, published_at)
    except asyncpg.UniqueViolationError:
        raise NumberTakenError(f"{feed} {number} has been published already") from None
    given = list(signatures)
    await connection.execute(
        SAVE_SIGNATURES, feed, number, [each.fingerprint for each in given], [each.armored for each in given]
    )


async def last(connection: Connection, feed: Feed) -> int:
    """Return the newest number, 0 where nothing has been published."""
    return int(await connection.fetchval(LAST, feed))


async def latest(connection: Connection, feed: Feed) -> Published | None:
    """Return the newest document, None where nothing has been published."""
    return _published(await connection.fetchrow(READ_LATEST, feed))


async def read(connection: Connection, feed: Feed, number: int) -> Published | None:
    """Return the document with this number, None where there is none."""
    return _published(await connection.fetchrow(READ_ONE, feed, number))


async def count(connection: Connection, feed: Feed) -> int:
    """Return how many have been published."""
    return int(await connection.fetchval(COUNT, feed))


async def page(
    connection: Connection, feed: Feed, *, offset: int, size: int, is_descending: bool = True
) -> Sequence[Published]:
    """Return `size` documents from `offset` on, the newest first or last."""
    query = READ_PAGE if is_descending else READ_PAGE_ASCENDING
    rows = await connection.fetch(query, feed, offset, size)
    return [each for row in rows if (each := _published(row)) is not None]


def _published(row: asyncpg.Record | None) -> Published | None:
    if row is None:
        return None
    signatures = map(Signature, row["fingerprints"] or (), row["signatures"] or ())
    return Published(row["number"], row["content"], row["sha256"], row["published_at"], tuple(signatures))
