"""The order that is the promise of intake: database first, offsets second, so that no fault loses or doubles an event.

On a real PostgreSQL, with the broker in memory that can be told to fail at any step. What a bad record does is in
test_intake_poison.py; the rows of the fault table in the design are named where a test is about one.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from consumers import inbox, loop
from consumers.broker import Outgoing, Partition
from consumers.deadletters import DeadLetterLimit, DeadLetters
from consumers.decode import decode
from consumers.encode import cloud_event
from consumers.metrics import ConsumerMetrics
from tests.support.fake_broker import FakeBroker, FakeConsumer, UnavailableError
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from consumers.broker import Consumer
    from consumers.events import Event
    from consumers.loop import AfterCommit, Handler
    from runtime.database import Connection, Pool
    from tests.support.fake_broker import Stored

EVENTS, DEAD = "events", "dead"
PATIENCE = 20.0


class Intake:
    """A `Loop` and everything around it that a test may break before it starts it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.broker = FakeBroker({EVENTS: 2, DEAD: 1})
        self.consumer: Consumer = self.broker.consumer(EVENTS)
        self.handlers: list[Handler] = [self.remember]
        self.limit = DeadLetterLimit(FakeClock(), share=0.5, window=60, minimum=20)
        self.batch = 100
        self.registry = CollectorRegistry()
        self.metrics = ConsumerMetrics(self.registry)
        self.stop = asyncio.Event()
        #: Ids of the events of every call of the first handler, whether its transaction was committed or not.
        self.calls: list[list[str]] = []

    async def remember(self, connection: Connection, events: Sequence[Event]) -> None:
        """Leave a row for each event; a second row would be a second delivery."""
        self.calls.append([event.id for event in events])
        await connection.executemany("INSERT INTO handled VALUES ($1)", [(event.id,) for event in events])

    async def run(self) -> None:
        """Work until `stop`."""

        async def appetite() -> int:
            return self.batch

        await loop.Loop(
            consumer=self.consumer,
            pool=self.pool,
            decode=decode,
            admit=inbox.admit,
            handlers=self.handlers,
            dead_letters=DeadLetters(self.broker.producer(), DEAD),
            limit=self.limit,
            metrics=self.metrics,
            clock=FakeClock(),
            appetite=appetite,
        ).run(self.stop)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """Run beside the test; on exit the loop is stopped and must have ended without an error."""
        task = asyncio.create_task(self.run())
        try:
            yield task
        finally:
            self.stop.set()
            await asyncio.wait_for(task, PATIENCE)

    async def until_drained(self) -> None:
        """Run until every record's offset is committed, then stop."""
        async with self.running():
            await self.broker.until(lambda: self.broker.is_drained(EVENTS), PATIENCE)

    async def handled(self) -> list[str]:
        """Return the ids the handler left a row for, having checked that the inbox has exactly these."""
        handled = [row[0] for row in await self.pool.fetch("SELECT event_id FROM handled ORDER BY 1")]
        inbox = [row[0] for row in await self.pool.fetch("SELECT event_id FROM inbox ORDER BY 1")]
        assert handled == inbox
        return handled

    def counted(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"heliograph_{name}", labels)

    def ingested(self, event_type: str = "account.balance.low") -> tuple[float | None, ...]:
        """Return how many of a type were new, duplicate, dead-lettered."""
        results = ("new", "duplicate", "dead_lettered")
        return tuple(self.counted("events_ingested_total", type=event_type, result=result) for result in results)


@contextlib.asynccontextmanager
async def intake_on(dsn: str) -> AsyncIterator[Intake]:
    """Yield an intake on the database at `dsn`, not started, with a table for its handler."""
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4) as pool:
        await pool.execute("CREATE TABLE handled (event_id text NOT NULL)")
        yield Intake(pool)


def event(event_id: str, event_type: str = "account.balance.low", **attributes: Any) -> Outgoing:
    """Return the record of an event."""
    given = {"account": "acct_1", "source": "/test", "time": datetime(2026, 11, 1, tzinfo=UTC), **attributes}
    return cloud_event(EVENTS, event_type, event_id=event_id, **given)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(loop, "FIRST_PAUSE", 0.001)


