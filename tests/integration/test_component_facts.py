"""Health reports in PostgreSQL: whatever order and repetition they come in, the same facts; and who is told of them."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from consumers.telemetry import Check, HealthReport, RateLimitWindow, Telemetry
from feeds import component_days, component_facts, marks
from feeds.component_days import SILENCE, SLOTS, Facts, Reported
from feeds.component_facts import ComponentFacts
from feeds.documents import Feed
from feeds.models import ComponentStatus
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from runtime.database import Pool

NOW = datetime(2026, 11, 1, 12, 2, tzinfo=UTC)
TODAY = NOW.date()
UP, MAINTAINED, SLOW, PARTIAL, MAJOR = component_days.STATUSES
LONG_AGO = date(2000, 1, 1)


class Desk:
    """The handler on a database, and what it told whom."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.clock = FakeClock(NOW)
        self.woken = 0
        self.handler = ComponentFacts(self.clock, wake=self._wake)

    def _wake(self) -> None:
        self.woken += 1

    async def say(self, *telemetry: Telemetry) -> bool:
        """Handle a batch; return whether the feed was marked, which is also who was woken."""
        before, woken = await self.marked(), self.woken
        async with self.pool.acquire() as connection, connection.transaction():
            after = await self.handler(connection, telemetry)
            assert self.woken == woken  # not before the commit
        if after is not None:
            after()
        is_marked = await self.marked() > before
        assert is_marked == (self.woken > woken)
        return is_marked

    async def marked(self) -> int:
        """Return how often the feed of the status was marked; no other ever is."""
        async with self.pool.acquire() as connection:
            found = await marks.read(connection)
        assert (found[Feed.INCIDENTS].changes, found[Feed.PEERING].changes) == (0, 0)
        return found[Feed.STATUS].changes

    async def facts(self, since: date = LONG_AGO) -> Facts:
        async with self.pool.acquire() as connection:
            return await component_facts.read(connection, since)


@pytest.fixture
async def desk(dsn: str) -> AsyncIterator[Desk]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4) as pool:
        yield Desk(pool)


def report(
    status: ComponentStatus = UP, ago: float = 0, component: str = "STO/compute", **changes: Any
) -> HealthReport:
    """Return what a component said `ago` seconds before NOW."""
    given = {"component": component, "status": str(status), "time": NOW - timedelta(seconds=ago), **changes}
    return HealthReport(type="health.report", **given)


def slots(**at: int) -> bytes:
    """Return a day with these codes: `s144=1`."""
    made = bytearray(SLOTS)
    for name, code in at.items():
        made[int(name.removeprefix("s"))] = code
    return bytes(made)


async def test_a_report_becomes_a_status_and_a_slot_of_its_day(desk: Desk) -> None:
    check = Check(name="latency", status="pass", observed_value=1.5, unit="ms")
    assert await desk.say(report(SLOW, checks=[check]), report(UP, component="panel"))
    assert await desk.facts() == Facts(
        {"STO/compute": Reported(SLOW, NOW), "panel": Reported(UP, NOW)},
        {"STO/compute": {TODAY: slots(s144=3)}, "panel": {TODAY: slots(s144=1)}},
    )
    assert await desk.pool.fetchval("SELECT checks->0->>'observed_value' FROM component_status LIMIT 1") == "1.5"


async def test_other_telemetry_is_for_others(desk: Desk) -> None:
    window = RateLimitWindow(
        type="ratelimit.window", policy="read", window_start=NOW, window_seconds=60, allowed=1, limited=0
    )
    assert not await desk.say(window)
    assert not await desk.say()
    assert await desk.facts() == Facts({}, {})
    assert await desk.say(window, report())


async def test_the_latest_report_holds_and_a_late_one_still_counts_in_its_slot(desk: Desk) -> None:
    assert await desk.say(report(UP))
    assert not await desk.say(report(MAJOR, ago=600))
    assert await desk.facts() == Facts(
        {"STO/compute": Reported(UP, NOW)}, {"STO/compute": {TODAY: slots(s142=5, s144=1)}}
    )


@pytest.mark.parametrize(("first", "second"), [(UP, PARTIAL), (PARTIAL, UP)])
async def test_of_two_reports_of_one_moment_the_worse_holds(
    desk: Desk, first: ComponentStatus, second: ComponentStatus
) -> None:
    await desk.say(report(first))
    assert await desk.say(report(second)) == (second is PARTIAL)
    assert (await desk.facts()).latest == {"STO/compute": Reported(PARTIAL, NOW)}
    await desk.say(report(first, component="panel"), report(second, component="panel"))
    assert (await desk.facts()).latest["panel"] == Reported(PARTIAL, NOW)


