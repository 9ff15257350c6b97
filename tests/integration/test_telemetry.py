"""Telemetry on a broker and a database: reports become facts, bad records dead letters."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import pytest
from prometheus_client import CollectorRegistry

from consumers import broker, loop
from consumers.broker import Outgoing, Partition
from consumers.deadletters import DeadLetterLimit, DeadLetters, TooManyDeadLettersError
from consumers.metrics import ConsumerMetrics
from consumers.reader import open_reader
from consumers.telemetry import RateLimitWindow, decode
from feeds import component_facts
from feeds.component_days import Reported
from feeds.component_facts import ComponentFacts
from feeds.models import ComponentStatus
from feeds.status import Declared
from publisher import telemetry
from publisher.ratelimit_windows import KEPT, MARGIN, RateLimitWindows
from publisher.telemetry import open_telemetry
from tests.support.fake_broker import FakeBroker
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from consumers.loop import HandlerOf
    from consumers.telemetry import Telemetry
    from feeds.component_days import Facts
    from runtime.database import Connection, Pool
    from runtime.settings import Settings

NOW = datetime(2026, 11, 1, 12, 2, tzinfo=UTC)
TELEMETRY, DEAD = "telemetry", "dead"
PATIENCE = 30.0


def report(status: str = "operational", minute: int = 0, **changes: Any) -> bytes:
    said = {
        "type": "health.report",
        "component": "STO/compute",
        "status": status,
        "checks": [],
        "time": f"2026-11-01T12:{minute:02}:00Z",
    }
    return orjson.dumps(said | changes)


def window(**changes: Any) -> bytes:
    said = {
        "type": "ratelimit.window",
        "policy": "read",
        "window_start": "2026-11-01T12:00:00Z",
        "window_seconds": 60,
        "allowed": 5,
        "limited": 1,
    }
    return orjson.dumps(said | changes)


class Walk:
    """The loop of telemetry on a broker in memory that can be told to fail."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.clock = FakeClock(NOW)
        self.broker = FakeBroker({TELEMETRY: 1, DEAD: 1})
        self.registry = CollectorRegistry()
        self.seen: list[str] = []
        self.handlers: list[HandlerOf[Telemetry]] = [self.remember, ComponentFacts(self.clock)]

    async def remember(self, _: Connection, records: Sequence[Telemetry]) -> None:
        self.seen += [each.type for each in records]

    def append(self, *values: bytes) -> None:
        for value in values:
            self.broker.append(Outgoing(TELEMETRY, None, value, ()))

    async def run(self, until: Any = None) -> None:
        """Read until all is committed."""
        stop = asyncio.Event()
        made = loop.Loop(
            consumer=self.broker.consumer(TELEMETRY),
            pool=self.pool,
            decode=lambda record: decode(record, now=self.clock.now()),
            admit=telemetry._admit_all,
            handlers=self.handlers,
            dead_letters=DeadLetters(self.broker.producer(), DEAD),
            limit=DeadLetterLimit(self.clock, share=0.5, window=60, minimum=3),
            metrics=ConsumerMetrics(self.registry),
            clock=self.clock,
            appetite=lambda: telemetry._appetite(2),
        )
        running = asyncio.create_task(made.run(stop))
        try:
            await self.broker.until(until or (lambda: self.broker.is_drained(TELEMETRY) or running.done()), PATIENCE)
        finally:
            stop.set()
            await asyncio.wait_for(running, PATIENCE)

    async def facts(self) -> Facts:
        async with self.pool.acquire() as connection:
            return await component_facts.read(connection, date(2026, 11, 1))

    def ingested(self, kind: str, result: str) -> float | None:
        return self.registry.get_sample_value("heliograph_events_ingested_total", {"type": kind, "result": result})

    def refused(self) -> list[tuple[bytes | None, str]]:
        """Return each dead letter's value and reason."""
        return [
            (letter.value, (dict(letter.headers)["heliograph-reason"] or b"").decode())
            for letter in self.broker.records(DEAD)
        ]


