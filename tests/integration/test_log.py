"""What a customer sees of deliveries, on a real PostgreSQL: the list, and one whole, as a receiver had it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from publisher import log
from publisher.deliveries import Redelivery, redeliver
from publisher.delivery.gate import Gate
from publisher.delivery.worker import Worker
from publisher.log import Filters, id_range, list_deliveries, possible, read_delivery, wanted
from publisher.metrics import PublisherMetrics
from publisher.queue import PostgresQueue
from runtime.clock import SystemClock
from tests.support.histories import HOUR_AGO, Histories, histories
from tests.support.process import until
from tests.support.receiver import Receiver
from tests.support.transports import USER_AGENT, a_transport
from tests.support.workers import GENEROUS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from publisher.log import Page, Whole

#: Of the transport's connection, and nothing of what was signed.
CONNECTION_HEADERS = {"host", "content-length"}


@pytest.fixture
async def past(dsn: str) -> AsyncIterator[Histories]:
    async with histories(dsn) as made:
        yield made


async def listed(past: Histories, endpoint_id: str, *, account: str = "acct_1", **asked: object) -> Page:
    async with past.pool.acquire() as connection:
        return await list_deliveries(connection, account, endpoint_id, **asked)  # type: ignore[arg-type]  # passed on


async def read(past: Histories, endpoint_id: str, delivery_id: str, account: str = "acct_1") -> Whole | None:
    async with past.pool.acquire() as connection:
        return await read_delivery(connection, account, endpoint_id, delivery_id, header_prefix="x-nb-")


def names(page: Page) -> list[str]:
    return [each.id for each in page.deliveries]


# --- the list -----------------------------------------------------------------------------------------------------


async def test_live_and_ended_are_in_one_order_the_newest_first(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    made = [
        await past.add(endpoint_id, state, at=HOUR_AGO - timedelta(hours=9 * number))
        for number, state in enumerate(("delivered", "retry", "dropped", "pending", "cancelled", "leased", "delivered"))
    ]
    page = await listed(past, endpoint_id)
    assert names(page) == made
    assert (page.total, page.is_complete) == (7, True)
    assert names(await listed(past, endpoint_id, oldest_first=True)) == made[::-1]


async def test_pages_follow_each_other_without_gap_or_overlap(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    made = [await past.add(endpoint_id, Random(number).choice(["delivered", "retry"])) for number in range(7)]
    pages = [await listed(past, endpoint_id, offset=offset, limit=3) for offset in (0, 3, 6, 9)]
    assert [len(page.deliveries) for page in pages] == [3, 3, 1, 0]
    assert [each for page in pages for each in names(page)] == made[::-1]
    assert {(page.total, page.newest) for page in pages} == {(7, made[-1])}


async def test_what_each_row_says(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    for state in ("retry", "dropped", "cancelled", "leased"):
        await past.add(endpoint_id, state)
    leased, cancelled, dropped, retry = (await listed(past, endpoint_id)).deliveries
    assert (retry.state, retry.attempts, retry.last_result) == ("retry", 1, "5xx")
    assert retry.next_attempt_at is not None
    assert retry.ended_at is None
    assert (dropped.reason, dropped.next_attempt_at, dropped.created_at) == (None, None, HOUR_AGO)
    assert dropped.ended_at is not None
    assert (cancelled.reason, cancelled.attempts, cancelled.last_result) == ("quota", 0, None)
    assert leased.next_attempt_at is None


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), [6, 5, 4, 3, 2, 1, 0]),
        (Filters(states=["delivered"]), [6, 0]),
        (Filters(states=["dropped", "retry"]), [2, 1]),
        (Filters(states=["pending", "leased", "retry"]), [4, 3, 1]),
        (Filters(states=[]), []),
        (Filters(type="topup.created"), [5]),
        (Filters(last_result="timeout"), [2]),
        (Filters(last_result="2xx"), [6, 0]),
        (Filters(states=["delivered"], last_result="timeout"), []),
        (Filters(since=HOUR_AGO + timedelta(minutes=2)), [6, 5, 4, 3, 2]),
        (Filters(until=HOUR_AGO + timedelta(minutes=2)), [2, 1, 0]),
        (Filters(since=HOUR_AGO + timedelta(minutes=2), until=HOUR_AGO + timedelta(minutes=4)), [4, 3, 2]),
        (Filters(states=["dropped"], since=HOUR_AGO + timedelta(minutes=3)), []),
    ],
)
async def test_filters(past: Histories, filters: Filters, expected: Sequence[int]) -> None:
    endpoint_id = await past.endpoint()
    states = ("delivered", "retry", "dropped", "pending", "leased", "cancelled", "delivered")
    made = [
        await past.add(
            endpoint_id,
            state,
            at=HOUR_AGO + timedelta(minutes=number),
            last_result="timeout" if state == "dropped" else None,
            event_type="topup.created" if state == "cancelled" else "server.power.on",
        )
        for number, state in enumerate(states)
    ]
    page = await listed(past, endpoint_id, filters=filters)
    assert names(page) == [made[number] for number in expected]
    assert (page.total, page.is_complete) == (len(expected), True)


async def test_what_is_not_looked_at_is_said_and_until_leads_on(
    past: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "LOOKED_AT", 4)
    endpoint_id = await past.endpoint()
    made = [
        await past.add(endpoint_id, "delivered" if number else "dropped", at=HOUR_AGO + timedelta(seconds=number))
        for number in range(6)
    ]
    page = await listed(past, endpoint_id, limit=3)
    assert (names(page), page.total, page.is_complete) == (made[:2:-1], 4, False)
    assert names(await listed(past, endpoint_id, limit=3, offset=3)) == [made[2]]
    rest = await listed(past, endpoint_id, filters=Filters(until=HOUR_AGO + timedelta(seconds=1)))
    assert (names(rest), rest.is_complete) == ([made[1], made[0]], True)
    beyond = await listed(past, endpoint_id, filters=Filters(type="no.such"))
    assert (beyond.total, beyond.is_complete) == (0, False)
    for _ in range(4):  # live ones, as many as are looked at, are not in the way of what has ended
        await past.add(endpoint_id, "retry", at=HOUR_AGO + timedelta(minutes=1))
    rare = await listed(past, endpoint_id, filters=Filters(states=["dropped"]))
    assert (names(rare), rare.is_complete) == ([made[0]], True)


async def test_another_accounts_log_looks_like_none(past: Histories) -> None:
    mine, theirs = await past.endpoint(), await past.endpoint("acct_2")
    delivery_id = await past.add(theirs, account="acct_2")
    own = await past.add(mine)
    assert names(await listed(past, theirs, account="acct_2")) == [delivery_id]
    for endpoint_id in (theirs, "we_no_such", "we_\x00"):
        page = await listed(past, endpoint_id)
        assert (names(page), page.total, page.is_complete) == ([], 0, True)
    for endpoint_id, asked in ((theirs, delivery_id), (mine, delivery_id), (theirs, own), (mine, "dlv_\x00")):
        assert await read(past, endpoint_id, asked) is None


# --- one whole ------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def delivering(past: Histories) -> AsyncIterator[None]:
    """A worker on the real queue and transport, with everything due at once."""
    async with a_transport() as transport:
        worker = Worker(
            queue=PostgresQueue(past.pool, past.directory, lease_seconds=30, agent=USER_AGENT),
            transport=transport,
            gate=Gate(GENEROUS, SystemClock()),
            clock=SystemClock(),
            rng=Random(20261101),
            metrics=PublisherMetrics(CollectorRegistry(), profile="nordbastion"),
            header_prefix="x-nb-",
            slots=8,
            claim_interval=0.05,
            record_interval=0.0,
            drain_timeout=5.0,
            longest_wait=60.0,
        )
        stop = asyncio.Event()
        running = asyncio.create_task(worker.run(stop))
        try:
            yield
        finally:
            stop.set()
            await running


async def test_a_delivery_is_shown_as_its_receiver_had_it(past: Histories) -> None:
    async with Receiver().listening() as receiver:
        async with past.pool.acquire() as connection:
            endpoint_id, secret = await past.directory.register(
                connection, account="acct_1", url=receiver.url, events=["*"]
            )
        receiver.trust(secret)
        receiver.answers.extend([500, 204])
        delivery_id = await past.add(endpoint_id, "pending")
        async with delivering(past):
            await receiver.until(lambda r: len(r.received) == 1)

            async def is_in(state: str) -> bool:
                return await past.state(delivery_id) == state

            await until(lambda: is_in("retry"), "the failure is recorded")
            async with past.pool.acquire() as connection:
                assert await redeliver(connection, "acct_1", endpoint_id, delivery_id) is Redelivery.QUEUED
            await until(lambda: is_in("delivered"), "the retry is recorded")
            async with past.pool.acquire() as connection:
                assert await redeliver(connection, "acct_1", endpoint_id, delivery_id) is Redelivery.QUEUED
            await receiver.until(lambda r: len(r.received) == 3)
            await until(lambda: is_in("delivered"), "the redelivery is recorded")
    whole = await read(past, endpoint_id, delivery_id)
    assert whole is not None
    assert (whole.delivery.state, whole.delivery.attempts) == ("delivered", 3)
    assert [(each.number, each.result, each.status) for each in whole.attempts] == [
        (1, "5xx", 500),
        (2, "2xx", 204),
        (3, "2xx", 204),
    ]
    for attempt, received in zip(whole.attempts, receiver.received, strict=True):
        assert attempt.headers is not None
        assert received.headers.keys() - attempt.headers.keys() == CONNECTION_HEADERS
        assert list(attempt.headers.items()) == [
            each for each in received.headers.items() if each[0] not in CONNECTION_HEADERS
        ]
        assert whole.body == received.body
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 1
    assert "whsec_" not in repr(whole)


async def an_attempt(past: Histories, delivery_id: str, number: int, signature: str | None, response: str) -> None:
    await past.execute(
        """INSERT INTO attempts (account_id, delivery_id, number, result, status, duration_ms, response, attempted_at,
                                 signature, agent)
           VALUES ('acct_1', $1, $2, '5xx', 500, 12, $3, $4, $5, 'Agent/1')""",
        delivery_id, number, response, HOUR_AGO + timedelta(seconds=number, microseconds=999_999), signature,
    )  # fmt: skip


async def test_what_retention_took_is_none_and_the_rest_stays(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    delivery_id = await past.add(endpoint_id, attempts=2, has_payload=False)
    await an_attempt(past, delivery_id, 1, None, "no")
    await an_attempt(past, delivery_id, 2, "v1,c2ln", "still no")
    whole = await read(past, endpoint_id, delivery_id)
    assert whole is not None
    assert whole.body is None
    first, second = whole.attempts
    assert (first.headers, first.response, first.duration_ms) == (None, "no", 12)
    assert second.headers is not None
    assert second.headers["webhook-timestamp"] == str(int(HOUR_AGO.timestamp()) + 2)


async def test_an_attempt_recorded_meanwhile_is_not_of_the_moment(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    delivery_id = await past.add(endpoint_id, attempts=1)
    for number in (1, 2):
        await an_attempt(past, delivery_id, number, "v1,c2ln", "")
    whole = await read(past, endpoint_id, delivery_id)
    assert whole is not None
    assert [each.number for each in whole.attempts] == [1]


async def test_of_many_attempts_the_newest_are_shown_in_their_order(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    delivery_id = await past.add(endpoint_id, attempts=log.SHOWN_ATTEMPTS + 3)
    for number in range(1, log.SHOWN_ATTEMPTS + 4):
        await an_attempt(past, delivery_id, number, "v1,c2ln", "")
    whole = await read(past, endpoint_id, delivery_id)
    assert whole is not None
    assert whole.delivery.attempts == log.SHOWN_ATTEMPTS + 3
    assert [each.number for each in whole.attempts] == list(range(4, log.SHOWN_ATTEMPTS + 4))


async def test_a_delivery_is_looked_for_in_the_partition_of_its_day_alone(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    delivery_id = await past.add(endpoint_id, at=HOUR_AGO)
    plan = await past.pool.fetch(f"EXPLAIN {log.READ}", "acct_1", endpoint_id, delivery_id)
    opened = {name for line in plan for name in re.findall(r" on (deliveries_\w+)", line[0])}
    assert opened == {f"deliveries_{HOUR_AGO:%Y%m%d}"}


async def test_what_is_live_and_what_has_ended_are_looked_for_apart(past: Histories) -> None:
    """A list opens a table only for a state it has, whatever the other table is full of."""
    arguments = ("acct_1", "we_1", *id_range(None, None), None, None, None)
    for states, opened in ((["retry"], {"queue"}), (["dropped"], {"deliveries"}), (None, {"queue", "deliveries"})):
        statement = log.PAGE.format(
            columns=log.COLUMNS, meets=log.MEETS, wanted=wanted(possible(states, None), "DESC"), direction="DESC"
        )
        plan = await past.pool.fetch(f"EXPLAIN {statement}", *arguments, 20, 0)
        tables = {name for line in plan for name in re.findall(r" on (queue|deliveries)(?:_\d+|_default)?\b", line[0])}
        assert tables == opened


async def test_another_endpoints_backlog_is_not_searched_for_ones_own(past: Histories) -> None:
    await past.execute("""
        INSERT INTO queue (account_id, id, endpoint_id, message_id, type, state, due_at)
        SELECT 'acct_1', 'dlv_' || lpad((50001 - n)::text, 32, '0'),
               CASE WHEN n % 4 = 0 THEN 'we_busy' ELSE 'we_' || n % 997 END,
               'msg_1', 'server.power.on', 'pending', now()
        FROM generate_series(1, 50000) AS n
    """)
    await past.execute("ANALYZE queue")
    statement = log.PAGE.format(
        columns=log.COLUMNS, meets=log.MEETS, wanted=wanted(possible(None, None), "DESC"), direction="DESC"
    )
    arguments = ("acct_1", "we_none", *id_range(None, None), None, None, None, 1, 0)
    plan = "\n".join(row[0] for row in await past.pool.fetch(f"EXPLAIN {statement}", *arguments))
    assert "queue_by_account" in plan
    assert "queue_pkey" not in plan


async def test_a_list_is_planned_for_its_endpoint_however_often_it_is_asked_for(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    await past.add(endpoint_id, "delivered")
    async with past.pool.acquire() as connection:
        for _ in range(12):  # from the sixth on PostgreSQL would consider one plan for all
            assert (await list_deliveries(connection, "acct_1", endpoint_id)).total == 1
        plans = await connection.fetch(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE strpos(statement, $1) > 0", log.MEETS
        )
        assert [tuple(row) for row in plans] == [(0, 12), (0, 12)]
        assert await connection.fetchval("SHOW plan_cache_mode") == "auto"
