"""A lane: deliveries in hand and slots to attempt them in, handed out round robin over endpoints. No I/O.

An endpoint the gate does not admit is parked and costs nothing until something of its account ends; so a pile of
deliveries that cannot start is not searched again and again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from publisher.delivery.gate import Gate
    from publisher.queue import Job


class Lane:
    """Deliveries of one kind; `slots` of them are attempted at once."""

    def __init__(self, gate: Gate, *, slots: int, is_fresh: bool) -> None:
        """Ask `gate` before each start."""
        self.slots = slots
        self.running = 0
        self.is_fresh = is_fresh
        #: Taken out, for the worker to give back.
        self.stale: list[Job] = []
        self._gate = gate
        self._jobs: dict[str, deque[Job]] = {}
        self._order: deque[str] = deque()
        self._parked: dict[str, list[str]] = {}
        self._size = 0

    def __len__(self) -> int:
        """Return how many wait in hand."""
        return self._size

    @property
    def held(self) -> int:
        """How many are in hand, waiting or under way."""
        return self._size + self.running

    def add(self, jobs: Iterable[Job]) -> None:
        """Take jobs in hand, behind those of the same endpoint."""
        for job in jobs:
            queued = self._jobs.get(job.endpoint.id)
            if queued is None:
                self._jobs[job.endpoint.id] = deque((job,))
                self._order.append(job.endpoint.id)
            else:
                queued.append(job)
            self._size += 1

    def starting(self, leased_after: float) -> Iterator[Job]:
        """Yield jobs that may start now, one endpoint after the other, while there are slots; count them.

        Those leased before `leased_after` (monotonic) have used up too much of their lease, and go to `stale`. So do
        claimed ones that their account's cap keeps from starting: they would hold slots that others could use.
        """
        while self._order and self.running < self.slots:
            endpoint_id = self._order.popleft()
            queued = self._jobs[endpoint_id]
            endpoint = queued[0].endpoint
            while queued and queued[0].held_since < leased_after:
                self.stale.append(queued.popleft())
                self._size -= 1
            if not queued:
                del self._jobs[endpoint_id]
                continue
            if not self._gate.admits(endpoint, is_fresh=self.is_fresh):
                if not self.is_fresh and self._gate.is_full(endpoint.account):
                    self._size -= len(queued)
                    self.stale += self._jobs.pop(endpoint_id)
                    continue
                self._parked.setdefault(endpoint.account, []).append(endpoint_id)
                continue
            job = queued.popleft()
            self._size -= 1
            if queued:
                self._order.append(endpoint_id)
            else:
                del self._jobs[endpoint_id]
            self._gate.start(job, is_fresh=self.is_fresh)
            self.running += 1
            yield job

    def ended(self, job: Job, *, succeeded: bool) -> None:
        """Count the end of an attempt."""
        self.running -= 1
        self._gate.end(job, is_fresh=self.is_fresh, succeeded=succeeded)

    def unpark(self, account: str) -> None:
        """Let the endpoints of an account be asked about again."""
        if account in self._parked:
            self._order.extend(self._parked.pop(account))

    def unpark_all(self) -> None:
        """Let every endpoint be asked about again: time alone may have changed the answer."""
        for endpoint_ids in self._parked.values():
            self._order.extend(endpoint_ids)
        self._parked.clear()

    def take_back(self, must_leave: Callable[[Job], bool]) -> None:
        """Move the jobs that wait and for which `must_leave` holds to `stale`."""
        before = len(self.stale)
        for endpoint_id, queued in list(self._jobs.items()):
            staying: deque[Job] = deque()
            for job in queued:
                (self.stale if must_leave(job) else staying).append(job)
            if staying:
                self._jobs[endpoint_id] = staying
            else:
                del self._jobs[endpoint_id]
        if len(self.stale) > before:
            self._size -= len(self.stale) - before
            self._order = deque(endpoint_id for endpoint_id in self._order if endpoint_id in self._jobs)
            for account, endpoint_ids in self._parked.items():
                self._parked[account] = [endpoint_id for endpoint_id in endpoint_ids if endpoint_id in self._jobs]
