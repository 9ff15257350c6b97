"""Chores that one process at a time does: whoever comes first, no leader, and nobody waits for anybody.

The lock is a transaction's, so it is gone with the process that held it. One that is frozen, or cut off, loses it after
`SILENT` seconds: then another does the chore, and what the first one still does is harmless, as every chore is when it
is done twice. The lock saves that work, and keeps two from waiting for each other's rows.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from runtime.advisory_locks import AdvisoryLock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.database import Connection, Pool

#: Seconds nothing may come over the connection that holds a lock: longer than any chore takes.
SILENT = 1800
BOUND = f"SET LOCAL idle_in_transaction_session_timeout = '{SILENT}s'"
TAKE = f"SELECT pg_try_advisory_xact_lock(hashtextextended($1, {AdvisoryLock.CHORES}))"


async def take(connection: Connection, chore: str) -> bool:
    """Say whether `chore` is ours until the caller's transaction ends."""
    return bool(await connection.fetchval(TAKE, chore))


class Alone:
    """Gives this process its turns at chores that use connections of their own."""

    def __init__(self, pool: Pool) -> None:
        """Hold a connection of `pool` for the length of a turn."""
        self._pool = pool
        #: One turn at a time: chores that all held a connection and all waited for another would wait for ever.
        self._turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def turn(self, chore: str) -> AsyncIterator[bool]:
        """Yield whether `chore` is ours for the length of the context; raises what the database raises."""
        async with self._turn, self._pool.acquire() as connection, connection.transaction():
            is_ours = await take(connection, chore)
            await connection.execute(BOUND)
            yield is_ours
