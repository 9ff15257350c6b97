"""Processes that do something once: an operation with an effect, within a transaction and apart from any."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from publisher.api.connections import Connections
from publisher.api.errors import ApiError
from publisher.api.idempotency import Idempotency, Once, Stored
from publisher.profiles.model import Fault
from publisher.secrets import Vault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    Pool = asyncpg.Pool[asyncpg.Record]
    #: Either way of doing something once: `act(service, once, before)`.
    Act = Callable[..., Coroutine[Any, Any, Stored]]

KEY = bytes(range(32))
SHOWN = "whsec_c2VjcmV0LW9mLWEtY3VzdG9tZXI"


def once(body: str = "{}", *, account: str = "acct_1", key: str = "my-own-key") -> Once:
    return Once(account, key, hashlib.sha256(body.encode()).digest())


class Service:
    """A process: its pool, its keys, and an operation that leaves a row in `effects` for every time it is done."""

    def __init__(self, pool: Pool, *, most: int = 4, vault: Vault | None = None, **patience: float) -> None:
        self.pool = pool
        self.connections = Connections(pool, most)
        self.idempotency = Idempotency(vault or Vault({"old": KEY}), **patience)

    async def create(self, asked: Once, before: Callable[[], Awaitable[Any]] | None = None) -> Stored:
        """Do what the pipeline does; `before` stands where the handler could wait or fail, after its effect."""
        async with self.idempotency.turn(asked), self.connections.transaction(asked.account) as connection:

            async def work() -> Stored:
                number = await connection.fetchval("INSERT INTO effects DEFAULT VALUES RETURNING number")
                if before is not None:
                    await before()
                return an_answer(number)

            return await self.idempotency.within(connection, asked, work)

    async def test(self, asked: Once, before: Callable[[], Awaitable[Any]] | None = None) -> Stored:
        """Do it outside of a transaction."""

        async def work() -> Stored:
            async with self.connections.acquire(asked.account) as connection:
                number = await connection.fetchval("INSERT INTO effects DEFAULT VALUES RETURNING number")
            if before is not None:
                await before()
            return an_answer(number)

        return await self.idempotency.apart(self.connections, asked, work)

    async def effects(self) -> int:
        count: int = await self.pool.fetchval("SELECT count(*) FROM effects")
        return count


def an_answer(number: int) -> Stored:
    body = f'{{"id":"we_{number}","secret":"{SHOWN}"}}'.encode()
    return Stored(201, {"Location": f"/v1/webhooks/we_{number}"}, body)


class Gate:
    """Where work waits until the test lets it on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.opened.wait()


async def failing() -> None:
    raise ApiError(Fault.CONFLICT, "too_many_webhooks", "There are too many.")


async def conflict(asked: Awaitable[Stored]) -> str:
    """Return the code of the 409 that a request ends in."""
    with pytest.raises(ApiError) as caught:
        await asked
    assert caught.value.fault is Fault.CONFLICT
    return caught.value.code


async def let(pool: Pool, moment: str, age: str) -> None:
    """Let a moment of every row be `age` ago."""
    await pool.execute(f"UPDATE idempotency_keys SET {moment} = now() - interval '{age}'")  # noqa: S608 - ours


@contextlib.asynccontextmanager
async def two_pools(dsn: str) -> AsyncIterator[tuple[Pool, Pool]]:
    """Open those of two processes."""
    async with (
        asyncpg.create_pool(dsn, min_size=1, max_size=4) as one,
        asyncpg.create_pool(dsn, min_size=1, max_size=4) as other,
    ):
        await one.execute("CREATE TABLE effects (number serial)")
        try:
            yield one, other
        finally:  # a test that failed may have left somebody waiting: closing would wait as well
            one.terminate()
            other.terminate()


BOTH_WAYS = pytest.mark.parametrize("act", [Service.create, Service.test], ids=["within", "apart"])
