"""Many receivers that hang and one that works, on real sockets: the one feels nothing of the others.

What hangs holds no more connections than the gate allows, at any moment, and is delivered all the same once it
answers again: fairness delays, it gives nothing up.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from publisher.delivery import worker as worker_module
from publisher.delivery.gate import Limits
from publisher.delivery.outcome import Result
from tests.support import misbehaving as kit
from tests.support.live import Live, live, states
from tests.support.transports import a_transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from publisher.delivery.worker import Worker

WORKS = "acct_works"
HANGING = 12
#: A quarter of them is for what is claimed: two for each that hangs, and six over.
SLOTS = 120
LIMITS = Limits(per_endpoint=6, per_account=1000, unknown=2, stall=0.2, minimum=1000)


@pytest.fixture
async def here(dsn: str) -> AsyncIterator[Live]:
    async with live(dsn) as made:
        yield made


class Crowd:
    """Receivers that hang until they are opened."""

    def __init__(self, here: Live) -> None:
        self.gates: list[kit.Gate] = []
        self.receivers: list[kit.Misbehaving] = []
        self._here = here
        self._endpoints: list[tuple[str, str]] = []
        self._arrived = asyncio.Event()

    async def add(self, stack: contextlib.AsyncExitStack, account: str) -> None:
        gate = kit.Gate()

        async def behaviour(conversation: kit.Conversation) -> None:
            self._arrived.set()
            await gate(conversation)

        receiver = await stack.enter_async_context(kit.receiving(behaviour))
        endpoint_id, _ = await self._here.endpoint(receiver.url, account=account)
        self._endpoints.append((endpoint_id, account))
        self.gates.append(gate)
        self.receivers.append(receiver)

    async def enqueue(self, each: int, fresh_to: Worker | None = None) -> None:
        """Enqueue so many deliveries for each of them."""
        for endpoint_id, account in self._endpoints:
            await self._here.enqueue(endpoint_id, each, account=account, fresh_to=fresh_to)

    def open(self) -> None:
        """Let them answer, what they have and what comes."""
        for gate in self.gates:
            gate.is_open.set()

    def inside(self) -> int:
        """Return how many requests wait for an answer now."""
        return sum(gate.inside for gate in self.gates)

    def most(self) -> int:
        """Return the most requests that any one of them had at once."""
        return max(gate.most for gate in self.gates)

    async def until(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        """Wait for arrivals until `condition` holds."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._arrived.clear()
                await self._arrived.wait()
                await asyncio.sleep(0)  # until it is inside


@contextlib.asynccontextmanager
async def _hanging(here: Live, count: int, *, account: str | None = None) -> AsyncIterator[Crowd]:
    """Yield receivers that hang, each of an account of its own unless one is given."""
    async with contextlib.AsyncExitStack() as stack:
        crowd = Crowd(here)
        for number in range(count):
            await crowd.add(stack, account or f"acct_hangs_{number}")
        yield crowd


@contextlib.asynccontextmanager
async def _healthy(here: Live) -> AsyncIterator[str]:
    """Yield the endpoint of a receiver that works."""
    async with kit.receiving(kit.answers(kit.FINAL)) as receiver:
        endpoint_id, _ = await here.endpoint(receiver.url, account=WORKS)
        yield endpoint_id


