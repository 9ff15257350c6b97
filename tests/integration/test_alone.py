"""What is done for all processes is done by one at a time: two who come at once, one who dies, one who is silent."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg
import pytest

from feeds import documents
from feeds.canary_reminders import remind
from feeds.documents import Feed
from publisher import alone, failures, housekeeping
from publisher.alone import Alone
from publisher.housekeeping import Chore
from publisher.queue import Enqueued, enqueue
from publisher.quota import COUNTING, Quota
from publisher.retention import Retention
from runtime.database import TRANSIENT
from tests.support import canaries
from tests.support.directories import a_directory, register
from tests.support.jobs import a_job, a_message, an_endpoint
from tests.support.published_canaries import Watching, believed
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from runtime.database import Pool
    from runtime.settings import Settings

CHORE = "a chore"
#: The fewest connections a process may have (DATABASE_POOL).
FEWEST = 3


@pytest.fixture
async def pools(dsn: str) -> AsyncIterator[tuple[Pool, Pool]]:
    """Two processes, as far as PostgreSQL can tell."""
    async with (
        asyncpg.create_pool(dsn, min_size=1, max_size=FEWEST) as one,
        asyncpg.create_pool(dsn, min_size=1, max_size=FEWEST) as other,
    ):
        yield one, other


async def test_one_at_a_time_and_the_next_when_that_one_is_done(pools: tuple[Pool, Pool]) -> None:
    one, other = map(Alone, pools)
    async with one.turn(CHORE) as is_ours:
        assert is_ours
        async with other.turn(CHORE) as is_theirs:
            assert not is_theirs
        async with other.turn("another chore") as is_theirs:
            assert is_theirs
    async with other.turn(CHORE) as is_theirs:
        assert is_theirs


async def test_what_fails_gives_its_turn_back(pools: tuple[Pool, Pool]) -> None:
    one, other = map(Alone, pools)
    with pytest.raises(ConnectionError):
        async with one.turn(CHORE):
            raise ConnectionError
    async with other.turn(CHORE) as is_theirs:
        assert is_theirs


async def test_a_process_that_dies_holds_nobody_up(pools: tuple[Pool, Pool]) -> None:
    one, other = pools
    is_taken_over = False
    with contextlib.suppress(*TRANSIENT):
        async with Alone(one).turn(CHORE):
            await other.execute("""
                SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND granted
            """)
            async with Alone(other).turn(CHORE) as is_theirs:
                is_taken_over = is_theirs
    assert is_taken_over


async def test_one_that_is_silent_loses_its_turn(pools: tuple[Pool, Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = pools
    monkeypatch.setattr(alone, "BOUND", alone.BOUND.replace(f"{alone.SILENT}s", "1ms"))
    is_taken_over = False
    with contextlib.suppress(*TRANSIENT):
        async with Alone(one).turn(CHORE), other.acquire() as connection, connection.transaction():
            async with asyncio.timeout(10):
                await connection.execute(alone.TAKE.replace("pg_try_", "pg_"), CHORE)
            is_taken_over = await alone.take(connection, CHORE)
    assert is_taken_over


async def test_many_chores_never_wait_for_each_others_connections(pools: tuple[Pool, Pool]) -> None:
    """Each holds a connection for its turn and asks for another: with more chores than connections all are done."""
    pool, _ = pools
    done: set[str] = set()
    stop = asyncio.Event()

    def work(name: str) -> Callable[[], Awaitable[None]]:
        async def ask() -> None:
            await pool.execute("SELECT 1")
            done.add(name)
            if len(done) == len(names):
                stop.set()

        return ask

    names = [f"chore {number}" for number in range(2 * FEWEST)]
    chores = [Chore(name, 3600, work(name), is_for_all=True) for name in names]
    async with asyncio.timeout(10):
        await housekeeping.keep(chores, stop, Alone(pool))
    assert done == set(names)


# --- the chores themselves, by two processes at once ------------------------------------------------------------------


async def both(pools: tuple[Pool, Pool], name: str, work: Callable[[Pool], Awaitable[None]]) -> None:
    """Have both processes do a chore, at the same moment and then again, as their rhythms bring it about."""

    async def rounds(pool: Pool) -> None:
        for _ in range(3):
            async with Alone(pool).turn(name) as is_ours:
                if is_ours:
                    await work(pool)

    await asyncio.gather(*map(rounds, pools))


async def test_a_canary_that_is_due_is_reminded_of_once(pools: tuple[Pool, Pool]) -> None:
    first = canaries.first(datetime(2028, 2, 1, 12, tzinfo=UTC))
    clock = FakeClock(datetime(2028, 2, 23, tzinfo=UTC))
    async with pools[0].acquire() as connection:
        await documents.save(
            connection, Feed.CANARY, 1, first.content, signatures=(), published_at=first.statement.issued_at
        )
    await both(pools, "remind of the canary", lambda pool: remind(pool, Watching(believed(first)), clock))
    assert [tuple(row) for row in await pools[0].fetch("SELECT type FROM announcements")] == [("canary.due",)]


async def test_an_endpoint_that_fails_is_disabled_and_announced_once(pools: tuple[Pool, Pool], dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    endpoint_id, _ = await register(a_directory(), connection)
    await connection.close()
    await pools[0].execute("UPDATE endpoints SET failing_since = now() - interval '9 days', dropped = 99")
    await both(
        pools, "disable failing endpoints", lambda pool: failures.disable_failing(pool, after=86_400, dropped=20)
    )
    said = await pools[0].fetch("SELECT type, data::jsonb ->> 'endpoint_id' FROM announcements")
    assert [tuple(row) for row in said] == [("webhook.disabled", endpoint_id)]


async def test_partitions_that_are_past_go_once_and_nobody_is_told_of_a_busy_table(
    pools: tuple[Pool, Pool], settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    await pools[0].execute("""
        CREATE TABLE messages_20200101 PARTITION OF messages
        FOR VALUES FROM ('msg_016f5e66e800') TO ('msg_016f638d4400')
    """)
    with caplog.at_level("INFO"):
        await both(pools, "retention", lambda pool: Retention(pool, settings).sweep())
    assert await pools[0].fetchval("SELECT to_regclass('messages_20200101')") is None
    assert [line for line in caplog.messages if "messages_20200101" in line] == [
        "dropped, as retention says: messages_20200101"
    ]
    assert "another session" not in caplog.text


async def test_full_accounts_are_counted_by_one_and_known_to_all(pools: tuple[Pool, Pool]) -> None:
    one, other = pools
    message = a_message(account="acct_full")
    jobs = [a_job("dlv_1", endpoint=an_endpoint(account="acct_full"), message=message)]
    async with one.acquire() as connection, connection.transaction():
        await enqueue(connection, [message], Enqueued((), jobs), 30)
    waiting, counting = Quota(one, 1), Quota(other, 1)
    async with one.acquire() as connection, connection.transaction():
        assert await alone.take(connection, COUNTING)
        await waiting.count()
        assert waiting.full() == frozenset()  # whoever has the turn has not counted yet
    await counting.count()
    async with one.acquire() as connection, connection.transaction():
        assert await alone.take(connection, COUNTING)
        await waiting.count()
    assert waiting.full() == counting.full() == {"acct_full"}
