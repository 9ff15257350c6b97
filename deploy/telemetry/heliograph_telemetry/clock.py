"""Time as an argument, as everywhere in Heliograph: this is the one file of the kit that reads the machine's clocks."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def unix(self) -> float:
        """Return wall time as seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back; only differences mean anything."""
        ...


class SystemClock:
    """The machine's clocks."""

    def unix(self) -> float:
        """Return wall time as seconds since the epoch."""
        return time.time()  # noqa: TID251 - this is the place

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""
        return time.monotonic()  # noqa: TID251 - this is the place
