"""The delivery queue and its log. Owns `sequences`, `messages`, `queue`, `deliveries` and `attempts`.

A delivery stands in `queue` until it ends, then in `deliveries`; one statement moves it. It belongs to whoever
holds its lease; recording names the lease, so a worker that comes back too late changes nothing. Claiming and
recording are short transactions: none is held open while a customer is being called.

Every statement stands in queue.sql.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from runtime.database import load_queries
from runtime.trace_context import trace_id_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from publisher.delivery.outcome import Result
    from publisher.endpoints import Directory, Endpoint
    from runtime.database import Connection, Pool

SQL = load_queries(Path(__file__).with_suffix(".sql"))
MESSAGE_COLUMNS = ("account_id", "id", "type", "body", "traceparent")
LIVE_COLUMNS = ("account_id", "id", "endpoint_id", "message_id", "type", "state", "lease", "due_at")
ENDED_COLUMNS = (
    "account_id", "id", "endpoint_id", "message_id", "type", "state", "reason", "attempts", "created_at"
)  # fmt: skip
LIVE_STATES = ("pending", "leased", "retry")
ENDED_STATES = ("delivered", "dropped", "cancelled")
#: Endpoints passed in one statement while looking for those whose turn it is.
STEPS = 1000
#: Looks of one claim, where all it finds is to be cancelled: many endpoints that are gone must not use up its turn.
ROUNDS = 10
#: Deliveries of endpoints that are gone, cancelled in one transaction.
CANCELLED_AT_ONCE = 1000
#: For a transaction whose statements find rows of the queue (queue.sql says why): no plan of an emptier time, and none
#: that reads a table from end to end, or all that an endpoint has waiting before it takes the first.
LOOK_UP = """
SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL plan_cache_mode = force_custom_plan
"""


class Message(NamedTuple):
    """One event as customers get it; `body` is signed and sent byte for byte. Columns of `messages`."""

    account: str
    id: str
    type: str
    body: bytes
    traceparent: str | None

    def trace_id(self) -> str:
        """Return the trace that logs and the customer's delivery record name, 32 hex digits."""
        return trace_id_of(self.traceparent, self.id)


@dataclass(slots=True)
class Job:
    """A delivery somebody holds the lease of, with all that is needed to attempt it.

    `attempt` counts from 1 over the delivery's life; `tried` is how many of its present schedule were made.
    `tried_for` and `age` are seconds since that schedule's first attempt and since the event's commit, by the
    database's clock. `taken_at` is monotonic: since when this process has it; for a fresh delivery (`is_fresh`) that
    is the moment of the event's commit, and `leased_at` one just before its lease began, perhaps long before that.
    """

    id: str
    lease: int
    endpoint: Endpoint
    message: Message
    attempt: int = 1
    tried: int = 0
    tried_for: float = 0.0
    age: float = 0.0
    taken_at: float = field(default=0.0, compare=False)
    leased_at: float | None = field(default=None, compare=False)
    is_fresh: bool = field(default=False, compare=False)

    @property
    def held_since(self) -> float:
        """Return since when, at the latest, its lease has been running out; monotonic."""
        return self.taken_at if self.leased_at is None else self.leased_at


class Finished(NamedTuple):
    """An attempt and what becomes of its delivery, `account` its endpoint's; the order of `record`'s arrays."""

    account: str
    delivery_id: str
    lease: int
    state: str
    delay: float
    number: int
    result: Result
    status: int | None
    duration_ms: int
    response: str | None
    attempted_at: float
    signature: str | None


class Recorded(NamedTuple):
    """An attempt that was recorded, for what follows from it in the same transaction."""

    account: str
    delivery_id: str
    endpoint_id: str
    message_id: str
    type: str
    was_failing: bool
    finished: Finished


class Enqueued(NamedTuple):
    """How new deliveries begin: leased to this process, waiting, or turned away by a full queue."""

    leased: Sequence[Job]
    waiting: Sequence[Job]
    turned_away: Sequence[Job] = ()


class Turn(NamedTuple):
    """An endpoint that a walk through the queue came by, in the order of these fields."""

    account: str = ""
    endpoint_id: str = ""


class Rooms(Protocol):
    """How many deliveries each endpoint may be given now."""

    def of(self, endpoint_id: str) -> int:
        """Return the room of one endpoint."""
        ...


@dataclass(frozen=True, slots=True)
class Room:
    """Rooms written down: `known` by id, everyone else `others`."""

    others: int = 1_000_000
    known: Mapping[str, int] = field(default_factory=dict)

    def of(self, endpoint_id: str) -> int:
        """Return the room of one endpoint."""
        return self.known.get(endpoint_id, self.others)


