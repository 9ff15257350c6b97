"""What a customer sees of deliveries: the list, and one whole, with every request that was made.

Reads `queue`, `deliveries`, `attempts` and `messages` (owner: publisher/queue.py); writes nothing. Everything is asked
for by account and endpoint: what is another's and what is not there look the same. Ids begin with the millisecond of
their making, so time is a range of ids, and whole days of the log are never opened.

An endpoint may have millions of deliveries. A list therefore looks at `LOOKED_AT` of them at most, the newest (or
oldest) of the time it is asked for: a page, the total and a filter that hardly anything meets all cost the same.
Beyond, the list says that it is not complete, and `until` (or `since`) leads on.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from publisher import ids
from publisher.delivery import headers
from publisher.delivery.outcome import Result
from publisher.queue import ENDED_STATES, LIVE_STATES
from runtime.trace_context import trace_id_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from runtime.database import Connection

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Deliveries a list looks at.
LOOKED_AT = 10_000
#: Attempts that a delivery is shown with, the newest.
SHOWN_ATTEMPTS = 50
#: What an account, endpoint or delivery may be called; PostgreSQL refuses some of the rest (NUL) in other words.
NAME = re.compile(r"[\w.:@-]{1,100}", re.ASCII)

DELIVERED = "delivered"
COLUMNS = """id, endpoint_id, message_id, type, state, reason, attempts, last_result, next_attempt_at, created_at,
       first_try_at, ended_at"""
#: What a list looks at, of each of the two tables that can have it. The condition on the state is one their
#: constraints know, so that each is read alone. The log stops early. Of the queue all that is the endpoint's is read:
#: OFFSET 0 keeps the planner from looking for its few among everybody's in the order of ids.
LIVE_HALF = """
(SELECT * FROM (
    SELECT * FROM delivery_log
    WHERE account_id = $1 AND endpoint_id = $2 AND id >= $3 AND id < $4 AND state IN ({states})
    OFFSET 0
 ) AS live
 ORDER BY id {direction}
 LIMIT {limit})
"""
ENDED_HALF = """
(SELECT * FROM delivery_log
 WHERE account_id = $1 AND endpoint_id = $2 AND id >= $3 AND id < $4 AND state IN ({states})
 ORDER BY id {direction}
 LIMIT {limit})
"""
WANTED = "FROM (SELECT * FROM ({halves}) AS halves ORDER BY id {direction} LIMIT {limit}) AS looked_at"
MEETS = """
    ($5::text[] IS NULL OR state = ANY ($5)) AND ($6::text IS NULL OR type = $6)
    AND ($7::text IS NULL OR last_result = $7)
"""
PAGE = "SELECT {columns} {wanted} WHERE {meets} ORDER BY id {direction} LIMIT $8 OFFSET $9"
COUNT = "SELECT count(*) FILTER (WHERE {meets}), count(*), max(id) {wanted}"
#: A plan made for the average endpoint reads the whole log of one that has a million deliveries.
PLAN_ANEW = "SET LOCAL plan_cache_mode = force_custom_plan"
READ = f"SELECT {COLUMNS} FROM delivery_log WHERE account_id = $1 AND endpoint_id = $2 AND id = $3"  # noqa: S608 - ours
#: A public message stands once, under no account.
MESSAGE = "SELECT body, traceparent FROM messages WHERE account_id IN ($1, '') AND id = $2"
#: Not those recorded since the delivery was read: both are of one moment. Whoever has a delivery sent again and again
#: sees the newest, or its page would outgrow this process.
ATTEMPTS = f"""
SELECT * FROM (
    SELECT number, attempted_at, result, status, duration_ms, response, signature, agent
    FROM attempts WHERE account_id = $1 AND delivery_id = $2 AND number <= $3
    ORDER BY number DESC
    LIMIT {SHOWN_ATTEMPTS}
) AS newest ORDER BY number
"""  # noqa: S608 - ours


class Filters(NamedTuple):
    """Which deliveries are meant; None leaves it open.

    `since` and `until` are times of their making, both included, to the millisecond. The rest are members of closed
    sets, which whoever takes them from a customer has checked.
    """

    states: Collection[str] | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    last_result: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as its owner may see it; `next_attempt_at` while it waits, `ended_at` once it has ended."""

    id: str
    endpoint_id: str
    message_id: str
    type: str
    state: str
    reason: str | None
    attempts: int
    last_result: str | None
    next_attempt_at: datetime | None
    created_at: datetime
    first_try_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    """Deliveries, and how many there are in all; `newest` is the newest id that was looked at.

    When not `is_complete`, there is more than was looked at: `total` counts what was found among the first `LOOKED_AT`.
    """

    deliveries: Sequence[Delivery]
    total: int
    is_complete: bool
    newest: str | None = None


class Attempt(NamedTuple):
    """A request that was made and what came back.

    `headers` are the request's as they were sent, but for `host` and `content-length`; None where none was signed, or
    a release that did not keep them made it. `response` is text, cut where it was cut when it was read.
    """

    number: int
    attempted_at: datetime
    result: str
    status: int | None
    duration_ms: int
    response: str | None
    headers: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Whole:
    """A delivery with its attempts; `body` is what each of them sent, `trace_id` its trace as the log names it.

    Both are None once retention has taken the message.
    """

    delivery: Delivery
    body: bytes | None
    attempts: Sequence[Attempt]
    trace_id: str | None


