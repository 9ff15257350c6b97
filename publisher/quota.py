"""How much of the queue an account may fill, and which accounts have. Owns `full_accounts`.

Counting at every event would make one row per account the hottest of the database; so the queue is counted every
few seconds, and what an account adds in between is let in. A full account's new deliveries are not queued: they go
straight to the log, cancelled with the reason `quota`, where the customer sees them and can recover them once
there is room. An account has room again when its queue is down to `ROOM_AGAIN` of the limit.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from publisher import alone

if TYPE_CHECKING:
    from datetime import datetime

    from runtime.database import Connection, Pool

logger = logging.getLogger(__name__)

#: Share of the limit below which a full account has room again: less than all of it, or it would flap.
ROOM_AGAIN = 0.8
#: Two counts a moment apart would change the same rows in different orders, and wait for each other.
COUNTING = "count full accounts"

#: Reads queue (owner: publisher/queue.py).
COUNT = """
WITH counted AS (
    SELECT account_id, count(*) AS queued FROM queue GROUP BY account_id HAVING count(*) >= $2
), emptied AS (
    DELETE FROM full_accounts f WHERE NOT EXISTS (SELECT FROM counted c WHERE c.account_id = f.account_id)
)
INSERT INTO full_accounts AS f (account_id, queued)
SELECT account_id, queued FROM counted
WHERE queued >= $1 OR account_id IN (SELECT account_id FROM full_accounts)
ORDER BY account_id
ON CONFLICT (account_id) DO UPDATE SET queued = excluded.queued
"""
FULL = "SELECT account_id FROM full_accounts"
OF_ACCOUNT = "SELECT queued, since FROM full_accounts WHERE account_id = $1"


class Full(NamedTuple):
    """That an account's queue is full: how many deliveries it held when last counted, and since when it has been."""

    queued: int
    since: datetime


class Quota:
    """Knows the full accounts as of the last count."""

    def __init__(self, pool: Pool, limit: int) -> None:
        """Allow `limit` live deliveries to an account."""
        self._pool = pool
        self._limit = limit
        self._full: frozenset[str] = frozenset()

    def full(self) -> frozenset[str]:
        """Return the accounts whose queue is full."""
        return self._full

    async def count(self) -> None:
        """Count the queue, unless another process is at it, and store who is full; remember what is stored."""
        async with self._pool.acquire() as connection:
            async with connection.transaction():
                if await alone.take(connection, COUNTING):
                    await connection.execute(COUNT, self._limit, max(1, int(self._limit * ROOM_AGAIN)))
            full = frozenset(row[0] for row in await connection.fetch(FULL))
        if full != self._full:
            logger.warning("%d accounts have a full queue; what is new for them is logged as cancelled", len(full))
        self._full = full


async def state_of(connection: Connection, account: str) -> Full | None:
    """Return how full an account's queue is, None when it has room."""
    row = await connection.fetchrow(OF_ACCOUNT, account)
    return Full(row[0], row[1]) if row else None
