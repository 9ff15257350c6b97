"""Retention on a real PostgreSQL: partitions come in time and go whole, and nobody at work waits long for either."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import asyncpg
import pytest

from publisher.retention import DAY, Retention, layouts
from runtime import partitions
from runtime import settings as runtime_settings
from tests.support import process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.database import Connection, Pool
    from runtime.partitions import Layout

LAYOUTS = layouts(runtime_settings.load(environ={}))
MESSAGES, DELIVERIES, ATTEMPTS, INBOX = LAYOUTS
BY_TABLE = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.table)
#: A row of each table whose key is $1.
INSERT = {
    "messages": "INSERT INTO messages (account_id, id, type, body) VALUES ('a', $1, 't', '{}')",
    "deliveries": """
        INSERT INTO deliveries (account_id, id, endpoint_id, message_id, type, state, attempts, created_at)
        VALUES ('a', $1, 'we_1', 'msg_1', 't', 'delivered', 1, now())""",
    "attempts": """
        INSERT INTO attempts (account_id, delivery_id, number, result, duration_ms, attempted_at)
        VALUES ('a', $1, 1, '2xx', 1, now())""",
    "inbox": "INSERT INTO inbox (period, source, event_id) VALUES ($1::text::integer, '/test', 'e')",
}
CHILDREN = """
SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid
WHERE inhparent = $1::text::regclass AND pg_get_expr(relpartbound, oid) <> 'DEFAULT' ORDER BY relname
"""
WAITS_FOR = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = $1::text::regclass)"


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=3) as opened:
        yield opened


@pytest.fixture
async def session(dsn: str) -> AsyncIterator[Connection]:
    """Yield somebody else's connection."""
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def retention(pool: Pool) -> Retention:
    """Return the retention of a database that has all it needs, whatever day the template was made on."""
    made = Retention(pool, runtime_settings.load(environ={}))
    await made.ensure()
    return made


async def _now(pool: Pool) -> int:
    now: int = await pool.fetchval("SELECT (extract(epoch FROM now()) * 1000)::bigint")
    return now


async def _children(pool: Pool, table: str) -> list[str]:
    return [row["relname"] for row in await pool.fetch(CHILDREN, table)]


async def _count(pool: Pool, table: str) -> int:
    count: int = await pool.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - ours
    return count


def _key(layout: Layout, time: int) -> str:
    """Return a key of that moment: an id with its randomness, or a period."""
    return layout.key_at(time) if layout is INBOX else f"{layout.key_at(time)}{'5' * 20}"


async def _partition_at(pool: Pool, layout: Layout, time: int) -> str:
    """Make the partition that covers `time`, unless it is there; return its name."""
    start = time // layout.width * layout.width
    name = f"{layout.table}_{layout.label(start)}"
    await pool.execute(
        f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {layout.table} "
        f"FOR VALUES FROM ('{layout.key_at(start)}') TO ('{layout.key_at(start + layout.width)}')"
    )
    return name


async def _drop_all(pool: Pool, layout: Layout) -> None:
    for name in await _children(pool, layout.table):
        await pool.execute(f"DROP TABLE {name}")


# --- making -----------------------------------------------------------------------------------------------------------


@BY_TABLE
async def test_what_migrations_made_retention_goes_on_with(layout: Layout, pool: Pool, retention: Retention) -> None:
    """Same names, same ranges: what is there after `ensure` is one row of whole partitions."""
    before = await _children(pool, layout.table)
    await retention.ensure()
    assert await _children(pool, layout.table) == before
    now = await _now(pool)
    current = now // layout.width * layout.width
    wanted = range(current - layout.width, current + (layout.ahead + 1) * layout.width, layout.width)
    assert {f"{layout.table}_{layout.label(start)}" for start in wanted} <= set(before)
    for start in wanted:
        found = await pool.fetchval(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = $1",
            f"{layout.table}_{layout.label(start)}",
        )
        assert partitions.parse_bounds(layout, "x", found) == partitions.Partition("x", start, start + layout.width)


@BY_TABLE
async def test_a_partition_of_retention_is_like_one_of_the_migration(
    layout: Layout, pool: Pool, retention: Retention
) -> None:
    """Columns, constraints, and indexes that are part of the table's."""
    queries = (
        """SELECT attname, atttypid, attnotnull, attcollation, pg_get_expr(adbin, adrelid)
           FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
           WHERE attrelid = $1::text::regclass AND attnum > 0 ORDER BY attnum""",
        """SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
           WHERE conrelid = $1::text::regclass AND contype = 'c' ORDER BY conname""",
        """SELECT regexp_replace(pg_get_indexdef(indexrelid), '.* USING', ''), inhparent::regclass::text
           FROM pg_index JOIN pg_inherits ON inhrelid = indexrelid
           WHERE indrelid = $1::text::regclass ORDER BY 1""",
    )
    reference = await _partition_at(pool, layout, await _now(pool) - 1000 * DAY)
    newest = await _drop_newest(pool, layout)
    await retention.ensure()
    for query in queries:
        assert await pool.fetch(query, newest) == await pool.fetch(query, reference)
    assert len(await pool.fetch(queries[2], newest)) == (2 if layout == DELIVERIES else 1)


