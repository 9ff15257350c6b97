"""A worker on a fake queue, and what there is to see of it."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from publisher.delivery import worker as worker_module
from publisher.delivery.gate import Gate, Limits
from publisher.delivery.transport import Response
from publisher.delivery.worker import Worker
from publisher.metrics import PublisherMetrics
from runtime.clock import SystemClock
from tests.support.fake_queue import FakeQueue
from tests.support.time import FakeClock
from tests.support.transports import a_transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from publisher.delivery.transport import Transport
    from runtime.clock import Clock

#: Wide enough never to be felt, for tests that are not about the gate.
GENEROUS = Limits(per_endpoint=1000, per_account=1000, unknown=1000, stall=1000.0, minimum=1000)
SLOTS = 8
CLAIMED, FRESH = 2, 6
IN_HAND = FRESH * worker_module.IN_HAND


class Bench:
    """A worker on a fake queue, and what there is to see of it."""

    def __init__(self, worker: Worker, queue: FakeQueue, clock: FakeClock, registry: CollectorRegistry) -> None:
        self.worker = worker
        self.queue = queue
        self.clock = clock
        self.registry = registry
        self.stop = asyncio.Event()
        self.running: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        self.running = asyncio.create_task(self.worker.run(self.stop))
        return self.running

    async def stopped(self, seconds: float = 10) -> None:
        """Tell it to stop, and wait until it has."""
        self.stop.set()
        assert self.running is not None
        async with asyncio.timeout(seconds):
            await self.running

    def counted(self, metric: str, **labels: str) -> float:
        return self.registry.get_sample_value(metric, labels) or 0.0

    async def later(self, delivery_id: str) -> None:
        """Let time pass until a retry is due, and have it looked for."""
        due_in = self.queue.due_in(delivery_id)
        assert due_in is not None
        self.clock.advance(due_in)
        self.worker.wake()


async def some_turns() -> None:
    """Let whatever is ready run, and what that makes ready."""
    for _ in range(20):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def a_worker(
    *,
    transport: Transport | None = None,
    clock: Clock | None = None,
    drain_timeout: float = 5.0,
    claim_interval: float = 60.0,
    record_interval: float = 0.0,
    longest_wait: float = 60.0,
    limits: Limits | None = None,
) -> AsyncIterator[Bench]:
    """Make a worker, not yet running; stop it at the end if it still runs."""
    queue_clock, registry = FakeClock(), CollectorRegistry()
    queue = FakeQueue(queue_clock)
    async with a_transport() as real:
        worker = Worker(
            queue=queue,
            transport=transport or real,
            gate=Gate(limits or GENEROUS, clock or SystemClock()),
            clock=clock or SystemClock(),
            rng=Random(20261101),
            metrics=PublisherMetrics(registry, profile="nordbastion"),
            header_prefix="x-nb-",
            slots=SLOTS,
            claim_interval=claim_interval,
            record_interval=record_interval,
            drain_timeout=drain_timeout,
            longest_wait=longest_wait,
        )
        bench = Bench(worker, queue, queue_clock, registry)
        try:
            yield bench
        finally:
            if bench.running is not None and not bench.running.done():
                bench.running.cancel()
                await asyncio.gather(bench.running, return_exceptions=True)


class Raising:
    """A transport that raises what it is given, then answers 204."""

    def __init__(self, *errors: BaseException) -> None:
        self._errors = list(errors)

    async def post(self, *_: object) -> Response:
        if self._errors:
            raise self._errors.pop(0)
        return Response(204, None, b"")
