"""Time as an argument: nothing else in the code base reads a clock of its own.

Two clocks, never mixed: `now` is wall time for what people and signatures see, `monotonic` is for
durations. Due times of deliveries belong to neither: they are the database's.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where a component gets its time from."""

    def now(self) -> datetime:
        """Return wall time, aware, in UTC."""
        ...

    def unix(self) -> float:
        """Return wall time as seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back; only differences mean anything."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Return wall time, aware, in UTC."""
        return datetime.now(UTC)

    def unix(self) -> float:
        """Return wall time as seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""
        return time.monotonic()
