"""The two queues behind one face: what the contract suite needs of each besides the promises themselves.

Time passes by moving the fake's clock, or by moving the rows' times in the database: nobody sleeps.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

import asyncpg

from publisher import queue as queue_module
from publisher.endpoints import Directory, disable
from publisher.ids import Ids
from publisher.queue import Enqueued, PostgresQueue
from publisher.secrets import Vault
from tests.support.egress import LOOPBACK
from tests.support.fake_queue import FakeQueue
from tests.support.jobs import KEY, a_job, a_message, an_endpoint
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from publisher.queue import Queue

LEASE_SECONDS = 30.0


class State(NamedTuple):
    """What can be seen of a delivery from outside."""

    state: str
    attempts: int


class Bench(Protocol):
    """A queue, and what the suite needs to set it up and look inside."""

    @property
    def queue(self) -> Queue: ...

    async def add(self, name: str, *, leased_under: int | None = None) -> str:
        """Enqueue a delivery, due now or leased; return its id."""
        ...

    async def pass_time(self, seconds: float) -> None: ...

    async def state(self, delivery_id: str) -> State: ...

    async def attempts(self, delivery_id: str) -> list[tuple[int, str, int | None, int, str | None]]:
        """Return number, result, status, milliseconds and response of each attempt, in order."""
        ...

    async def remove_endpoint(self) -> None: ...


class FakeBench:
    def __init__(self) -> None:
        self._clock = FakeClock()
        self.queue = self._fake = FakeQueue(self._clock, lease_seconds=LEASE_SECONDS)

    async def add(self, name: str, *, leased_under: int | None = None) -> str:
        job = a_job(f"dlv_{name}", lease=leased_under or 0, message=a_message(f"msg_{name}"))
        return self._fake.add(job, is_leased=leased_under is not None).id

    async def pass_time(self, seconds: float) -> None:
        self._clock.advance(seconds)

    async def state(self, delivery_id: str) -> State:
        row = self._fake.rows[delivery_id]
        return State(row.state, len(row.attempts))

    async def attempts(self, delivery_id: str) -> list[tuple[int, str, int | None, int, str | None]]:
        return [
            (each.number, each.result, each.status, each.duration_ms, each.response)
            for each in self._fake.rows[delivery_id].attempts
        ]

    async def remove_endpoint(self) -> None:
        self._fake.inactive.add(an_endpoint().id)


class PostgresBench:
    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], directory: Directory, endpoint_id: str) -> None:
        self.queue = PostgresQueue(pool, directory, lease_seconds=LEASE_SECONDS)
        self._pool = pool
        self._endpoint = an_endpoint(endpoint_id=endpoint_id)

    async def add(self, name: str, *, leased_under: int | None = None) -> str:
        message = a_message(f"msg_{name}")
        job = a_job(f"dlv_{name}", lease=leased_under or 0, endpoint=self._endpoint, message=message)
        async with self._pool.acquire() as connection, connection.transaction():
            new = Enqueued((job,), ()) if leased_under is not None else Enqueued((), (job,))
            await queue_module.enqueue(connection, [message], new, LEASE_SECONDS)
        return job.id

    async def pass_time(self, seconds: float) -> None:
        await self._pool.execute(
            """UPDATE queue
               SET due_at = due_at - $1 * interval '1 s', created_at = created_at - $1 * interval '1 s',
                   first_try_at = first_try_at - $1 * interval '1 s'""",
            seconds,
        )

    async def state(self, delivery_id: str) -> State:
        row = await self._pool.fetchrow("SELECT state, attempts FROM delivery_log WHERE id = $1", delivery_id)
        assert row is not None
        return State(*row)

    async def attempts(self, delivery_id: str) -> list[tuple[int, str, int | None, int, str | None]]:
        rows = await self._pool.fetch(
            "SELECT number, result, status, duration_ms, response FROM attempts WHERE delivery_id = $1 ORDER BY number",
            delivery_id,
        )
        return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]

    async def remove_endpoint(self) -> None:
        async with self._pool.acquire() as connection:
            await disable(connection, [self._endpoint.id], "gone")


@contextlib.asynccontextmanager
async def postgres_bench(dsn: str) -> AsyncIterator[PostgresBench]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=8) as pool:
        directory = Directory(Vault({"test": KEY}), Ids(FakeClock()), LOOPBACK)
        async with pool.acquire() as connection:
            endpoint_id, _ = await directory.register(
                connection, account="acct_1", url="http://127.0.0.1:9/hooks", events=["*"]
            )
        yield PostgresBench(pool, directory, endpoint_id)