async def test_events_are_handled_once_and_their_offsets_committed(dsn: str) -> None:
    async with intake_on(dsn) as intake:
        intake.batch = 3
        for number in range(10):
            intake.broker.append(event(f"e{number}"), partition=number % 2, timestamp=1_793_491_200_000 + number)
        await intake.until_drained()
        assert await intake.handled() == [f"e{number}" for number in range(10)]
        assert intake.broker.committed == {Partition(EVENTS, 0): 5, Partition(EVENTS, 1): 5}
        assert max(map(len, intake.calls)) == 3
        assert intake.ingested() == (10, 0, 0)
        for partition, newest in (("0", 8), ("1", 9)):
            where = {"topic": EVENTS, "partition": partition}
            assert intake.counted("kafka_last_record_timestamp_seconds", **where) == 1_793_491_200 + newest / 1000
            assert intake.counted("kafka_lag_records", **where) == 0


async def test_offsets_follow_the_databases_commit(dsn: str) -> None:
    class Witness(FakeConsumer):
        async def commit(self, offsets: Mapping[Partition, int]) -> None:
            rows = await intake.pool.fetchval("SELECT count(*) FROM handled")  # another connection: committed rows only
            seen.append((sum(offsets.values()), rows, len(afterwards)))
            await super().commit(offsets)

    async def second(_: Connection, events: Sequence[Event]) -> AfterCommit:
        return lambda: afterwards.extend(each.id for each in events)

    seen: list[tuple[int, int, int]] = []
    afterwards: list[str] = []
    async with intake_on(dsn) as intake:
        intake.consumer = Witness(intake.broker, [EVENTS], lambda: None)
        intake.handlers.append(second)
        intake.batch = 2
        for number in range(6):
            intake.broker.append(event(f"e{number}"), partition=0)
        await intake.until_drained()
    assert seen == [(2, 2, 2), (4, 4, 4), (6, 6, 6)]
    assert afterwards == [f"e{number}" for number in range(6)]


async def test_the_same_event_100_times(dsn: str) -> None:
    async with intake_on(dsn) as intake:
        intake.batch = 7
        for number in range(100):
            intake.broker.append(event("same"), partition=number % 2)
        intake.broker.append(event("same", source="/another"), partition=0)
        await intake.until_drained()
        assert await intake.handled() == ["same", "same"]
        assert intake.ingested() == (2, 99, 0)


async def test_kill_between_database_commit_and_offset_commit(dsn: str) -> None:
    class Killed(FakeConsumer):
        async def commit(self, offsets: Mapping[Partition, int]) -> None:
            del offsets
            reached.set()
            await asyncio.Event().wait()

    reached = asyncio.Event()
    async with intake_on(dsn) as intake:
        for number in range(3):
            intake.broker.append(event(f"e{number}"))
        intake.consumer = Killed(intake.broker, [EVENTS], lambda: None)
        task = asyncio.create_task(intake.run())
        await asyncio.wait_for(reached.wait(), PATIENCE)
        task.cancel()
        await asyncio.wait((task,), timeout=PATIENCE)
        assert await intake.handled() == ["e0", "e1", "e2"]
        assert intake.broker.committed == {}

        intake.consumer = intake.broker.consumer(EVENTS)
        await intake.until_drained()
        assert await intake.handled() == ["e0", "e1", "e2"]
        assert intake.calls == [["e0", "e1", "e2"]]
        assert intake.ingested() == (3, 3, 0)


async def test_offset_commits_that_fail_are_made_up_for(dsn: str) -> None:
    async with intake_on(dsn) as intake:
        intake.broker.failing_commits = 2
        for number in range(3):
            intake.broker.append(event(f"e{number}"))
        await intake.until_drained()
        assert await intake.handled() == ["e0", "e1", "e2"]
        assert intake.broker.seen["commit failed"] == 2
        assert intake.ingested() == (3, 3, 0)


async def test_broker_restart(dsn: str) -> None:
    class Restarting(FakeConsumer):
        async def poll(self, limit: int, seconds: float) -> Sequence[Stored]:
            if len(failures) < 3:
                failures.append("poll")
                raise UnavailableError("connection refused")
            return await super().poll(limit, seconds)

    failures: list[str] = []
    async with intake_on(dsn) as intake:
        intake.consumer = Restarting(intake.broker, [EVENTS], lambda: None)
        intake.broker.append(event("e0"), partition=0)
        await intake.until_drained()
        assert await intake.handled() == ["e0"]
        assert intake.counted("kafka_lag_records", topic=EVENTS, partition="0") == 0