async def test_a_better_report_does_not_better_a_slot(desk: Desk) -> None:
    await desk.say(report(MAJOR, ago=60))
    assert await desk.say(report(UP))
    assert await desk.facts() == Facts({"STO/compute": Reported(UP, NOW)}, {"STO/compute": {TODAY: slots(s144=5)}})


async def test_a_day_ends_at_midnight_in_utc(desk: Desk) -> None:
    midnight = datetime(2026, 11, 1, tzinfo=UTC)
    await desk.say(report(time=midnight), report(SLOW, time=midnight - timedelta(microseconds=1)))
    assert (await desk.facts()).days == {"STO/compute": {TODAY: slots(s0=1), TODAY - timedelta(days=1): slots(s287=3)}}
    assert (await desk.facts(since=TODAY)).days == {"STO/compute": {TODAY: slots(s0=1)}}


async def test_only_a_change_that_readers_see_marks_the_feed(desk: Desk) -> None:
    assert await desk.say(report(ago=3000))
    for ago in (2990, 2400, 2390):
        assert not await desk.say(report(ago=ago))  # all are silent by now
    assert await desk.say(report(SLOW, ago=2380))
    assert await desk.say(report(SLOW, ago=20))  # heard of again
    assert not await desk.say(report(SLOW, ago=10))
    assert not await desk.say(report(SLOW, ago=10))  # once more
    assert not await desk.say(report(UP, ago=15))  # late
    assert await desk.say(report(UP))
    assert await desk.say(report(component="panel"), report())


async def test_a_component_is_heard_of_again_only_after_it_was_silent(desk: Desk) -> None:
    await desk.say(report())
    desk.clock.advance(SILENCE.total_seconds())
    assert not await desk.say(report(ago=-60))
    desk.clock.advance(60.001)
    assert await desk.say(report(ago=-900))


async def test_any_interleaving_over_any_transactions_ends_in_the_same_facts(desk: Desk) -> None:
    rng = random.Random(7)
    said = [
        report(
            rng.choice(component_days.STATUSES), rng.choice([0, 1, 200, 400, 50_000, 90_000]), f"c{rng.randrange(3)}"
        )
        for _ in range(40)
    ]
    found = []
    for _ in range(6):
        async with desk.pool.acquire() as connection:
            await connection.execute("TRUNCATE component_status, component_days")
        again = [*said, *rng.sample(said, 10)]
        rng.shuffle(again)
        while again:
            size = rng.randint(1, 20)
            await desk.say(*again[:size])
            again = again[size:]
        found.append(await desk.facts())
    assert found == [found[0]] * 6
    days: dict[str, dict[date, bytes]] = {}
    for (component, day), made in component_days.of_reports(
        (each.component, ComponentStatus(each.status), each.time) for each in said
    ).items():
        days.setdefault(component, {})[day] = made
    assert found[0].days == days


async def test_processes_that_write_at_once_wait_for_each_other_and_lose_nothing(desk: Desk) -> None:
    async def walk(order: Sequence[int]) -> None:
        for minute in order:
            batch = [report(SLOW if minute % 2 else UP, minute * 60, f"c{n}") for n in order[:5]]
            async with desk.pool.acquire() as connection, connection.transaction():
                await desk.handler(connection, batch)

    await asyncio.gather(walk(range(20)), walk(range(19, -1, -1)), walk([*range(10, 20), *range(10)]))
    facts = await desk.facts()
    for component in ("c0", "c4"):
        assert facts.latest[component] == Reported(UP, NOW)
        assert facts.days[component] == {TODAY: slots(s141=3, s142=3, s143=3, s144=3, s140=3)}


async def test_what_was_said_of_a_slot_already_is_not_written_again(desk: Desk) -> None:
    async def versions() -> list[object]:
        return [row[0] for row in await desk.pool.fetch("SELECT xmin::text FROM component_days ORDER BY day")]

    await desk.say(report(SLOW, ago=20))
    before = await versions()
    await desk.say(report(SLOW, ago=10), report(UP))
    assert await versions() == before
    await desk.say(report(PARTIAL))
    assert await versions() != before


async def test_days_that_no_document_tells_of_are_neither_written_nor_kept(desk: Desk) -> None:
    oldest = component_days.oldest_kept(NOW)
    assert (TODAY - oldest).days == 90
    first = datetime.combine(oldest, datetime.min.time(), UTC)
    await desk.say(
        report(time=first, component="kept"), report(time=first - timedelta(microseconds=1), component="gone")
    )
    assert (await desk.facts()).latest.keys() == {"kept"}
    await desk.say(report())
    async with desk.pool.acquire() as connection:
        await component_facts.forget(connection, NOW)
        assert (await component_facts.read(connection, LONG_AGO)).days.keys() == {"kept", "STO/compute"}
        await component_facts.forget(connection, NOW + timedelta(days=1))
    facts = await desk.facts()
    assert facts.latest.keys() == facts.days.keys() == {"STO/compute"}
