"""Telemetry of the compute API in PostgreSQL: each window counts once whoever reads it, and silence shows."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from consumers.telemetry import MAX_COUNT, POLICIES, Check, HealthReport, RateLimitWindow, Telemetry
from feeds.component_days import SILENCE
from feeds.component_facts import ComponentFacts
from feeds.status import Declared, DeclaredGroup, DeclaredService
from publisher import ratelimit_windows
from publisher.compute_api import MOST_UNNAMED, STATES, Components
from publisher.ratelimit_windows import KEPT, MARGIN, RateLimitWindows
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from runtime.database import Pool

NOW = datetime(2026, 11, 1, 12, 2, tzinfo=UTC)
DECLARED = Declared(
    [DeclaredGroup("STO", "Stockholm", [DeclaredService("STO/compute", "Compute")])],
    [DeclaredService("panel", "Panel")],
)


def window(minute: int = 0, **changes: Any) -> RateLimitWindow:
    return RateLimitWindow.model_validate(
        {
            "type": "ratelimit.window",
            "policy": "read",
            "window_start": NOW.replace(minute=minute),
            "window_seconds": 60,
            "allowed": 5,
            "limited": 1,
        }
        | changes
    )


class Process:
    """What one process counts; a restart is another one."""

    def __init__(self, pool: Pool, clock: FakeClock) -> None:
        self.pool = pool
        self.counted: Counter[tuple[str, str]] = Counter()
        self.handler = RateLimitWindows(clock, self._count)

    def _count(self, policy: str, allowed: int, limited: int) -> None:
        self.counted[policy, "allowed"] += allowed
        self.counted[policy, "limited"] += limited

    async def take(self, *telemetry: Telemetry) -> None:
        """Handle a batch; nothing is counted before its commit."""
        before = self.counted.copy()
        async with self.pool.acquire() as connection, connection.transaction():
            after = await self.handler(connection, telemetry)
            assert self.counted == before
        if after is not None:
            after()


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4) as made:
        yield made


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


def totals(*processes: Process) -> dict[tuple[str, str], int]:
    return dict(+sum((each.counted for each in processes), Counter()))


async def test_a_window_that_comes_again_does_not_count_again(pool: Pool, clock: FakeClock) -> None:
    process = Process(pool, clock)
    await process.take(window(), window())
    await process.take(window(), window(1))
    assert totals(process) == {("read", "allowed"): 10, ("read", "limited"): 2}


async def test_nor_after_a_restart_nor_in_another_process(pool: Pool, clock: FakeClock) -> None:
    before, after = Process(pool, clock), Process(pool, clock)
    await before.take(window())
    await after.take(window(), window(policy="auth"))
    assert totals(before) == {("read", "allowed"): 5, ("read", "limited"): 1}
    assert totals(after) == {("auth", "allowed"): 5, ("auth", "limited"): 1}


async def test_a_later_word_on_a_window_counts_what_it_adds(pool: Pool, clock: FakeClock) -> None:
    process = Process(pool, clock)
    await process.take(window(allowed=5, limited=3))
    await process.take(window(allowed=8, limited=1))
    assert totals(process) == {("read", "allowed"): 8, ("read", "limited"): 3}
    for allowed, limited in ((7, 4), (8, 0), (0, 4), (8, 4)):
        await process.take(window(allowed=allowed, limited=limited))
        assert totals(process) == {("read", "allowed"): 8, ("read", "limited"): 4}


async def test_two_processes_of_the_compute_api_count_both(pool: Pool, clock: FakeClock) -> None:
    process = Process(pool, clock)
    await process.take(window(instance="a"), window(instance="b"), window(instance="a"))
    assert totals(process) == {("read", "allowed"): 10, ("read", "limited"): 2}


async def test_what_is_rolled_back_is_counted_when_it_comes_again(pool: Pool, clock: FakeClock) -> None:
    process = Process(pool, clock)
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await process.handler(connection, [window()])
        await transaction.rollback()
    assert totals(process) == {}
    await process.take(window())
    assert totals(process) == {("read", "allowed"): 5, ("read", "limited"): 1}


@pytest.mark.parametrize("seed", range(4))
async def test_any_order_repetition_and_division_among_processes_is_the_same_totals(
    pool: Pool, clock: FakeClock, seed: int
) -> None:
    """Several consumers at once, each with batches of its own, of which many are of the same windows."""
    rng = random.Random(seed)
    windows = [
        window(minute, policy=policy, instance=instance, allowed=rng.randrange(100), limited=rng.randrange(10))
        for minute in range(3)
        for policy in POLICIES
        for instance in ("a", "b", None)
    ]
    partial = [each.model_copy(update={"allowed": rng.randint(0, each.allowed)}) for each in windows]
    records = [*windows, *partial, *rng.sample(windows, 20)]
    rng.shuffle(records)
    processes = [Process(pool, clock) for _ in range(3)]

    async def walk(process: Process, part: Sequence[Telemetry]) -> None:
        for start in range(0, len(part), 7):
            await process.take(*part[start : start + 7])

    parts = [records[:40], records[30:], records[::2]]
    await asyncio.gather(*(walk(process, part) for process, part in zip(processes, parts, strict=True)))
    expected: Counter[tuple[str, str]] = Counter()
    for each in windows:
        expected[each.policy, "allowed"] += each.allowed
        expected[each.policy, "limited"] += each.limited
    assert totals(*processes) == dict(+expected)


async def test_the_largest_numbers_fit(pool: Pool, clock: FakeClock) -> None:
    process = Process(pool, clock)
    await process.take(window(allowed=MAX_COUNT, limited=MAX_COUNT, window_seconds=86_400, instance="i" * 64))
    assert totals(process) == {("read", "allowed"): MAX_COUNT, ("read", "limited"): MAX_COUNT}


async def test_what_comes_too_late_to_be_known_does_not_count(
    pool: Pool, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    process = Process(pool, clock)
    await process.take(window(window_start=NOW - KEPT))
    assert totals(process) == {("read", "allowed"): 5, ("read", "limited"): 1}
    assert not caplog.records
    await process.take(window(window_start=NOW - KEPT - timedelta(microseconds=1)))
    assert totals(process) == {("read", "allowed"): 5, ("read", "limited"): 1}
    assert "too late to be counted" in caplog.text


async def test_a_window_is_forgotten_only_when_it_would_not_count(pool: Pool, clock: FakeClock) -> None:
    process = Process(pool, clock)
    await process.take(window(window_start=NOW))
    clock.advance((KEPT + MARGIN).total_seconds())
    await ratelimit_windows.forget(pool, clock.now())
    assert await pool.fetchval("SELECT count(*) FROM ratelimit_windows") == 1
    clock.advance(1)
    await ratelimit_windows.forget(pool, clock.now())
    assert await pool.fetchval("SELECT count(*) FROM ratelimit_windows") == 0
    await process.take(window(window_start=NOW))
    assert totals(process) == {("read", "allowed"): 5, ("read", "limited"): 1}


# --- components ------------------------------------------------------------------------------------------------------


def report(component: str = "STO/compute", status: str = "operational", **changes: Any) -> HealthReport:
    return HealthReport.model_validate(
        {"type": "health.report", "component": component, "status": status, "checks": [], "time": NOW} | changes
    )


class Desk:
    """Reports go in, series come out, of a process that may be replaced."""

    def __init__(self, pool: Pool, clock: FakeClock) -> None:
        self.pool = pool
        self.clock = clock
        self.restart()

    def restart(self) -> None:
        self.registry = CollectorRegistry()
        self.components = Components(self.registry, self.pool, self.clock, DECLARED)

    async def say(self, *reports: HealthReport) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            await ComponentFacts(self.clock)(connection, reports)
        await self.components.refresh()

    def state(self, component: str) -> str:
        """Return the one state a component is in; each of the others is 0."""
        found = {
            state: self.registry.get_sample_value(
                "compute_api_component_status", {"component": component, "status": state}
            )
            for state in STATES
        }
        assert sorted(found.values(), key=str) == [0.0] * (len(STATES) - 1) + [1.0], found
        return next(state for state, value in found.items() if value)

    def last_report(self, component: str) -> float | None:
        return self.registry.get_sample_value("compute_api_last_report_timestamp_seconds", {"component": component})

    def value(self, check: str, unit: str) -> float | None:
        labels = {"component": "STO/compute", "check": check, "unit": unit}
        return self.registry.get_sample_value("compute_api_check_value", labels)

    def series(self) -> int:
        return sum(len(family.samples) for family in self.registry.collect())


@pytest.fixture
def desk(pool: Pool, clock: FakeClock) -> Desk:
    return Desk(pool, clock)


async def test_nothing_is_said_of_components_before_the_facts_are_read(desk: Desk) -> None:
    assert desk.series() == 0
    await desk.components.refresh()
    assert {desk.state(each) for each in ("STO/compute", "panel")} == {"stale"}
    assert desk.last_report("panel") == 0
    assert desk.series() == 2 * (len(STATES) + 1)


async def test_a_component_is_what_it_reports(desk: Desk) -> None:
    checks = [Check(name="lag", status="ok", observed_value=1.5, unit="s")]
    await desk.say(report(status="degraded_performance", checks=checks))
    assert desk.state("STO/compute") == "degraded_performance"
    assert desk.last_report("STO/compute") == NOW.timestamp()
    assert desk.value("lag", "s") == 1.5


async def test_one_that_stops_reporting_turns_stale_by_itself_and_its_figures_go(desk: Desk) -> None:
    await desk.say(report(checks=[Check(name="lag", status="ok", observed_value=1.5, unit="s")]))
    desk.clock.advance(SILENCE.total_seconds())
    assert desk.state("STO/compute") == "operational"
    desk.clock.advance(1)
    assert desk.state("STO/compute") == "stale"
    assert desk.last_report("STO/compute") == NOW.timestamp()
    assert desk.value("lag", "s") is None
    await desk.say(report(time=desk.clock.now(), status="partial_outage"))
    assert desk.state("STO/compute") == "partial_outage"


async def test_a_restart_changes_nothing(desk: Desk) -> None:
    await desk.say(report("HEL/queue", "major_outage"))
    desk.clock.advance(SILENCE.total_seconds() + 1)
    await desk.say(report(time=desk.clock.now()))
    before = generate_latest(desk.registry)
    desk.restart()
    await desk.components.refresh()
    assert generate_latest(desk.registry) == before
    assert (desk.state("STO/compute"), desk.state("HEL/queue")) == ("operational", "stale")


async def test_whoever_writes_many_components_and_checks_fills_no_registry(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    checks = [Check(name=f"check {n}", status="ok", observed_value=n, unit=f"unit {n}") for n in range(100)]
    await desk.say(*(report(f"AAA/{number:03}", checks=checks) for number in range(MOST_UNNAMED)))
    most = desk.series()
    assert not caplog.records
    await desk.say(*(report(f"BBB/{number:04}", checks=checks) for number in range(1000)))
    assert desk.series() == most
    assert desk.state("AAA/047") == "operational"
    assert desk.last_report("BBB/0000") is None
    await desk.components.refresh()
    assert caplog.text.count("that the profile does not name") == 1
    await desk.say(report("panel"))
    assert desk.state("panel") == "operational"


async def test_odd_names_and_figures_make_a_text_that_can_be_read(desk: Desk) -> None:
    odd = 'a"b\\c{}#=\N{MICRO SIGN}'
    figures = [1e308, -1e308, 5e-324, 0.1, 1.25e19]
    checks = [Check(name=f"{odd}{n}", status="x", observed_value=each, unit=odd) for n, each in enumerate(figures)]
    await desk.say(report(f"{odd}/{odd}", checks=[*checks, *checks]))
    text = openmetrics(desk.registry).decode()  # type: ignore[no-untyped-call]  # prometheus-client leaves it untyped
    read = {family.name: family for family in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]  # and this
    assert [each.value for each in read["compute_api_check_value"].samples] == figures
    assert {each.labels["unit"] for each in read["compute_api_check_value"].samples} == {odd}
