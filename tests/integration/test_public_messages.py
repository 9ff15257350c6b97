"""A public message stands once, under no account, and is for each account that asked for it as its own would be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from publisher import deliveries, log, queue
from publisher.deliveries import Redelivery
from publisher.ids import DELIVERY, Ids
from tests.support.jobs import a_message
from tests.support.queues import a_result, postgres_bench
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from publisher.queue import Job
    from tests.support.queues import PostgresBench

MINE = 1001


@pytest.fixture
async def bench(dsn: str) -> AsyncIterator[PostgresBench]:
    """Yield a queue of two accounts with an endpoint each, for both of which the same message waits."""
    async with postgres_bench(dsn) as made:
        await made.endpoint()
        message = a_message(Ids(FakeClock()).new("msg"), account="")
        async with made.pool.acquire() as connection, connection.transaction():
            stem = Ids(FakeClock()).stem(DELIVERY)
            assert await queue.enqueue_public(connection, message, ["*"], stem) == 2
        yield made


async def _ended(bench: PostgresBench, state: str) -> list[Job]:
    jobs = await bench.queue.claim(10, MINE)
    await bench.queue.record([a_result(job, state) for job in jobs])
    return jobs


async def test_each_account_is_given_its_bytes_from_the_one_row(bench: PostgresBench) -> None:
    jobs = await bench.queue.claim(10, MINE)
    assert {job.endpoint.account for job in jobs} == {"acct_1", "acct_1001"}
    assert {job.message.body for job in jobs} == {a_message().body}
    assert await bench.pool.fetchval("SELECT count(*) FROM messages") == 1


async def test_each_account_reads_it_in_its_own_log(bench: PostgresBench) -> None:
    async with bench.pool.acquire() as connection:
        for job in await _ended(bench, "delivered"):
            account, endpoint_id = job.endpoint.account, job.endpoint.id
            read = await log.read_delivery(connection, account, endpoint_id, job.id, header_prefix="x-nb")
            assert read is not None
            assert (read.body, len(read.attempts)) == (job.message.body, 1)


async def test_each_account_may_have_it_sent_again(bench: PostgresBench) -> None:
    jobs = await _ended(bench, "dropped")
    async with bench.pool.acquire() as connection:
        for job in jobs:
            again = await deliveries.redeliver(connection, job.endpoint.account, job.endpoint.id, job.id)
            assert again is Redelivery.QUEUED
    assert {job.id for job in await bench.queue.claim(10, MINE)} == {job.id for job in jobs}


async def test_a_private_message_is_its_accounts_alone_even_by_its_id(bench: PostgresBench) -> None:
    """No statement takes an id for a proof of whose a message is."""
    await bench.pool.execute("UPDATE messages SET account_id = 'acct_1001'")
    jobs = await bench.queue.claim(10, MINE)
    assert [job.endpoint.account for job in jobs] == ["acct_1001"]
    [(account, reason)] = await bench.pool.fetch("SELECT account_id, reason FROM deliveries")
    assert (account, reason) == ("acct_1", "expired")
