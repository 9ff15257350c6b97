"""Rate-limit windows of the compute API, each counted once. Owns `ratelimit_windows`.

A window is known by policy, start, length and `instance`, the process of the compute API that counted it. Its records
have no ids; they come late, twice and in any order. Of two records of one window the greater number holds, and only
what a record adds to what is known is counted, by the process that wrote it: so the sum over all processes does not
depend on order or repetition, nor on who reads which partition. Processes that name no `instance` count as one.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from consumers.telemetry import RateLimitWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from consumers.loop import AfterCommit
    from consumers.telemetry import Telemetry
    from runtime.clock import Clock
    from runtime.database import Connection, Pool

logger = logging.getLogger(__name__)

#: How late a window may come and still count: a long weekend. Of an older one nobody knows whether it was counted.
KEPT = timedelta(days=3)
#: Kept longer by this, for processes whose clocks differ.
MARGIN = timedelta(hours=1)

#: Returns what each window adds to what was known of it; none for one that adds nothing. `added_*` is there because
#: RETURNING knows only the new row before PostgreSQL 18.
ADD = """
INSERT INTO ratelimit_windows AS held
    (window_start, window_seconds, policy, instance, allowed, limited, added_allowed, added_limited)
SELECT window_start, window_seconds, policy, instance, allowed, limited, allowed, limited
FROM unnest($1::timestamptz[], $2::integer[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
    AS given (window_start, window_seconds, policy, instance, allowed, limited)
ORDER BY window_start, window_seconds, policy, instance
ON CONFLICT (window_start, window_seconds, policy, instance) DO UPDATE
SET allowed = greatest(held.allowed, excluded.allowed), limited = greatest(held.limited, excluded.limited),
    added_allowed = greatest(excluded.allowed - held.allowed, 0),
    added_limited = greatest(excluded.limited - held.limited, 0)
WHERE excluded.allowed > held.allowed OR excluded.limited > held.limited
RETURNING policy, added_allowed, added_limited
"""
FORGET = "DELETE FROM ratelimit_windows WHERE window_start < $1"


class Key(NamedTuple):
    """What identifies a window: its start (UTC), its length in seconds, its policy, and whose it is."""

    start: datetime
    seconds: int
    policy: str
    instance: str


class Counts(NamedTuple):
    """Requests let through and turned away."""

    allowed: int
    limited: int


class RateLimitWindows:
    """A handler of telemetry; it may see a window twice."""

    def __init__(self, clock: Clock, count: Callable[[str, int, int], None]) -> None:
        """`count` is told after the commit what is new: a policy, requests let through, requests turned away."""
        self._clock = clock
        self._count = count

    async def __call__(self, connection: Connection, telemetry: Sequence[Telemetry]) -> AfterCommit | None:
        """Note the windows among `telemetry`; return what counts those that say something new."""
        windows = [each for each in telemetry if isinstance(each, RateLimitWindow)]
        oldest = self._clock.now() - KEPT
        timely = merged(each for each in windows if each.window_start >= oldest)
        if any(each.window_start < oldest for each in windows):
            logger.warning("windows that began before %s came too late to be counted", oldest.isoformat())
        if not timely:
            return None
        rows = await connection.fetch(
            ADD,
            [key.start for key in timely],
            [key.seconds for key in timely],
            [key.policy for key in timely],
            [key.instance for key in timely],
            [counts.allowed for counts in timely.values()],
            [counts.limited for counts in timely.values()],
        )
        return partial(self._tell, [(row["policy"], row["added_allowed"], row["added_limited"]) for row in rows])

    def _tell(self, added: Iterable[tuple[str, int, int]]) -> None:
        for each in added:
            self._count(*each)


def merged(windows: Iterable[RateLimitWindow]) -> dict[Key, Counts]:
    """Return what records say of each window: of each number the greatest. Pure."""
    found: dict[Key, Counts] = {}
    for each in windows:
        key = Key(each.window_start, each.window_seconds, each.policy, each.instance or "")
        known = found.get(key, Counts(0, 0))
        found[key] = Counts(max(known.allowed, each.allowed), max(known.limited, each.limited))
    return found


async def forget(pool: Pool, now: datetime) -> None:
    """Delete windows so old that they are not counted any more."""
    async with pool.acquire() as connection:
        await connection.execute(FORGET, now - KEPT - MARGIN)
