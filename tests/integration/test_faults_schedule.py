"""The fault table, what happens between an attempt and the next: leases, clocks, secrets, endpoints that go.

A worker on the queue in PostgreSQL, real receivers; time passes by moving what waits.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from publisher import endpoint_failures, endpoints
from publisher.delivery.outcome import Result
from tests.support import misbehaving as kit
from tests.support.live import ACCOUNT, LEASE_SECONDS, Live, live, states
from tests.support.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.clock import Clock

TEN_MINUTES = 600.0


@pytest.fixture
async def here(dsn: str) -> AsyncIterator[Live]:
    async with live(dsn) as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().listening() as listening:
        yield listening


# --- worker stalled beyond its lease, then finishes: fenced, 0 rows --------------------------------------------------


class Patient:
    """A receiver that keeps its first requests waiting, each until told, and answers every later one at once."""

    def __init__(self, count: int = 1) -> None:
        self.may_answer = [asyncio.Event() for _ in range(count)]
        self._seen = 0

    async def __call__(self, conversation: kit.Conversation) -> None:
        self._seen += 1
        if self._seen <= len(self.may_answer):
            await self.may_answer[self._seen - 1].wait()
        await conversation.send(kit.FINAL)


async def test_worker_stalled_beyond_its_lease_then_finishes(here: Live, caplog: pytest.LogCaptureFixture) -> None:
    """Another worker has delivered meanwhile: the late result hits no row, and the log shows one delivery."""
    first_waits = Patient()
    async with kit.receiving(first_waits) as receiver:
        endpoint_id, _ = await here.endpoint(receiver.url)
        [delivery_id] = await here.enqueue(endpoint_id)
        async with here.working() as stalled:
            await receiver.until(lambda r: len(r.requests) == 1)
            stalled.worker._claimed.slots = 0  # busy elsewhere: it is not the one who finds the lease over
            await here.due_now("leased")
            async with here.working():
                await here.until(lambda log: log == {delivery_id: ("delivered", 1)}, "the other worker delivered")
            before = await here.rows("SELECT * FROM delivery_log"), await here.rows("SELECT * FROM attempts")
            first_waits.may_answer[0].set()
            await stalled.stopped()
            assert stalled.counted("heliograph_attempts_total", result="2xx") == 1
            assert stalled.counted("heliograph_deliveries_total", type="server.power.on", outcome="delivered") == 0
    assert f"delivery {delivery_id} was taken over before its result came" in caplog.text
    assert (await here.rows("SELECT * FROM delivery_log"), await here.rows("SELECT * FROM attempts")) == before
    assert len(before[1]) == 1
    assert len({kit.header(request, "webhook-id") for request in receiver.requests}) == 1
    assert len(receiver.requests) == 2


async def test_worker_stalled_beyond_its_lease_finishes_before_the_one_that_took_over(here: Live) -> None:
    """The late result changes nothing although the delivery is still in the queue: it belongs to somebody else."""
    both_wait = Patient(2)
    async with kit.receiving(both_wait) as receiver:
        endpoint_id, _ = await here.endpoint(receiver.url)
        [delivery_id] = await here.enqueue(endpoint_id)
        async with here.working() as stalled:
            await receiver.until(lambda r: len(r.requests) == 1)
            stalled.worker._claimed.slots = 0
            await here.due_now("leased")
            async with here.working():
                await receiver.until(lambda r: len(r.requests) == 2)
                before = await here.rows("SELECT * FROM queue")
                both_wait.may_answer[0].set()
                await stalled.stopped()
                assert await here.rows("SELECT * FROM queue") == before
                assert await here.rows("SELECT * FROM attempts") == []
                both_wait.may_answer[1].set()
                await here.until(lambda log: log == {delivery_id: ("delivered", 1)}, "who took over delivered")
    assert len(await here.rows("SELECT FROM attempts")) == 1


async def test_worker_stalled_beyond_its_lease_finds_its_own_delivery_again(here: Live) -> None:
    """A machine that slept longer than the lease: the same process claims what it is still attempting.

    Both results come in, one is recorded, and nothing of the delivery is left in the worker's books.
    """
    first_waits = Patient()
    async with kit.receiving(first_waits) as receiver:
        endpoint_id, _ = await here.endpoint(receiver.url)
        [delivery_id] = await here.enqueue(endpoint_id)
        async with here.working() as working:
            await receiver.until(lambda r: len(r.requests) == 1)
            await here.due_now("leased")
            await here.until(lambda log: log == {delivery_id: ("delivered", 1)}, "it delivered by itself")
            first_waits.may_answer[0].set()
            [later] = await here.enqueue(endpoint_id)
            await here.until(lambda log: log.get(later) == ("delivered", 1), "it goes on")
            await working.stopped()
            assert working.worker._jobs == {}
            gate = working.worker._gate
            assert {(known.held, len(known.running)) for known in gate._endpoints.values()} <= {(0, 0)}
            assert dict(gate._held) == {}
            assert dict(gate._running) == {}
            assert working.worker._claimed.running == 0
    assert len(await here.rows("SELECT FROM attempts WHERE delivery_id = $1", delivery_id)) == 1
    assert len(receiver.requests) == 3


# --- clock 10 minutes off: schedule from DB time, monotonic durations -------------------------------------------------


class OffClock:
    """Wall time that is wrong by `skew` seconds, and may jump; durations are the machine's."""

    def __init__(self, skew: float) -> None:
        self.skew = skew

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.skew)

    def unix(self) -> float:
        return self.now().timestamp()

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.mark.parametrize("skew", [-TEN_MINUTES, 0, TEN_MINUTES])
async def test_clock_10_minutes_off_changes_no_due_time(skew: float, here: Live, receiver: Receiver) -> None:
    receiver.answers.extend([500])
    endpoint_id, secret = await here.endpoint(receiver.url)
    [delivery_id] = await here.enqueue(endpoint_id)
    clock: Clock = OffClock(skew)
    gate = kit.Gate()
    async with kit.receiving(gate) as slow:
        slow_id, _ = await here.endpoint(slow.url)
        [slow_delivery] = await here.enqueue(slow_id)
        del secret  # an unverified request is answered 401 and fails like any other
        async with here.working(clock=clock) as working:
            await slow.until(lambda r: len(r.requests) == 1)
            await here.until(lambda log: log[delivery_id] == ("retry", 1), "the first attempt failed")
            [(lease,)] = await here.rows(
                "SELECT extract(epoch FROM due_at - now())::float8 FROM queue WHERE id = $1", slow_delivery
            )
            assert LEASE_SECONDS - 20 < lease <= LEASE_SECONDS
            [(wait, tried)] = await here.rows(
                "SELECT extract(epoch FROM due_at - now())::float8, extract(epoch FROM now() - first_try_at)::float8 "
                "FROM queue WHERE id = $1",
                delivery_id,
            )
            assert 95.2 * 0.8 - 20 < wait < 95.2 * 1.2
            assert 0 <= tried < 20
            assert isinstance(clock, OffClock)
            clock.skew = -clock.skew  # it is set right, and beyond, while an attempt is under way
            gate.is_open.set()
            await here.until(lambda log: log[slow_delivery] == ("delivered", 1), "the slow one ended")
            await here.due_now("retry")
            working.worker.wake()
            await here.until(lambda log: log[delivery_id] == ("retry", 2), "the second attempt failed")
    durations = await here.rows("SELECT duration_ms FROM attempts")
    assert all(0 <= milliseconds < 20_000 for (milliseconds,) in durations)
    assert working.counted("heliograph_attempt_duration_seconds_sum", result="2xx") < 20


