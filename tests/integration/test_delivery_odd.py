"""Odd timing and bugs: a commit that takes long, fresh deliveries without end, an exception where none is expected."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from publisher.app import Service
from publisher.delivery import outcome
from publisher.delivery.gate import Limits
from publisher.delivery.transport import Response
from runtime.lifecycle import EXIT_FAILED
from runtime.settings import load
from tests.support.jobs import a_job, a_message
from tests.support.time import FakeClock
from tests.support.workers import IN_HAND, Raising, a_worker, some_turns

if TYPE_CHECKING:
    from publisher.delivery.transport import Transport


class Answering:
    """A transport that takes a moment and answers 204."""

    def __init__(self) -> None:
        self.sent = 0

    async def post(self, *_: object) -> Response:
        self.sent += 1
        await asyncio.sleep(0.005)
        return Response(204, None, b"")


async def test_what_was_committed_too_late_for_its_lease_is_given_back_and_not_sent() -> None:
    transport, clock = Answering(), FakeClock()
    async with a_worker(transport=cast("Transport", transport), clock=clock, longest_wait=7.5) as bench:
        job = bench.queue.add(a_job(lease=99), is_leased=True)
        assert bench.worker.choose([job]) == ([job], [])
        clock.advance(20)  # the commit takes that long
        bench.worker.submit([job])
        await some_turns()
        assert transport.sent == 0
        assert bench.queue.states() == {"dlv_1": "pending"}
        assert bench.worker.room() == IN_HAND


async def test_a_retry_is_made_while_fresh_ones_keep_coming() -> None:
    limits = Limits(per_endpoint=4, per_account=100, unknown=4, stall=1000.0, minimum=1000)
    async with a_worker(transport=cast("Transport", Answering()), limits=limits, claim_interval=0.02) as bench:
        bench.start()
        made = 0

        def refill() -> None:
            nonlocal made
            room = bench.worker.room()
            new = [a_job(f"dlv_f{made + n}", lease=5, message=a_message(f"msg_{made + n}")) for n in range(room)]
            made += room
            chosen, _ = bench.worker.choose(new)
            for each in chosen:
                bench.queue.add(each, is_leased=True)
            bench.worker.submit(chosen)

        refill()
        bench.queue.add(a_job("dlv_retry"))
        async with asyncio.timeout(10):
            while bench.queue.states()["dlv_retry"] != "delivered":
                await asyncio.sleep(0.005)  # the hand must never be empty, whatever is being waited for
                refill()


@pytest.mark.parametrize("error", [RuntimeError("a bug"), asyncio.CancelledError()])
async def test_a_bug_after_the_exchange_costs_no_slot(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    async with a_worker(transport=cast("Transport", Raising())) as bench:
        job = bench.queue.add(a_job(lease=99), is_leased=True)
        bench.start()
        with monkeypatch.context() as patched:
            patched.setattr(outcome, "decide", broken)
            bench.worker.submit([job])
            await some_turns()
        assert bench.worker.room() == IN_HAND


@pytest.mark.parametrize("error", [RuntimeError("a bug"), asyncio.CancelledError()])
async def test_a_task_beside_the_roles_that_dies_ends_the_process(error: BaseException) -> None:
    class Dying:
        async def run(self, _: asyncio.Event) -> None:
            await asyncio.sleep(0)
            raise error

    service = cast("Any", Service(load(environ={}), {"deliver"}))  # nothing is opened: it is about `run` alone
    service.pool, service._chores, service._relay = None, [], Dying()
    async with asyncio.timeout(5):
        assert await service.run(asyncio.Event()) == EXIT_FAILED


async def test_where_a_circuit_is_open_what_is_older_than_its_window_has_one_attempt_its_last() -> None:
    """Or the oldest of a pile would get their first attempts, one probe after the other, and none its last."""
    limits = Limits(minimum=1, probe=30)
    clock = FakeClock()
    transport = cast("Transport", Raising(*[ConnectionRefusedError()] * 10))
    async with a_worker(transport=transport, limits=limits, clock=clock) as bench:
        for name in ("dlv_opens", "dlv_old"):
            bench.queue.add(a_job(name), due_in=0 if name == "dlv_opens" else 3000)
        bench.start()
        await bench.queue.until(lambda queue: queue.states()["dlv_opens"] == "retry")
        bench.clock.advance(4000)  # the queue's, the other one is the gate's
        clock.advance(30)
        bench.worker.wake()
        await bench.queue.until(lambda queue: "dropped" in queue.states().values())
        clock.advance(30)
        bench.worker.wake()
        await bench.queue.until(lambda queue: set(queue.states().values()) == {"dropped"})
        assert len(bench.queue.rows["dlv_old"].attempts) == 1
