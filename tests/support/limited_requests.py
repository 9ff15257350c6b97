"""A process that counts requests in a shared store, as a second process of the service does.

    python -m tests.support.limited_requests SUBJECT COUNT

The store and the keys come from the environment, as they do for the service. It prints how many were let through.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from publisher import profiles
from publisher.api.counters import SharedCounters
from publisher.api.limits import Limiter, subject_key
from publisher.profiles.model import LimitClass
from runtime.clock import SystemClock
from runtime.settings import Settings, load

#: Seconds: on a busy machine the store is slow, which is not what these tests are about.
PATIENCE = 30.0


def a_limiter(settings: Settings, *, patience: float = PATIENCE) -> Limiter:
    """Return a limiter as `Limiter.of` makes it, but patient."""
    url = settings.shared_store()
    assert url is not None
    limits = profiles.load("nordbastion").limits
    shared = SharedCounters(url)
    return Limiter(limits, key=subject_key(settings.keys()), clock=SystemClock(), shared=shared, patience=patience)


async def let_through(limiter: Limiter, subject: str, count: int) -> int:
    """Make `count` requests at once; return how many were let through."""
    standings = await asyncio.gather(*(limiter.hit(LimitClass.WRITE, subject, 1.0) for _ in range(count)))
    return sum(standing.is_allowed for standing in standings)


async def main(subject: str, count: int) -> int:
    limiter = a_limiter(load())
    try:
        return await let_through(limiter, subject, count)
    finally:
        await limiter.aclose()


if __name__ == "__main__":
    print(uvloop.run(main(sys.argv[1], int(sys.argv[2]))))  # noqa: T201 - its answer
