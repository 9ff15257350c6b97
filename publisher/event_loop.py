"""How late the event loop is: everything in this process waits for its turns, so this is what being alive means.

A task asks to be woken twice a second and sees how late that is. A loop that is stuck for good answers nobody, and
whoever asks for liveness gives up by itself; one that is stuck again and again answers in between, and says so.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from prometheus_client import Gauge

from publisher.health import Observed
from runtime.lifecycle import first_of

if TYPE_CHECKING:
    import asyncio

    from prometheus_client import CollectorRegistry

    from runtime.clock import Clock

#: Seconds between two samples.
EVERY = 0.5
#: Seconds late from which the process is better started anew.
STUCK = 10.0
#: Samples the metric is the worst of: a minute, so that a scrape every 15 s misses none.
REMEMBERED = 120


class LoopMonitor:
    """Samples how late the event loop is."""

    def __init__(self, clock: Clock, registry: CollectorRegistry) -> None:
        """Register the metric on `registry`; `run` samples."""
        self._clock = clock
        self._due: float | None = None
        self._last = 0.0
        self._samples: deque[float] = deque(maxlen=REMEMBERED)
        gauge = Gauge(
            "heliograph_event_loop_lag_seconds",
            "How late the event loop was at worst within the last minute",
            registry=registry,
        )
        gauge.set_function(self.worst)

    async def run(self, stop: asyncio.Event) -> None:
        """Sample until `stop`."""
        while not stop.is_set():
            self.expect(EVERY)
            await first_of(stop, EVERY)
            if not stop.is_set():  # which ends a wait early
                self.woken()
        self._due = None

    def expect(self, seconds: float) -> None:
        """Note when the next wake-up is due."""
        self._due = self._clock.monotonic() + seconds

    def woken(self) -> None:
        """Note that it has come."""
        self._last = self._overdue()
        self._samples.append(self._last)

    def now(self) -> Observed:
        """Return how late the loop is, in seconds: at the last sample, or by now where the next one is overdue."""
        return Observed(round(max(self._last, self._overdue()), 3), "s")

    def worst(self) -> float:
        """Return how late it was at worst within the last minute, in seconds."""
        return max((*self._samples, self._overdue()))

    def _overdue(self) -> float:
        return max(0.0, self._clock.monotonic() - self._due) if self._due is not None else 0.0
