"""A delivery is sent again on a real PostgreSQL: which may be, which may not, and once for however many ask."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from publisher.deliveries import MOST_ATTEMPTS, Redelivery, redeliver
from publisher.queue import PostgresQueue
from tests.support.histories import Histories, histories

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def past(dsn: str) -> AsyncIterator[Histories]:
    async with histories(dsn) as made:
        yield made


async def ask(past: Histories, endpoint_id: str, delivery_id: str, account: str = "acct_1") -> Redelivery:
    async with past.pool.acquire() as connection:
        return await redeliver(connection, account, endpoint_id, delivery_id)


@pytest.mark.parametrize("state", ["delivered", "dropped", "cancelled"])
async def test_what_has_ended_is_due_at_once_with_its_bytes_and_numbers_on(past: Histories, state: str) -> None:
    endpoint_id = await past.endpoint()
    delivery_id = await past.add(endpoint_id, state, attempts=3)
    other = await past.add(endpoint_id, state)
    body = await past.pool.fetchval("SELECT body FROM messages ORDER BY id LIMIT 1")
    assert await ask(past, endpoint_id, delivery_id) is Redelivery.QUEUED
    assert await past.queued() == [delivery_id]
    [job] = await PostgresQueue(past.pool, past.directory, lease_seconds=30).claim(10, 7)
    assert (job.id, job.attempt, job.tried, job.tried_for, job.message.body) == (delivery_id, 4, 0, 0.0, body)
    assert job.message.id == delivery_id.replace("dlv", "msg")
    assert await past.state(other) == state


@pytest.mark.parametrize("state", ["pending", "retry"])
async def test_what_waits_is_made_due_and_stays_on_its_schedule(past: Histories, state: str) -> None:
    endpoint_id = await past.endpoint()
    delivery_id = await past.add(endpoint_id, state)
    later = await past.add(endpoint_id, "retry")
    assert await ask(past, endpoint_id, delivery_id) is Redelivery.QUEUED
    assert await past.due(delivery_id)
    assert await past.state(delivery_id) == state
    assert not await past.due(later)


async def test_what_is_being_attempted_is_left_to_its_worker(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    delivery_id = await past.add(endpoint_id, "leased")
    assert await ask(past, endpoint_id, delivery_id) is Redelivery.UNDER_WAY
    assert not await past.due(delivery_id)


async def test_what_retention_took_stays_where_it_is(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    delivery_id = await past.add(endpoint_id, has_payload=False)
    assert await ask(past, endpoint_id, delivery_id) is Redelivery.EXPIRED
    assert await past.state(delivery_id) == "dropped"


@pytest.mark.parametrize("status", ["paused", "disabled"])
async def test_an_inactive_endpoint_is_sent_nothing(past: Histories, status: str) -> None:
    endpoint_id = await past.endpoint()
    delivery_id = await past.add(endpoint_id)
    reason = "gone" if status == "disabled" else None
    await past.execute("UPDATE endpoints SET status = $1, disabled_reason = $2", status, reason)
    assert await ask(past, endpoint_id, delivery_id) is Redelivery.ENDPOINT_INACTIVE
    assert await past.queued() == []


async def test_a_full_queue_takes_nothing_that_is_not_in_it(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    ended, waiting = await past.add(endpoint_id), await past.add(endpoint_id, "retry")
    await past.execute("INSERT INTO full_accounts (account_id, queued) VALUES ('acct_1', 100)")
    assert await ask(past, endpoint_id, ended) is Redelivery.QUEUE_FULL
    assert await ask(past, endpoint_id, waiting) is Redelivery.QUEUED
    assert await past.queued() == [waiting]


async def test_attempts_end_before_their_numbers_do(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    last = await past.add(endpoint_id, attempts=MOST_ATTEMPTS - 1)
    too_many = await past.add(endpoint_id, attempts=MOST_ATTEMPTS)
    assert await ask(past, endpoint_id, last) is Redelivery.QUEUED
    assert await ask(past, endpoint_id, too_many) is Redelivery.TOO_MANY_ATTEMPTS
    assert await past.queued() == [last]


async def test_another_accounts_and_an_unknown_one_look_the_same(past: Histories) -> None:
    mine, theirs = await past.endpoint(), await past.endpoint("acct_2")
    delivery_id = await past.add(theirs, account="acct_2")
    sibling = await past.endpoint("acct_2")
    asked = [
        await ask(past, theirs, delivery_id),
        await ask(past, mine, delivery_id),
        await ask(past, sibling, delivery_id, "acct_2"),
        await ask(past, mine, "dlv_no_such"),
        await ask(past, "we_no_such", delivery_id),
        await ask(past, mine, "dlv_\x00"),
        await ask(past, "we_\x00", delivery_id),
    ]
    assert asked == [Redelivery.NOT_FOUND] * len(asked)
    assert await past.queued() == []


async def test_it_is_queued_once_however_many_ask(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    delivery_id = await past.add(endpoint_id)
    answers = await asyncio.gather(*(ask(past, endpoint_id, delivery_id) for _ in range(8)))
    assert answers == [Redelivery.QUEUED] * 8
    assert await past.queued() == [delivery_id]
    assert await past.state(delivery_id) == "pending"


async def test_who_asks_while_it_is_being_put_back_waits_and_is_answered_the_same(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    delivery_id = await past.add(endpoint_id)
    async with past.pool.acquire() as connection, connection.transaction():
        assert await redeliver(connection, "acct_1", endpoint_id, delivery_id) is Redelivery.QUEUED
        second = asyncio.create_task(ask(past, endpoint_id, delivery_id))
        async with asyncio.timeout(10):
            while not await past.pool.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                assert not second.done()
    assert await second is Redelivery.QUEUED
    assert await past.queued() == [delivery_id]


async def test_a_transaction_that_fails_leaves_it_where_it_was(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    delivery_id = await past.add(endpoint_id)
    async with past.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        assert await redeliver(connection, "acct_1", endpoint_id, delivery_id) is Redelivery.QUEUED
        await transaction.rollback()
    assert await past.state(delivery_id) == "dropped"
    assert await past.queued() == []
