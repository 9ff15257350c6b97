"""Deliveries by hand: put back, hastened, dropped, counted; the customer's and the operator's side of the queue.

Shares the ownership of `queue` and `deliveries` with publisher/queue.py, which holds what the worker does to them.
Every statement stands in deliveries.sql, but for the one that ends a delivery, which is the queue's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from publisher import queue
from publisher.queue import LIVE_STATES
from runtime.database import load_queries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from runtime.database import Connection

SQL = load_queries(Path(__file__).with_suffix(".sql"))


async def requeue(connection: Connection, account: str, endpoint_id: str, delivery_ids: Sequence[str]) -> set[str]:
    """Put ended deliveries back, due at once, on a new schedule; return those that were.

    Left where they are: what is not there, is under way already, or whose payload retention has taken.
    """
    return {row[0] for row in await connection.fetch(SQL["requeue"], account, endpoint_id, list(delivery_ids))}


async def undelivered(
    connection: Connection,
    account: str,
    endpoint_id: str,
    *,
    after: str,
    before: str,
    states: Sequence[str],
    limit: int,
) -> list[str]:
    """Return and lock the next page of what was not delivered: ids between `after` and `before`, ascending."""
    rows = await connection.fetch(SQL["undelivered"], account, endpoint_id, after, before, list(states), limit)
    return [row[0] for row in rows]


async def hasten(connection: Connection, delivery_ids: Sequence[str]) -> set[str]:
    """Make waiting deliveries due now; return those that were waiting."""
    return {row[0] for row in await connection.fetch(SQL["hasten"], list(delivery_ids))}


class Dropped(NamedTuple):
    """A delivery that was given up."""

    account: str
    delivery_id: str
    endpoint_id: str
    message_id: str
    type: str
    attempts: int
    last_result: str | None


async def drop(connection: Connection, delivery_ids: Sequence[str]) -> list[Dropped]:
    """Give up waiting deliveries by the operator's hand; those being attempted at this moment are left."""
    return [
        Dropped(*row)
        for row in await connection.fetch(queue.SQL["end"], list(delivery_ids), None, "dropped", "operator")
    ]


class Waiting(NamedTuple):
    """How many deliveries are in a state, and when the first of them is due."""

    count: int
    oldest_due: datetime | None


async def waiting(connection: Connection) -> dict[str, Waiting]:
    """Return what the queue holds, by state."""
    found = {row[0]: Waiting(row[1], row[2]) for row in await connection.fetch(SQL["states"])}
    return {state: found.get(state, Waiting(0, None)) for state in LIVE_STATES}
