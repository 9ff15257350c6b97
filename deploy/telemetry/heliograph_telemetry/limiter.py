"""Whether a request is one too many: a sliding window, counted in memory. No I/O; the time is passed in.

A request weighs in fully within the current window, and those of the window before by the part of it that the last
`window` seconds still cover. The twin of publisher/api/limits.py, whose libraries an API that only wants to be limited
should not have to install; the arithmetic is the same, and a test compares the two answer by answer.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from heliograph_telemetry.callers import Caller
    from heliograph_telemetry.profile import Profile

#: Counters of one window, of callers with a credential and of those without each; a caller has one for each policy it
#: uses. Those beyond share one for each policy, so that many addresses neither fill the memory nor get around a limit.
MOST_COUNTERS = 100_000
#: Bytes of a caller's hash that are kept.
HASH_BYTES = 16
#: Seconds that are added before a moment is promised: the two clocks are not read at once.
SLACK = 0.002


class Standing(NamedTuple):
    """How a caller stands after a request.

    `reset` is unix seconds: the first whole second at which a request is let through again, for one that was refused;
    otherwise the end of the current window. `retry_after` is how many seconds that is from now, rounded up.
    """

    policy: str
    limit: int
    remaining: int
    reset: int
    retry_after: int
    is_allowed: bool

    def headers(self, profile: Profile) -> dict[str, str]:
        """Return what an answer says of it, in the profile's headers and in those of the IETF's draft (10). Pure."""
        headers = {
            profile.limit_header: str(self.limit),
            profile.remaining_header: str(self.remaining),
            profile.reset_header: str(self.reset),
        }
        if profile.has_draft:
            headers["RateLimit-Policy"] = f'"{self.policy}";q={self.limit};w={profile.window}'
            headers["RateLimit"] = f'"{self.policy}";r={self.remaining};t={self.retry_after}'
        if not self.is_allowed:
            headers["Retry-After"] = str(self.retry_after)
        return headers


class _Counters:
    """The counters of one window and of the one before it; a caller is a key in them and nothing else."""

    def __init__(self) -> None:
        self.number = -1.0
        self.previous: dict[bytes, int] = {}
        self.current: dict[bytes, int] = {}

    def move_on(self, number: float) -> None:
        if number != self.number:
            self.previous = self.current if number == self.number + 1 else {}
            self.current = {}
            self.number = number


class Limiter:
    """Counts requests by policy and caller."""

    def __init__(self, profile: Profile, *, key: bytes, most: int = MOST_COUNTERS) -> None:
        """`key` hashes callers, and should be random and forgotten with the process."""
        self._profile = profile
        self._key = key
        self._most = most
        #: Apart, so that who comes from a hundred thousand addresses takes no customer's place.
        self._keys, self._addresses = _Counters(), _Counters()

    def hit(self, policy: str, caller: Caller, *, monotonic: float, unix: float) -> Standing:
        """Count one request at a moment, on both clocks in seconds. A refused one does not count."""
        limit, window = self._profile.limit(policy, caller.tier), self._profile.window
        number, gone = divmod(monotonic, window)
        held = self._addresses if caller.is_address else self._keys
        held.move_on(number)
        slot = self._slot(held, policy, limit, caller.subject)
        previous, current, left = held.previous.get(slot, 0), held.current.get(slot, 0), window - gone
        is_allowed = int(previous * left / window) + current + 1 <= limit
        if is_allowed:
            held.current[slot] = current = current + 1
            remaining = max(0, limit - int(previous * left / window) - current)
            reset = math.ceil(unix + left)
        else:
            remaining = 0
            reset = math.floor(unix + wait(previous, current, left, limit=limit, window=window) + SLACK) + 1
        return Standing(policy, limit, remaining, reset, math.ceil(reset - unix), is_allowed)

    def forget(self, monotonic: float) -> None:
        """Drop the counters of windows that are over, also when nobody calls any more."""
        for held in (self._keys, self._addresses):
            held.move_on(monotonic // self._profile.window)

    def __len__(self) -> int:
        """Return how many counters are held."""
        return sum(len(held.previous) + len(held.current) for held in (self._keys, self._addresses))

    def _slot(self, held: _Counters, policy: str, limit: int, subject: str) -> bytes:
        """Return what a caller is counted under, by policy and limit: a new tier begins anew."""
        shared = f"{policy}:{limit}:".encode()
        # Text of a header may hold halves of characters that UTF-8 has no bytes for.
        name = hashlib.blake2b(
            shared + subject.encode(errors="surrogatepass"), digest_size=HASH_BYTES, key=self._key
        ).digest()
        return name if len(held.current) < self._most or name in held.current else shared


def wait(previous: int, current: int, left: float, *, limit: int, window: int) -> float:
    """Return the seconds after which one request is let through if none is counted before; 0 for now. Pure.

    `left` are the seconds the current window still has. The moment itself is still too early, any later one is not.
    """
    free = limit - current
    if free <= 0:
        # The next window begins with all of this one's weight.
        return left + window * (1 - limit / current)
    if previous * left < free * window:
        return 0.0
    return left - window * free / previous
