"""The two queues behind one face: what the contract suite needs of each besides the promises themselves.

Time passes by moving the fake's clock, or by moving the rows' times in the database: nobody sleeps.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

import asyncpg

from publisher import deliveries
from publisher import queue as queue_module
from publisher.delivery.outcome import Result
from publisher.endpoint_failures import disable
from publisher.endpoints import Directory
from publisher.ids import Ids
from publisher.queue import Enqueued, Finished, PostgresQueue
from publisher.secrets import Vault
from tests.support.egress import LOOPBACK
from tests.support.fake_queue import FakeQueue
from tests.support.jobs import KEY, a_job, a_message, an_endpoint
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from publisher.queue import Job, Queue

LEASE_SECONDS = 30.0
UNIX = 1_793_491_200.0
SIGNATURE = "v1,c2lnbmF0dXJl"
AGENT = "Heliograph/0 (+https://heliograph.example)"


def a_result(job: Job, state: str, *, delay: float = 0.0, result: Result | None = None) -> Finished:
    """Return what an attempt of `job` came to: 204 where it delivered, 503 otherwise."""
    ok = state == "delivered"
    return Finished(
        account=job.endpoint.account,
        delivery_id=job.id,
        lease=job.lease,
        state=state,
        delay=delay,
        number=job.attempt,
        result=result or (Result.OK if ok else Result.SERVER_ERROR),
        status=204 if ok else 503,
        duration_ms=250,
        response=None if ok else "busy",
        attempted_at=UNIX,
        signature=SIGNATURE,
    )


class State(NamedTuple):
    """What can be seen of a delivery from outside."""

    state: str
    attempts: int


class Bench(Protocol):
    """A queue, and what the suite needs to set it up and look inside."""

    @property
    def queue(self) -> Queue: ...

    async def endpoint(self) -> str:
        """Make one more endpoint, of another account; return its id."""
        ...

    async def add(
        self, name: str, *, leased_under: int | None = None, endpoint_id: str | None = None, due_in: float = 0.0
    ) -> str:
        """Enqueue a delivery for the first endpoint or the one named, waiting or leased; return its id."""
        ...

    async def put_back(self, delivery_id: str) -> None:
        """Deliver again what has ended, as customers may ask for."""
        ...

    async def lose_payload(self, name: str) -> None:
        """Let retention take the message of a delivery."""
        ...

    async def pass_time(self, seconds: float) -> None: ...

    async def state(self, delivery_id: str) -> State: ...

    async def reason(self, delivery_id: str) -> str | None:
        """Return why a delivery ended, where its schedule did not end it."""
        ...

    async def attempts(self, delivery_id: str) -> list[tuple[int, str, int | None, int, str | None]]:
        """Return number, result, status, milliseconds and response of each attempt, in order."""
        ...

    async def remove_endpoint(self) -> None:
        """Disable the first one."""
        ...


class FakeBench:
    def __init__(self) -> None:
        self._clock = FakeClock()
        self.queue = self._fake = FakeQueue(self._clock, lease_seconds=LEASE_SECONDS)
        self._endpoints = {(first := an_endpoint()).id: first}

    async def endpoint(self) -> str:
        number = len(self._endpoints) + 1
        made = an_endpoint(endpoint_id=f"we_{number:04}", account=f"acct_{number}")
        self._endpoints[made.id] = made
        return made.id

    async def add(
        self, name: str, *, leased_under: int | None = None, endpoint_id: str | None = None, due_in: float = 0.0
    ) -> str:
        endpoint = self._endpoints[endpoint_id or an_endpoint().id]
        message = a_message(f"msg_{name}", account=endpoint.account)
        job = a_job(f"dlv_{name}", lease=leased_under or 0, endpoint=endpoint, message=message)
        return self._fake.add(job, is_leased=leased_under is not None, due_in=due_in).id

    async def put_back(self, delivery_id: str) -> None:
        self._fake.put_back(delivery_id)

    async def lose_payload(self, name: str) -> None:
        self._fake.expired.add(f"msg_{name}")

    async def pass_time(self, seconds: float) -> None:
        self._clock.advance(seconds)

    async def state(self, delivery_id: str) -> State:
        row = self._fake.rows[delivery_id]
        return State(row.state, len(row.attempts))

    async def reason(self, delivery_id: str) -> str | None:
        return self._fake.rows[delivery_id].reason

    async def attempts(self, delivery_id: str) -> list[tuple[int, str, int | None, int, str | None]]:
        return [
            (each.number, each.result, each.status, each.duration_ms, each.response)
            for each in self._fake.rows[delivery_id].attempts
        ]

    async def remove_endpoint(self) -> None:
        self._fake.inactive.add(an_endpoint().id)


class PostgresBench:
    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], clock: FakeClock) -> None:
        directory = Directory(Vault({"test": KEY}), Ids(clock), LOOPBACK)
        self.queue = PostgresQueue(pool, directory, lease_seconds=LEASE_SECONDS, agent=AGENT)
        self.pool = pool
        self._directory = directory
        self._clock = clock
        self._accounts: dict[str, str] = {}

    async def endpoint(self) -> str:
        # Accounts and endpoints in one order: PostgreSQL takes turns by the former, the fake by the latter.
        account = f"acct_{1000 + len(self._accounts)}" if self._accounts else an_endpoint().account
        self._clock.advance(1)
        async with self.pool.acquire() as connection:
            endpoint_id, _ = await self._directory.register(
                connection, account=account, url="http://127.0.0.1:9/hooks", events=["*"]
            )
        self._accounts[endpoint_id] = account
        return endpoint_id

    async def add(
        self, name: str, *, leased_under: int | None = None, endpoint_id: str | None = None, due_in: float = 0.0
    ) -> str:
        endpoint_id = endpoint_id or self._first
        account = self._accounts[endpoint_id]
        message = a_message(f"msg_{name}", account=account)
        endpoint = an_endpoint(endpoint_id=endpoint_id, account=account)
        job = a_job(f"dlv_{name}", lease=leased_under or 0, endpoint=endpoint, message=message)
        async with self.pool.acquire() as connection, connection.transaction():
            new = Enqueued((job,), ()) if leased_under is not None else Enqueued((), (job,))
            await queue_module.enqueue(connection, [message], new, LEASE_SECONDS)
            if due_in:
                await connection.execute(
                    "UPDATE queue SET due_at = due_at + $2 * interval '1 s' WHERE id = $1", job.id, due_in
                )
        return job.id

    async def put_back(self, delivery_id: str) -> None:
        async with self.pool.acquire() as connection:
            [(account, endpoint_id)] = await connection.fetch(
                "SELECT account_id, endpoint_id FROM deliveries WHERE id = $1", delivery_id
            )
            assert await deliveries.requeue(connection, account, endpoint_id, [delivery_id]) == {delivery_id}

    async def lose_payload(self, name: str) -> None:
        await self.pool.execute("DELETE FROM messages WHERE id = $1", f"msg_{name}")

    async def pass_time(self, seconds: float) -> None:
        await self.pool.execute(
            """UPDATE queue
               SET due_at = due_at - $1 * interval '1 s', created_at = created_at - $1 * interval '1 s',
                   first_try_at = first_try_at - $1 * interval '1 s'""",
            seconds,
        )

    async def state(self, delivery_id: str) -> State:
        row = await self.pool.fetchrow("SELECT state, attempts FROM delivery_log WHERE id = $1", delivery_id)
        assert row is not None
        return State(*row)

    async def reason(self, delivery_id: str) -> str | None:
        reason: str | None = await self.pool.fetchval("SELECT reason FROM delivery_log WHERE id = $1", delivery_id)
        return reason

    async def attempts(self, delivery_id: str) -> list[tuple[int, str, int | None, int, str | None]]:
        rows = await self.pool.fetch(
            "SELECT number, result, status, duration_ms, response FROM attempts WHERE delivery_id = $1 ORDER BY number",
            delivery_id,
        )
        return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]

    async def remove_endpoint(self) -> None:
        async with self.pool.acquire() as connection:
            await disable(connection, [self._first], "gone")

    @property
    def _first(self) -> str:
        return next(iter(self._accounts))


@contextlib.asynccontextmanager
async def postgres_bench(dsn: str) -> AsyncIterator[PostgresBench]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=8) as pool:
        bench = PostgresBench(pool, FakeClock())
        await bench.endpoint()
        yield bench
