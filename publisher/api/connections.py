"""The API's share of the pool: requests may not take the connections that delivery needs, nor one account them all.

A process that also consumes and delivers keeps half of its connections for that. Of the API's half an account has half
again: whoever asks for a hundred long lists at once waits for himself. Who gets none within a few seconds is told to
try again, rather than waiting with everybody else.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from publisher.api.errors import ApiError
from publisher.profiles.model import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.database import Connection, Pool

#: Seconds a request waits for its turn.
PATIENCE = 5.0
#: How long a statement waits for what another transaction holds: that one may be the same account's, and slow.
LOCK_PATIENCE = "SET LOCAL lock_timeout = '2s'"


class Connections:
    """At most `most` connections of a pool at once, and half of them for one account."""

    def __init__(self, pool: Pool, most: int, *, patience: float = PATIENCE) -> None:
        """Take them from `pool`; wait for a turn for `patience` seconds."""
        self._pool = pool
        self._turns = asyncio.Semaphore(most)
        self._of_account = max(1, most // 2)
        self._patience = patience
        #: One for each account with a request under way: it goes when the last of them lets go of it.
        self._accounts: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def acquire(self, account: str) -> AsyncIterator[Connection]:
        """Hold a connection for the length of the context; raises `ApiError` when there is none to be had."""
        own = self._accounts.get(account)
        if own is None:
            own = self._accounts[account] = asyncio.Semaphore(self._of_account)
        async with self._turn(own), self._turn(self._turns), self._pool.acquire() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def transaction(self, account: str) -> AsyncIterator[Connection]:
        """Hold a connection in a transaction, which is committed unless the context is left by an exception.

        Raises `asyncpg.LockNotAvailableError` from whichever statement waits too long for another transaction.
        """
        async with self.acquire(account) as connection, connection.transaction():
            await connection.execute(LOCK_PATIENCE)
            yield connection

    @contextlib.asynccontextmanager
    async def _turn(self, turns: asyncio.Semaphore) -> AsyncIterator[None]:
        if turns.locked():
            try:
                async with asyncio.timeout(self._patience):
                    await turns.acquire()
            except TimeoutError:
                raise ApiError(
                    Fault.UNAVAILABLE, "busy", "The service is busy. Try again.", headers={"Retry-After": "2"}
                ) from None
        else:
            await turns.acquire()
        try:
            yield
        finally:
            turns.release()
