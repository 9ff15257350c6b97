"""The delivery queue: enqueue, claim, record. Owns `sequences`, `messages`, `deliveries` and `attempts`.

Every statement stands in queue.sql. A delivery belongs to whoever holds its lease; recording names the lease, so
a worker that comes back too late changes nothing. Claiming and recording are short transactions: none is held
open while a customer is being called.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from runtime.database import load_queries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from publisher.delivery.outcome import Result
    from publisher.endpoints import Directory, Endpoint
    from runtime.database import Connection, Pool

SQL = load_queries(Path(__file__).with_suffix(".sql"))
MESSAGE_COLUMNS = ("account_id", "id", "type", "body", "traceparent")
DELIVERY_COLUMNS = ("account_id", "id", "endpoint_id", "message_id", "state", "lease", "due_at")
STATES = ("pending", "leased", "retry", "delivered", "dropped", "cancelled")


class Message(NamedTuple):
    """One event as customers get it; `body` is signed and sent byte for byte. Columns of `messages`."""

    account: str
    id: str
    type: str
    body: bytes
    traceparent: str | None


@dataclass(slots=True)
class Job:
    """A delivery somebody holds the lease of, with all that is needed to attempt it.

    `attempt` counts from 1. `tried_for` and `age` are seconds since the first attempt and since the event's
    commit, by the database's clock; `committed_at` is monotonic and known only for fresh deliveries.
    """

    id: str
    lease: int
    endpoint: Endpoint
    message: Message
    attempt: int = 1
    tried_for: float = 0.0
    age: float = 0.0
    committed_at: float | None = field(default=None, compare=False)


class Finished(NamedTuple):
    """An attempt and what becomes of its delivery; the order of `record`'s arrays."""

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


class Queue(Protocol):
    """What the worker needs of a queue; the in-memory one in the tests keeps the same promises."""

    async def claim(self, limit: int, lease: int) -> list[Job]:
        """Take up to `limit` due or abandoned deliveries under the token `lease`, oldest due first."""
        ...

    async def record(self, finished: Sequence[Finished]) -> set[str]:
        """Write attempts and new states together; return the deliveries whose lease still held."""
        ...

    async def release(self, jobs: Sequence[Job]) -> None:
        """Give deliveries back, due at once, as if they had not been claimed."""
        ...


async def number(connection: Connection, counts: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Take `count` sequence numbers for each (account, resource); return the last one of each."""
    rows = await connection.fetch(
        SQL["number"], [account for account, _ in counts], [name for _, name in counts], list(counts.values())
    )
    return {(row[0], row[1]): row[2] for row in rows}


async def enqueue(
    connection: Connection, messages: Sequence[Message], jobs: Sequence[tuple[Job, bool]], lease_seconds: float
) -> None:
    """Insert messages and their deliveries in the caller's transaction.

    A job paired with True is inserted as leased under its token; with False it waits, due at once. COPY is half
    the work of INSERT on both sides; it cannot call now(), so the database's time is asked for first.
    """
    [(now, lease_end)] = await connection.fetch(SQL["lease_end"], lease_seconds)
    await connection.copy_records_to_table("messages", records=messages, columns=MESSAGE_COLUMNS)
    await connection.copy_records_to_table(
        "deliveries",
        records=[
            (job.endpoint.account, job.id, job.endpoint.id, job.message.id, "leased", job.lease, lease_end)
            if is_leased
            else (job.endpoint.account, job.id, job.endpoint.id, job.message.id, "pending", None, now)
            for job, is_leased in jobs
        ],
        columns=DELIVERY_COLUMNS,
    )


async def is_wanted(connection: Connection, selectors: Sequence[str]) -> bool:
    """Say whether any active endpoint has one of `selectors`."""
    wanted: bool = await connection.fetchval(SQL["is_wanted"], list(selectors))
    return wanted


async def enqueue_public(connection: Connection, message: Message, selectors: Sequence[str], delivery_stem: str) -> int:
    """Insert a public message and a waiting delivery for every active endpoint with one of `selectors`.

    Returns how many. Delivery ids are made in the database, each beginning with `delivery_stem`.
    """
    status = await connection.execute(
        SQL["enqueue_public"],
        message.id,
        message.type,
        message.body,
        message.traceparent,
        delivery_stem,
        list(selectors),
    )
    return int(status.rpartition(" ")[2])


class PostgresQueue:
    """The queue in PostgreSQL, as workers see it."""

    def __init__(
        self,
        pool: Pool,
        directory: Directory,
        *,
        lease_seconds: float,
        on_cancelled: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Claimed deliveries are leased for `lease_seconds`; their endpoints come from `directory`.

        `on_cancelled` is told the event type of each delivery whose endpoint turned out to be gone.
        """
        self._on_cancelled = on_cancelled
        self._pool = pool
        self._directory = directory
        self._lease_seconds = lease_seconds

    async def claim(self, limit: int, lease: int) -> list[Job]:
        """Take up to `limit` due deliveries; those whose endpoint is gone or inactive are cancelled."""
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(SQL["claim"], limit, lease, self._lease_seconds)
            if not rows:
                return []
            endpoints = await self._directory.of_ids(connection, {row["endpoint_id"] for row in rows})
            homeless = [row["id"] for row in rows if row["endpoint_id"] not in endpoints]
            if homeless:
                await connection.fetch(SQL["cancel"], homeless, lease)
        for row in rows:
            if row["endpoint_id"] not in endpoints:
                self._on_cancelled(row["type"])
        return [
            Job(
                id=row["id"],
                lease=lease,
                endpoint=endpoints[row["endpoint_id"]],
                message=Message(row["account_id"], row["message_id"], row["type"], row["body"], row["traceparent"]),
                attempt=row["attempts"] + 1,
                tried_for=row["tried_for"],
                age=row["age"],
            )
            for row in rows
            if row["endpoint_id"] in endpoints
        ]

    async def record(self, finished: Sequence[Finished]) -> set[str]:
        """Write a batch of results.

        Without waiting for the disk: a result lost in a crash of the database is an attempt made twice, which
        at-least-once allows; an event is never acknowledged on such a commit.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL synchronous_commit = off")
            rows = await connection.fetch(SQL["record"], *_columns(finished, len(Finished._fields)))
        return {row[0] for row in rows}

    async def release(self, jobs: Sequence[Job]) -> None:
        """Give deliveries back."""
        async with self._pool.acquire() as connection:
            await connection.execute(SQL["release"], [job.id for job in jobs], [job.lease for job in jobs])

    async def states(self) -> dict[str, int]:
        """Return how many deliveries are in each state."""
        async with self._pool.acquire() as connection:
            counted = {row[0]: row[1] for row in await connection.fetch(SQL["states"])}
        return {state: counted.get(state, 0) for state in STATES}


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Turn rows into columns, the form `unnest` takes."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