@pytest.mark.parametrize("is_fresh", [False, True], ids=["claimed", "fresh"])
async def test_many_that_hang_and_one_that_works(
    is_fresh: bool,  # noqa: FBT001 - a case of the test
    here: Live,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of the healthy one's deliveries arrive while not one attempt of the others has ended."""
    monkeypatch.setattr(worker_module, "TICK", 0.05)
    async with (
        _hanging(here, HANGING) as crowd,
        _healthy(here) as healthy,
        a_transport(timeout=60) as transport,
        here.working(transport=transport, limits=LIMITS, slots=SLOTS, drain_timeout=0) as working,
    ):
        worker = working.worker if is_fresh else None
        await crowd.enqueue(20, worker)
        await crowd.until(lambda: crowd.inside() == LIMITS.unknown * HANGING)
        wanted = await here.enqueue(healthy, 100, account=WORKS, fresh_to=worker)
        await here.until(lambda log: all(log[each] == ("delivered", 1) for each in wanted), "the healthy one's")
        assert sum(working.counted("heliograph_attempts_total", result=result) for result in Result) == 100
        assert [len(receiver.requests) for receiver in crowd.receivers] == [LIMITS.unknown] * HANGING

        crowd.open()
        await here.until(lambda log: states(log) == ["delivered"] * (20 * HANGING + 100), "everybody's")
        assert {attempts for _, attempts in (await here.log()).values()} == {1}  # nothing given up, nothing repeated
        assert LIMITS.unknown <= crowd.most() <= LIMITS.per_endpoint
        assert [len(receiver.requests) for receiver in crowd.receivers] == [20] * HANGING


@pytest.mark.parametrize("endpoints", [8, 20])
async def test_one_account_that_hangs_at_all_its_endpoints_holds_what_an_account_may(
    endpoints: int, here: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "TICK", 0.05)
    limits = Limits(per_endpoint=6, per_account=5, unknown=2, stall=60, minimum=1000)
    async with (
        _hanging(here, endpoints, account="acct_hangs") as crowd,
        _healthy(here) as healthy,
        a_transport(timeout=60) as transport,
        here.working(transport=transport, limits=limits, slots=SLOTS, drain_timeout=0),
    ):
        await crowd.enqueue(6)
        await crowd.until(lambda: crowd.inside() == limits.per_account)
        wanted = await here.enqueue(healthy, 50, account=WORKS)
        await here.until(lambda log: all(log[each] == ("delivered", 1) for each in wanted), "the healthy one's", 4)
        assert crowd.inside() == limits.per_account
        crowd.open()
        await here.until(lambda log: states(log) == ["delivered"] * (6 * endpoints + 50), "everybody's")


async def test_those_that_hang_are_dropped_only_after_their_last_attempt(
    here: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each delivery has all of its attempts, however long the gate lets them wait."""
    monkeypatch.setattr(worker_module, "TICK", 0.02)
    limits = Limits(per_endpoint=4, per_account=100, unknown=2, stall=0.01, minimum=3, window=60, probe=0.02)
    async with (
        _hanging(here, 3) as crowd,
        a_transport(timeout=0.05) as transport,
        here.working(transport=transport, limits=limits, slots=40, claim_interval=0.02),
    ):
        await crowd.enqueue(3)
        for number in (1, 2, 3):
            await here.until(lambda log, number=number: [*log.values()] == [("retry", number)] * 9, "each was tried")  # type: ignore[misc]  # mypy infers no default arguments
            await here.due_now("retry")
        await here.until(lambda log: [*log.values()] == [("dropped", 4)] * 9, "each was tried for the last time")
        assert [len(receiver.requests) for receiver in crowd.receivers] == [3 * 4] * 3


async def test_an_open_circuit_lets_one_probe_through_and_closes_on_success(
    here: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "TICK", 0.02)
    limits = Limits(per_endpoint=4, per_account=100, unknown=4, stall=60, minimum=4, window=60, probe=0.05)
    gate, is_down = kit.Gate(), True

    async def behaviour(conversation: kit.Conversation) -> None:
        if is_down:
            await conversation.send(kit.sized(b"", status="503 Down"))
        else:
            await gate(conversation)

    async with (
        kit.receiving(behaviour) as receiver,
        a_transport(timeout=60) as transport,
        here.working(transport=transport, limits=limits, slots=40, claim_interval=0.02) as working,
    ):
        known = working.worker._gate
        endpoint_id, _ = await here.endpoint(receiver.url)
        await here.enqueue(endpoint_id, 12)
        await here.until(lambda log: states(log) == ["retry"] * 12, "each failed once, most of them as probes")
        assert known.is_open(endpoint_id)
        assert known.open_circuits() == 1
        is_down = False
        await here.due_now("retry")
        await receiver.until(lambda r: len(r.requests) == 13)
        await working.queue.claimed_again(5)  # eleven are due, and there are slots for ten
        assert (gate.inside, len(receiver.requests)) == (1, 13)
        assert states(await here.log()) == ["leased"] + ["retry"] * 11
        gate.is_open.set()
        await here.until(lambda log: states(log) == ["delivered"] * 12, "all, once it works")
        assert not known.is_open(endpoint_id)
        assert known.open_circuits() == 0
        assert len(receiver.requests) == 24
        assert gate.most <= limits.per_endpoint