async def _drop_newest(pool: Pool, layout: Layout) -> str:
    name = (await _children(pool, layout.table))[-1]
    await pool.execute(f"DROP TABLE {name}")
    return name


@BY_TABLE
async def test_after_a_long_stop_rows_that_came_too_early_move_to_their_partition(
    layout: Layout, pool: Pool, retention: Retention, caplog: pytest.LogCaptureFixture
) -> None:
    names = await _children(pool, layout.table)
    await _drop_all(pool, layout)
    now = await _now(pool)
    await pool.execute(INSERT[layout.table], _key(layout, now))
    assert await _count(pool, f"{layout.table}_default") == 1
    with caplog.at_level(logging.INFO):
        await retention.ensure()
    assert await _children(pool, layout.table) == names
    assert await _count(pool, f"{layout.table}_default") == 0
    assert await _count(pool, f"{layout.table}_{layout.label(now // layout.width * layout.width)}") == 1
    assert [record.message for record in caplog.records] == [f"partitions made: {', '.join(names)}"]


@BY_TABLE
async def test_making_waits_for_no_transaction_that_writes(
    layout: Layout, pool: Pool, retention: Retention, session: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    missing = await _drop_newest(pool, layout)
    async with session.transaction():
        await session.execute(INSERT[layout.table], _key(layout, await _now(pool)))
        await retention.ensure()
        assert missing in await _children(pool, layout.table)
    assert caplog.messages == []
    assert await _count(pool, layout.table) == 1


async def test_two_processes_at_once_make_each_partition_once(
    pool: Pool, retention: Retention, caplog: pytest.LogCaptureFixture
) -> None:
    names = {layout.table: await _children(pool, layout.table) for layout in LAYOUTS}
    for layout in LAYOUTS:
        await _drop_all(pool, layout)
    other = Retention(pool, runtime_settings.load(environ={}))
    with caplog.at_level(logging.WARNING):
        await asyncio.gather(retention.ensure(), other.sweep())
    assert caplog.records == []
    assert {layout.table: await _children(pool, layout.table) for layout in LAYOUTS} == names


async def test_a_table_whose_default_partition_is_being_read_is_left_for_the_next_time(
    pool: Pool, retention: Retention, session: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    missing = await _drop_newest(pool, MESSAGES)
    also_missing = await _drop_newest(pool, ATTEMPTS)
    async with session.transaction():
        await session.fetch("SELECT FROM messages")
        await retention.ensure()
        assert missing not in await _children(pool, "messages")
        assert also_missing in await _children(pool, "attempts")
    assert "messages: partitions are missing, another session is using the table; next time" in caplog.messages
    await retention.ensure()
    assert missing in await _children(pool, "messages")


# --- dropping ---------------------------------------------------------------------------------------------------------


async def test_days_are_dropped_whole_and_no_row_is_deleted(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    """On one connection, so that its statistics are complete when it is asked for them."""
    async with asyncpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        retention = Retention(pool, runtime_settings.load(environ={}))
        await retention.ensure()
        now = await _now(pool)
        past: list[str] = []
        young: list[str] = []
        files: list[str] = []
        for layout in LAYOUTS:
            for time, names in ((now - layout.keep - layout.width, past), (now - layout.keep, young)):
                names.append(await _partition_at(pool, layout, time))
                await pool.execute(INSERT[layout.table], _key(layout, time))
            files.append(await pool.fetchval("SELECT pg_relation_filepath($1::text::regclass)", past[-1]))
        await pool.execute("""
            INSERT INTO queue (account_id, id, endpoint_id, message_id, type, state, due_at)
            VALUES ('a', 'dlv_000000000000', 'we_1', 'msg_000000000000', 't', 'pending', now())
        """)
        with caplog.at_level(logging.INFO):
            await retention.sweep()
        assert caplog.messages == [f"dropped, as retention says: {', '.join(past)}"]
        for layout, gone, kept in zip(LAYOUTS, past, young, strict=True):
            assert gone not in await _children(pool, layout.table)
            assert await pool.fetchval("SELECT to_regclass($1)", gone) is None
            assert await _count(pool, kept) == await _count(pool, layout.table) == 1
        await pool.execute("CHECKPOINT")  # the last empty segment of a dropped file stays until then
        assert [await pool.fetchval("SELECT (pg_stat_file($1, true)).size", path) for path in files] == [None] * 4
        assert await _count(pool, "queue") == 1
        await pool.execute("SELECT pg_stat_force_next_flush()")
        deleted = await pool.fetch(
            "SELECT relname, n_tup_ins, n_tup_del FROM pg_stat_user_tables WHERE n_tup_ins > 0 OR n_tup_del > 0"
        )
        assert {row["relname"]: (row["n_tup_ins"], row["n_tup_del"]) for row in deleted} == dict.fromkeys(
            (*young, "queue"), (1, 0)
        )


async def test_dropping_gives_up_for_a_transaction_at_work_and_holds_nobody_else_up(
    pool: Pool, retention: Retention, session: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """The open transaction ends only after somebody who came behind the waiting DROP has got through."""
    now = await _now(pool)
    past = await _partition_at(pool, MESSAGES, now - MESSAGES.keep - DAY)
    also_past = await _partition_at(pool, ATTEMPTS, now - ATTEMPTS.keep - DAY)
    async with session.transaction():
        await session.execute(INSERT["messages"], _key(MESSAGES, now))
        sweep = asyncio.create_task(retention.sweep())

        async def waits() -> bool:
            return bool(await pool.fetchval(WAITS_FOR, "messages"))

        await process.until(waits, "the DROP waits")
        await pool.execute(INSERT["messages"], _key(MESSAGES, now + 1))
        await sweep
        assert past in await _children(pool, "messages")
        assert also_past not in await _children(pool, "attempts")
    expected = "messages: partitions that are past are still there, another session is using the table; next time"
    assert expected in caplog.messages
    await retention.sweep()
    assert past not in await _children(pool, "messages")
    assert await _count(pool, "messages") == 2


# --- the default partition --------------------------------------------------------------------------------------------


@BY_TABLE
async def test_a_row_of_a_clock_far_off_is_kept_and_warned_of(
    layout: Layout, pool: Pool, retention: Retention, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one whose key says that it is long past: it may be a message that was made this minute."""
    now = await _now(pool)
    for time in (now + 3000 * DAY, now - 3000 * DAY):
        await pool.execute(INSERT[layout.table], _key(layout, time))
    await retention.sweep()
    assert await _count(pool, layout.table) == 2
    assert caplog.messages == [f"{layout.table}: rows outside the partitions of their time: 2 (is a clock far off?)"]


@BY_TABLE
async def test_rows_of_a_clock_far_off_go_by_the_time_they_were_written(
    layout: Layout, pool: Pool, retention: Retention, caplog: pytest.LogCaptureFixture
) -> None:
    now = await _now(pool)
    warning = f"{layout.table}: rows outside the partitions of their time: %d (is a clock far off?)"

    async def add(days_ahead: int, age: int) -> None:
        await pool.execute(INSERT[layout.table], _key(layout, now + days_ahead * DAY))
        await pool.execute(
            f"UPDATE {layout.table}_default SET {layout.stamp} = now() - $1 * interval '1 ms' "  # noqa: S608 - ours
            f"WHERE {layout.stamp} > now() - interval '1 minute'",
            age,
        )

    await add(3000, layout.keep - DAY // 2)
    await add(3100, layout.keep + DAY // 2)
    await retention.sweep()
    assert caplog.messages == [warning % 2]  # as long as the youngest row of another partition may keep the oldest
    caplog.clear()
    await add(3200, layout.keep + layout.width + DAY // 2)
    with caplog.at_level(logging.INFO):
        await retention.sweep()
    assert caplog.messages == [
        warning % 1,
        f"dropped, as retention says: what was past in the default partition of {layout.table}",
    ]
    assert await _count(pool, f"{layout.table}_default") == 1


# --- what is not as it should be --------------------------------------------------------------------------------------


async def test_what_is_wrong_with_one_table_is_said_and_leaves_the_others_alone(
    pool: Pool, retention: Retention, caplog: pytest.LogCaptureFixture
) -> None:
    taken = await _drop_newest(pool, MESSAGES)
    await pool.execute(f"CREATE TABLE {taken} ()")
    await pool.execute("CREATE TABLE odd PARTITION OF deliveries FOR VALUES FROM ('zebra') TO ('zoo')")
    made = await _drop_newest(pool, ATTEMPTS)
    await retention.ensure()
    bounds = "FOR VALUES FROM ('zebra') TO ('zoo')"
    assert caplog.messages == [
        f'partitions of messages left as they are (relation "{taken}" already exists)',
        f"partitions of deliveries left as they are (partition odd is {bounds}, no times of deliveries: detach it)",
    ]
    assert made in await _children(pool, "attempts")


async def test_a_server_that_cuts_statements_off_is_told_to_the_caller(dsn: str, session: Connection) -> None:
    await session.execute(f"SELECT pg_advisory_lock({partitions.ADVISORY_LOCK})")
    async with asyncpg.create_pool(dsn, min_size=1, server_settings={"statement_timeout": "20"}) as pool:
        with pytest.raises(asyncpg.QueryCanceledError):
            await Retention(pool, runtime_settings.load(environ={})).sweep()


async def test_a_pool_that_is_closed_is_told_to_the_caller(retention: Retention, pool: Pool) -> None:
    await pool.close()
    with pytest.raises(asyncpg.InterfaceError):
        await retention.sweep()


async def test_without_a_default_partition_it_works_as_well(pool: Pool, retention: Retention) -> None:
    await pool.execute("DROP TABLE messages_default")
    missing = await _drop_newest(pool, MESSAGES)
    await retention.sweep()
    assert missing in await _children(pool, "messages")
