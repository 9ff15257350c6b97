"""A worker on the queue in PostgreSQL, and the customer's log beside it: delivery as it runs, without a broker.

Nobody waits for a schedule: `due_now` makes time pass for what waits, by moving it in the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from random import Random
from typing import TYPE_CHECKING, Any

import asyncpg
from prometheus_client import CollectorRegistry

from publisher import failures
from publisher import queue as queue_module
from publisher.delivery.gate import Gate
from publisher.delivery.worker import Worker
from publisher.endpoints import Directory
from publisher.ids import Ids
from publisher.metrics import PublisherMetrics
from publisher.queue import Enqueued, Job, PostgresQueue
from publisher.secrets import Vault
from runtime.clock import SystemClock
from tests.support.egress import LOOPBACK
from tests.support.jobs import KEY, a_message
from tests.support.process import until
from tests.support.transports import USER_AGENT, a_transport
from tests.support.workers import GENEROUS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from publisher.delivery.gate import Limits
    from publisher.delivery.transport import Transport
    from publisher.queue import Rooms
    from runtime.clock import Clock
    from runtime.database import Pool

LEASE_SECONDS = 30.0
ACCOUNT = "acct_1"
FRESH_LEASE = 99

Log = dict[str, tuple[str, int]]


class Live:
    """A database with endpoints and deliveries, and workers on it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.clock = SystemClock()
        self.ids = Ids(self.clock)
        self.directory = Directory(Vault({"test": KEY}), self.ids, LOOPBACK)
        self._seeds = itertools.count(20261101)

    async def endpoint(self, url: object, *, account: str = ACCOUNT) -> tuple[str, str]:
        """Register an endpoint; return its id and its secret."""
        async with self.pool.acquire() as connection:
            return await self.directory.register(connection, account=account, url=str(url), events=["*"])

    async def enqueue(
        self, endpoint_id: str, count: int = 1, *, account: str = ACCOUNT, fresh_to: Worker | None = None
    ) -> list[str]:
        """Enqueue deliveries that wait, or hand them to a worker as intake does; return their ids."""
        async with self.pool.acquire() as connection:
            [endpoint] = (await self.directory.of_ids(connection, [endpoint_id])).values()
            messages = [a_message(self.ids.new("msg"), account=account) for _ in range(count)]
            jobs = [Job(self.ids.new("dlv"), FRESH_LEASE, endpoint, message) for message in messages]
            leased, waiting = fresh_to.choose(jobs) if fresh_to else ([], jobs)
            async with connection.transaction():
                await queue_module.enqueue(connection, messages, Enqueued(leased, waiting), LEASE_SECONDS)
        if fresh_to:
            fresh_to.submit(leased)
            fresh_to.wake()
        return [job.id for job in jobs]

    async def log(self) -> Log:
        """Return state and attempts of every delivery, as its customer sees them."""
        rows = await self.pool.fetch("SELECT id, state, attempts FROM delivery_log")
        return {row[0]: (row[1], row[2]) for row in rows}

    async def until(self, condition: Callable[[Log], bool], what: str, seconds: float = 20) -> None:
        """Look at the log until `condition` holds."""

        async def holds() -> bool:
            return condition(await self.log())

        await until(holds, what, seconds)

    async def due_now(self, state: str) -> None:
        """Let the time pass that deliveries in `state` wait for: their retry, or the end of their lease."""
        await self.pool.execute("UPDATE queue SET due_at = now() WHERE state = $1", state)

    async def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.pool.fetch(query, *arguments)]

    @contextlib.asynccontextmanager
    async def working(
        self,
        *,
        transport: Transport | None = None,
        clock: Clock | None = None,
        limits: Limits = GENEROUS,
        slots: int = 40,
        drain_timeout: float = 5.0,
        claim_interval: float = 0.05,
    ) -> AsyncIterator[Working]:
        """Run a worker; stop it at the end, and see that it ended by itself."""
        registry, clock = CollectorRegistry(), clock or self.clock
        async with a_transport() as real:
            queue = WatchedQueue(
                self.pool, self.directory, lease_seconds=LEASE_SECONDS, agent=USER_AGENT, follow=failures.follow
            )
            worker = Worker(
                queue=queue,
                transport=transport or real,
                gate=Gate(limits, clock),
                clock=clock,
                rng=Random(next(self._seeds)),  # leases of two workers must differ
                metrics=PublisherMetrics(registry, profile="nordbastion"),
                header_prefix="x-nb-",
                slots=slots,
                claim_interval=claim_interval,
                record_interval=0.0,
                drain_timeout=drain_timeout,
                longest_wait=60.0,
            )
            stop = asyncio.Event()
            task = asyncio.create_task(worker.run(stop))
            working = Working(worker, queue, registry, stop, task)
            try:
                yield working
                await working.stopped()
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


class WatchedQueue(PostgresQueue):
    """The queue, and how often it was claimed from."""

    def __init__(self, *collaborators: Any, **options: Any) -> None:
        super().__init__(*collaborators, **options)
        self.claims = 0
        self._claimed = asyncio.Event()

    async def claim(self, limit: int, lease: int, room: Rooms | None = None) -> list[Job]:
        jobs = await super().claim(limit, lease, room)
        self.claims += 1
        self._claimed.set()
        return jobs

    async def claimed_again(self, times: int, seconds: float = 10) -> None:
        """Wait until so many more claims have been made."""
        enough = self.claims + times
        async with asyncio.timeout(seconds):
            while self.claims < enough:
                self._claimed.clear()
                await self._claimed.wait()


class Working:
    """A worker that runs."""

    def __init__(
        self,
        worker: Worker,
        queue: WatchedQueue,
        registry: CollectorRegistry,
        stop: asyncio.Event,
        task: asyncio.Task[None],
    ) -> None:
        self.worker = worker
        self.queue = queue
        self.registry = registry
        self.stop = stop
        self.task = task

    async def stopped(self, seconds: float = 15) -> None:
        """Tell it to stop, and wait until it has."""
        self.stop.set()
        async with asyncio.timeout(seconds):
            await self.task

    def counted(self, metric: str, **labels: str) -> float:
        return self.registry.get_sample_value(metric, labels) or 0.0


@contextlib.asynccontextmanager
async def live(dsn: str) -> AsyncIterator[Live]:
    """Yield a database with nothing in it."""
    async with asyncpg.create_pool(dsn, min_size=1, max_size=8) as pool:
        yield Live(pool)


def states(log: Mapping[str, tuple[str, int]]) -> list[str]:
    """Return the states alone, in alphabetical order."""
    return sorted(state for state, _ in log.values())
