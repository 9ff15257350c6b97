"""What publishing exports, and the process itself; names and labels are the public contract's.

No customer ever becomes a label. What the API exports stands in `publisher/api/metrics.py`, what is counted in the
database in `publisher/gauges.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, GCCollector, Histogram, PlatformCollector, ProcessCollector

from consumers.catalogue import CATALOGUE
from publisher import VERSION
from publisher.delivery.outcome import Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from publisher.queue import Job

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30)
OUTCOMES = ("delivered", "dropped", "cancelled")
#: Seconds from the commit to the 2xx of a first attempt, from which it is late (deploy/prometheus/rules/budget.yml).
LATE = 30.0


class PublisherMetrics:
    """Counters of delivery; every label set exists from the start, and is looked up once."""

    def __init__(self, registry: CollectorRegistry, *, profile: str) -> None:
        """Register everything on `registry`."""
        self.registry = registry
        deliveries = Counter("heliograph_deliveries", "Deliveries that ended", ("type", "outcome"), registry=registry)
        attempts = Counter("heliograph_attempts", "Attempts made", ("result",), registry=registry)
        durations = Histogram(
            "heliograph_attempt_duration_seconds",
            "From connecting to the last byte read",
            ("result",),
            buckets=BUCKETS,
            registry=registry,
        )
        latency = Histogram(
            "heliograph_delivery_latency_seconds",
            "From the event's commit to its 2xx",
            ("attempt",),
            buckets=BUCKETS,
            registry=registry,
        )
        self._deliveries = {
            (event_type, outcome): deliveries.labels(event_type, outcome)
            for event_type in CATALOGUE
            for outcome in OUTCOMES
        }
        self._attempts = {result: attempts.labels(result) for result in Result}
        self._durations = {result: durations.labels(result) for result in Result}
        self._first_latency = latency.labels("first")
        self._retry_latency = latency.labels("retry")
        self._late = Counter(
            "heliograph_late_deliveries",
            f"First attempts that succeeded {LATE:g} s after the event or later, and waited for us",
            registry=registry,
        )
        Gauge("heliograph_build_info", "Always 1", ("version", "profile"), registry=registry).labels(
            VERSION, profile
        ).set(1)

    def attempted(
        self, job: Job, result: Result, duration: float, now: float, hindered_at: Callable[[str], float | None]
    ) -> None:
        """Count an attempt of `duration` seconds that ended at `now` (monotonic).

        `hindered_at` tells when an endpoint last kept its deliveries waiting (`Gate.hindered_at`). A redelivery has no
        latency: nobody was waiting for it since the event.
        """
        self._attempts[result].inc()
        self._durations[result].observe(duration)
        if result is Result.OK and job.attempt == job.tried + 1:
            since_commit = now - job.taken_at if job.is_fresh else job.age + (now - job.taken_at)
            if job.attempt > 1:
                self._retry_latency.observe(since_commit)
                return
            self._first_latency.observe(since_commit)
            if since_commit >= LATE and is_ours(now - since_commit, hindered_at(job.endpoint.id)):
                self._late.inc()

    def recorded(self, event_type: str, state: str) -> None:
        """Count a delivery that was recorded in `state`, if it ended there."""
        ended = self._deliveries.get((event_type, state))
        if ended is not None:
            ended.inc()

    def cancelled(self, event_type: str, number: int = 1) -> None:
        """Count `number` deliveries that ended unsent: their endpoint is gone, or their account's queue is full."""
        ended = self._deliveries.get((event_type, "cancelled"))
        if ended is not None:
            ended.inc(number)


def is_ours(committed_at: float, hindered_at: float | None) -> bool:
    """Say whether it is our fault that an event is late: its receiver has kept nothing waiting since. Pure.

    What piles up while a receiver hangs or fails is late when that recovers, and no fault of the service's.
    """
    return hindered_at is None or hindered_at < committed_at


def watch_process(registry: CollectorRegistry) -> None:
    """Export the process itself, by the names all Prometheus clients use: CPU, memory, files, garbage, version."""
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
