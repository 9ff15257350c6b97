"""What was published, as it was signed: exact bytes and detached signatures. Owns `documents`, `document_signatures`.

Each feed numbers its documents from 1, without gaps. Nothing is changed afterwards; the database sees to it. Documents
of all feeds also stand in one stream: whoever knows a position has seen everything before it, because positions are
given one transaction at a time. What is old may be forgotten, the newest of a feed never.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from runtime.advisory_locks import AdvisoryLock

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from runtime.database import Connection

#: Held to the end of the transaction: a position that is seen is the last one, none before it comes later.
TURN = f"SELECT pg_advisory_xact_lock(hashtextextended('documents', {AdvisoryLock.DOCUMENTS}))"
SAVE = "INSERT INTO documents (feed, number, content, published_at) VALUES ($1, $2, $3, $4)"
SAVE_SIGNATURES = """
INSERT INTO document_signatures (feed, number, fingerprint, armored)
SELECT $1, $2, fingerprint, armored FROM unnest($3::text[], $4::bytea[]) AS given (fingerprint, armored)
"""
HEAD = "SELECT number, encode(sha256, 'hex') AS sha256 FROM documents WHERE feed = $1 ORDER BY number DESC LIMIT 1"
LAST = "SELECT coalesce(max(number), 0) FROM documents WHERE feed = $1"
COUNT = "SELECT count(*) FROM documents WHERE feed = $1"
READ = """
SELECT d.number, d.content, encode(d.sha256, 'hex') AS sha256, d.published_at, d.position,
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
POSITION = "SELECT coalesce(max(position), 0) FROM documents"
PUBLISHED_AT = "SELECT published_at FROM documents WHERE position = $1"
SINCE = """
SELECT position, feed, number, encode(sha256, 'hex') AS sha256, published_at
FROM documents WHERE position > $1 ORDER BY position LIMIT $2
"""
FORGET = """
DELETE FROM documents old
WHERE feed = ANY($1::text[]) AND published_at < $2
  AND number < (SELECT max(number) FROM documents newest WHERE newest.feed = old.feed)
"""


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
    """A document of a feed; `sha256` is lower-case hexadecimal, signatures are in the order of fingerprints.

    `position` is its place in the stream of all feeds, 0 before it is stored.
    """

    number: int
    content: bytes
    sha256: str
    published_at: datetime
    signatures: tuple[Signature, ...]
    position: int = field(default=0, compare=False)


class Entry(NamedTuple):
    """A document as the stream of all feeds tells of it."""

    position: int
    feed: Feed
    number: int
    sha256: str
    published_at: datetime


class Head(NamedTuple):
    """Which document is a feed's newest, without its bytes."""

    number: int
    sha256: str


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

    `number` is the one after `last`. Others who save wait for the end of the transaction.
    """
    await take_turn(connection)
    try:
        await connection.execute(SAVE, feed, number, content, published_at)
    except asyncpg.UniqueViolationError:
        raise NumberTakenError(f"{feed} {number} has been published already") from None
    given = list(signatures)
    await connection.execute(
        SAVE_SIGNATURES, feed, number, [each.fingerprint for each in given], [each.armored for each in given]
    )


async def take_turn(connection: Connection) -> None:
    """Wait for others who save, of whatever feed; nobody saves before this transaction ends."""
    await connection.execute(TURN)


async def last(connection: Connection, feed: Feed) -> int:
    """Return the newest number, 0 where nothing has been published."""
    return int(await connection.fetchval(LAST, feed))


async def head(connection: Connection, feed: Feed) -> Head | None:
    """Return which document is the newest, None where nothing has been published."""
    row = await connection.fetchrow(HEAD, feed)
    return Head(*row) if row else None


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


async def position(connection: Connection) -> int:
    """Return the newest position of all feeds, 0 where nothing has been published."""
    return int(await connection.fetchval(POSITION))


async def published_at(connection: Connection, position: int) -> datetime | None:
    """Return when the document at a position was published, None where none is."""
    found: datetime | None = await connection.fetchval(PUBLISHED_AT, position)
    return found


async def since(connection: Connection, position: int, limit: int) -> Sequence[Entry]:
    """Return the documents of all feeds after a position, in the order of the stream, `limit` at most."""
    rows = await connection.fetch(SINCE, position, limit)
    return [
        Entry(row["position"], Feed(row["feed"]), row["number"], row["sha256"], row["published_at"]) for row in rows
    ]


async def forget(connection: Connection, feeds: Collection[Feed], before: datetime) -> int:
    """Delete what was published before a moment, the newest of each feed not; return how many documents that were."""
    status: str = await connection.execute(FORGET, list(feeds), before)
    return int(status.rpartition(" ")[2])


def _published(row: asyncpg.Record | None) -> Published | None:
    if row is None:
        return None
    signatures = map(Signature, row["fingerprints"] or (), row["signatures"] or ())
    return Published(
        row["number"], row["content"], row["sha256"], row["published_at"], tuple(signatures), row["position"]
    )
