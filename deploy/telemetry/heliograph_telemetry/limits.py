"""A decision on a request, whichever framework it came through: what the answer says of it, and the refusal."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, NamedTuple

from heliograph_telemetry.clock import SystemClock
from heliograph_telemetry.limiter import Limiter
from heliograph_telemetry.windows import Windows

if TYPE_CHECKING:
    from heliograph_telemetry.callers import Caller
    from heliograph_telemetry.clock import Clock
    from heliograph_telemetry.profile import Profile

KEY_BYTES, NAME_BYTES = 32, 8
#: An id of a request that is taken over; any other is replaced.
REQUEST_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)


class Decision(NamedTuple):
    """Headers for the answer, and the body of the refusal, JSON with status `Profile.status`, for one too many."""

    headers: dict[str, str]
    refusal: bytes | None


class Limits:
    """Decides, and counts what it decided. One for a process; nothing in it awaits."""

    def __init__(self, profile: Profile, *, clock: Clock | None = None) -> None:
        """Keys and names are random: two processes count apart, each up to the whole limit."""
        self.profile = profile
        self.clock = clock or SystemClock()
        self.limiter = Limiter(profile, key=secrets.token_bytes(KEY_BYTES))
        self.windows = Windows(profile.window, lambda: secrets.token_hex(NAME_BYTES))

    def decide(self, policy: str, caller: Caller, request_id: str | None) -> Decision:
        """Decide on a request; `request_id` is what its header says, which only a refusal repeats."""
        unix = self.clock.unix()
        standing = self.limiter.hit(policy, caller, monotonic=self.clock.monotonic(), unix=unix)
        self.windows.count(policy, is_allowed=standing.is_allowed, unix=unix)
        headers = standing.headers(self.profile)
        if standing.is_allowed:
            return Decision(headers, None)
        if request_id is None or not REQUEST_ID.fullmatch(request_id):
            request_id = f"req_{secrets.token_hex(16)}"
        message = (
            f"More than {standing.limit} {policy} requests in {self.profile.window} seconds: "
            f"wait {standing.retry_after} seconds."
        )
        headers |= {self.profile.request_id_header: request_id}
        return Decision(headers, self.profile.envelope(message, request_id))
