"""Who may be called now: no endpoint, and no account, may keep the others waiting. No I/O; the clock is passed in.

Four bounds, each kept per process:

- **Caps.** So many attempts at once to one endpoint, so many to one account.
- **Allowance.** An endpoint nothing is known of may have two attempts under way; each success allows one more, up to
  the cap, each failure halves it. A receiver that hangs from the start never holds more than two slots.
- **Stalled.** While an endpoint's oldest attempt has been under way for longer than `stall` seconds, nothing further
  is started towards it: one that begins to hang holds the slots it already has, not all it is entitled to.
- **Circuit.** An endpoint that fails most of its attempts gets one probe at a time, `probe` seconds apart, until one
  succeeds. Nothing is given up meanwhile: its deliveries stay in the database, and each still gets its attempts.

An endpoint that has had nothing under way for `window` seconds is forgotten.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from publisher.endpoints import Endpoint
    from publisher.queue import Job
    from runtime.clock import Clock

#: Outcomes remembered for each endpoint, in multiples of the circuit's minimum.
REMEMBERED = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds; times in seconds."""

    per_endpoint: int = 10
    per_account: int = 50
    unknown: int = 2
    stall: float = 2.0
    #: The circuit opens when `share` of at least `minimum` attempts within `window` failed.
    share: float = 0.7
    minimum: int = 10
    window: float = 300.0
    probe: float = 30.0


@dataclass(slots=True)
class _Known:
    """What is known of an endpoint."""

    account: str
    allowance: int
    seen_at: float
    held: int = 0
    held_fresh: int = 0
    running: dict[tuple[str, int], float] = field(default_factory=dict)
    running_fresh: int = 0
    outcomes: deque[tuple[float, bool]] = field(default_factory=deque)
    failures: int = 0
    next_probe: float | None = None
    #: When it was last seen to be stalled, or its circuit to be open.
    hindered_at: float | None = None


