"""Identifiers customers see: a prefix, the millisecond of their making, 80 random bits.

Time first keeps index pages hot and lists in order; the random part cannot be guessed. Lower-case hex only:
Standard Webhooks forbids dots in ids, and nobody has to ask about case.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.clock import Clock

MESSAGE, DELIVERY, ENDPOINT, RECOVERY = "msg", "dlv", "we", "rcv"
RANDOM_BYTES = 10
AT_ONCE = 256
LATEST = 2**48 - 1


def least(prefix: str, milliseconds: int) -> str:
    """Return what every id made at that millisecond of the epoch or later sorts after, and every earlier one before."""
    return f"{prefix}_{min(max(milliseconds, 0), LATEST):012x}"


def milliseconds(made: str) -> int:
    """Return the millisecond of the epoch an id was made at."""
    return int(made.partition("_")[2][:12], 16)


class Ids:
    """Makes identifiers from the clock and the randomness it is given."""

    def __init__(self, clock: Clock, randbytes: Callable[[int], bytes] = os.urandom) -> None:
        """`randbytes(n)` returns n random bytes."""
        self._clock = clock
        self._randbytes = randbytes
        self._drawn = iter("")

    def new(self, prefix: str) -> str:
        """Return a new id, such as `msg_019a3c…`."""
        return f"{self.stem(prefix)}{next(self._drawn, None) or self._draw()}"

    def _draw(self) -> str:
        """Draw randomness for many ids at once, one system call instead of one each; return the first."""
        digits = self._randbytes(RANDOM_BYTES * AT_ONCE).hex()
        size = 2 * RANDOM_BYTES
        self._drawn = iter([digits[start : start + size] for start in range(0, len(digits), size)])
        return next(self._drawn)

    def stem(self, prefix: str) -> str:
        """Return the part before the randomness, for statements that make many ids in the database."""
        return f"{prefix}_{int(self._clock.unix() * 1000):012x}"
