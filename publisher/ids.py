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

MESSAGE, DELIVERY, ENDPOINT = "msg", "dlv", "we"
RANDOM_BYTES = 10


class Ids:
    """Makes identifiers from the clock and the randomness it is given."""

    def __init__(self, clock: Clock, randbytes: Callable[[int], bytes] = os.urandom) -> None:
        """`randbytes(n)` returns n random bytes."""
        self._clock = clock
        self._randbytes = randbytes

    def new(self, prefix: str) -> str:
        """Return a new id, such as `msg_019a3c…`."""
        return f"{self.stem(prefix)}{self._randbytes(RANDOM_BYTES).hex()}"

    def stem(self, prefix: str) -> str:
        """Return the part before the randomness, for statements that make many ids in the database."""
        return f"{prefix}_{int(self._clock.unix() * 1000):012x}"
