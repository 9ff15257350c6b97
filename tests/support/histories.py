"""Deliveries with a past, written straight into the tables: ended so, attempted so often, made then."""

from __future__ import annotations

import contextlib
import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg

from publisher import ids
from publisher.endpoints import Directory
from publisher.ids import Ids
from publisher.log import EPOCH
from publisher.secrets import Vault
from runtime.clock import SystemClock
from tests.support.egress import LOOPBACK
from tests.support.jobs import KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TYPE = "server.power.on"
#: The default making of a delivery: whole days before midnight are another partition.
NOW = datetime.now(UTC).replace(microsecond=0)
HOUR_AGO = NOW - timedelta(hours=1)
REASONS = {"cancelled": "quota"}


class Histories:
    """A database with endpoints and whatever deliveries a test needs."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self.pool = pool
        self.ids = Ids(SystemClock())
        self.directory = Directory(Vault({"test": KEY}), self.ids, LOOPBACK)
        self._numbers = itertools.count(1)

    async def endpoint(self, account: str = "acct_1", url: str = "http://127.0.0.1:9/hooks") -> str:
        """Register an active endpoint; return its id."""
        async with self.pool.acquire() as connection:
            endpoint_id, _ = await self.directory.register(connection, account=account, url=url, events=["*"])
        return endpoint_id

    async def add(
        self,
        endpoint_id: str,
        state: str = "dropped",
        *,
        account: str = "acct_1",
        at: datetime = HOUR_AGO,
        attempts: int | None = None,
        last_result: str | None = None,
        event_type: str = TYPE,
        has_payload: bool = True,
        due_in: float = 600.0,
    ) -> str:
        """Write a delivery made at `at` in any state; return its id. Ids of one moment are in the order of the calls.

        A retry is due in `due_in` seconds.
        """
        number = next(self._numbers)
        milliseconds = (at - EPOCH) // timedelta(milliseconds=1)
        delivery_id = f"{ids.least(ids.DELIVERY, milliseconds)}{number:020x}"
        message_id = f"{ids.least(ids.MESSAGE, milliseconds)}{number:020x}"
        made = attempts if attempts is not None else int(state in {"delivered", "dropped", "retry"})
        result = last_result or {"delivered": "2xx", "dropped": "5xx", "retry": "5xx"}.get(state)
        common = (account, delivery_id, endpoint_id, message_id, event_type, state, made, result, at)
        if has_payload:
            await self.pool.execute(
                "INSERT INTO messages (account_id, id, type, body) VALUES ($1, $2, $3, $4)",
                account, message_id, event_type, b"%d" % number,
            )  # fmt: skip
        if state in {"pending", "leased", "retry"}:
            await self.pool.execute(
                """INSERT INTO queue (account_id, id, endpoint_id, message_id, type, state, attempts, last_result,
                                      created_at, tried, lease, due_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7::smallint, $8, $9,
                           CASE WHEN $6 = 'retry' THEN $7::smallint ELSE 0 END, CASE WHEN $6 = 'leased' THEN 1 END,
                           now() + CASE WHEN $6 = 'pending' THEN 0 ELSE $10::float8 END * interval '1 s')""",
                *common, due_in,
            )  # fmt: skip
        else:
            await self.pool.execute(
                """INSERT INTO deliveries (account_id, id, endpoint_id, message_id, type, state, attempts, last_result,
                                           created_at, reason)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)""",
                *common, REASONS.get(state),
            )  # fmt: skip
        return delivery_id

    async def queued(self) -> list[str]:
        """Return what is in the queue, by id."""
        return [row[0] for row in await self.pool.fetch("SELECT id FROM queue ORDER BY id")]

    async def state(self, delivery_id: str) -> str:
        """Return a delivery's state; there is exactly one."""
        [row] = await self.pool.fetch("SELECT state FROM delivery_log WHERE id = $1", delivery_id)
        state: str = row[0]
        return state

    async def due(self, delivery_id: str) -> bool:
        """Say whether a delivery is due."""
        is_due: bool = await self.pool.fetchval("SELECT due_at <= now() FROM queue WHERE id = $1", delivery_id)
        return is_due

    async def end(self, state: str = "dropped") -> list[str]:
        """End everything in the queue so, as if it had been attempted; return what that was."""
        rows = await self.pool.fetch(
            """WITH ended AS (DELETE FROM queue RETURNING *)
               INSERT INTO deliveries (account_id, id, endpoint_id, message_id, type, state, attempts, last_result,
                                       created_at)
               SELECT account_id, id, endpoint_id, message_id, type, $1, attempts + 1, '5xx', created_at FROM ended
               RETURNING id""",
            state,
        )
        return sorted(row[0] for row in rows)

    async def execute(self, statement: str, *arguments: Any) -> None:
        """Run a statement."""
        await self.pool.execute(statement, *arguments)


@contextlib.asynccontextmanager
async def histories(dsn: str) -> AsyncIterator[Histories]:
    """Open a database to write histories into."""
    async with asyncpg.create_pool(dsn, min_size=1, max_size=8) as pool:
        yield Histories(pool)
