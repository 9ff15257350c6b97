"""An account may fill so much of the queue; what is beyond is logged, seen and recoverable, and others never notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from publisher import queue as queue_module
from publisher import quota
from publisher.queue import Enqueued
from publisher.quota import Quota
from tests.support.jobs import a_job, a_message, an_endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Pool = asyncpg.Pool[asyncpg.Record]

LIMIT = 10


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4) as opened:
        yield opened


async def _fill(pool: Pool, account: str, count: int) -> None:
    message = a_message(f"msg_{account}_{count}", account=account)
    endpoint = an_endpoint(endpoint_id=f"we_{account}", account=account)
    jobs = [a_job(f"dlv_{account}_{count}_{number}", endpoint=endpoint, message=message) for number in range(count)]
    async with pool.acquire() as connection, connection.transaction():
        await queue_module.enqueue(connection, [message], Enqueued((), jobs), 30)


async def _end(pool: Pool, account: str, count: int) -> None:
    await pool.execute(
        "DELETE FROM queue WHERE id IN (SELECT id FROM queue WHERE account_id = $1 LIMIT $2)", account, count
    )


async def _state(pool: Pool, account: str) -> int | None:
    async with pool.acquire() as connection:
        state = await quota.state_of(connection, account)
    return state.queued if state else None


async def test_an_account_is_full_at_its_limit_and_others_are_not(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    counted = Quota(pool, LIMIT)
    await _fill(pool, "acct_full", LIMIT)
    await _fill(pool, "acct_busy", LIMIT - 1)
    assert counted.full() == frozenset()
    await counted.count()
    assert counted.full() == {"acct_full"}
    assert await _state(pool, "acct_full") == LIMIT
    assert await _state(pool, "acct_busy") is None
    assert "1 accounts have a full queue" in caplog.text
    assert "acct_full" not in caplog.text


async def test_it_has_room_again_only_well_below_the_limit(pool: Pool) -> None:
    counted = Quota(pool, LIMIT)
    await _fill(pool, "acct_1", LIMIT)
    await counted.count()
    await _end(pool, "acct_1", 2)
    await counted.count()
    assert (counted.full(), await _state(pool, "acct_1")) == (frozenset({"acct_1"}), 8)
    await _end(pool, "acct_1", 1)
    await counted.count()
    assert (counted.full(), await _state(pool, "acct_1")) == (frozenset(), None)
    await _fill(pool, "acct_1", 1)
    await counted.count()
    assert counted.full() == frozenset()


async def test_every_process_learns_what_another_one_counted(pool: Pool) -> None:
    mine, yours = Quota(pool, LIMIT), Quota(pool, LIMIT)
    await _fill(pool, "acct_1", LIMIT)
    await mine.count()
    await yours.count()
    assert mine.full() == yours.full() == {"acct_1"}


async def test_since_when_it_is_full_stays_what_it_was(pool: Pool) -> None:
    counted = Quota(pool, LIMIT)
    await _fill(pool, "acct_1", LIMIT)
    await counted.count()
    first = await pool.fetchval("SELECT since FROM full_accounts")
    await _fill(pool, "acct_1", LIMIT + 1)
    await counted.count()
    assert await pool.fetchval("SELECT since FROM full_accounts") == first
    assert await _state(pool, "acct_1") == 2 * LIMIT + 1
