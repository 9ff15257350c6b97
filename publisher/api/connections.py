"""The API's share of the pool: requests may not take the connections that delivery needs.

A process that also consumes and delivers keeps half of its connections for that. Who gets none within a few seconds
is told to try again, rather than waiting with everybody else.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from publisher.api.errors import ApiError
from publisher.profiles.model import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.database import Connection, Pool

#: Seconds a request waits for its turn.
PATIENCE = 5.0


class Connections:
    """At most `most` connections of a pool at once."""

    def __init__(self, pool: Pool, most: int) -> None:
        """Take them from `pool`."""
        self._pool = pool
        self._turns = asyncio.Semaphore(most)

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """Hold a connection for the length of the context; raises `ApiError` when there is none to be had."""
        if self._turns.locked():
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._turns.acquire()
            except TimeoutError:
                raise ApiError(
                    Fault.UNAVAILABLE, "busy", "The service is busy. Try again.", headers={"Retry-After": "2"}
                ) from None
        else:
            await self._turns.acquire()
        try:
            async with self._pool.acquire() as connection:
                yield connection
        finally:
            self._turns.release()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Hold a connection in a transaction, which is committed unless the context is left by an exception."""
        async with self.acquire() as connection, connection.transaction():
            yield connection
