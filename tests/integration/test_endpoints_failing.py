"""How endpoints are doing: failures noted, forgotten by a success, and the end of those that fail for too long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from publisher import endpoint_failures
from publisher.endpoint_failures import Disabled
from publisher.endpoints import Directory
from publisher.ids import Ids
from publisher.secrets import Vault
from tests.support.egress import LOOPBACK
from tests.support.jobs import KEY
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Connection = asyncpg.Connection[asyncpg.Record]

DAY = 86_400


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


async def some_endpoints(connection: Connection, count: int) -> list[str]:
    """Register `count` endpoints; return their ids, sorted."""
    directory = Directory(Vault({"k1": KEY}), Ids(FakeClock()), LOOPBACK)
    registered = [
        await directory.register(connection, account="acct_1", url="https://receiver.example/", events=["*"])
        for _ in range(count)
    ]
    return sorted(endpoint_id for endpoint_id, _ in registered)


async def doing(connection: Connection, endpoint_id: str) -> tuple[Any, ...]:
    """Return (is failing, dropped, last result, version)."""
    row = await connection.fetchrow(
        "SELECT failing_since IS NOT NULL, dropped, last_result, version FROM endpoints WHERE id = $1", endpoint_id
    )
    assert row is not None
    return tuple(row)


async def age(connection: Connection, endpoint_id: str, seconds: float) -> None:
    """Let an endpoint have been failing for `seconds` longer."""
    await connection.execute(
        "UPDATE endpoints SET failing_since = failing_since - $2 * interval '1 s' WHERE id = $1", endpoint_id, seconds
    )


# --- failures and successes ------------------------------------------------------------------------------------------


async def test_failures_add_up_and_the_first_one_keeps_its_time(connection: Connection) -> None:
    (failing, other) = await some_endpoints(connection, 2)
    await endpoint_failures.note_failures(connection, [(failing, 0, "timeout")])
    since = await connection.fetchval("SELECT failing_since FROM endpoints WHERE id = $1", failing)
    assert await doing(connection, failing) == (True, 0, "timeout", 1)
    await endpoint_failures.note_failures(
        connection, [(failing, 2, "5xx"), (failing, 3, "connect"), ("we_unknown", 1, "5xx")]
    )
    assert await doing(connection, failing) == (True, 5, "connect", 1)
    assert await connection.fetchval("SELECT failing_since FROM endpoints WHERE id = $1", failing) == since
    assert await doing(connection, other) == (False, 0, None, 1)


async def test_a_success_clears_them_all_and_touches_nobody_else(connection: Connection) -> None:
    (mended, failing, fine) = await some_endpoints(connection, 3)
    await endpoint_failures.note_failures(connection, [(mended, 1, "5xx"), (failing, 1, "5xx")])
    rows = "SELECT id, xmin::text FROM endpoints WHERE id = ANY ($1) ORDER BY id"
    before = await connection.fetch(rows, [failing, fine])
    await endpoint_failures.note_successes(connection, [mended, fine, mended, "we_unknown"])
    assert await doing(connection, mended) == (False, 0, None, 1)
    assert await doing(connection, failing) == (True, 1, "5xx", 1)
    assert await connection.fetch(rows, [failing, fine]) == before


@pytest.mark.parametrize(
    ("again", "is_written"),
    [((0, "5xx"), False), ((0, "timeout"), True), ((1, "5xx"), True)],
    ids=["nothing new", "another result", "another drop"],
)
async def test_only_what_changes_is_written(
    again: tuple[int, str], connection: Connection, *, is_written: bool
) -> None:
    (failing,) = await some_endpoints(connection, 1)
    await endpoint_failures.note_failures(connection, [(failing, 0, "5xx")])
    before = await connection.fetchval("SELECT xmin::text FROM endpoints")
    await endpoint_failures.note_failures(connection, [(failing, *again)])
    assert (await connection.fetchval("SELECT xmin::text FROM endpoints") != before) is is_written


async def test_nothing_to_note_asks_the_database_nothing(connection: Connection) -> None:
    await connection.close()
    await endpoint_failures.note_failures(connection, [])
    await endpoint_failures.note_successes(connection, [])
    await endpoint_failures.note_results(connection, [], [])


@pytest.mark.parametrize("status", ["paused", "disabled"])
async def test_a_late_failure_does_not_change_what_an_inactive_endpoint_ended_with(
    status: str, connection: Connection
) -> None:
    (ended,) = await some_endpoints(connection, 1)
    reason = "'gone'" if status == "disabled" else "NULL"
    await connection.execute(f"UPDATE endpoints SET status = '{status}', disabled_reason = {reason}")  # noqa: S608 - the test's own
    await endpoint_failures.note_failures(connection, [(ended, 4, "5xx")])
    assert await doing(connection, ended) == (False, 0, None, 1)


async def test_both_are_noted_at_once_a_success_last(connection: Connection) -> None:
    (mended, failing, both) = await some_endpoints(connection, 3)
    await endpoint_failures.note_failures(connection, [(mended, 1, "5xx")])
    async with connection.transaction():
        await endpoint_failures.note_results(connection, [(failing, 1, "5xx"), (both, 1, "5xx")], [mended, both])
    assert [(await doing(connection, each))[:3] for each in (mended, failing, both)] == [
        (False, 0, None),
        (True, 1, "5xx"),
        (False, 0, None),
    ]


async def test_processes_that_note_the_same_endpoints_in_opposite_roles_never_block_each_other_for_good(
    connection: Connection, dsn: str
) -> None:
    ids = await some_endpoints(connection, 20)
    await endpoint_failures.note_failures(connection, [(each, 0, "5xx") for each in ids])
    async with asyncpg.create_pool(dsn, min_size=4, max_size=4) as pool:

        async def note(number: int) -> None:
            failing, mended = ids[number % 2 :: 2], ids[1 - number % 2 :: 2]
            if number % 3:
                failing, mended = failing[::-1], mended[::-1]
            async with pool.acquire() as own, own.transaction():
                await endpoint_failures.note_results(own, [(each, 1, "5xx") for each in failing], mended)

        await asyncio.gather(*(note(number) for number in range(200)))
    await endpoint_failures.note_results(connection, [(each, 0, "timeout") for each in ids[::2]], ids[1::2])
    assert [(await doing(connection, each))[::2] for each in ids] == [(True, "timeout"), (False, None)] * 10


async def test_counts_of_several_processes_add_up(connection: Connection, dsn: str) -> None:
    ids = await some_endpoints(connection, 5)
    async with asyncpg.create_pool(dsn, min_size=4, max_size=4) as pool:

        async def note(number: int) -> None:
            async with pool.acquire() as own:
                order = ids if number % 2 else ids[::-1]
                await endpoint_failures.note_failures(own, [(each, 1, "5xx") for each in order])

        await asyncio.gather(*(note(number) for number in range(40)))
    assert [(await doing(connection, each))[1] for each in ids] == [40] * 5


# --- the end of it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "dropped", "is_disabled"),
    [(5 * DAY, 20, True), (6 * DAY, 21, True), (5 * DAY - 60, 20, False), (5 * DAY, 19, False), (0, 1000, False)],
)
async def test_only_who_fails_for_long_and_loses_much_is_disabled(
    seconds: float, dropped: int, connection: Connection, *, is_disabled: bool
) -> None:
    (failing, fine) = await some_endpoints(connection, 2)
    await endpoint_failures.note_failures(connection, [(failing, dropped, "timeout")])
    await age(connection, failing, seconds)
    since = await connection.fetchval("SELECT failing_since FROM endpoints WHERE id = $1", failing)
    disabled = await endpoint_failures.disable_failing(connection, after_seconds=5 * DAY, dropped=20)
    expected = [Disabled("acct_1", failing, "failing", since, dropped, "timeout")] if is_disabled else []
    assert disabled == expected
    assert await endpoint_failures.disable_failing(connection, after_seconds=5 * DAY, dropped=20) == []
    statuses = await connection.fetch("SELECT status, version FROM endpoints ORDER BY id")
    assert [tuple(row) for row in statuses] == [("disabled", 2) if is_disabled else ("active", 1), ("active", 1)]
    assert fine == max(failing, fine)


async def test_who_is_disabled_for_an_answer_tells_how_it_was_doing(connection: Connection) -> None:
    (gone,) = await some_endpoints(connection, 1)
    await endpoint_failures.note_failures(connection, [(gone, 1, "410")])
    since = await connection.fetchval("SELECT failing_since FROM endpoints")
    assert await endpoint_failures.disable(connection, [gone, gone], "gone") == [
        Disabled("acct_1", gone, "gone", since, 1, "410")
    ]


async def test_a_row_somebody_is_writing_to_is_left_for_the_next_time(connection: Connection, dsn: str) -> None:
    ids = await some_endpoints(connection, 2)
    await endpoint_failures.note_failures(connection, [(each, 20, "5xx") for each in ids])
    for each in ids:
        await age(connection, each, DAY)
    other = await asyncpg.connect(dsn)
    async with other.transaction():
        await endpoint_failures.note_successes(other, ids[:1])
        disabled = await endpoint_failures.disable_failing(connection, after_seconds=DAY, dropped=1)
        assert [each.id for each in disabled] == ids[1:]
    await other.close()
    assert await endpoint_failures.disable_failing(connection, after_seconds=DAY, dropped=1) == []  # it had recovered
