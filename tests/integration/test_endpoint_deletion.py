"""A webhook is removed: what waits for it ends with it, what is under way ends as it ends, others lose nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from publisher import deliveries
from publisher.endpoints import NoSuchEndpointError
from tests.support import misbehaving as kit
from tests.support.histories import Histories, histories
from tests.support.live import ACCOUNT, Live, live
from tests.support.receiver import Receiver
from tests.support.transports import a_transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STATES = ("pending", "retry", "leased", "delivered", "dropped")


@pytest.fixture
async def past(dsn: str) -> AsyncIterator[Histories]:
    async with histories(dsn) as made:
        yield made


@pytest.fixture
async def here(dsn: str) -> AsyncIterator[Live]:
    async with live(dsn) as opened:
        yield opened


async def delete(past: Histories | Live, endpoint_id: str, account: str = ACCOUNT) -> None:
    async with past.pool.acquire() as connection:
        await deliveries.delete_endpoint(connection, account, endpoint_id)


async def test_what_waits_is_cancelled_at_once_due_or_not(past: Histories) -> None:
    gone, kept = await past.endpoint(), await past.endpoint()
    ours = {state: await past.add(gone, state, attempts=1) for state in STATES}
    others = {state: await past.add(kept, state, attempts=1) for state in STATES}
    before = dict(await past.pool.fetchrow("SELECT * FROM queue WHERE id = $1", ours["retry"]) or {})
    await delete(past, gone)
    assert {state: await past.state(each) for state, each in ours.items()} == {
        "pending": "cancelled",
        "retry": "cancelled",
        "leased": "leased",
        "delivered": "delivered",
        "dropped": "dropped",
    }
    assert {state: await past.state(each) for state, each in others.items()} == {state: state for state in STATES}
    after = await past.pool.fetchrow("SELECT * FROM deliveries WHERE id = $1", ours["retry"])
    assert after is not None
    assert (after["reason"], after["attempts"], after["last_result"]) == ("endpoint", 1, "5xx")
    for name in ("account_id", "endpoint_id", "message_id", "type", "created_at"):
        assert after[name] == before[name]


async def test_another_account_cancels_nothing(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    delivery_id = await past.add(endpoint_id, "retry")
    for account, asked in (("acct_2", endpoint_id), ("acct_1", "we_absent")):
        with pytest.raises(NoSuchEndpointError):
            await delete(past, asked, account)
    assert await past.state(delivery_id) == "retry"


async def test_a_pile_is_cancelled_up_to_a_bound_and_the_rest_when_it_is_due(
    here: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "CANCELLED_AT_ONCE", 7)
    async with Receiver().listening() as receiver:
        endpoint_id, secret = await here.endpoint(receiver.url)
        receiver.trust(secret)
        enqueued = await here.enqueue(endpoint_id, 10)
        await delete(here, endpoint_id)
        assert await here.rows("SELECT count(*) FROM deliveries") == [(7,)]
        async with here.working():
            await here.until(lambda log: log == dict.fromkeys(enqueued, ("cancelled", 0)), "all is cancelled")
    assert (receiver.received, receiver.refused) == ([], [])


async def test_a_hundred_thousand_are_cancelled_in_the_transaction_that_deletes(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    first = await past.add(endpoint_id, "pending")
    await past.execute(
        """INSERT INTO queue (account_id, id, endpoint_id, message_id, type, state, due_at)
           SELECT account_id, left(id, 18) || lpad(to_hex(n), 19, '0'), endpoint_id, message_id, type, state,
                  now() + n * interval '1 s'
           FROM queue, generate_series(1, 99999) n WHERE id = $1""",
        first,
    )
    await delete(past, endpoint_id)
    assert await past.queued() == []
    assert await past.pool.fetchval("SELECT count(*) FROM deliveries WHERE state = 'cancelled'") == 100_000


async def test_an_attempt_under_way_ends_as_it_ends_and_is_not_made_again(here: Live) -> None:
    async with kit.receiving(kit.hangs) as receiver, a_transport(timeout=2.0) as impatient:
        endpoint_id, _ = await here.endpoint(receiver.url)
        [delivery_id] = await here.enqueue(endpoint_id)
        async with here.working(transport=impatient) as working:
            await receiver.until(lambda r: len(r.requests) == 1)
            await delete(here, endpoint_id)
            assert (await here.log())[delivery_id] == ("leased", 0)
            await here.until(lambda log: log[delivery_id] == ("retry", 1), "it timed out")
            await here.due_now("retry")
            working.worker.wake()
            await here.until(lambda log: log[delivery_id] == ("cancelled", 1), "it is cancelled when it is due")
        assert len(receiver.requests) == 1