class Queue(Protocol):
    """What the worker needs of a queue; the in-memory one in the tests keeps the same promises."""

    async def claim(self, limit: int, lease: int, room: Rooms = ...) -> list[Job]:
        """Take up to `limit` due or abandoned deliveries under the token `lease`.

        Endpoints take turns, none gets more than its room; of each the oldest due come first.
        """
        ...

    async def record(self, finished: Sequence[Finished]) -> set[str]:
        """Write attempts and new states together; return the deliveries whose lease still held."""
        ...

    async def release(self, jobs: Sequence[Job]) -> None:
        """Give deliveries back, due at once, as if they had not been claimed."""
        ...


# --- enqueueing: in the consumer's transaction ------------------------------------------------------------------------


async def number(connection: Connection, counts: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Take `count` sequence numbers for each (account, resource); return the last one of each."""
    rows = await connection.fetch(
        SQL["number"], [account for account, _ in counts], [name for _, name in counts], list(counts.values())
    )
    return {(row[0], row[1]): row[2] for row in rows}


async def enqueue(connection: Connection, messages: Sequence[Message], new: Enqueued, lease_seconds: float) -> None:
    """Insert messages and their deliveries.

    COPY is half the work of INSERT on both sides; it cannot call now(), so the database's time is asked for first.
    Leases begin at this moment, not at that of the transaction's beginning, which may have waited for others since.
    """
    [(now, lease_end)] = await connection.fetch(SQL["lease_end"], lease_seconds)
    await connection.copy_records_to_table("messages", records=messages, columns=MESSAGE_COLUMNS)
    live = [(*_identity(job), "leased", job.lease, lease_end) for job in new.leased]
    live += [(*_identity(job), "pending", None, now) for job in new.waiting]
    await connection.copy_records_to_table("queue", records=live, columns=LIVE_COLUMNS)
    if new.turned_away:
        ended = [(*_identity(job), "cancelled", "quota", 0, now) for job in new.turned_away]
        await connection.copy_records_to_table("deliveries", records=ended, columns=ENDED_COLUMNS)


def _identity(job: Job) -> tuple[Any, ...]:
    message = job.message
    return job.endpoint.account, job.id, job.endpoint.id, message.id, message.type


async def is_wanted(connection: Connection, selectors: Sequence[str]) -> bool:
    """Say whether any active endpoint has one of `selectors`."""
    wanted: bool = await connection.fetchval(SQL["is_wanted"], list(selectors))
    return wanted


async def enqueue_public(
    connection: Connection,
    message: Message,
    selectors: Sequence[str],
    delivery_stem: str,
    full_accounts: Sequence[str] = (),
) -> int:
    """Insert a public message and a waiting delivery for every active endpoint with one of `selectors`.

    Returns how many wait. Delivery ids are made in the database, each beginning with `delivery_stem`; those of
    `full_accounts` are turned away.
    """
    status = await connection.execute(
        SQL["enqueue_public"],
        message.id,
        message.type,
        message.body,
        message.traceparent,
        delivery_stem,
        list(selectors),
        list(full_accounts),
    )
    return int(status.rpartition(" ")[2])


# --- claiming and recording: the worker's -----------------------------------------------------------------------------


def allot(due: Sequence[str], room: Rooms, limit: int) -> dict[str, int]:
    """Share `limit` among endpoints that have something due: one each in turn, none beyond its room. Pure."""
    left = {endpoint_id: room.of(endpoint_id) for endpoint_id in due}
    shares: dict[str, int] = {}
    while limit > 0 and any(each > 0 for each in left.values()):
        for endpoint_id, each in left.items():
            if each > 0 and limit > 0:
                shares[endpoint_id] = shares.get(endpoint_id, 0) + 1
                left[endpoint_id] = each - 1
                limit -= 1
    return shares


async def _nothing_follows(_: Connection, __: Sequence[Recorded]) -> None:
    return


class PostgresQueue:
    """The queue in PostgreSQL, as workers see it."""

    def __init__(
        self,
        pool: Pool,
        directory: Directory,
        *,
        lease_seconds: float,
        agent: str = "",
        on_cancelled: Callable[[str], None] = lambda _: None,
        follow: Callable[[Connection, Sequence[Recorded]], Awaitable[None]] = _nothing_follows,
    ) -> None:
        """Claimed deliveries are leased for `lease_seconds`; their endpoints come from `directory`.

        `agent` is the user-agent attempts are made with. `on_cancelled` is told the event type of each delivery
        whose endpoint turned out to be gone; `follow` is called in the transaction that records failures, or a
        success of an endpoint that had been failing.
        """
        self._on_cancelled = on_cancelled
        self._follow = follow
        self._pool = pool
        self._directory = directory
        self._lease_seconds = lease_seconds
        self._agent = agent
        self._cursor = Turn()

    async def claim(self, limit: int, lease: int, room: Rooms | None = None) -> list[Job]:
        """Take up to `limit` due deliveries; those whose endpoint is gone or inactive are cancelled."""
        cancelled: list[str] = []
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(LOOK_UP)
            jobs = await self._claim(connection, limit, lease, room or Room(), cancelled)
        for event_type in cancelled:
            self._on_cancelled(event_type)
        return jobs

    async def _claim(
        self, connection: Connection, limit: int, lease: int, room: Rooms, cancelled: list[str]
    ) -> list[Job]:
        for _ in range(ROUNDS):
            due = await self._whose_turn(connection, limit, room)
            endpoints = await self._directory.of_ids(connection, [turn.endpoint_id for turn in due]) if due else {}
            homeless = [turn for turn in due if turn.endpoint_id not in endpoints]
            if homeless:
                gone = await connection.fetch(SQL["cancel_endpoints"], *_columns(homeless, 2), CANCELLED_AT_ONCE)
                cancelled += [row["type"] for row in gone]
            shares = allot([turn.endpoint_id for turn in due if turn.endpoint_id in endpoints], room, limit)
            if shares:
                return await self._take(connection, shares, lease, endpoints, cancelled)
            if not homeless:
                break
        return []

    async def _whose_turn(self, connection: Connection, limit: int, room: Rooms) -> list[Turn]:
        """Return up to `limit` endpoints with something due and room for it, going on where the last claim ended."""
        found: list[Turn] = []
        start, position, has_wrapped = self._cursor, self._cursor, False
        while len(found) < limit:
            rows = await connection.fetch(SQL["turns"], *position, STEPS)
            for account, endpoint_id, is_due in rows:
                turn = Turn(account, endpoint_id)
                if has_wrapped and turn > start:  # both orders are that of code points
                    return found
                position = self._cursor = turn
                if is_due and room.of(endpoint_id) > 0:
                    found.append(turn)
                if len(found) == limit:
                    return found
            if len(rows) < STEPS:
                if has_wrapped or start == Turn():
                    self._cursor = Turn()
                    return found
                position, has_wrapped = Turn(), True
        return found

    async def _take(
        self,
        connection: Connection,
        shares: Mapping[str, int],
        lease: int,
        endpoints: Mapping[str, Endpoint],
        cancelled: list[str],
    ) -> list[Job]:
        accounts = [endpoints[endpoint_id].account for endpoint_id in shares]
        rows = await connection.fetch(
            SQL["claim"], accounts, list(shares), list(shares.values()), lease, self._lease_seconds
        )
        wanted = [(row["account_id"], row["message_id"]) for row in rows]
        bodies = {
            (row["account_id"], row["id"]): (row["body"], row["traceparent"])
            for row in await connection.fetch(SQL["messages"], *_columns(list(set(wanted)), 2))
        }
        found = [(row, bodies.get(message)) for row, message in zip(rows, wanted, strict=True)]
        expired = [(row["account_id"], row["id"]) for row, message in found if message is None]
        if expired:  # retention took the payload while nobody delivered
            await connection.fetch(SQL["end"], *_columns(expired, 2), lease, "cancelled", "expired")
            cancelled += [row["type"] for row, message in found if message is None]
        return [
            Job(
                id=row["id"],
                lease=lease,
                endpoint=endpoints[row["endpoint_id"]],
                message=Message(row["account_id"], row["message_id"], row["type"], *message),
                attempt=row["attempts"] + 1,
                tried=row["tried"],
                tried_for=row["tried_for"],
                age=row["age"],
            )
            for row, message in found
            if message is not None
        ]

    async def record(self, finished: Sequence[Finished]) -> set[str]:
        """Write a batch of results, and what follows from them.

        Without waiting for the disk: a result lost in a crash of the database is an attempt made twice, which
        at-least-once allows; an event is never acknowledged on such a commit.
        """
        by_lease = {(each.delivery_id, each.lease): each for each in finished}
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(f"SET LOCAL synchronous_commit = off; {LOOK_UP}")
            rows = await connection.fetch(SQL["record"], *_columns(finished, len(Finished._fields)), self._agent)
            noteworthy = []
            for account, delivery_id, endpoint_id, message_id, event_type, was_failing, token in rows:
                done = by_lease[delivery_id, token]
                if was_failing or done.state != "delivered":
                    whose = (account, delivery_id, endpoint_id, message_id, event_type)
                    noteworthy.append(Recorded(*whose, was_failing, done))
            if noteworthy:
                await self._follow(connection, noteworthy)
        return {row["id"] for row in rows}

    async def release(self, jobs: Sequence[Job]) -> None:
        """Give deliveries back."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(LOOK_UP)
            held = [(job.endpoint.account, job.id, job.lease) for job in jobs]
            await connection.execute(SQL["release"], *_columns(held, 3))


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Turn rows into columns, the form `unnest` takes."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
