"""The worker, from job to recorded result: real requests to a real receiver, a queue whose clock the test moves.

What is held here is what a customer is promised: every outcome is recorded and followed by what it calls for,
nothing a receiver or the service does wrong ends the worker, and a stop loses nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from publisher.delivery import attempt
from publisher.delivery import recorder as recorder_module
from publisher.delivery import worker as worker_module
from publisher.delivery.backoff import JITTER
from publisher.delivery.outcome import Result
from publisher.subscriptions import DEFAULT_POLICY
from tests.support import misbehaving as kit
from tests.support.jobs import SECRET, a_job, a_message, an_endpoint
from tests.support.receiver import Receiver
from tests.support.time import FakeClock
from tests.support.workers import CLAIMED, FRESH, IN_HAND, Raising, a_worker, some_turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from publisher.delivery.transport import Transport
    from publisher.endpoints import Endpoint
    from publisher.queue import Job


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(worker_module, "FIRST_PAUSE", 0.0)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().listening() as listening:
        listening.trust(SECRET)
        yield listening


def _jobs(count: int, endpoint: Endpoint, *, lease: int = 7) -> list[Job]:
    return [
        a_job(f"dlv_{number:03}", lease=lease, endpoint=endpoint, message=a_message(f"msg_{number:03}"))
        for number in range(count)
    ]


# --- what follows from an answer -------------------------------------------------------------------------------------


async def test_a_claimed_delivery_is_sent_signed_and_recorded(receiver: Receiver) -> None:
    async with a_worker() as bench:
        job = bench.queue.add(a_job(endpoint=an_endpoint(receiver.url)))
        bench.start()
        await bench.queue.until(lambda queue: queue.states() == {"dlv_1": "delivered"})
        [received] = receiver.received  # it verified with the public library
        assert received.body == job.message.body
        assert received.headers["x-nb-attempt"] == "1"
        [finished] = bench.queue.rows["dlv_1"].attempts
        assert (finished.number, finished.result, finished.status, finished.response) == (1, Result.OK, 204, None)
        assert bench.counted("heliograph_attempts_total", result="2xx") == 1
        assert bench.counted("heliograph_deliveries_total", type="server.power.on", outcome="delivered") == 1


async def test_a_fresh_delivery_is_sent_without_being_claimed(receiver: Receiver) -> None:
    async with a_worker() as bench:
        job = bench.queue.add(a_job(lease=99, endpoint=an_endpoint(receiver.url)), is_leased=True)
        bench.start()
        bench.worker.submit([job])
        await bench.queue.until(lambda queue: queue.states() == {"dlv_1": "delivered"})
        assert bench.counted("heliograph_delivery_latency_seconds_count", attempt="first") == 1
        assert bench.worker.room() == IN_HAND


async def test_a_failure_is_retried_after_its_wait_with_the_same_id_and_body(receiver: Receiver) -> None:
    receiver.answers.append(500)
    async with a_worker() as bench:
        bench.queue.add(a_job(endpoint=an_endpoint(receiver.url)))
        bench.start()
        await bench.queue.until(lambda queue: queue.states() == {"dlv_1": "retry"})
        assert bench.queue.due_in("dlv_1") == pytest.approx(95.2, rel=JITTER)
        await bench.later("dlv_1")
        await bench.queue.until(lambda queue: queue.states() == {"dlv_1": "delivered"})
    first, second = receiver.received
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert [each.headers["x-nb-attempt"] for each in receiver.received] == ["1", "2"]
    results = [(each.number, each.result, each.status) for each in bench.queue.rows["dlv_1"].attempts]
    assert results == [(1, Result.SERVER_ERROR, 500), (2, Result.OK, 204)]
    assert bench.counted("heliograph_delivery_latency_seconds_count", attempt="retry") == 1


async def test_after_the_last_retry_it_is_dropped_within_the_window(receiver: Receiver) -> None:
    receiver.answers.extend([500, 404, 302, 429])
    async with a_worker() as bench:
        bench.queue.add(a_job(endpoint=an_endpoint(receiver.url)))
        begun = bench.clock.monotonic()
        bench.start()
        for number in (1, 2, 3):
            await bench.queue.until(lambda queue, number=number: len(queue.rows["dlv_1"].attempts) == number)  # type: ignore[misc]
            await bench.later("dlv_1")
        await bench.queue.until(lambda queue: queue.states() == {"dlv_1": "dropped"})
        assert bench.clock.monotonic() - begun <= DEFAULT_POLICY.window - DEFAULT_POLICY.attempt_timeout
    assert [each.result for each in bench.queue.rows["dlv_1"].attempts] == ["5xx", "4xx", "3xx", "429"]
    assert bench.counted("heliograph_deliveries_total", type="server.power.on", outcome="dropped") == 1


@pytest.mark.parametrize(("asked", "waited"), [("600", 600), ("86400", 3585)])
async def test_a_receiver_s_wish_for_a_later_retry_is_honoured(asked: str, waited: float, receiver: Receiver) -> None:
    receiver.answers.append(503)
    receiver.answer_headers["Retry-After"] = asked
    async with a_worker() as bench:
        bench.queue.add(a_job(endpoint=an_endpoint(receiver.url)))
        bench.start()
        await bench.queue.until(lambda queue: queue.states() == {"dlv_1": "retry"})
        assert bench.queue.due_in("dlv_1") == pytest.approx(waited, abs=15)


async def test_what_was_answered_is_kept_as_text_the_database_takes() -> None:
    answer = kit.sized(b"\xff no \x00 t\xc3\xa9", status="500 Oh")
    async with kit.receiving(kit.answers(answer)) as oddly, a_worker() as bench:
        bench.queue.add(a_job(endpoint=an_endpoint(oddly.url)))
        bench.start()
        await bench.queue.until(lambda queue: queue.states() == {"dlv_1": "retry"})
        assert bench.queue.rows["dlv_1"].attempts[0].response == "\ufffd no \ufffd té"


async def test_410_drops_the_delivery_at_once(receiver: Receiver) -> None:
    receiver.answers.append(410)
    async with a_worker() as bench:
        bench.queue.add(a_job(endpoint=an_endpoint(receiver.url, endpoint_id="we_gone")))
        bench.start()
        await bench.queue.until(lambda queue: queue.states() == {"dlv_1": "dropped"})
        assert [each.result for each in bench.queue.rows["dlv_1"].attempts] == ["410"]


async def test_what_another_worker_took_over_counts_for_nothing(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers.append(410)
    async with a_worker() as bench:
        job = bench.queue.add(a_job(lease=99, endpoint=an_endpoint(receiver.url)), is_leased=True)
        bench.queue.rows["dlv_1"].lease = 100
        bench.start()
        bench.worker.submit([job])
        await receiver.until(lambda r: len(r.received) == 1)
        bench.queue.add(a_job("dlv_2", endpoint=an_endpoint(receiver.url)))
        bench.worker.wake()
        await bench.queue.until(lambda queue: queue.states()["dlv_2"] == "delivered")
        assert bench.queue.states()["dlv_1"] == "leased"
        assert bench.counted("heliograph_deliveries_total", type="server.power.on", outcome="dropped") == 0
        assert bench.worker.room() == IN_HAND
    assert "delivery dlv_1 was taken over" in caplog.text


# --- nothing ends the worker -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (RuntimeError("a bug"), Result.INTERNAL),
        (AssertionError(), Result.INTERNAL),
        (UnicodeError("label too long"), Result.DNS),
        (TimeoutError(), Result.TIMEOUT),
        (MemoryError(), Result.INTERNAL),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_whatever_an_attempt_raises_is_a_result_and_the_worker_goes_on(
    error: Exception, result: Result, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_worker(transport=cast("Transport", Raising(error))) as bench:
        bench.queue.add(a_job())
        bench.start()
        await bench.queue.until(lambda queue: queue.states() == {"dlv_1": "retry"})
        [finished] = bench.queue.rows["dlv_1"].attempts
        assert (finished.result, finished.status) == (result, None)
        await bench.later("dlv_1")
        await bench.queue.until(lambda queue: queue.states() == {"dlv_1": "delivered"})
    assert ("attempt of delivery dlv_1 failed inside the service" in caplog.text) == (result is Result.INTERNAL)


async def test_an_endpoint_without_a_secret_is_one_line_and_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with a_worker() as bench:
        bench.queue.add(a_job(endpoint=an_endpoint(keys=())))
        bench.start()
        await bench.queue.until(lambda queue: queue.states() == {"dlv_1": "retry"})
        assert [each.result for each in bench.queue.rows["dlv_1"].attempts] == [Result.INTERNAL]
    [record] = [record for record in caplog.records if record.name == attempt.logger.name]
    assert record.getMessage() == "attempt of delivery dlv_1 was not made: no secret to sign with"
    assert record.exc_info is None


async def test_a_job_that_cannot_even_be_signed_does_not_keep_the_others(receiver: Receiver) -> None:
    unusable = an_endpoint(receiver.url, endpoint_id="we_bad", keys=cast("tuple[bytes, ...]", (None,)))
    async with a_worker() as bench:
        jobs = [a_job("dlv_bad", endpoint=unusable), a_job("dlv_good", endpoint=an_endpoint(receiver.url))]
        for job in jobs:
            bench.queue.add(job, is_leased=True)
        bench.start()
        bench.worker.submit(jobs)
        await bench.queue.until(lambda queue: queue.states()["dlv_good"] == "delivered")


async def test_a_job_that_cannot_even_be_signed_gives_its_slot_back(receiver: Receiver) -> None:
    unusable = an_endpoint(receiver.url, keys=cast("tuple[bytes, ...]", (None,)))
    async with a_worker() as bench:
        job = bench.queue.add(a_job(endpoint=unusable), is_leased=True)
        bench.start()
        bench.worker.submit([job])
        await bench.queue.until(lambda queue: bool(queue.rows["dlv_1"].attempts), seconds=0.5)
        assert bench.worker.room() == IN_HAND


async def test_a_database_that_is_away_is_claimed_from_and_recorded_to_later(receiver: Receiver) -> None:
    async with a_worker() as bench:
        bench.queue.add(a_job(endpoint=an_endpoint(receiver.url)))
        bench.queue.claim_faults.extend([ConnectionRefusedError(111, "refused"), RuntimeError("odd")])
        bench.queue.record_faults.extend([ConnectionResetError(104, "reset"), TimeoutError()])
        bench.start()
        await bench.queue.until(lambda queue: queue.states() == {"dlv_1": "delivered"})
        assert len(receiver.received) == 1


# --- slots -----------------------------------------------------------------------------------------------------------


async def test_fresh_deliveries_have_so_many_slots_and_no_more() -> None:
    gate = kit.Gate()
    async with kit.receiving(gate) as receiver, a_worker() as bench:
        jobs = _jobs(IN_HAND, an_endpoint(receiver.url))
        for job in jobs:
            bench.queue.add(job, is_leased=True)
        assert bench.worker.room() == IN_HAND
        bench.start()
        bench.worker.submit(jobs)
        assert bench.worker.room() == 0
        await receiver.until(lambda r: len(r.requests) == FRESH)
        gate.is_open.set()
        await bench.queue.until(lambda queue: set(queue.states().values()) == {"delivered"})
        assert gate.most == FRESH
        assert bench.worker.room() == IN_HAND


async def test_claimed_deliveries_have_slots_of_their_own() -> None:
    gate = kit.Gate()
    async with kit.receiving(gate) as receiver, kit.receiving(kit.answers(kit.FINAL)) as lively, a_worker() as bench:
        for job in _jobs(20, an_endpoint(receiver.url)):
            bench.queue.add(job)
        bench.start()
        await receiver.until(lambda r: len(r.requests) == CLAIMED)
        fresh = bench.queue.add(a_job("dlv_fresh", endpoint=an_endpoint(lively.url)), is_leased=True)
        bench.worker.submit([fresh])
        await bench.queue.until(lambda queue: queue.states()["dlv_fresh"] == "delivered")
        states = list(bench.queue.states().values())
        in_hand = CLAIMED * worker_module.CLAIMED_IN_HAND
        assert (states.count("leased"), states.count("pending")) == (in_hand, 20 - in_hand)
        gate.is_open.set()  # from here on each that ends makes room for the next, without waiting for the interval
        await bench.queue.until(lambda queue: set(queue.states().values()) == {"delivered"})
        assert gate.most == CLAIMED


async def test_intake_is_held_back_until_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "PATIENCE", 60.0)
    gate = kit.Gate()
    async with kit.receiving(gate) as receiver, a_worker() as bench:
        assert await bench.worker.appetite() == IN_HAND
        jobs = _jobs(IN_HAND, an_endpoint(receiver.url))
        for job in jobs:
            bench.queue.add(job, is_leased=True)
        bench.start()
        bench.worker.submit(jobs)
        hungry = asyncio.create_task(bench.worker.appetite())
        await receiver.until(lambda r: len(r.requests) == FRESH)
        await some_turns()
        assert not hungry.done()
        gate.is_open.set()
        async with asyncio.timeout(10):
            assert await hungry >= IN_HAND // 2


async def test_held_back_for_long_intake_reads_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "PATIENCE", 0.01)
    async with kit.receiving(kit.hangs) as receiver, a_worker(drain_timeout=0) as bench:
        jobs = _jobs(IN_HAND, an_endpoint(receiver.url))
        bench.start()
        bench.worker.submit(jobs)
        async with asyncio.timeout(10):
            assert await bench.worker.appetite() == IN_HAND // 2


async def test_a_fresh_delivery_that_waited_too_long_for_a_slot_is_given_back() -> None:
    gate, clock = kit.Gate(), FakeClock()
    async with kit.receiving(gate) as receiver, a_worker(clock=clock, longest_wait=5) as bench:
        jobs = _jobs(FRESH + 1, an_endpoint(receiver.url))
        for job in jobs:
            bench.queue.add(job, is_leased=True)
        bench.worker.submit(jobs)
        await receiver.until(lambda r: len(r.requests) == FRESH)
        clock.advance(5.1)
        gate.is_open.set()
        await bench.queue.until(lambda queue: queue.states()[jobs[-1].id] == "pending")
        assert bench.queue.due_in(jobs[-1].id) == 0
        assert len(receiver.requests) == FRESH


async def test_what_becomes_due_is_looked_for_when_the_worker_is_woken(receiver: Receiver) -> None:
    async with a_worker() as bench:
        bench.start()
        await bench.queue.until(lambda queue: queue.claims == 1)
        bench.queue.add(a_job(endpoint=an_endpoint(receiver.url)))
        bench.worker.wake()
        await bench.queue.until(lambda queue: queue.states() == {"dlv_1": "delivered"})


async def test_what_nobody_announces_is_found_at_the_next_look(receiver: Receiver) -> None:
    async with a_worker(claim_interval=0.01) as bench:
        bench.start()
        await bench.queue.until(lambda queue: queue.claims == 2)
        bench.queue.add(a_job(endpoint=an_endpoint(receiver.url)))
        await bench.queue.until(lambda queue: queue.states() == {"dlv_1": "delivered"})


# --- stopping --------------------------------------------------------------------------------------------------------


async def test_a_stop_with_nothing_to_do_ends_at_once() -> None:
    async with a_worker(drain_timeout=60) as bench:
        bench.start()
        await bench.stopped()


async def test_what_is_under_way_at_a_stop_ends_and_is_recorded_and_nothing_new_begins() -> None:
    gate = kit.Gate()
    async with kit.receiving(gate) as receiver, a_worker(drain_timeout=60) as bench:
        fresh, claimed, later = _jobs(3, an_endpoint(receiver.url))
        bench.queue.add(fresh, is_leased=True)
        bench.queue.add(claimed)
        running = bench.start()
        bench.worker.submit([fresh])
        await receiver.until(lambda r: len(r.requests) == 2)
        bench.stop.set()
        await some_turns()
        bench.queue.add(later)
        bench.worker.wake()
        await some_turns()
        assert not running.done()
        gate.is_open.set()
        await bench.stopped()
        assert bench.queue.states() == {fresh.id: "delivered", claimed.id: "delivered", later.id: "pending"}


async def test_a_stop_gives_back_at_once_what_waits_for_a_slot() -> None:
    gate = kit.Gate()
    async with kit.receiving(gate) as receiver, a_worker(drain_timeout=60) as bench:
        jobs = _jobs(FRESH + 2, an_endpoint(receiver.url))
        for job in jobs:
            bench.queue.add(job, is_leased=True)
        bench.start()
        bench.worker.submit(jobs)
        await receiver.until(lambda r: len(r.requests) == FRESH)
        bench.stop.set()
        await bench.queue.until(lambda queue: [*queue.states().values()].count("pending") == 2)
        gate.is_open.set()
        await bench.stopped()
        assert [*bench.queue.states().values()].count("delivered") == len(receiver.requests) == FRESH


async def test_what_does_not_end_within_the_drain_is_given_back() -> None:
    async with kit.receiving(kit.hangs) as receiver, a_worker(drain_timeout=0.05) as bench:
        jobs = _jobs(IN_HAND, an_endpoint(receiver.url))
        for job in jobs:
            bench.queue.add(job, is_leased=True)
        bench.queue.add(a_job("dlv_claimed", endpoint=an_endpoint(receiver.url)))
        bench.start()
        bench.worker.submit(jobs)
        await receiver.until(lambda r: len(r.requests) == FRESH + 1)
        await bench.stopped()
        assert set(bench.queue.states().values()) == {"pending"}
        assert {bench.queue.due_in(delivery_id) for delivery_id in bench.queue.rows} == {0}
        assert len(receiver.requests) == FRESH + 1
        await receiver.until(lambda r: r.ended == r.connections)


async def test_a_database_that_is_away_does_not_hold_up_a_stop(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "LAST_WRITE", 0.05)
    async with a_worker() as bench:
        bench.queue.add(a_job(endpoint=an_endpoint(receiver.url)))
        bench.queue.record_faults.extend([ConnectionRefusedError(111, "refused")] * 100_000)
        bench.start()
        await receiver.until(lambda r: len(r.received) == 1)
        await bench.stopped()
        assert bench.queue.states() == {"dlv_1": "leased"}  # sent again when the lease is over
