"""What the control plane is to hear: written with what made it true, sent when Kafka takes it. Owns `announcements`.

An outbox. `announce` writes a row in the caller's transaction; a `Relay` in any process takes rows for a while,
produces them as CloudEvents and deletes them when they are acknowledged. A crash in between sends an event again,
with the same CloudEvents id: at least once, in order within a batch. A broker that is away holds up nothing else:
rows wait, deliveries go on, and no connection of the pool is held while Kafka is waited for.

An event the broker refuses for its size is put aside for `ASIDE` seconds and tried again then, in case the limit
was raised; the log says so each time, and those behind it go on.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

from consumers.broker import Outgoing, Producer, RecordTooLargeError
from consumers.encode import cloud_event
from runtime.lifecycle import first_of, reason_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    import asyncpg

    from runtime.database import Connection, Pool

logger = logging.getLogger(__name__)

#: Outlives a producer's own patience several times; a row whose relay died waits so long for the next one.
LEASE = 60.0
ASIDE = 3600.0
BATCH = 500
INTERVAL = 2.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
#: Seconds at shutdown for the last pass, to give back what it could not send, and to disconnect.
LAST_PASS, GIVE_BACK, DISCONNECT = 1.0, 0.2, 0.3

ANNOUNCE = """
INSERT INTO announcements (type, account_id, key, data)
SELECT type, account_id, key, data
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS given (type, account_id, key, data, n)
ORDER BY n
"""
#: Materialised: in a plan that runs the inner query once per row, LIMIT would limit nothing.
TAKE = """
WITH waiting AS MATERIALIZED (
    SELECT id FROM announcements WHERE taken_until <= now() ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE announcements a SET taken_until = now() + make_interval(secs => $2)
FROM waiting WHERE a.id = waiting.id
RETURNING a.id, a.event_id, a.type, a.account_id, a.key, a.data, a.created_at
"""
HOLD = "UPDATE announcements SET taken_until = now() + make_interval(secs => $2) WHERE id = ANY($1::bigint[])"
DELETE = "DELETE FROM announcements WHERE id = ANY($1::bigint[])"
IS_ANY_WAITING = "SELECT EXISTS (SELECT FROM announcements WHERE taken_until <= now())"
BACKLOG = "SELECT count(*), (SELECT created_at FROM announcements ORDER BY id LIMIT 1) FROM announcements"


class Announcement(NamedTuple):
    """An event of ours: `account` is None where it concerns everyone, `key` decides the partition."""

    type: str
    account: str | None
    key: str
    data: Mapping[str, Any]


class Backlog(NamedTuple):
    """How many announcements are not sent yet, and since when the oldest has waited."""

    waiting: int
    oldest: datetime | None


class Client(Producer, Protocol):
    """A producer the relay starts and stops."""

    async def start(self) -> None:
        """Connect; raise when the broker is away."""
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    type: str
    record: Outgoing


async def announce(connection: Connection, announcements: Sequence[Announcement]) -> None:
    """Write `announcements` in the caller's transaction: they are sent, in this order, if and when it is committed."""
    if announcements:
        types, accounts, keys, data = zip(*announcements, strict=True)
        await connection.execute(ANNOUNCE, types, accounts, keys, [orjson.dumps(each).decode() for each in data])


async def backlog(connection: Connection) -> Backlog:
    """Return what is still to be sent, put aside or not."""
    row = await connection.fetchrow(BACKLOG)
    assert row is not None  # noqa: S101 - an aggregate always has its row
    return Backlog(*row)


class Relay:
    """Sends what was announced, by whichever process."""

    def __init__(
        self,
        *,
        pool: Pool,
        producer: Callable[[], Client],
        topic: str,
        source: str,
        interval: float = INTERVAL,
        lease: float = LEASE,
        batch: int = BATCH,
    ) -> None:
        """Produce to `topic` with the CloudEvents `source`; look every `interval` seconds when nobody wakes us.

        `producer` makes one when there is first something to send: who announces nothing connects to nobody.
        """
        self._pool = pool
        self._make_producer = producer
        self._producer: Client | None = None
        self._topic = topic
        self._source = source
        self._interval = interval
        self._lease = lease
        self._batch = batch
        self._woken = asyncio.Event()
        #: Sent and still in the table, because the database went away in between.
        self._acknowledged: list[int] = []

    def wake(self) -> None:
        """Look at once: something was announced and committed."""
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, make one last pass, and return within about a second and a half whatever is away."""
        working = asyncio.create_task(self._work(stop), name="relay")
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            self._woken.set()
            await asyncio.wait((working,), timeout=LAST_PASS)
            if not stop.is_set():  # it does not end by itself
                working.result()
        finally:
            working.cancel()
            stopping.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)
            if self._producer is not None:
                await _at_most(DISCONNECT, self._producer.stop())

    async def relay(self) -> int:
        """Send everything that waits; return how much that was. Raises what database or broker raise."""
        await self._forget()
        if self._producer is None:
            if not await self._pool.fetchval(IS_ANY_WAITING):
                return 0
            self._producer = await self._connect()
        sent = 0
        while True:
            rows = await self._take()
            sent += await self._handle(self._producer, rows)
            if len(rows) < self._batch:
                return sent

    async def _work(self, stop: asyncio.Event) -> None:
        pause = FIRST_PAUSE
        is_last = False
        while not is_last:
            is_last = stop.is_set()
            self._woken.clear()
            try:
                await self.relay()
            except Exception as error:  # whatever the database or the broker raises is worth another try
                then = "at the next start" if is_last else f"in {pause:.1f} s"
                logger.warning("announcements wait (%s); trying again %s", reason_of(error), then)
                logger.debug("why they wait", exc_info=True)
                if self._producer is not None and pause >= LONGEST_PAUSE:  # perhaps it has failed for good: a new one
                    producer, self._producer = self._producer, None
                    await _at_most(DISCONNECT, producer.stop())
                await first_of(stop, pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                pause = FIRST_PAUSE
                if not is_last:
                    await first_of(self._woken, self._interval)

    async def _connect(self) -> Client:
        producer = self._make_producer()
        try:
            await producer.start()
        except BaseException:
            await _at_most(DISCONNECT, producer.stop())
            raise
        return producer

    async def _take(self) -> list[_Row]:
        """Return rows that are ours for the length of a lease, the oldest first."""
        taken = await self._pool.fetch(TAKE, self._batch, self._lease)
        return [_Row(row["id"], row["type"], self._record(row)) for row in sorted(taken, key=itemgetter("id"))]

    def _record(self, row: asyncpg.Record) -> Outgoing:
        record = cloud_event(
            self._topic,
            row["type"],
            time=row["created_at"],
            source=self._source,
            account=row["account_id"],
            data=orjson.loads(row["data"]),
            event_id=str(row["event_id"]),
        )
        return record._replace(key=row["key"].encode())

    async def _handle(self, producer: Producer, rows: Sequence[_Row]) -> int:
        """Send rows and delete what was sent, put aside what never can be, give back the rest; return how many went."""
        try:
            too_large = await self._send(producer, rows)
        except BaseException:  # a pass that is cut off at shutdown as well
            unsent = [row.id for row in rows if row.id not in self._acknowledged]
            await _at_most(GIVE_BACK, self._pool.execute(HOLD, unsent, 0.0))
            raise
        if too_large:
            await self._pool.execute(HOLD, too_large, ASIDE)
        await self._forget()
        return len(rows) - len(too_large)

    async def _send(self, producer: Producer, rows: Sequence[_Row]) -> list[int]:
        """Produce rows and remember what was acknowledged; return the ids of those that are too large."""
        try:
            await producer.send(row.record for row in rows)
        except RecordTooLargeError:
            logger.debug("an announcement is too large; going one by one")
        else:
            self._acknowledged += [row.id for row in rows]
            return []
        too_large = []
        for row in rows:
            try:
                await producer.send([row.record])
            except RecordTooLargeError:
                size = len(row.record.value or b"")
                logger.error(  # noqa: TRY400 - the broker's answer says no more than this
                    "announcement %d (%s) has %d bytes, more than topic %s takes: put aside for %d minutes; raise "
                    "max.message.bytes of the topic, or delete the row",
                    *(row.id, row.type, size, self._topic, ASIDE // 60),
                )
                too_large.append(row.id)
            else:
                self._acknowledged.append(row.id)
        return too_large

    async def _forget(self) -> None:
        """Delete what was acknowledged; where that fails it is tried first the next time."""
        if self._acknowledged:
            await self._pool.execute(DELETE, self._acknowledged)
            self._acknowledged = []


async def _at_most(seconds: float, work: Awaitable[object]) -> None:
    """Wait for what may not answer any more: we are leaving, or a lease does the same a little later."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except Exception as error:
        logger.info("announcements: not put back or not closed cleanly (%s)", reason_of(error))
