"""Recovery: everything an endpoint was not delivered in some time, sent again, each once. Owns `recoveries`.

A recovery is a row with a cursor. A batch is one transaction: the row is locked, a page of ids behind the cursor is
put back into the queue, the cursor moves behind it. A crash leaves the batch done or not begun; two processes have
two recoveries; and what is dropped again after it was put back lies behind the cursor. An endpoint has one running
recovery at most: with two, what the first put back and lost again would be put back by the second.

What may be put back at once is what the endpoint works off: while a batch of its deliveries is due and untaken, or
its account's queue is full, its recoveries wait. A recovery ends when its page is the last. When its endpoint is no
longer active it stops where it is, for good: what was not reached stays recoverable, and whoever enables the endpoint
again, perhaps months later, decides anew what is to be sent.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from publisher import deliveries, endpoints, ids, quota
from publisher.endpoints import NoSuchEndpointError
from publisher.log import id_range, is_name
from runtime.advisory_locks import AdvisoryLock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg

    from publisher.ids import Ids
    from runtime.database import Connection, Pool

#: Deliveries in a batch, and how many of an endpoint's may be due before its recovery waits.
BATCH = 500
#: Batches in one call of `work`: a few seconds at the most.
BATCHES = 40
#: Recoveries of an endpoint that are listed, the newest.
LISTED = 100
STATES = ("dropped", "cancelled")

#: One at a time may begin for an endpoint; the lock is the transaction's.
ALONE = f"SELECT pg_advisory_xact_lock(hashtextextended($1, {AdvisoryLock.RECOVERIES}))"
RUNNING = "SELECT id FROM recoveries WHERE account_id = $1 AND endpoint_id = $2 AND ended_at IS NULL"
NOW = "SELECT now()"
START = """
INSERT INTO recoveries (account_id, id, endpoint_id, since, until, states, cursor) VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
COLUMNS = "id, endpoint_id, since, until, states, cursor, queued, expired, created_at, ended_at"
READ = f"SELECT {COLUMNS} FROM recoveries WHERE account_id = $1 AND endpoint_id = $2 AND id = $3"  # noqa: S608 - ours
LIST = f"""
SELECT {COLUMNS} FROM recoveries WHERE account_id = $1 AND endpoint_id = $2 ORDER BY created_at DESC, id DESC LIMIT $3
"""  # noqa: S608 - ours
#: The next one nobody else is at. What a twin changed before the lock was had is read as the twin left it.
TAKE = """
SELECT account_id, id, endpoint_id, since, until, states, cursor FROM recoveries
WHERE ended_at IS NULL AND id > $1
ORDER BY id
LIMIT 1
FOR UPDATE SKIP LOCKED
"""
MOVE = """
UPDATE recoveries
SET cursor = $3, queued = queued + $4, expired = expired + $5, ended_at = CASE WHEN $6 THEN now() END
WHERE account_id = $1 AND id = $2
"""
FORGET = "DELETE FROM recoveries WHERE ended_at <= now() - make_interval(secs => $1)"


class InvalidRecoveryError(ValueError):
    """What was asked for cannot be a recovery: `field` is wrong, for `reason`."""

    def __init__(self, field: str, reason: str) -> None:
        """Say both in the text, for people."""
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class EndpointInactiveError(Exception):
    """The endpoint is paused or disabled: whatever were put back would be cancelled."""


class RecoveryRunningError(Exception):
    """The endpoint has a recovery that goes on: `recovery_id`."""

    def __init__(self, recovery_id: str) -> None:
        """Name the one there is."""
        super().__init__(f"recovery {recovery_id} of this endpoint is still running")
        self.recovery_id = recovery_id


class State(enum.StrEnum):
    """Whether a recovery goes on, came to its end, or was stopped by its endpoint's becoming inactive."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Recovery:
    """A recovery as its owner may see it.

    `queued` were put back; `expired` could not be, because retention has taken their payload, or they have had more
    attempts than any schedule makes. `since` and `until` are both included, to the millisecond.
    """

    id: str
    endpoint_id: str
    since: datetime
    until: datetime
    states: Sequence[str]
    state: State
    queued: int
    expired: int
    created_at: datetime
    ended_at: datetime | None


async def start(
    connection: Connection,
    made: Ids,
    account: str,
    endpoint_id: str,
    *,
    since: datetime,
    until: datetime | None = None,
    states: Sequence[str] = STATES,
) -> str:
    """Have everything in `states` sent again that was made from `since` to `until` (now); return the recovery's id.

    The times are those in the deliveries' ids: when the event was taken, not when the delivery ended. Raises
    `NoSuchEndpointError`, `EndpointInactiveError`, `RecoveryRunningError`, and `InvalidRecoveryError` for the rest.
    """
    unique = sorted(set(states))
    if not unique or not set(unique) <= set(STATES):
        raise InvalidRecoveryError("states", "must be of dropped, cancelled")
    async with connection.transaction():
        endpoint = await endpoints.read(connection, account, endpoint_id)
        if endpoint.status != "active":
            raise EndpointInactiveError(f"endpoint {endpoint_id} is {endpoint.status}: enable it first")
        await connection.execute(ALONE, endpoint_id)
        running = await connection.fetchval(RUNNING, account, endpoint_id)
        if running is not None:
            raise RecoveryRunningError(running)
        end: datetime = until or await connection.fetchval(NOW)
        if end < since:
            raise InvalidRecoveryError("since", "must not be later than until, nor in the future")
        recovery_id = made.new(ids.RECOVERY)
        cursor, _ = id_range(since, end)
        await connection.execute(START, account, recovery_id, endpoint_id, since, end, unique, cursor)
    return recovery_id


async def read(connection: Connection, account: str, endpoint_id: str, recovery_id: str) -> Recovery | None:
    """Return a recovery and how far it is; None when the account's endpoint has none of that id."""
    if not all(map(is_name, (account, endpoint_id, recovery_id))):
        return None
    row = await connection.fetchrow(READ, account, endpoint_id, recovery_id)
    return _recovery(row) if row else None


