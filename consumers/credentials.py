"""API keys and sessions as the control plane tells them: kept, and looked up. Owns `credentials` and its two tables.

A *reading* is one walk through the topic (consumers/credential_topic.py walks). What it finds is written under its
number, with the partition, offset and time of the record, so that several processes can write the same and none can
put an older record over a newer one. One reading is current, and look-ups see it alone; a later one takes its place
when it has come to the end of the topic, and carries on what was revoked: a revocation is forgotten by age only.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from consumers.credential_records import Credential, network
from consumers.reader import Bookmark

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    from consumers.decode import Record
    from runtime.clock import Clock
    from runtime.database import Connection

    Acquire = Callable[[], AbstractAsyncContextManager[Connection]]

#: Seconds nobody may have been at the end of the topic before it is read anew: compaction takes tombstones away, and
#: Kafka keeps them for a day unless `delete.retention.ms` says otherwise.
LONGEST_ABSENCE = 43_200.0
#: Seconds after its end that a credential is forgotten; longer than any token of the control plane lives.
KEPT_ENDED = 2_592_000.0
#: How many credentials, and how many ids without one, a process keeps in mind; and for how many seconds at most, in
#: case it does not hear of a change.
MOST_KNOWN, MOST_UNKNOWN, KNOWN_FOR = 10_000, 10_000, 30.0

#: Look-ups at once: whoever tries out ids must not take the connections that deliveries need.
AT_ONCE = 2

NEWEST = """
SELECT number, is_current, topic = $1 AND at_end_at > now() - $2 * interval '1 s' AS is_good
FROM credential_readings ORDER BY number DESC LIMIT 1
"""
BEGIN = "INSERT INTO credential_readings (topic) VALUES ($1) RETURNING number"
#: Held while rows are written: writers of a reading follow each other, and one that is gone is noticed.
HOLD = "SELECT is_current FROM credential_readings WHERE number = $1 FOR NO KEY UPDATE"
BOOKMARKS = "SELECT partition, next_offset, timestamp FROM credential_offsets WHERE reading = $1"
ADVANCE = """
INSERT INTO credential_offsets AS known (reading, partition, next_offset, timestamp) VALUES ($1, $2, $3, $4)
ON CONFLICT (reading, partition) DO UPDATE SET next_offset = excluded.next_offset, timestamp = excluded.timestamp
WHERE known.next_offset < excluded.next_offset
"""
#: Offsets tell which of two records is the newer one within a partition, their times where a key has changed its own.
PUT = """
INSERT INTO credentials AS known (
    reading, id, partition, "offset", timestamp,
    kind, account_id, secret_sha256, scopes, cidrs, certificates, tier, is_audited, expires_at, revoked_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, CASE WHEN $15 THEN now() END)
ON CONFLICT (reading, id) DO UPDATE SET
    partition = excluded.partition, "offset" = excluded."offset", timestamp = excluded.timestamp,
    kind = excluded.kind, account_id = excluded.account_id, secret_sha256 = excluded.secret_sha256,
    scopes = excluded.scopes, cidrs = excluded.cidrs, certificates = excluded.certificates, tier = excluded.tier,
    is_audited = excluded.is_audited, expires_at = excluded.expires_at,
    revoked_at = CASE WHEN excluded.revoked_at IS NULL THEN NULL ELSE coalesce(known.revoked_at, now()) END
WHERE CASE WHEN known.partition = excluded.partition THEN known."offset" < excluded."offset"
           ELSE known.timestamp <= excluded.timestamp END