async def test_rebalance_mid_batch(dsn: str) -> None:
    async def lose_a_partition(_: Connection, events: Sequence[Event]) -> None:
        del events
        if not stolen:
            stolen[Partition(EVENTS, 1)] = first.positions.pop(Partition(EVENTS, 1))

    stolen: dict[Partition, int] = {}
    async with intake_on(dsn) as intake:
        first = intake.broker.consumer(EVENTS)
        intake.consumer = first
        intake.handlers.append(lose_a_partition)
        for number in range(6):
            intake.broker.append(event(f"e{number}"), partition=number % 2)
        async with intake.running():
            await intake.broker.until(lambda: intake.broker.committed == {Partition(EVENTS, 0): 3}, PATIENCE)
        assert first.positions == {Partition(EVENTS, 0): 3}
        assert intake.counted("kafka_lag_records", topic=EVENTS, partition="0") == 0
        assert intake.counted("kafka_lag_records", topic=EVENTS, partition="1") is None

        intake.stop.clear()
        intake.consumer = intake.broker.consumer(EVENTS)  # the member that has it now
        await intake.until_drained()
        assert await intake.handled() == [f"e{number}" for number in range(6)]
        assert len(intake.calls) == 1


async def test_handler_error_mid_batch(dsn: str) -> None:
    async def fail_twice(_: Connection, events: Sequence[Event]) -> None:
        if "e3" in {each.id for each in events} and len(intake.calls) < 4:
            committed.append(dict(intake.broker.committed))
            raise RuntimeError("not now")

    committed: list[dict[Partition, int]] = []
    async with intake_on(dsn) as intake:
        intake.batch = 2
        intake.handlers.append(fail_twice)
        for number in range(6):
            intake.broker.append(event(f"e{number}"), partition=0)
        await intake.until_drained()
        assert committed == [{Partition(EVENTS, 0): 2}] * 2
        assert intake.calls == [["e0", "e1"], ["e2", "e3"], ["e2", "e3"], ["e2", "e3"], ["e4", "e5"]]
        assert await intake.handled() == [f"e{number}" for number in range(6)]
        assert intake.broker.records(DEAD) == []
        assert intake.ingested() == (6, 0, 0)


async def test_database_restart(dsn: str) -> None:
    async def end_the_connection(connection: Connection, events: Sequence[Event]) -> AfterCommit:
        del events
        if len(intake.calls) < 3:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return lambda: afterwards.append(len(intake.calls))

    afterwards: list[int] = []
    async with intake_on(dsn) as intake:
        intake.handlers.append(end_the_connection)
        intake.broker.append(event("e0"))
        await intake.until_drained()
        assert await intake.handled() == ["e0"]
        assert afterwards == [3]
        assert intake.ingested() == (1, 0, 0)


async def test_stop_ends_the_loop_with_the_batch_in_hand_finished(dsn: str) -> None:
    async def stop(_: Connection, events: Sequence[Event]) -> None:
        del events
        intake.stop.set()

    async with intake_on(dsn) as intake:
        intake.batch = 2
        intake.handlers.append(stop)
        for number in range(5):
            intake.broker.append(event(f"e{number}"), partition=0)
        await asyncio.wait_for(intake.run(), PATIENCE)
        assert await intake.handled() == ["e0", "e1"]
        assert intake.broker.committed == {Partition(EVENTS, 0): 2}


async def test_stop_ends_a_pause_between_tries(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pausing(FakeConsumer):
        def rewind(self, offsets: Mapping[Partition, int]) -> None:
            super().rewind(offsets)
            about_to_pause.set()

    async def fail(_: Connection, events: Sequence[Event]) -> None:
        del events
        raise RuntimeError("never")

    about_to_pause = asyncio.Event()
    monkeypatch.setattr(loop, "FIRST_PAUSE", 3600.0)
    async with intake_on(dsn) as intake:
        intake.consumer = Pausing(intake.broker, [EVENTS], lambda: None)
        intake.handlers.append(fail)
        intake.broker.append(event("e0"))
        async with intake.running():
            await asyncio.wait_for(about_to_pause.wait(), PATIENCE)
        assert await intake.handled() == []
        assert intake.broker.committed == {}
