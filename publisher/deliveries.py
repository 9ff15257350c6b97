"""Deliveries by hand: sent again, hastened, dropped, counted; the customer's and the operator's side of the queue.

Shares the ownership of `queue` and `deliveries` with publisher/queue.py, which holds what the worker does to them.
Every statement stands in deliveries.sql, but for the one that ends a delivery, which is the queue's.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from publisher import endpoints, queue, quota
from publisher.endpoints import NoSuchEndpointError
from publisher.log import is_name
from publisher.queue import LIVE_STATES
from runtime.database import load_queries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from runtime.database import Connection

SQL = load_queries(Path(__file__).with_suffix(".sql"))
#: Attempts after which a delivery is not sent again: their number is a smallint, and has to fit to be recorded.
MOST_ATTEMPTS = 10_000
#: Deliveries cancelled in the transaction that deletes their endpoint: a second or two of work.
CANCELLED_AT_ONCE = 100_000
#: How often a delivery that is moved by somebody else meanwhile is looked at anew.
LOOKS = 3


class Redelivery(enum.StrEnum):
    """What became of the wish to send a delivery now."""

    QUEUED = "queued"
    NOT_FOUND = "not_found"
    UNDER_WAY = "under_way"
    EXPIRED = "expired"
    ENDPOINT_INACTIVE = "endpoint_inactive"
    QUEUE_FULL = "queue_full"
    TOO_MANY_ATTEMPTS = "too_many_attempts"


class Found(NamedTuple):
    """What there is to know of a delivery that somebody wants sent; the columns of `find`."""

    state: str
    attempts: int
    has_payload: bool


def judge(found: Found | None, *, is_active: bool, is_full: bool) -> Redelivery:
    """Say whether a delivery may be sent now; one that waits takes no more room than it has. Pure."""
    if found is None:
        return Redelivery.NOT_FOUND
    is_waiting = found.state in LIVE_STATES
    refusals = {
        Redelivery.UNDER_WAY: found.state == "leased",
        Redelivery.ENDPOINT_INACTIVE: not is_active,
        Redelivery.EXPIRED: not found.has_payload,
        Redelivery.TOO_MANY_ATTEMPTS: not is_waiting and found.attempts >= MOST_ATTEMPTS,
        Redelivery.QUEUE_FULL: not is_waiting and is_full,
    }
    return next((refusal for refusal, applies in refusals.items() if applies), Redelivery.QUEUED)


async def redeliver(connection: Connection, account: str, endpoint_id: str, delivery_id: str) -> Redelivery:
    """Have a delivery sent now: a waiting one is made due, one that has ended begins a new schedule.

    What is sent has the same `webhook-id` and bytes, attempts are numbered on, and the log shows it as one delivery.
    Of two who ask at once both are answered `queued`, and it is queued once.
    """
    if not is_name(delivery_id):
        return Redelivery.NOT_FOUND
    async with connection.transaction():
        try:
            endpoint = await endpoints.read(connection, account, endpoint_id)
        except NoSuchEndpointError:
            return Redelivery.NOT_FOUND
        is_full = await quota.state_of(connection, account) is not None
        for _ in range(LOOKS):
            row = await connection.fetchrow(SQL["find"], account, endpoint_id, delivery_id)
            found = Found(*row) if row else None
            verdict = judge(found, is_active=endpoint.status == "active", is_full=is_full)
            if found is None or verdict is not Redelivery.QUEUED:
                return verdict
            if found.state in LIVE_STATES:
                moved = await hasten(connection, account, [delivery_id])
            else:
                moved = await requeue(connection, account, endpoint_id, [delivery_id])
            if moved:
                return verdict
        return Redelivery.UNDER_WAY


class Owned(NamedTuple):
    """Whose a delivery is and what state it is in."""

    account: str
    endpoint_id: str
    state: str


async def owned(connection: Connection, delivery_id: str) -> Owned | None:
    """Look a delivery up by its id alone, for the operator; None where there is none."""
    row = await connection.fetchrow(SQL["owned"], delivery_id) if is_name(delivery_id) else None
    return Owned(*row) if row else None


async def account_of(connection: Connection, endpoint_id: str) -> str | None:
    """Return whose an endpoint is, for the operator; None where there is none."""
    account: str | None = await connection.fetchval(SQL["endpoint"], endpoint_id) if is_name(endpoint_id) else None
    return account


# --- putting back ---------------------------------------------------------------------------------------------------


async def requeue(connection: Connection, account: str, endpoint_id: str, delivery_ids: Sequence[str]) -> set[str]:
    """Put ended deliveries back, due at once, on a new schedule; return those that were.

    Left where they are: what is not there, is under way already, has had `MOST_ATTEMPTS`, or whose payload retention
    has taken.
    """
    arguments = (account, endpoint_id, list(delivery_ids), MOST_ATTEMPTS)
    return {row[0] for row in await connection.fetch(SQL["requeue"], *arguments)}


async def undelivered(
    connection: Connection, account: str, endpoint_id: str, *, after: str, before: str, limit: int
) -> list[tuple[str, str]]:
    """Return and lock the next page of what was not delivered: (id, state) between the ids, ascending.

    A page with less than `limit` is the last.
    """
    rows = await connection.fetch(SQL["undelivered"], account, endpoint_id, after, before, limit)
    return [(row[0], row[1]) for row in rows]


async def is_backlogged(connection: Connection, account: str, endpoint_id: str, limit: int) -> bool:
    """Say whether `limit` deliveries of an endpoint or more are due and not taken yet."""
    due: int = await connection.fetchval(SQL["due"], account, endpoint_id, limit)
    return due >= limit


async def hasten(connection: Connection, account: str, delivery_ids: Sequence[str]) -> set[str]:
    """Make an account's waiting deliveries due now; return those that were waiting."""
    return {row[0] for row in await connection.fetch(SQL["hasten"], account, list(delivery_ids))}