"""
IS_ANY_READ = "SELECT EXISTS (SELECT FROM credential_offsets WHERE reading = $1)"
IS_ANY_CURRENT = "SELECT EXISTS (SELECT FROM credential_readings WHERE is_current)"
IS_FRESH = """
SELECT EXISTS (
    SELECT FROM credential_readings WHERE is_current AND topic = $1 AND at_end_at > now() - $2 * interval '1 s'
)
"""
#: Under offsets that every record comes after.
CARRY_ON = """
INSERT INTO credentials (reading, id, partition, "offset", timestamp, revoked_at)
SELECT $1, id, -1, -1, 0, revoked_at FROM credentials JOIN credential_readings ON number = reading AND is_current
WHERE revoked_at IS NOT NULL
ON CONFLICT DO NOTHING
"""
REMOVE_EARLIER = "DELETE FROM credential_readings WHERE number < $1"
MAKE_CURRENT = "UPDATE credential_readings SET is_current = true, at_end_at = now() WHERE number = $1"
TOUCH = "UPDATE credential_readings SET at_end_at = now() WHERE number = $1"
FORGET = "DELETE FROM credentials WHERE least(revoked_at, expires_at) < now() - $1 * interval '1 s'"
GET = """
SELECT id, kind, account_id, secret_sha256, scopes, cidrs, certificates, tier, is_audited, expires_at, revoked_at
FROM credentials JOIN credential_readings ON number = reading AND is_current
WHERE id = $1
"""


class Reading(NamedTuple):
    """A walk through the topic, and how far it has come in each partition."""

    number: int
    is_current: bool
    bookmarks: Mapping[int, Bookmark]


class SupersededError(Exception):
    """Another process has replaced this reading by a later one."""


async def is_fresh(connection: Connection, topic: str, *, longest_absence: float = LONGEST_ABSENCE) -> bool:
    """Say whether the topic has been read to its end, by whichever process, not too many seconds ago."""
    found: bool = await connection.fetchval(IS_FRESH, topic, longest_absence)
    return found


async def take_up(
    connection: Connection, topic: str, *, instead_of: int = 0, longest_absence: float = LONGEST_ABSENCE
) -> Reading:
    """Return the newest reading; a new one where there is none of this topic later than `instead_of`, or it is stale.

    Stale is one that nobody has been at the end of for `longest_absence` seconds.
    """
    async with connection.transaction():
        await connection.execute("LOCK TABLE credential_readings IN SHARE ROW EXCLUSIVE MODE")
        newest = await connection.fetchrow(NEWEST, topic, longest_absence)
        if newest is None or newest["number"] <= instead_of or not newest["is_good"]:
            return Reading(await connection.fetchval(BEGIN, topic), is_current=False, bookmarks={})
        rows = await connection.fetch(BOOKMARKS, newest["number"])
        bookmarks = {row["partition"]: Bookmark(row["next_offset"], row["timestamp"]) for row in rows}
        return Reading(newest["number"], newest["is_current"], bookmarks)


async def put(
    connection: Connection, reading: int, records: Sequence[Record], found: Sequence[tuple[Record, Credential]]
) -> None:
    """Write what was `found` in `records`, and how far these go, in one transaction; raises `SupersededError`."""
    last = {record.partition: record for record in records}
    async with connection.transaction():
        await _hold(connection, reading)
        await connection.executemany(PUT, [_row(reading, record, credential) for record, credential in found])
        await connection.executemany(
            ADVANCE, [(reading, partition, record.offset + 1, record.timestamp) for partition, record in last.items()]
        )


async def make_current(connection: Connection, reading: int) -> bool:
    """Let a reading that is at the end of the topic take the current one's place; say whether it is current now.

    One that has found nothing at all replaces none: a topic that was made again is empty until somebody fills it.
    Raises `SupersededError`.
    """
    async with connection.transaction():
        if await _hold(connection, reading):
            return True
        if await connection.fetchval(IS_ANY_CURRENT) and not await connection.fetchval(IS_ANY_READ, reading):
            return False
        await connection.execute(CARRY_ON, reading)
        await connection.execute(REMOVE_EARLIER, reading)
        await connection.execute(MAKE_CURRENT, reading)
        return True


async def touch(connection: Connection, reading: int) -> None:
    """Remember that we have been at the end of the topic just now; raises `SupersededError`."""
    if await connection.execute(TOUCH, reading) != "UPDATE 1":
        raise SupersededError


async def forget(connection: Connection, *, after: float = KEPT_ENDED) -> int:
    """Forget credentials that were revoked or expired `after` seconds ago; return how many.

    An API key is refused as well when it is unknown. A token is not, so `after` must be longer than tokens live.
    """
    return int((await connection.execute(FORGET, after)).rpartition(" ")[2])


async def _hold(connection: Connection, reading: int) -> bool:
    row = await connection.fetchrow(HOLD, reading)
    if row is None:
        raise SupersededError
    current: bool = row["is_current"]
    return current


def _row(reading: int, record: Record, credential: Credential) -> tuple[object, ...]:
    where = (reading, credential.id, record.partition, record.offset, record.timestamp)
    if credential.is_revoked:
        return (*where, *[None] * 9, True)
    return (
        *where,
        credential.kind,
        credential.account,
        credential.secret_sha256,
        sorted(credential.scopes),
        list(map(str, credential.networks)),
        sorted(credential.certificates),
        credential.tier,
        credential.is_audited,
        credential.expires_at,
        False,
    )


def _credential(row: asyncpg.Record) -> Credential:
    if row["revoked_at"] is not None:
        return Credential(row["id"], is_revoked=True)
    return Credential(
        row["id"],
        kind=row["kind"],
        account=row["account_id"],
        secret_sha256=row["secret_sha256"],
        scopes=frozenset(row["scopes"]),
        networks=tuple(map(network, row["cidrs"])),
        certificates=frozenset(row["certificates"]),
        expires_at=row["expires_at"],
        tier=row["tier"],
        is_audited=row["is_audited"],
    )


class Credentials:
    """Looks credentials up, and keeps in mind what it found until the topic says otherwise."""

    def __init__(self, acquire: Acquire, clock: Clock, *, keeps: bool = True) -> None:
        """`acquire` opens a connection; without a follower that calls `changed` nothing may be kept (`keeps`)."""
        self._acquire = acquire
        self._clock = clock
        self._keeps = keeps
        self._known: OrderedDict[str, tuple[float, Credential]] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Credential | None]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def get(self, credential_id: str) -> Credential | None:
        """Return a credential, a revoked one as such; None for an id the topic never named, or named long ago.

        Raises what the database raises. Several callers at once make one question.
        """
        now = self._clock.monotonic()
        if (known := self._known.get(credential_id)) is not None and now < known[0]:
            self._known.move_to_end(credential_id)
            return known[1]
        if now < self._unknown.get(credential_id, now):
            return None
        asking = self._asking.get(credential_id)
        if asking is None:
            asking = asyncio.create_task(self._ask(credential_id), name="look up a credential")
            asking.add_done_callback(_look_at)
            self._asking[credential_id] = asking
        return await asyncio.shield(asking)  # one caller that leaves must not take the others' answer with it

    def changed(self, ids: Collection[str] | None) -> None:
        """Forget what was known of `ids`, of all when None, and what is being asked right now: it may be older."""
        if ids is None:
            self._known.clear()
            self._unknown.clear()
            self._asking.clear()
            return
        for each in ids:
            self._known.pop(each, None)
            self._unknown.pop(each, None)
            self._asking.pop(each, None)

    async def _ask(self, credential_id: str) -> Credential | None:
        this = asyncio.current_task()
        try:
            async with self._turns, self._acquire() as connection:
                row = await connection.fetchrow(GET, credential_id)
            found = None if row is None else _credential(row)
            if self._keeps and self._asking.get(credential_id) is this:
                self._keep(credential_id, found)
            return found
        finally:
            if self._asking.get(credential_id) is this:
                del self._asking[credential_id]

    def _keep(self, credential_id: str, found: Credential | None) -> None:
        """Remember; ids that nobody has evict each other and no credential."""
        until = self._clock.monotonic() + KNOWN_FOR
        self._known.pop(credential_id, None)
        self._unknown.pop(credential_id, None)
        if found is None:
            self._unknown[credential_id] = until
            if len(self._unknown) > MOST_UNKNOWN:
                self._unknown.popitem(last=False)
        else:
            self._known[credential_id] = (until, found)
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)


def _look_at(asking: asyncio.Task[Credential | None]) -> None:
    """Look at what became of a question, or one that failed after all its callers left would be complained of."""
    if not asking.cancelled():
        asking.exception()
