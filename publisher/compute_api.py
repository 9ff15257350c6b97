"""The compute API's own telemetry as series: what its limiter decided, how its components are, what was measured.

Decisions are counted as they come in, by the process that took them in: the sum over processes is what the compute
API counted, and a counter begins at 0 after a restart, as Prometheus expects. What components are is read from the
facts every few seconds, so that every process shows the same, after a restart too; whether that is stale depends on the
clock, so it is decided when somebody scrapes.

Whoever may write to the topic must not be able to fill this registry: components the profile does not name are shown
up to a number, checks of a component too, the first by name. Labels are names that `consumers/telemetry.py` let pass:
at most 64 characters, all of which show.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import orjson
from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from consumers.telemetry import POLICIES, STATUSES
from feeds.component_days import is_silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from prometheus_client import CollectorRegistry

    from feeds.status import Declared
    from runtime.clock import Clock
    from runtime.database import Pool

logger = logging.getLogger(__name__)

#: Components shown that the profile does not name, and checks of one component.
MOST_UNNAMED, MOST_CHECKS = 48, 16
#: What a component is that has not reported for too long, or never: instead of whatever it last said.
STALE = "stale"
STATES = (*STATUSES, STALE)
ALLOWED, LIMITED = "allowed", "limited"
#: When a component last reported that never has.
NEVER = 0.0

#: Reads component_status (owner: feeds/component_facts.py).
NEWEST = """
SELECT component, status, checks, reported_at FROM component_status WHERE component = ANY($1::text[])
UNION ALL (
    SELECT component, status, checks, reported_at FROM component_status WHERE component <> ALL($1::text[])
    ORDER BY component COLLATE "C" LIMIT $2
)
"""


class Measured(NamedTuple):
    """What a check of a component found."""

    check: str
    unit: str
    value: float


class Reported(NamedTuple):
    """The latest report of a component."""

    status: str
    reported_at: datetime
    measured: Sequence[Measured]


class Decisions:
    """Counts what the compute API's limiter decided; every label set exists from the start."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register on `registry`."""
        counter = Counter(
            "compute_api_ratelimit_decisions",
            "Requests to the compute API that its limits let through or turned away",
            ("policy", "decision"),
            registry=registry,
        )
        self._children = {
            policy: (counter.labels(policy, ALLOWED), counter.labels(policy, LIMITED)) for policy in POLICIES
        }

    def add(self, policy: str, allowed: int, limited: int) -> None:
        """Count requests of a policy."""
        let_through, turned_away = self._children[policy]
        let_through.inc(allowed)
        turned_away.inc(limited)


class Components(Collector):
    """How each component is; those of the profile always, whether they have reported or not."""

    def __init__(self, registry: CollectorRegistry, pool: Pool, clock: Clock, declared: Declared) -> None:
        """Register on `registry`; nothing is shown before the first `refresh`, for nothing is known."""
        self._pool = pool
        self._clock = clock
        self._named = [each.id for group in declared.groups for each in group.services]
        self._named += [each.id for each in declared.shared]
        self._newest: Mapping[str, Reported] | None = None
        self._is_full = False
        registry.register(self)

    async def refresh(self) -> None:
        """Read the newest reports."""
        async with self._pool.acquire() as connection:
            rows = await connection.fetch(NEWEST, self._named, MOST_UNNAMED + 1)
        found = {
            row["component"]: Reported(row["status"], row["reported_at"], measured(orjson.loads(row["checks"])))
            for row in rows
        }
        unnamed = sorted(found.keys() - set(self._named))
        beyond = unnamed[MOST_UNNAMED:]
        for each in beyond:
            del found[each]
        if beyond and not self._is_full:
            logger.warning(
                "more than %d components report that the profile does not name; the first by name are exported",
                MOST_UNNAMED,
            )
        self._is_full = bool(beyond)
        self._newest = found

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield every metric as of now. What was measured is shown only while it is not stale."""
        now = self._clock.now()
        status = GaugeMetricFamily(
            "compute_api_component_status",
            "1 for the status a component of the compute API is in, stale when it does not report",
            labels=("component", "status"),
        )
        values = GaugeMetricFamily(
            "compute_api_check_value",
            "What a component's check found when it last reported, in its unit",
            labels=("component", "check", "unit"),
        )
        reports = GaugeMetricFamily(
            "compute_api_last_report_timestamp_seconds",
            "The time a component's latest report is of, 0 when it never reported",
            labels=("component",),
        )
        newest = self._newest
        for component in () if newest is None else {**dict.fromkeys(self._named), **newest}:
            reported = newest.get(component) if newest else None
            current = state(reported, now)
            for each in STATES:
                status.add_metric((component, each), float(each == current))
            reports.add_metric((component,), reported.reported_at.timestamp() if reported else NEVER)
            for found in reported.measured if reported and current != STALE else ():
                values.add_metric((component, found.check, found.unit), found.value)
        yield from (status, values, reports)


def state(reported: Reported | None, now: datetime) -> str:
    """Return which of `STATES` a component is in at `now`. Pure.

    Stale begins where the status page says that a component does not report.
    """
    return STALE if reported is None or is_silent(reported.reported_at, now) else reported.status


def measured(checks: Iterable[Mapping[str, object]]) -> list[Measured]:
    """Return what the checks of a report found: the first of two of one name and unit, and no more than fit. Pure."""
    found: dict[tuple[str, str], float] = {}
    for each in checks:
        value = each["observed_value"]
        if isinstance(value, int | float):
            found.setdefault((str(each["name"]), str(each["unit"] or "")), float(value))
    return [Measured(name, unit, value) for (name, unit), value in sorted(found.items())[:MOST_CHECKS]]