@pytest.fixture
async def walk(dsn: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Walk]:
    monkeypatch.setattr(loop, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(loop, "FIRST_PAUSE", 0.001)
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        yield Walk(pool)


async def test_reports_become_facts_and_every_handler_sees_all(walk: Walk) -> None:
    walk.append(report(), window(), report("partial_outage", 2))
    await walk.run()
    assert walk.seen == ["health.report", "ratelimit.window", "health.report"]
    facts = await walk.facts()
    assert facts.latest == {"STO/compute": Reported(ComponentStatus.PARTIAL_OUTAGE, NOW)}
    assert facts.days["STO/compute"][NOW.date()][144] == 4
    assert walk.ingested("health.report", "new") == 2
    assert walk.ingested("ratelimit.window", "new") == 1
    assert walk.ingested("health.report", "duplicate") == 0


async def test_a_bad_record_is_a_dead_letter_and_its_neighbours_are_not(walk: Walk) -> None:
    bad = [report(component="a\x00b"), b"{", window(limited=-1), orjson.dumps({"type": "other"})]
    for each in bad:
        walk.append(each, report(), report(), report())
    await walk.run()
    assert walk.refused() == list(zip(bad, ["schema", "json", "schema", "unknown_type"], strict=True))
    assert (await walk.facts()).latest.keys() == {"STO/compute"}
    assert walk.ingested("health.report", "dead_lettered") == 1
    assert walk.ingested("ratelimit.window", "dead_lettered") == 1
    assert walk.ingested("unknown", "dead_lettered") == 2


async def test_too_many_bad_records_stop_it_with_nothing_committed(walk: Walk) -> None:
    walk.append(b"1", b"2", b"3", b"4")
    with pytest.raises(TooManyDeadLettersError):
        await walk.run()
    assert len(walk.refused()) == 2
    assert walk.broker.committed == {Partition(TELEMETRY, 0): 2}


async def test_what_is_read_twice_is_the_same_facts(walk: Walk) -> None:
    walk.append(report(), report("major_outage", 1), report("operational", 2))
    walk.broker.failing_commits = 2
    await walk.run()
    assert walk.seen.count("health.report") > 3
    facts = await walk.facts()
    assert facts.latest == {"STO/compute": Reported(ComponentStatus.OPERATIONAL, NOW)}
    assert sum(facts.days["STO/compute"][NOW.date()]) == 5


async def test_a_window_that_is_read_twice_counts_once(walk: Walk) -> None:
    counted: list[tuple[str, int, int]] = []
    walk.handlers.append(RateLimitWindows(walk.clock, lambda *said: counted.append(said)))
    walk.append(window(), window(policy="auth"), window(), window(instance="a"))
    walk.broker.failing_commits = 2
    await walk.run()
    assert walk.seen.count("ratelimit.window") > 4
    assert sorted(counted) == [("auth", 5, 1), ("read", 5, 1), ("read", 5, 1)]


async def test_a_handlers_failure_rolls_all_of_them_back_and_is_tried_again(walk: Walk) -> None:
    tries: list[int] = []

    async def fail_once(_: Connection, records: Sequence[Telemetry]) -> None:
        tries.append(len(records))
        if len(tries) == 1:
            raise OSError("away")

    walk.handlers.append(fail_once)
    walk.append(report())
    await walk.run()
    assert tries == [1, 1]
    assert (await walk.facts()).latest.keys() == {"STO/compute"}
    assert walk.ingested("health.report", "new") == 1


class Opened:
    """The real thing: on the broker, in its own group."""

    def __init__(self, settings: Settings, pool: Pool, producer: broker.KafkaProducer) -> None:
        self.settings = settings
        self.pool = pool
        self.producer = producer
        self.clock = FakeClock(NOW)
        self.metrics = ConsumerMetrics(CollectorRegistry())
        self.registry = CollectorRegistry()
        self.handled = asyncio.Event()

    async def told(self, _: Connection, records: Sequence[Telemetry]) -> Any:
        return self.handled.set if records else None

    async def produce(self, *values: bytes) -> None:
        await self.producer.send(Outgoing(self.settings.kafka_topic_telemetry, None, value, ()) for value in values)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[telemetry.TelemetryIntake]:
        stop = asyncio.Event()
        self.registry = CollectorRegistry()
        async with contextlib.AsyncExitStack() as stack:
            opened = open_telemetry(
                self.settings,
                pool=self.pool,
                declared=Declared(),
                handlers=[ComponentFacts(self.clock), self.told],
                dead_letters=DeadLetters(self.producer, self.settings.kafka_topic_dead_letters),
                metrics=self.metrics,
                registry=self.registry,
                clock=self.clock,
            )
            stack.push_async_callback(opened.consumer.stop)
            await broker.start_patiently(opened.consumer, self.settings)
            running = asyncio.create_task(opened.loop.run(stop))
            try:
                yield opened
            finally:
                stop.set()
                await asyncio.wait_for(running, PATIENCE)


@pytest.fixture
async def opened(settings: Settings) -> AsyncIterator[Opened]:
    producer = broker.KafkaProducer(settings)
    await producer.start()
    try:
        async with asyncpg.create_pool(settings.dsn(), min_size=1, max_size=2) as pool:
            yield Opened(settings, pool, producer)
    finally:
        await producer.stop()


async def forget_and_read(opened: Opened, made: telemetry.TelemetryIntake) -> None:
    """Do the chores once, with a window that is too old, and see that they did something."""
    async with opened.pool.acquire() as connection:
        old = RateLimitWindow.model_validate_json(window())
        await RateLimitWindows(opened.clock, lambda *_: None)(connection, [old])
        opened.clock.advance((KEPT + MARGIN).total_seconds() + 120)
        for chore in made.chores:
            await chore.work()
        assert await connection.fetchval("SELECT count(*) FROM ratelimit_windows") == 0
    labels = {"component": "STO/compute"}
    assert (
        opened.registry.get_sample_value("compute_api_last_report_timestamp_seconds", labels) == NOW.timestamp() - 120
    )


async def test_it_reads_its_topic_in_a_group_of_its_own(opened: Opened) -> None:
    await opened.produce(b"no JSON", report("degraded_performance"))
    async with opened.running() as made, asyncio.timeout(PATIENCE):
        await opened.handled.wait()
        await forget_and_read(opened, made)
        assert isinstance(made.consumer._client, broker.KafkaConsumer)
        assert made.consumer._client._client._group_id == f"{opened.settings.kafka_group}-telemetry"
    async with opened.pool.acquire() as connection:
        facts = await component_facts.read(connection, NOW.date())
    assert facts.latest["STO/compute"].status is ComponentStatus.DEGRADED_PERFORMANCE
    async with open_reader(opened.settings, opened.settings.kafka_topic_dead_letters) as reader:
        assert [letter.value async for letter in reader.records()] == [b"no JSON"]


async def test_what_was_committed_is_not_read_again_after_a_restart(opened: Opened) -> None:
    await opened.produce(report())
    async with opened.running(), asyncio.timeout(PATIENCE):
        await opened.handled.wait()
    opened.handled.clear()
    opened.metrics = ConsumerMetrics(CollectorRegistry())
    await opened.produce(report("partial_outage", 1))
    async with opened.running(), asyncio.timeout(PATIENCE):
        await opened.handled.wait()
    assert opened.metrics.ingested.labels("health.report", "new")._value.get() == 1