# --- endpoint deleted, secret rotated mid-retry: no send, both signatures ---------------------------------------------


@pytest.mark.parametrize("how", ["deleted", "disabled", "paused"])
async def test_endpoint_deleted_mid_retry_is_no_send(how: str, here: Live, receiver: Receiver) -> None:
    endpoint_id, secret = await here.endpoint(receiver.url)
    receiver.trust(secret)
    receiver.answers.append(503)
    [delivery_id] = await here.enqueue(endpoint_id)
    async with here.working() as working:
        await here.until(lambda log: log == {delivery_id: ("retry", 1)}, "the first attempt failed")
        async with here.pool.acquire() as connection:
            if how == "deleted":
                await endpoints.delete(connection, ACCOUNT, endpoint_id)
            elif how == "disabled":
                await endpoint_failures.disable(connection, [endpoint_id], "gone")
            else:
                await here.directory.update(connection, ACCOUNT, endpoint_id, status="paused")
        await here.due_now("retry")
        working.worker.wake()
        await here.until(lambda log: log == {delivery_id: ("cancelled", 1)}, "it is cancelled")
    assert len(receiver.received) == 1
    assert receiver.refused == []
    assert await here.rows("SELECT reason FROM deliveries") == [("endpoint",)]


async def test_secret_rotated_mid_retry_gives_both_signatures(here: Live, receiver: Receiver) -> None:
    endpoint_id, old = await here.endpoint(receiver.url)
    receiver.trust(old)
    receiver.answers.append(500)
    [delivery_id] = await here.enqueue(endpoint_id)
    async with here.working() as working:
        await here.until(lambda log: log == {delivery_id: ("retry", 1)}, "the first attempt failed")
        async with here.pool.acquire() as connection:
            new = await here.directory.rotate(connection, ACCOUNT, endpoint_id)
        await here.due_now("retry")
        working.worker.wake()
        await here.until(lambda log: log == {delivery_id: ("delivered", 2)}, "the retry was taken")
    first, second = receiver.received
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    for secret in (old, new):
        Webhook(secret).verify(second.body, second.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(first.body, first.headers)
    assert len(second.headers["webhook-signature"].split()) == 2
    kept = await here.rows("SELECT number, signature FROM attempts ORDER BY number")
    assert kept == [(1, first.headers["webhook-signature"]), (2, second.headers["webhook-signature"])]


async def test_secret_rotated_without_overlap_mid_retry_gives_the_new_one_alone(here: Live, receiver: Receiver) -> None:
    endpoint_id, old = await here.endpoint(receiver.url)
    receiver.trust(old)
    receiver.answers.append(500)
    [delivery_id] = await here.enqueue(endpoint_id)
    async with here.working() as working:
        await here.until(lambda log: log == {delivery_id: ("retry", 1)}, "the first attempt failed")
        async with here.pool.acquire() as connection:
            new = await here.directory.rotate(connection, ACCOUNT, endpoint_id, overlap=0)
        receiver.trust(new)
        await here.due_now("retry")
        working.worker.wake()
        await here.until(lambda log: log == {delivery_id: ("delivered", 2)}, "the retry was taken")
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(receiver.received[1].body, receiver.received[1].headers)


# --- the worker lives ------------------------------------------------------------------------------------------------


async def test_a_receiver_that_resets_is_retried_until_its_schedule_ends(here: Live) -> None:
    async with kit.receiving(kit.resets) as receiver:
        endpoint_id, _ = await here.endpoint(receiver.url)
        [delivery_id] = await here.enqueue(endpoint_id)
        async with here.working() as working:
            for number in (1, 2, 3):
                await here.until(lambda log, number=number: log[delivery_id] == ("retry", number), "it failed again")  # type: ignore[misc]  # mypy infers no default arguments
                await here.due_now("retry")
                working.worker.wake()
            await here.until(lambda log: states(log) == ["dropped"], "its schedule ended")
    results = await here.rows("SELECT number, result FROM attempts ORDER BY number")
    assert results == [(number, Result.CONNECT) for number in (1, 2, 3, 4)]
