"""The API's share of the pool: what one account waits for, others do not, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import asyncpg
import pytest

from publisher.api.connections import Connections
from publisher.api.errors import ApiError, of_exception
from publisher.profiles.model import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.database import Pool


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=8) as opened:
        yield opened


async def test_an_account_has_half_of_them_and_another_the_rest(pool: Pool) -> None:
    connections = Connections(pool, 4, patience=0.05)
    async with contextlib.AsyncExitStack() as held:
        for _ in range(2):
            await held.enter_async_context(connections.acquire("one"))
        with pytest.raises(ApiError) as caught:
            await held.enter_async_context(connections.acquire("one"))
        assert (caught.value.fault, caught.value.code) == (Fault.UNAVAILABLE, "busy")
        assert caught.value.headers == {"Retry-After": "2"}
        for _ in range(2):
            await held.enter_async_context(connections.acquire("other"))
        with pytest.raises(ApiError):
            await held.enter_async_context(connections.acquire("third"))
    async with connections.acquire("one"), connections.acquire("one"):
        pass


async def test_who_waits_gets_the_turn_that_is_given_back(pool: Pool) -> None:
    connections = Connections(pool, 2)
    is_held, is_over = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with connections.acquire("one"):
            is_held.set()
            await is_over.wait()

    holding = asyncio.create_task(hold())
    await is_held.wait()
    waiting = asyncio.create_task(_one(connections))
    await asyncio.sleep(0)
    assert not waiting.done()
    is_over.set()
    assert await waiting == 1
    await holding


async def _one(connections: Connections) -> object:
    async with connections.acquire("one") as connection:
        return await connection.fetchval("SELECT 1")


async def test_with_one_connection_everybody_has_a_turn(pool: Pool) -> None:
    connections = Connections(pool, 1)
    assert await asyncio.gather(*(_one(connections) for _ in range(20))) == [1] * 20


async def _wait_for_it(connections: Connections) -> None:
    async with connections.transaction("one") as connection:
        assert await connection.fetchval("SHOW lock_timeout") == "2s"
        await connection.execute("SET LOCAL lock_timeout = '20ms'")
        await connection.execute("LOCK TABLE endpoints")


async def test_a_statement_does_not_wait_for_ever_for_what_another_transaction_holds(pool: Pool) -> None:
    connections = Connections(pool, 4)
    async with connections.transaction("one") as other:
        await other.execute("LOCK TABLE endpoints")
        with pytest.raises(asyncpg.LockNotAvailableError) as caught:
            await _wait_for_it(connections)
    said = of_exception(caught.value)
    assert (said.fault, said.code) == (Fault.UNAVAILABLE, "busy")
    async with connections.acquire("one") as connection:
        assert await connection.fetchval("SHOW lock_timeout") == "0"