async def hasten_endpoint(connection: Connection, account: str, endpoint_id: str, *, since: str, limit: int) -> int:
    """Make up to `limit` of an endpoint's retries due now, of those with ids from `since` on; return how many."""
    status = await connection.execute(SQL["hasten_endpoint"], account, endpoint_id, since, limit)
    return int(status.rpartition(" ")[2])


# --- giving up -------------------------------------------------------------------------------------------------------


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
    return await _drop(
        connection, [(row[0], row[1]) for row in await connection.fetch(SQL["owners"], list(delivery_ids))]
    )


async def _drop(connection: Connection, owned_ids: Sequence[tuple[str, str]]) -> list[Dropped]:
    accounts, delivery_ids = [account for account, _ in owned_ids], [each for _, each in owned_ids]
    async with connection.transaction():
        await connection.execute(queue.LOOK_UP)
        rows = await connection.fetch(queue.SQL["end"], accounts, delivery_ids, None, "dropped", "operator")
    return [Dropped(*row) for row in rows]


async def delete_endpoint(connection: Connection, account: str, endpoint_id: str) -> dict[str, int]:
    """Remove an account's endpoint and cancel what waits for it, in one; raises `NoSuchEndpointError`.

    Returns how many were cancelled, by event type.

    What is being attempted at this moment ends as it ends, and is not tried again. Of more than `CANCELLED_AT_ONCE`
    deliveries the rest is cancelled by whoever finds it due.
    """
    async with connection.transaction():
        await endpoints.delete(connection, account, endpoint_id)
        cancelled = await connection.fetch(SQL["cancel"], account, endpoint_id, CANCELLED_AT_ONCE)
        return {row[0]: row[1] for row in cancelled}


async def count_waiting(connection: Connection, account: str, endpoint_id: str) -> tuple[datetime, int]:
    """Return the database's time, and how many deliveries of an endpoint wait and are not being attempted."""
    row = await connection.fetchrow(SQL["count_waiting"], account, endpoint_id)
    assert row is not None  # noqa: S101 - an aggregate has a row
    return row[0], row[1]


async def drop_waiting(
    connection: Connection, account: str, endpoint_id: str, *, until: datetime, limit: int
) -> list[Dropped]:
    """Give up to `limit` of an endpoint's waiting deliveries up, of those made until then; in a transaction."""
    rows = await connection.fetch(SQL["waiting_of"], account, endpoint_id, until, limit)
    return await _drop(connection, [(account, row[0]) for row in rows])


async def under_way(connection: Connection, account: str, endpoint_id: str) -> list[str]:
    """Return those of an endpoint's deliveries that are being attempted."""
    return [row[0] for row in await connection.fetch(SQL["under_way"], account, endpoint_id)]


# --- counting -------------------------------------------------------------------------------------------------------


class Waiting(NamedTuple):
    """How many deliveries are in a state, when the first of them is or was due, and how many seconds ago."""

    number: int
    oldest_due: datetime | None
    overdue: float


class Ended(NamedTuple):
    """How many deliveries ended so in the last hour and in the last day."""

    state: str
    last_result: str | None
    hour: int
    day: int


class Troubled(NamedTuple):
    """Accounts with a full queue, endpoints disabled, recoveries that go on."""

    full_accounts: int
    disabled_endpoints: int
    running_recoveries: int


async def waiting(connection: Connection, account: str | None = None) -> dict[str, Waiting]:
    """Return what the queue holds, by state; of one account where it is named."""
    found = {row[0]: Waiting(*row[1:]) for row in await connection.fetch(SQL["states"], account)}
    return {state: found.get(state, Waiting(0, None, 0.0)) for state in LIVE_STATES}


async def ended(connection: Connection, *, made_since: str, account: str | None = None) -> list[Ended]:
    """Return what ended in the last day, of deliveries with ids from `made_since` on."""
    return [Ended(*row) for row in await connection.fetch(SQL["ended"], account, made_since)]


async def troubled(connection: Connection, account: str | None = None) -> Troubled:
    """Return what an operator looks for when deliveries stand."""
    row = await connection.fetchrow(SQL["troubled"], account)
    assert row is not None  # noqa: S101 - a row of aggregates
    return Troubled(*row)
