"""Who goes next: no endpoint, and no account, may keep the others waiting. No I/O; the clock is passed in.

Three bounds, each kept per process:

- **Caps.** So many attempts at once to one endpoint, so many to one account.
- **Stalled.** While an endpoint's oldest attempt has been under way for longer than `stall` seconds, nothing further
  is started towards it: a receiver that hangs holds the few slots it already has, not all it is entitled to.
- **Circuit.** An endpoint that fails most of its attempts gets one probe at a time, `probe` seconds apart, until one
  succeeds. Nothing is given up meanwhile: its deliveries stay in the database, and each still gets its attempts.

`Turns` keeps the jobs in hand and hands them out round robin over endpoints, skipping those that must wait.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from publisher.endpoints import Endpoint
    from publisher.queue import Job
    from runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds; times in seconds."""

    per_endpoint: int = 10
    per_account: int = 50
    stall: float = 2.0
    #: The circuit opens when `share` of at least `minimum` attempts within `window` failed.
    share: float = 0.7
    minimum: int = 10
    window: float = 300.0
    probe: float = 30.0


@dataclass(slots=True)
class _Endpoint:
    """What is known of an endpoint: starts of its running attempts, recent outcomes, the circuit."""

    running: dict[str, float] = field(default_factory=dict)
    outcomes: deque[tuple[float, bool]] = field(default_factory=deque)
    failures: int = 0
    next_probe: float | None = None


class Gate:
    """Says whether an attempt may start now, from what is running and how it went."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        """Begin with every circuit closed."""
        self._limits = limits
        self._clock = clock
        self._endpoints: defaultdict[str, _Endpoint] = defaultdict(_Endpoint)
        self._accounts: defaultdict[str, int] = defaultdict(int)
        self._open: set[str] = set()

    def admits(self, endpoint: Endpoint) -> bool:
        """Say whether an attempt to `endpoint` may start now."""
        if self._accounts.get(endpoint.account, 0) >= self._limits.per_account:
            return False
        known = self._endpoints.get(endpoint.id)
        if known is None:
            return True
        now = self._clock.monotonic()
        if known.next_probe is not None:
            return not known.running and now >= known.next_probe
        if len(known.running) >= self._limits.per_endpoint:
            return False
        oldest = next(iter(known.running.values()), now)
        return now - oldest <= self._limits.stall

    def start(self, job: Job) -> None:
        """Count an attempt that begins now."""
        self._endpoints[job.endpoint.id].running[job.id] = self._clock.monotonic()
        self._accounts[job.endpoint.account] += 1

    def end(self, job: Job, *, succeeded: bool) -> None:
        """Count its end, and open or close the circuit by it."""
        account, endpoint_id = job.endpoint.account, job.endpoint.id
        self._accounts[account] -= 1
        if not self._accounts[account]:
            del self._accounts[account]
        known = self._endpoints[endpoint_id]
        known.running.pop(job.id, None)
        now = self._clock.monotonic()
        if known.next_probe is not None:
            if succeeded:
                known.next_probe = None
                known.outcomes.clear()
                known.failures = 0
                self._open.discard(endpoint_id)
            else:
                known.next_probe = now + self._limits.probe
        else:
            self._judge(endpoint_id, known, now, succeeded=succeeded)
        if not known.running and not known.failures:
            del self._endpoints[endpoint_id]

    def _judge(self, endpoint_id: str, known: _Endpoint, now: float, *, succeeded: bool) -> None:
        limits = self._limits
        if succeeded and not known.failures:
            return  # what never fails need not be remembered
        known.outcomes.append((now, succeeded))
        known.failures += not succeeded
        while known.outcomes and (
            known.outcomes[0][0] <= now - limits.window or len(known.outcomes) > 10 * limits.minimum
        ):
            known.failures -= not known.outcomes.popleft()[1]
        seen = len(known.outcomes)
        if seen >= limits.minimum and known.failures >= limits.share * seen:
            known.next_probe = now + limits.probe
            self._open.add(endpoint_id)

    def waiting(self) -> list[str]:
        """Return the endpoints to which nothing may start now, so that a claim can leave them alone."""
        now = self._clock.monotonic()
        held = []
        for endpoint_id, known in self._endpoints.items():
            if known.next_probe is not None:
                if known.running or now < known.next_probe:
                    held.append(endpoint_id)
            elif known.running and (
                len(known.running) >= self._limits.per_endpoint
                or now - next(iter(known.running.values())) > self._limits.stall
            ):
                held.append(endpoint_id)
        return held

    def open_circuits(self) -> int:
        """Return how many endpoints have an open circuit."""
        return len(self._open)


class Turns:
    """Jobs in hand, handed out round robin over their endpoints to those the gate admits."""

    def __init__(self, gate: Gate) -> None:
        """Ask `gate` at every turn."""
        self._gate = gate
        self._jobs: dict[str, deque[Job]] = {}
        self._order: deque[str] = deque()
        self._size = 0

    def __len__(self) -> int:
        """Return how many jobs are in hand."""
        return self._size

    def add(self, jobs: Iterable[Job]) -> None:
        """Take jobs in hand."""
        for job in jobs:
            queued = self._jobs.get(job.endpoint.id)
            if queued is None:
                self._jobs[job.endpoint.id] = deque((job,))
                self._order.append(job.endpoint.id)
            else:
                queued.append(job)
            self._size += 1

    def next(self) -> Job | None:
        """Return the next job that may start; None when there is none. Each endpoint is asked about once."""
        for _ in range(len(self._order)):
            endpoint_id = self._order.popleft()
            queued = self._jobs[endpoint_id]
            if not self._gate.admits(queued[0].endpoint):
                self._order.append(endpoint_id)
                continue
            job = queued.popleft()
            self._size -= 1
            if queued:
                self._order.append(endpoint_id)
            else:
                del self._jobs[endpoint_id]
            return job
        return None

    def drain(self) -> list[Job]:
        """Take every job out."""
        jobs = [job for queued in self._jobs.values() for job in queued]
        self._jobs.clear()
        self._order.clear()
        self._size = 0
        return jobs