class Gate:
    """Counts what is in hand and what is under way, and says what may start."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        """Begin with every circuit closed."""
        self._limits = limits
        self._clock = clock
        self._endpoints: dict[str, _Known] = {}
        #: Of each account: attempts under way, deliveries in hand.
        self._running: defaultdict[str, int] = defaultdict(int)
        self._held: defaultdict[str, int] = defaultdict(int)
        self._open: set[str] = set()

    # --- what is asked ----------------------------------------------------------------------------------------------

    def admits(self, endpoint: Endpoint, *, is_fresh: bool) -> bool:
        """Say whether an attempt to `endpoint` may start now.

        Fresh deliveries leave a quarter of the allowance to those that are waiting in the database.
        """
        if self.is_full(endpoint.account):
            return False
        known = self._endpoints.get(endpoint.id)
        if known is None:
            return True
        if is_fresh and known.running_fresh >= known.allowance - known.allowance // 4:
            return False
        return self._slots(known, self._clock.monotonic()) > 0

    def choose(self, jobs: Sequence[Job], room: int, each: int) -> tuple[list[Job], list[Job]]:
        """Split new deliveries into at most `room` to keep in hand and those that had better wait in the database.

        In hand are kept, for an endpoint and for an account, `each` for every attempt allowed at once; none of an
        endpoint that is stalled or whose circuit is open, for they would not start soon.
        """
        chosen: list[Job] = []
        waiting: list[Job] = []
        of_endpoint: dict[str, int] = {}
        of_account: dict[str, int] = {}
        for job in jobs:
            endpoint_id, account = job.endpoint.id, job.endpoint.account
            left = of_endpoint.get(endpoint_id)
            if left is None:
                left = self._left_in_hand(endpoint_id, each)
            left_of_account = of_account.get(account)
            if left_of_account is None:
                left_of_account = self._limits.per_account * each - self._held.get(account, 0)
            if left > 0 and left_of_account > 0 and len(chosen) < room:
                chosen.append(job)
                left -= 1
                left_of_account -= 1
            else:
                waiting.append(job)
            of_endpoint[endpoint_id] = left
            of_account[account] = left_of_account
        return chosen, waiting

    def _left_in_hand(self, endpoint_id: str, each: int) -> int:
        known = self._endpoints.get(endpoint_id)
        if known is None:
            return self._limits.unknown * each
        if known.next_probe is not None or self._is_stalled(known, self._clock.monotonic()):
            return 0
        return known.allowance * each - known.held

    def of(self, endpoint_id: str) -> int:
        """Return how many deliveries an endpoint may be given from the database now (`queue.Rooms`).

        Fresh ones that wait in hand do not count: an endpoint that always has some would never be given what waits.
        """
        known = self._endpoints.get(endpoint_id)
        if known is None:
            return self._limits.unknown
        if self.is_full(known.account):
            return 0
        left = known.allowance - known.running_fresh - (known.held - known.held_fresh)
        return max(0, min(left, self._slots(known, self._clock.monotonic())))

    def is_full(self, account: str) -> bool:
        """Say whether an account has as many attempts under way as it may."""
        return self._running.get(account, 0) >= self._limits.per_account

    def is_open(self, endpoint_id: str) -> bool:
        """Say whether an endpoint's circuit is open."""
        return endpoint_id in self._open

    def open_circuits(self) -> int:
        """Return how many endpoints have an open circuit."""
        return len(self._open)

    def circuits(self) -> frozenset[str]:
        """Return the endpoints with an open circuit."""
        return frozenset(self._open)

    def closed_to(self) -> list[str]:
        """Return the endpoints that may be given nothing from the database now, whatever waits there for them."""
        return [endpoint_id for endpoint_id in self._endpoints if self.of(endpoint_id) <= 0]

    def hindered_at(self, endpoint_id: str) -> float | None:
        """Return when what waits was last kept waiting by the endpoint itself, stalled or failing; None: it was not.

        Monotonic, and as of when somebody last asked whether it may be called.
        """
        known = self._endpoints.get(endpoint_id)
        return None if known is None else known.hindered_at

    def _slots(self, known: _Known, now: float) -> int:
        if known.next_probe is not None:
            known.hindered_at = now
            return int(not known.running and now >= known.next_probe)
        if self._is_stalled(known, now):
            known.hindered_at = now
            return 0
        return known.allowance - len(known.running)

    def _is_stalled(self, known: _Known, now: float) -> bool:
        return bool(known.running) and now - next(iter(known.running.values())) > self._limits.stall

    # --- what is told -----------------------------------------------------------------------------------------------

    def hold(self, job: Job) -> None:
        """Count a delivery that is in hand from now on."""
        known = self._endpoints.get(job.endpoint.id)
        if known is None:
            known = _Known(job.endpoint.account, self._limits.unknown, self._clock.monotonic())
            self._endpoints[job.endpoint.id] = known
        known.held += 1
        known.held_fresh += job.is_fresh
        self._held[job.endpoint.account] += 1

    def let_go(self, job: Job) -> None:
        """Count one that is not in hand any more."""
        known = self._endpoints[job.endpoint.id]
        known.held -= 1
        known.held_fresh -= job.is_fresh
        account = job.endpoint.account
        self._held[account] -= 1
        if not self._held[account]:
            del self._held[account]

    def start(self, job: Job, *, is_fresh: bool) -> None:
        """Count an attempt that begins now; its delivery is in hand."""
        known = self._endpoints[job.endpoint.id]
        known.running[job.id, job.lease] = known.seen_at = self._clock.monotonic()
        known.running_fresh += is_fresh
        self._running[job.endpoint.account] += 1

    def end(self, job: Job, *, is_fresh: bool, succeeded: bool) -> None:
        """Count its end; adjust the allowance, open or close the circuit."""
        account = job.endpoint.account
        self._running[account] -= 1
        if not self._running[account]:
            del self._running[account]
        known = self._endpoints[job.endpoint.id]
        del known.running[job.id, job.lease]
        known.running_fresh -= is_fresh
        if succeeded and not known.failures and known.next_probe is None:
            if known.allowance < self._limits.per_endpoint:
                known.allowance += 1
            return
        self._judge(job.endpoint.id, known, self._clock.monotonic(), succeeded=succeeded)

    def _judge(self, endpoint_id: str, known: _Known, now: float, *, succeeded: bool) -> None:
        limits = self._limits
        known.seen_at = now
        known.allowance = min(known.allowance + 1, limits.per_endpoint) if succeeded else max(1, known.allowance // 2)
        if known.next_probe is not None:
            known.next_probe = now + limits.probe
            known.hindered_at = now
            if succeeded:
                self._close(endpoint_id, known)
            return
        known.outcomes.append((now, succeeded))
        known.failures += not succeeded
        self._forget(known, now)
        seen = len(known.outcomes)
        if seen >= limits.minimum and known.failures >= limits.share * seen:
            known.next_probe = now + limits.probe
            self._open.add(endpoint_id)

    def _close(self, endpoint_id: str, known: _Known) -> None:
        known.next_probe = None
        known.outcomes.clear()
        known.failures = 0
        known.allowance = self._limits.unknown
        self._open.discard(endpoint_id)

    def _forget(self, known: _Known, now: float) -> None:
        horizon = now - self._limits.window
        while known.outcomes and (
            known.outcomes[0][0] <= horizon or len(known.outcomes) > REMEMBERED * self._limits.minimum
        ):
            known.failures -= not known.outcomes.popleft()[1]

    def tidy(self) -> None:
        """Forget endpoints that have had nothing under way for long: a window, or the wait for some probes."""
        horizon = self._clock.monotonic() - max(self._limits.window, 3 * self._limits.probe)
        idle = [
            endpoint_id for endpoint_id, known in self._endpoints.items() if not known.held and known.seen_at < horizon
        ]
        for endpoint_id in idle:
            del self._endpoints[endpoint_id]
            self._open.discard(endpoint_id)
