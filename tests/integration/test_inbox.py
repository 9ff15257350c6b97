"""An event is new once, whichever periods its sightings fall into, for as long as a period that saw it is kept."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest

from consumers.events import Event, EventData
from consumers.inbox import ADMIT, OVERLAP_SECONDS, PERIOD_SECONDS, admit
from tests.support import process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.database import Connection

#: Periods the test's table has; their times are long past, so that nothing here depends on today's.
PERIODS = range(200, 204)
LAST = PERIODS[-1]
#: The moment the last of them begins.
CHANGE = datetime.fromtimestamp(LAST * PERIOD_SECONDS, UTC)
MOMENT = timedelta(milliseconds=1)
OVERLAP = timedelta(seconds=OVERLAP_SECONDS)
PERIOD = timedelta(seconds=PERIOD_SECONDS)
BEFORE, AFTER, LATER = CHANGE - MOMENT, CHANGE, CHANGE + OVERLAP
SOMEBODY_WAITS = """
SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid IN (
    SELECT pid FROM pg_stat_activity WHERE datname = current_database()))
"""


def an_event(event_id: str, source: str = "/test") -> Event:
    return Event(source, event_id, "canary.updated", CHANGE, None, "canary", EventData(), b"{}")


def admitted(events: list[Event]) -> list[str]:
    return [event.id for event in events]


async def _open(dsn: str) -> Connection:
    return await asyncpg.connect(dsn)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    opened = await _open(dsn)
    for period in PERIODS:
        await opened.execute(
            f"CREATE TABLE inbox_{period} PARTITION OF inbox FOR VALUES FROM ({period}) TO ({period + 1})"
        )
    yield opened
    await opened.close()


async def _periods_of(connection: Connection, event_id: str) -> list[int]:
    rows = await connection.fetch("SELECT period FROM inbox WHERE event_id = $1 ORDER BY period", event_id)
    return [row["period"] for row in rows]


async def test_new_ones_are_returned_in_order_each_once(connection: Connection) -> None:
    first = [an_event("b"), an_event("a"), an_event("b"), an_event("a", "/other")]
    assert await admit(connection, first) == [first[0], first[1], first[3]]
    assert admitted(await admit(connection, [an_event("c"), *first, an_event("d")])) == ["c", "d"]
    assert await admit(connection, []) == []


async def test_whose_an_event_is_stands_beside_it_and_makes_it_no_other(connection: Connection) -> None:
    whose = [replace(an_event("a"), account="acct_1"), an_event("b")]
    assert await admit(connection, whose) == whose
    rows = await connection.fetch("SELECT DISTINCT event_id, account_id FROM inbox ORDER BY event_id")
    assert [tuple(row) for row in rows] == [("a", "acct_1"), ("b", "")]
    assert await admit(connection, [an_event("a")]) == []


async def test_the_period_is_the_database_s_own(connection: Connection) -> None:
    await admit(connection, [an_event("a")])
    statement = f"SELECT floor(extract(epoch FROM seen_at) / {PERIOD_SECONDS})::integer FROM inbox"  # noqa: S608 - ours
    assert (await _periods_of(connection, "a"))[-1] == await connection.fetchval(statement)


@pytest.mark.parametrize(
    ("now", "periods"),
    [
        (BEFORE, [LAST - 1]),
        (CHANGE, [LAST - 1, LAST]),
        (LATER - MOMENT, [LAST - 1, LAST]),
        (LATER, [LAST]),
    ],
)
async def test_around_a_change_an_event_is_written_into_both_periods(
    now: datetime, periods: list[int], connection: Connection
) -> None:
    assert admitted(await admit(connection, [an_event("a")], now=now)) == ["a"]
    assert await _periods_of(connection, "a") == periods
    assert await admit(connection, [an_event("a")], now=now) == []


@pytest.mark.parametrize(
    ("seen", "again"),
    [
        (seen, again)
        for seen in (BEFORE - PERIOD * 2, BEFORE - PERIOD, BEFORE, AFTER, LATER)
        for again in (BEFORE, AFTER, LATER, LATER + PERIOD / 2)
        if seen - again <= OVERLAP  # no clock goes back further
    ],
)
async def test_an_event_of_any_period_that_is_kept_is_known(
    seen: datetime, again: datetime, connection: Connection
) -> None:
    await admit(connection, [an_event("a")], now=seen)
    assert admitted(await admit(connection, [an_event("a"), an_event("b")], now=again)) == ["b"]


async def test_what_was_written_into_one_of_two_periods_is_known(connection: Connection) -> None:
    await connection.executemany(
        "INSERT INTO inbox (period, source, event_id) VALUES ($1, '/test', $2)", [(LAST - 1, "older"), (LAST, "newer")]
    )
    given = [an_event("older"), an_event("newer"), an_event("new")]
    assert admitted(await admit(connection, given, now=AFTER)) == ["new"]


async def test_an_event_whose_period_was_dropped_is_new(connection: Connection) -> None:
    await admit(connection, [an_event("a")], now=BEFORE - PERIOD * 2)
    assert await admit(connection, [an_event("a")], now=LATER) == []
    await connection.execute(f"DROP TABLE inbox_{LAST - 3}")
    assert admitted(await admit(connection, [an_event("a")], now=LATER)) == ["a"]


async def test_without_a_partition_for_the_period_events_are_still_handled_once(connection: Connection) -> None:
    for period in PERIODS:
        await connection.execute(f"DROP TABLE inbox_{period}")
    assert admitted(await admit(connection, [an_event("a")], now=BEFORE)) == ["a"]
    assert await connection.fetchval("SELECT count(*) FROM inbox_default") == 1
    for now in (BEFORE, AFTER, LATER):
        assert await admit(connection, [an_event("a")], now=now) == []


@pytest.mark.parametrize("is_committed", [True, False], ids=["committed", "rolled back"])
@pytest.mark.parametrize(
    ("first", "second"),
    [(BEFORE, AFTER), (AFTER, BEFORE), (AFTER, AFTER), (LATER, LATER), (LATER - MOMENT, LATER)],
    ids=["before, after", "after, before", "both in the overlap", "both behind it", "end of the overlap"],
)
async def test_two_at_once_meet_whichever_side_of_the_change_they_are_on(
    first: datetime, second: datetime, *, is_committed: bool, dsn: str, connection: Connection
) -> None:
    one, other = await _open(dsn), await _open(dsn)
    holding = one.transaction()
    await holding.start()
    assert admitted(await admit(one, [an_event("a")], now=first)) == ["a"]
    task = asyncio.create_task(admit(other, [an_event("a")], now=second))

    async def waits() -> bool:
        return bool(await connection.fetchval(SOMEBODY_WAITS))

    await process.until(waits, "the second meets the first one's key")
    await (holding.commit() if is_committed else holding.rollback())
    assert admitted(await task) == ([] if is_committed else ["a"])
    await one.close()
    await other.close()


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
async def test_a_look_up_descends_an_index_of_each_earlier_period_and_no_other(
    mode: str, connection: Connection
) -> None:
    for period in PERIODS:
        await connection.execute(
            "INSERT INTO inbox (period, source, event_id) SELECT $1, '/test', $2 || i FROM generate_series(1, 2000) i",
            period, f"{period}-",
        )  # fmt: skip
    await connection.execute("ANALYZE inbox")
    await connection.execute(f"SET plan_cache_mode = {mode}")
    await connection.execute(f"PREPARE look_up AS {ADMIT}")
    sources, event_ids = ",".join(["'/test'"] * 500), ",".join(f"'{number}'" for number in range(500))
    for now, looked_into in ((BEFORE, {"200", "201"}), (AFTER, {"200", "201"}), (LATER, {"200", "201", "202"})):
        plan = await connection.fetch(
            "EXPLAIN (COSTS OFF) EXECUTE look_up "
            f"(ARRAY[{sources}], ARRAY[{event_ids}], '{now.isoformat()}', array_fill('acct_1'::text, ARRAY[500]))"
        )
        scans = [line for (line,) in plan if "Scan" in line and " on inbox_" in line and "default" not in line]
        assert {line.partition(" on inbox_")[2].split()[0] for line in scans} == looked_into
        assert all("Index" in line for line in scans)
