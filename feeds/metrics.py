"""What the feeds export; names and labels are the public contract's.

Made when somebody scrapes, from what is held in memory and the clock: a canary gets late without anything happening.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from feeds.documents import Feed
from signer.canary_dates import State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from prometheus_client import CollectorRegistry

    from feeds.canary import Watched
    from feeds.feed_watch import FeedWatch
    from feeds.publish import Publisher
    from runtime.clock import Clock

#: Where there is no such moment, or none to be believed. A rule `time() > …` then fires; without a sample it would fall
#: silent at the very moment a canary disappears. Where there is to be none, a rule asks for the state too.
NEVER = 0.0
#: What this service publishes by itself.
FEEDS = (Feed.INCIDENTS, Feed.PEERING, Feed.STATUS)


class CanaryMetrics(Collector):
    """The newest canary's dates and state, and when it and the newest document of every other feed were published."""

    def __init__(
        self, registry: CollectorRegistry, watch: Watched, clock: Clock, feeds: FeedWatch | None = None
    ) -> None:
        """Register on `registry`; `feeds` knows of the other feeds."""
        self._watch = watch
        self._feeds = feeds
        self._clock = clock
        registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield every metric as of now; every label set exists from the start."""
        standing, now = self._watch.standing, self._clock.now()
        published, current = standing.published, standing.state(now)
        statement = None if standing.faults or current is State.INVALID else standing.statement
        issued, due, expiry = (
            (statement.issued_at, statement.next_due, statement.expires_at) if statement else (None, None, None)
        )
        yield GaugeMetricFamily(
            "heliograph_canary_judged_timestamp_seconds",
            "When the newest canary's signatures were last checked",
            value=_seconds(self._watch.judged_at),
        )
        for name, meaning, moment in (
            ("issued", "When the newest canary says it was issued", issued),
            ("next_due", "When the next canary is due", due),
            ("expiry", "When the newest canary expires", expiry),
        ):
            yield GaugeMetricFamily(f"heliograph_canary_{name}_timestamp_seconds", meaning, value=_seconds(moment))
        states = GaugeMetricFamily("heliograph_canary_state", "1 for the state the canary is in", labels=("state",))
        for state in State:
            states.add_metric((str(state),), float(state is current))
        yield states
        feeds = GaugeMetricFamily(
            "heliograph_feed_published_timestamp_seconds",
            "When a feed's newest document was published",
            labels=("feed",),
        )
        feeds.add_metric((str(Feed.CANARY),), _seconds(published.published_at if published else None))
        for feed in FEEDS:
            newest = self._feeds.of(feed) if self._feeds else None
            feeds.add_metric((str(feed),), _seconds(newest.published_at if newest else None))
        yield feeds


class PublishingMetrics(Collector):
    """Since when changes wait to be published: while the signer is away, say. 0 where none do."""

    def __init__(self, registry: CollectorRegistry, publisher: Publisher | None) -> None:
        """Register on `registry`; a process that publishes nothing has no `publisher`, and nothing that waits."""
        self._publisher = publisher
        registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metric; every label set exists from the start."""
        pending = GaugeMetricFamily(
            "heliograph_feed_pending_since_timestamp_seconds",
            "Since when changes of a feed wait to be published, 0 while none do",
            labels=("feed",),
        )
        for feed in FEEDS:
            since = self._publisher.pending_since(feed) if self._publisher else None
            pending.add_metric((str(feed),), _seconds(since))
        yield pending


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment else NEVER