async def list_deliveries(
    connection: Connection,
    account: str,
    endpoint_id: str,
    *,
    filters: Filters | None = None,
    offset: int = 0,
    limit: int = 20,
    oldest_first: bool = False,
) -> Page:
    """Return `limit` of an endpoint's deliveries behind `offset` in the order of their making, the newest first.

    Live and ended ones are in one order that no retry or redelivery changes. An endpoint the account does not have
    has none.
    """
    filters = filters or Filters()
    halves = possible(filters.states, filters.last_result)
    if not (halves and is_name(account) and is_name(endpoint_id)):
        return Page((), 0, is_complete=True)
    direction = "ASC" if oldest_first else "DESC"
    looked_for = wanted(halves, direction)
    after, before = id_range(filters.since, filters.until)
    states = None if filters.states is None else list(filters.states)
    arguments = (account, endpoint_id, after, before, states, filters.type, filters.last_result)
    deliveries: list[Delivery] = []
    async with connection.transaction():
        await connection.execute(PLAN_ANEW)
        [(total, looked_at, newest)] = await connection.fetch(COUNT.format(meets=MEETS, wanted=looked_for), *arguments)
        if offset < total:
            query = PAGE.format(columns=COLUMNS, meets=MEETS, wanted=looked_for, direction=direction)
            rows = await connection.fetch(query, *arguments, limit, offset)
            deliveries = [Delivery(**row) for row in rows]
    return Page(deliveries, total, looked_at < LOOKED_AT, newest)


async def read_delivery(
    connection: Connection, account: str, endpoint_id: str, delivery_id: str, *, header_prefix: str
) -> Whole | None:
    """Return a delivery with its newest attempts, `SHOWN_ATTEMPTS` at most.

    None when the account's endpoint has none of that id.
    """
    if not all(map(is_name, (account, endpoint_id, delivery_id))):
        return None
    row = await connection.fetchrow(READ, account, endpoint_id, delivery_id)
    if row is None:
        return None
    delivery = Delivery(**row)
    message = await connection.fetchrow(MESSAGE, account, delivery.message_id)
    attempts = []
    for row in await connection.fetch(ATTEMPTS, account, delivery_id, delivery.attempts):
        shown = dict(row)
        signature, agent = shown.pop("signature"), shown.pop("agent")
        request = sent(
            delivery, row["number"], row["attempted_at"], signature=signature, agent=agent, prefix=header_prefix
        )
        attempts.append(Attempt(**shown, headers=request))
    if message is None:
        return Whole(delivery, None, attempts, None)
    return Whole(delivery, message["body"], attempts, trace_id_of(message["traceparent"], delivery.message_id))


def sent(
    delivery: Delivery, number: int, attempted_at: datetime, *, signature: str | None, agent: str | None, prefix: str
) -> dict[str, str] | None:
    """Return the headers of an attempt as they were sent, in their order; None where they are not known. Pure."""
    if signature is None or agent is None:
        return None
    return headers.fixed(agent) | headers.of_attempt(
        message_id=delivery.message_id,
        event_type=delivery.type,
        delivery_id=delivery.id,
        attempt=number,
        timestamp=math.floor(attempted_at.timestamp()),
        signature=signature,
        prefix=prefix,
    )


def possible(states: Collection[str] | None, last_result: str | None) -> list[list[str]]:
    """Return the states what is meant can be in, those of the queue and those of the log. Pure.

    They are more than `states` where no index tells them apart: those are looked at, within the limit.
    """
    live = [] if states is not None and set(LIVE_STATES).isdisjoint(states) else list(LIVE_STATES)
    ended = [] if states is not None and set(ENDED_STATES).isdisjoint(states) else list(ENDED_STATES)
    is_undelivered = states is not None and DELIVERED not in states
    if is_undelivered or last_result not in {None, Result.OK}:  # what was delivered has 2xx as its last result
        ended = [state for state in ended if state != DELIVERED]
    return [half for half in (live, ended) if half]


def wanted(halves: Sequence[Sequence[str]], direction: str) -> str:
    """Return the part of a list's statements that says what is looked at, as SQL; `direction` is ASC or DESC. Pure."""
    selects = [
        (ENDED_HALF if set(half) <= set(ENDED_STATES) else LIVE_HALF).format(
            states=", ".join(f"'{state}'" for state in half), direction=direction, limit=LOOKED_AT
        )
        for half in halves
    ]
    return WANTED.format(halves="UNION ALL".join(selects), direction=direction, limit=LOOKED_AT)


def id_range(since: datetime | None, until: datetime | None) -> tuple[str, str]:
    """Return the ids that deliveries made from `since` to `until` lie between: not below the first, below the second.

    Both milliseconds are included; None leaves the end open. Pure.
    """
    after = 0 if since is None else _milliseconds(since)
    before = ids.LATEST if until is None else _milliseconds(until) + 1
    return ids.least(ids.DELIVERY, after), ids.least(ids.DELIVERY, before)


def _milliseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def is_name(text: str) -> bool:
    """Say whether something can be an account, an endpoint or a delivery at all."""
    return NAME.fullmatch(text) is not None
