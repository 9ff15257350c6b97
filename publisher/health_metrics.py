"""How this process says it is, as series: one that is not ready still answers scrapes, and somebody is to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from publisher.health import Report, Status
from publisher.housekeeping import Chore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry

    from publisher.health import Health

#: Seconds between two looks, as long as there are between two scrapes.
EVERY = 15.0


class HealthMetrics(Collector):
    """The status of each check as of the last look; all are 0 before the first."""

    def __init__(self, registry: CollectorRegistry, health: Health) -> None:
        """Register on `registry`."""
        self._health = health
        self._report = Report()
        registry.register(self)

    @property
    def chore(self) -> Chore:
        """What has to be done every so often."""
        return Chore("look at our own health", EVERY, self.look)

    async def look(self) -> None:
        """Run every check."""
        self._report = await self._health.report()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metric; every check has each status."""
        family = GaugeMetricFamily(
            "heliograph_health_check_status", "1 for what a check found", labels=("check", "status")
        )
        for name in self._health.names:
            found = self._report.findings.get(name)
            for status in Status:
                family.add_metric((name, str(status)), float(found is not None and found.status is status))
        yield family
