"""How long to wait before the next attempt: exponential with jitter, derived from retries and window. Pure.

The waits grow by the same factor and are scaled so that, with the largest jitter and every attempt using its
whole timeout, the last attempt still ends inside the window. Three retries in an hour give about 1 min 35 s,
7 min 56 s and 39 min 39 s: the first is soon enough for a restart, the last late enough for an outage.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from tenacity import RetryCallState, Retrying, wait_exponential

if TYPE_CHECKING:
    from random import Random

    from tenacity.wait import wait_base

GROWTH = 5.0
#: The last wait is at most this many times the first: more retries grow more slowly instead of beginning at nothing.
SPREAD = 25.0
#: Each wait is spread evenly over ± this share, so that endpoints which failed together do not return together.
JITTER = 0.2


@dataclass(frozen=True, slots=True)
class Policy:
    """`retries` attempts after the first, the last one ended `window` seconds after the first began."""

    retries: int
    window: float
    attempt_timeout: float

    def __post_init__(self) -> None:
        """Refuse a window in which the attempts alone do not fit."""
        if self.window <= (self.retries + 1) * self.attempt_timeout and self.retries:
            msg = (
                f"{self.retries + 1} attempts of up to {self.attempt_timeout:g} s do not fit into a window of "
                f"{self.window:g} s"
            )
            raise ValueError(msg)


def delay(policy: Policy, attempt: int, rng: Random) -> float:
    """Return seconds to wait after attempt number `attempt` (1 is the first) failed."""
    base = float(_waits(policy)(_after(attempt)))
    return base * rng.uniform(1 - JITTER, 1 + JITTER)


@lru_cache(maxsize=64)
def _waits(policy: Policy) -> wait_base:
    room = policy.window - (policy.retries + 1) * policy.attempt_timeout
    growth = min(GROWTH, SPREAD ** (1 / max(1, policy.retries - 1)))
    units = sum(growth**step for step in range(policy.retries))
    return wait_exponential(multiplier=room / (units * (1 + JITTER)), exp_base=growth, max=policy.window)


def _after(attempt: int) -> RetryCallState:
    """Return tenacity's view of a call that failed `attempt` times, all that its wait strategies look at."""
    state = RetryCallState(retry_object=Retrying(), fn=None, args=(), kwargs={})
    state.attempt_number = attempt
    return state