async def list_of(connection: Connection, account: str, endpoint_id: str) -> list[Recovery]:
    """Return an endpoint's recoveries, the newest first, `LISTED` at most."""
    if not (is_name(account) and is_name(endpoint_id)):
        return []
    return [_recovery(row) for row in await connection.fetch(LIST, account, endpoint_id, LISTED)]


async def forget(connection: Connection, *, after: float) -> None:
    """Forget recoveries that ended `after` seconds ago."""
    await connection.execute(FORGET, after)


def state_of(ended_at: datetime | None, cursor: str, since: datetime, until: datetime) -> State:
    """Say how a recovery stands: one that came to its end has its cursor there. Pure."""
    if ended_at is None:
        return State.RUNNING
    return State.DONE if cursor == id_range(since, until)[1] else State.STOPPED


def _recovery(row: asyncpg.Record) -> Recovery:
    fields = dict(row)
    state = state_of(fields["ended_at"], fields.pop("cursor"), fields["since"], fields["until"])
    return Recovery(**fields, state=state)


# --- the work -------------------------------------------------------------------------------------------------------


class Step(enum.Enum):
    """What became of one recovery's turn."""

    NONE_LEFT = enum.auto()
    WAITS = enum.auto()
    MOVED = enum.auto()


class Running(NamedTuple):
    """A recovery whose row is locked; the columns of `TAKE`."""

    account: str
    id: str
    endpoint_id: str
    since: datetime
    until: datetime
    states: Sequence[str]
    cursor: str


class Recoverer:
    """Moves recoveries on; any number of processes may have one."""

    def __init__(self, pool: Pool, *, batch: int = BATCH, batches: int = BATCHES) -> None:
        """Put back `batch` deliveries in a transaction, in `batches` transactions a call."""
        self._pool = pool
        self._batch = batch
        self._batches = batches
        #: The recovery that had its turn last.
        self._last = ""

    async def work(self) -> None:
        """Give every recovery its turn, again and again until all wait or end; the next call goes on from there.

        For a chore of a second or so: what waits is asked once a call.
        """
        turns = self._batches
        is_idle = not self._last
        while turns > 0:
            step = await self._step()
            if step is Step.NONE_LEFT:
                self._last = ""
                if is_idle:
                    return
                is_idle = True
            else:
                turns -= 1
                is_idle = is_idle and step is Step.WAITS

    async def _step(self) -> Step:
        """Give the next recovery its turn: one batch, one transaction."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(TAKE, self._last)
            if row is None:
                return Step.NONE_LEFT
            running = Running(*row)
            self._last = running.id
            if not await _is_active(connection, running):
                await _move(connection, running, running.cursor, ends=True)
                return Step.MOVED
            if await quota.state_of(connection, running.account) is not None:
                return Step.WAITS
            if await deliveries.is_backlogged(connection, running.account, running.endpoint_id, self._batch):
                return Step.WAITS
            await self._put_back(connection, running)
            return Step.MOVED

    async def _put_back(self, connection: Connection, running: Running) -> None:
        """Put a page back and move the cursor behind it.

        The page is of every state, and what is not wanted is passed over here: a page that had to search for its
        members among a million others would be no small step.
        """
        _, before = id_range(running.since, running.until)
        page = await deliveries.undelivered(
            connection, running.account, running.endpoint_id, after=running.cursor, before=before, limit=self._batch
        )
        wanted = [delivery_id for delivery_id, state in page if state in running.states]
        queued = len(await deliveries.requeue(connection, running.account, running.endpoint_id, wanted))
        ends = len(page) < self._batch
        cursor = before if ends else page[-1][0]
        await _move(connection, running, cursor, queued=queued, expired=len(wanted) - queued, ends=ends)


async def _move(
    connection: Connection, running: Running, cursor: str, *, queued: int = 0, expired: int = 0, ends: bool
) -> None:
    await connection.execute(MOVE, running.account, running.id, cursor, queued, expired, ends)


async def _is_active(connection: Connection, running: Running) -> bool:
    try:
        return (await endpoints.read(connection, running.account, running.endpoint_id)).status == "active"
    except NoSuchEndpointError:
        return False
