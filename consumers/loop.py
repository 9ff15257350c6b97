"""Poll, decode, handle and commit the transaction, then the offsets: intake, one batch at a time.

The order is the promise. Everything a batch means is in the database before its offsets are committed, so a
crash anywhere repeats work and loses none. What is read, and what makes the repetition harmless, is passed in:
domain events are admitted by the inbox, each once; telemetry has no ids, and handlers that may see it twice.
What a handler returned is called right after the database's commit, ahead of the offsets: a slow broker must
not hold up a delivery that is already durable.

Three outcomes of a record besides success (the control flow of Arroyo): *invalid* goes to the dead letters and
the offset advances; *retry later* (database or broker away, a handler's error) seeks back and pauses, so no
offset is skipped; *too many invalid* halts the consumer with nothing committed.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import asyncpg

from consumers.broker import Partition
from consumers.deadletters import Rejected, TooManyDeadLettersError
from consumers.decode import InvalidRecordError, Reason
from consumers.events import Event
from consumers.watchdog import UNREADY
from runtime.lifecycle import first_of, reason_of

if TYPE_CHECKING:
    import asyncio

    from consumers.broker import Consumer
    from consumers.deadletters import DeadLetterLimit, DeadLetters
    from consumers.decode import Record
    from consumers.metrics import ConsumerMetrics
    from runtime.clock import Clock
    from runtime.database import Connection, Pool

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0

AfterCommit = Callable[[], None]
#: A record that no retry can help: a handler says so, or its content breaks a statement (SQLSTATE class 22).
UNFIT = (InvalidRecordError, asyncpg.DataError)


class Decoded(Protocol):
    """What a record became."""

    @property
    def type(self) -> str:
        """What it is counted as: one of a closed set."""
        ...


D = TypeVar("D", bound=Decoded)

#: Makes something of a record, or raises `InvalidRecordError`.
Decode = Callable[["Record"], D]
#: Called inside the batch's transaction; returns what was not handled before, in order.
Admit = Callable[["Connection", Sequence[D]], Awaitable[Sequence[D]]]
#: Called with what was admitted, inside the batch's transaction; what it returns is called once that is committed.
HandlerOf = Callable[["Connection", Sequence[D]], Awaitable[AfterCommit | None]]
Handler = HandlerOf[Event]
#: Surrounds the handling of what could be decoded; yields it, where it is traced under another parent.
Traced = Callable[[Sequence[tuple["Record", D]]], contextlib.AbstractContextManager[Sequence[tuple["Record", D]]]]
#: Called before each poll; returns how many records the next hop can take.
Appetite = Callable[[], Awaitable[int]]


class Loop(Generic[D]):
    """The way of some topics into a database, in one process."""

    def __init__(
        self,
        *,
        consumer: Consumer,
        pool: Pool,
        decode: Decode[D],
        admit: Admit[D],
        handlers: Sequence[HandlerOf[D]],
        dead_letters: DeadLetters,
        limit: DeadLetterLimit,
        metrics: ConsumerMetrics,
        appetite: Appetite,
        clock: Clock,
        traced: Traced[D] = contextlib.nullcontext,
    ) -> None:
        """Take everything that does I/O or remembers from outside."""
        self._consumer = consumer
        self._pool = pool
        self._decode = decode
        self._admit = admit
        self._handlers = handlers
        self._dead_letters = dead_letters
        self._limit = limit
        self._metrics = metrics
        self._appetite = appetite
        self._traced = traced
        self._clock = clock
        self._reported: set[Partition] = set()
        #: Since when nothing has been handled, monotonic, and why.
        self._failing: tuple[float, str] | None = None

    def trouble(self) -> str:
        """Return why records are not handled, once trying again has not helped for a while; empty otherwise."""
        since, why = self._failing or (0.0, "")
        return why if self._clock.monotonic() - since >= UNREADY else ""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`; raises `TooManyDeadLettersError` when the limit is passed, nothing else.

        On return every polled record is handled and committed, or will be read again.
        """
        pause = FIRST_PAUSE
        while not stop.is_set():
            batch: Sequence[Record] = ()
            began = self._clock.monotonic()
            try:
                batch = await self._consumer.poll(await self._appetite(), POLL_SECONDS)
                self._report_lag(batch)
                if batch:
                    await self._process(batch)
                pause, self._failing = FIRST_PAUSE, None
            except TooManyDeadLettersError:
                raise
            except Exception as error:  # whatever a handler, the database or the broker raises is worth a retry
                logger.warning(
                    "%d records not handled (%s); trying again in %.1f s", len(batch), reason_of(error), pause
                )
                logger.debug("why they were not handled", exc_info=True)
                self._failing = (self._failing[0] if self._failing else began, reason_of(error))
                self._consumer.rewind(_first_offsets(batch))
                await first_of(stop, pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _process(self, batch: Sequence[Record]) -> None:
        """Take one batch through every step, in order."""
        valid, rejected = self._sort(batch)
        self._limit.check(total=len(batch), bad=len(rejected))
        with self._traced(valid) as handled:
            fresh, refused = await self._handle(handled)
        bad = [*rejected, *refused]
        if bad:
            self._limit.check(total=len(batch), bad=len(bad))
            await self._dead_letters.write(bad)
        await self._consumer.commit(_next_offsets(batch))
        self._limit.count(total=len(batch), bad=len(bad))
        self._count(batch, valid, fresh, bad)

    def _sort(self, batch: Sequence[Record]) -> tuple[list[tuple[Record, D]], list[Rejected]]:
        valid: list[tuple[Record, D]] = []
        rejected: list[Rejected] = []
        for record in batch:
            try:
                valid.append((record, self._decode(record)))
            except InvalidRecordError as error:
                rejected.append(Rejected(record, error))
        return valid, rejected

    async def _handle(self, valid: Sequence[tuple[Record, D]]) -> tuple[Sequence[D], list[Rejected]]:
        """Handle the batch in one transaction; when a record's content breaks it, one by one to find which."""
        try:
            return await self._transact([each for _, each in valid]), []
        except UNFIT as error:
            logger.warning("a record of this batch cannot be handled (%s); going one by one", _unfit(error))
        fresh: list[D] = []
        refused: list[Rejected] = []
        for record, each in valid:
            try:
                fresh += await self._transact([each])
            except UNFIT as error:
                refused.append(Rejected(record, InvalidRecordError(Reason.HANDLER, _unfit(error), each.type)))
        return fresh, refused

    async def _transact(self, decoded: Sequence[D]) -> Sequence[D]:
        if not decoded:
            return []
        afterwards: list[AfterCommit] = []
        async with self._pool.acquire() as connection, connection.transaction():
            fresh = await self._admit(connection, decoded)
            if fresh:
                for handler in self._handlers:
                    after = await handler(connection, fresh)
                    if after is not None:
                        afterwards.append(after)
        for event_type, count in Counter(each.type for each in fresh).items():
            self._metrics.ingested.labels(event_type, "new").inc(count)
        for after in afterwards:
            after()
        return fresh

    def _count(
        self,
        batch: Sequence[Record],
        valid: Sequence[tuple[Record, D]],
        fresh: Sequence[D],
        bad: Sequence[Rejected],
    ) -> None:
        """Count what is known only when the batch is through; what is new is counted when it is committed."""
        duplicates = Counter(each.type for _, each in valid)
        duplicates -= Counter(each.type for each in fresh)
        duplicates -= Counter(error.event_type for _, error in bad if error.reason is Reason.HANDLER)
        for event_type, count in duplicates.items():
            self._metrics.ingested.labels(event_type, "duplicate").inc(count)
        for _, error in bad:
            self._metrics.ingested.labels(error.event_type, "dead_lettered").inc()
            self._metrics.dead_letters.labels(error.reason).inc()
        for record in {(record.topic, record.partition): record for record in batch}.values():
            self._metrics.last_record.labels(record.topic, str(record.partition)).set(record.timestamp / 1000)

    def _report_lag(self, batch: Sequence[Record]) -> None:
        """Say how many records wait, those in hand among them: whether they can be handled is not known yet."""
        in_hand = Counter(Partition(record.topic, record.partition) for record in batch)
        lags = {where: records + in_hand[where] for where, records in self._consumer.lag().items()}
        for topic, partition in self._reported - lags.keys():  # another member's now
            self._metrics.lag.remove(topic, str(partition))
        for (topic, partition), records in lags.items():
            self._metrics.lag.labels(topic, str(partition)).set(records)
        self._reported = set(lags)


def _unfit(error: Exception) -> str:
    """Return why a handler cannot take a record; the database's own words may repeat its content."""
    return error.detail if isinstance(error, InvalidRecordError) else type(error).__name__


def _first_offsets(batch: Sequence[Record]) -> dict[Partition, int]:
    offsets: dict[Partition, int] = {}
    for record in batch:
        offsets.setdefault(Partition(record.topic, record.partition), record.offset)
    return offsets


def _next_offsets(batch: Sequence[Record]) -> dict[Partition, int]:
    return {Partition(record.topic, record.partition): record.offset + 1 for record in batch}
