"""How full the queue is and how endpoints are doing, counted every so often: a scrape asks no database.

The figures are the whole database's, so every process that delivers reports the same but for the circuits, which are
each one's own: a rule takes `max`, not `sum`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import Gauge

from consumers import announcements
from publisher.queue import LIVE_STATES

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from prometheus_client import CollectorRegistry

    from publisher.delivery.gate import Gate
    from runtime.clock import Clock
    from runtime.database import Connection, Pool

#: Seconds between two counts.
COUNT = 10.0
LANES = ("first", "retry")
ENDPOINT_STATES = ("active", "paused", "open_circuit", "disabled")
#: Where nothing is due, or nothing waits: as for the feeds, a rule asks for more than 0.
NONE = 0.0

#: Reads queue (owner: publisher/queue.py). What an endpoint keeps waiting ($1) is due and nobody's fault here. What was
#: tried on its present schedule is a retry, also while a dead process still has its lease.
QUEUE = """
SELECT state, tried > 0 AS is_retry, count(*) AS count,
       min(due_at) FILTER (WHERE due_at <= now() AND endpoint_id <> ALL ($1::text[])) AS oldest_due
FROM queue
GROUP BY state, is_retry
"""
#: Reads endpoints (owner: publisher/endpoints.py).
ENDPOINTS = """
SELECT CASE WHEN status = 'active' AND id = ANY ($1::text[]) THEN 'open_circuit' ELSE status END AS state, count(*)
FROM endpoints
GROUP BY state
"""


class Counted(NamedTuple):
    """What a count found; numbers by state, and what is due the longest by lane."""

    deliveries: dict[str, int]
    oldest_due: dict[str, datetime | None]
    endpoints: dict[str, int]
    backlog: announcements.Backlog


class Gauges:
    """The figures as of the last count; every label set exists from the start."""

    def __init__(self, registry: CollectorRegistry, pool: Pool, gate: Gate, clock: Clock) -> None:
        """Register everything on `registry`; `gate` says whom this process keeps waiting."""
        self._pool = pool
        self._gate = gate
        self._clock = clock
        deliveries = Gauge(
            "heliograph_queue_deliveries",
            "Deliveries that have not ended, in the database",
            ("state",),
            registry=registry,
        )
        oldest_due = Gauge(
            "heliograph_queue_oldest_due_timestamp_seconds",
            "Since when a delivery is due that could be attempted, 0 while none is; first attempts and retries",
            ("lane",),
            registry=registry,
        )
        endpoints = Gauge(
            "heliograph_endpoints",
            "Endpoints in the database; those whose circuit is open here are not counted as active",
            ("state",),
            registry=registry,
        )
        self._deliveries = {state: deliveries.labels(state) for state in LIVE_STATES}
        self._oldest_due = {lane: oldest_due.labels(lane) for lane in LANES}
        self._endpoints = {state: endpoints.labels(state) for state in ENDPOINT_STATES}
        self._announcements = Gauge(
            "heliograph_announcements_waiting", "Events of ours that Kafka has not acknowledged", registry=registry
        )
        self._oldest_announcement = Gauge(
            "heliograph_announcements_oldest_timestamp_seconds",
            "When the oldest of them was made, 0 while none waits",
            registry=registry,
        )
        self._counted_at = Gauge(
            "heliograph_queue_counted_timestamp_seconds",
            "When queue, endpoints and announcements were last counted",
            registry=registry,
        )

    async def count(self) -> None:
        """Count; raises what the database raises, and the figures stay as they were."""
        circuits = self._gate.circuits()
        # One whose probe is due could be given a delivery at this moment: the others behind it are not due for us.
        unavailable = circuits.union(self._gate.closed_to())
        async with self._pool.acquire() as connection:
            counted = await count(connection, unavailable=unavailable, open_circuits=circuits)
        for state, gauge in self._deliveries.items():
            gauge.set(counted.deliveries[state])
        for lane, gauge in self._oldest_due.items():
            gauge.set(_seconds(counted.oldest_due[lane]))
        for state, gauge in self._endpoints.items():
            gauge.set(counted.endpoints[state])
        self._announcements.set(counted.backlog.waiting)
        self._oldest_announcement.set(_seconds(counted.backlog.oldest))
        self._counted_at.set(self._clock.unix())


async def count(connection: Connection, *, unavailable: Collection[str], open_circuits: Collection[str]) -> Counted:
    """Count what is in the database.

    What waits for `unavailable` endpoints is not due for us; active endpoints among `open_circuits` are counted apart.
    """
    deliveries = dict.fromkeys(LIVE_STATES, 0)
    oldest_due: dict[str, datetime | None] = dict.fromkeys(LANES)
    for state, is_retry, number, due_at in await connection.fetch(QUEUE, list(unavailable)):
        deliveries[state] += number
        lane = LANES[is_retry]
        oldest_due[lane] = min(filter(None, (oldest_due[lane], due_at)), default=None)
    endpoints = dict.fromkeys(ENDPOINT_STATES, 0)
    endpoints |= {row[0]: row[1] for row in await connection.fetch(ENDPOINTS, list(open_circuits))}
    return Counted(deliveries, oldest_due, endpoints, await announcements.backlog(connection))


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment else NONE
