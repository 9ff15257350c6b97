"""The delivery queue in memory: what a worker's test needs of one, with a clock that moves when told to.

It keeps the promises of `publisher.queue.Queue`; tests/contract/test_queue.py holds it to them beside PostgreSQL.
Time passes for it on its own clock, which stands for the database's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from publisher.queue import Job, Room, Rooms, allot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from publisher.endpoints import Endpoint
    from publisher.queue import Finished, Message
    from tests.support.time import FakeClock


@dataclass
class Row:
    """A delivery as the queue keeps it."""

    endpoint: Endpoint
    message: Message
    state: str
    created_at: float
    due_at: float | None
    lease: int | None = None
    first_try_at: float | None = None
    reason: str | None = None
    #: The last attempt's number; how many of the present schedule were made.
    number: int = 0
    tried: int = 0
    attempts: list[Finished] = field(default_factory=list)

    def end(self, state: str, reason: str | None = None) -> None:
        """Take it out of the queue."""
        self.state, self.reason, self.lease, self.due_at = state, reason, None, None


class FakeQueue:
    """Satisfies `publisher.queue.Queue`; `until` waits for what a worker does to it."""

    def __init__(self, clock: FakeClock, *, lease_seconds: float = 30.0) -> None:
        self.rows: dict[str, Row] = {}
        #: Endpoints that are gone or inactive, by id.
        self.inactive: set[str] = set()
        #: Messages whose payload retention has taken, by id.
        self.expired: set[str] = set()
        #: What the next calls raise, in turn, before they work again.
        self.claim_faults: deque[Exception] = deque()
        self.record_faults: deque[Exception] = deque()
        #: How often `claim` was called.
        self.claims = 0
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._cursor = ""
        self._changed = asyncio.Event()

    def add(self, job: Job, *, is_leased: bool = False, due_in: float = 0.0) -> Job:
        """Insert the delivery of `job`: waiting, or under the job's lease from the start."""
        now = self._clock.monotonic()
        self.rows[job.id] = Row(
            endpoint=job.endpoint,
            message=job.message,
            state="leased" if is_leased else "pending",
            created_at=now,
            due_at=now + (self._lease_seconds if is_leased else due_in),
            lease=job.lease if is_leased else None,
        )
        self._changed.set()
        return job

    def put_back(self, delivery_id: str) -> None:
        """Begin a new schedule for one that has ended, due at once."""
        row = self.rows[delivery_id]
        row.state, row.reason, row.tried, row.first_try_at = "pending", None, 0, None
        row.due_at = self._clock.monotonic()
        self._changed.set()

    async def until(self, condition: Callable[[FakeQueue], bool], seconds: float = 10) -> None:
        """Wait for changes until `condition` holds."""
        async with asyncio.timeout(seconds):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()

    def states(self) -> dict[str, str]:
        return {delivery_id: row.state for delivery_id, row in self.rows.items()}

    def due_in(self, delivery_id: str) -> float | None:
        """Return in how many seconds a delivery is due."""
        due_at = self.rows[delivery_id].due_at
        return None if due_at is None else due_at - self._clock.monotonic()

    # --- the protocol -----------------------------------------------------------------------------------------------

    async def claim(self, limit: int, lease: int, room: Rooms | None = None) -> list[Job]:
        await asyncio.sleep(0)  # a database is never instantaneous
        self.claims += 1
        self._changed.set()
        if self.claim_faults:
            raise self.claim_faults.popleft()
        room = room or Room()
        now = self._clock.monotonic()
        of_endpoint: dict[str, list[str]] = {}
        for delivery_id, row in sorted(self.rows.items(), key=lambda item: (item[1].due_at or 0.0, item[0])):
            if row.due_at is None or row.due_at > now:
                continue
            if row.endpoint.id in self.inactive:
                row.end("cancelled", "endpoint")
            else:
                of_endpoint.setdefault(row.endpoint.id, []).append(delivery_id)
        claimed = []
        for endpoint_id, share in allot(self._whose_turn(of_endpoint, limit, room), room, limit).items():
            for delivery_id in of_endpoint[endpoint_id][:share]:
                row = self.rows[delivery_id]
                if row.message.id in self.expired:
                    row.end("cancelled", "expired")
                    continue
                row.state, row.lease, row.due_at = "leased", lease, now + self._lease_seconds
                claimed.append(self._job(delivery_id, row, lease))
        return claimed

    def _whose_turn(self, due: Iterable[str], limit: int, room: Rooms) -> list[str]:
        """Return up to `limit` endpoints with room, going on where the last claim ended."""
        turns = sorted(due, key=lambda endpoint_id: (endpoint_id <= self._cursor, endpoint_id))
        found = [endpoint_id for endpoint_id in turns if room.of(endpoint_id) > 0][:limit]
        self._cursor = found[-1] if found else ""
        return found

    def _job(self, delivery_id: str, row: Row, lease: int) -> Job:
        now = self._clock.monotonic()
        return Job(
            id=delivery_id,
            lease=lease,
            endpoint=row.endpoint,
            message=row.message,
            attempt=row.number + 1,
            tried=row.tried,
            tried_for=0.0 if row.first_try_at is None else now - row.first_try_at,
            age=now - row.created_at,
        )

    async def record(self, finished: Sequence[Finished]) -> set[str]:
        await asyncio.sleep(0)
        if self.record_faults:
            raise self.record_faults.popleft()
        now = self._clock.monotonic()
        held = set()
        for each in finished:
            row = self.rows.get(each.delivery_id)
            if row is None or row.lease != each.lease:
                continue
            held.add(each.delivery_id)
            row.end(each.state)
            if each.state == "retry":
                row.due_at = now + each.delay
            row.attempts.append(each)
            row.number, row.tried = each.number, row.tried + 1
            if row.first_try_at is None:
                row.first_try_at = now - each.duration_ms / 1000
        self._changed.set()
        return held

    async def release(self, jobs: Sequence[Job]) -> None:
        await asyncio.sleep(0)
        for job in jobs:
            row = self.rows.get(job.id)
            if row is not None and row.lease == job.lease:
                row.state, row.lease = "retry" if row.tried else "pending", None
                row.due_at = self._clock.monotonic()
        self._changed.set()
