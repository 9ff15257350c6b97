"""What is scraped of the canary, at each of its states."""

from __future__ import annotations

from datetime import datetime

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from feeds.canary_standing import Standing
from feeds.documents import Feed, Published
from feeds.feed_watch import FeedWatch
from feeds.metrics import CanaryMetrics, PublishingMetrics
from feeds.publish import Publisher
from signer.canary_check import Fault, Reason
from signer.canary_dates import State
from tests.support import canaries
from tests.support.published_canaries import Watching, believed
from tests.support.time import FakeClock

moment = datetime.fromisoformat
FIRST = canaries.first(moment("2026-11-01T09:30:00Z"))
GOOD = believed(FIRST)
DATES = ("2026-11-01T09:30:00Z", "2026-12-01T00:00:00Z", "2026-12-08T00:00:00Z")
PUBLISHED = "2026-11-01T09:32:00Z"
NONE = (None, None, None)
REMOVED = canaries.successor(
    FIRST, moment("2026-11-25T00:00:00Z"), statements=canaries.STATEMENTS[1:], removed=frozenset({"warrants"})
)

#: A standing, a moment, the state, the three dates, and when it was published.
TABLE = [
    (Standing(), "2026-11-02T00:00:00Z", "missing", NONE, None),
    (GOOD, "2026-11-02T00:00:00Z", "current", DATES, PUBLISHED),
    (GOOD, "2026-11-24T00:00:00Z", "due", DATES, PUBLISHED),
    (GOOD, "2026-12-01T00:00:00Z", "overdue", DATES, PUBLISHED),
    (GOOD, "2026-12-08T00:00:00Z", "expired", DATES, PUBLISHED),
    (
        believed(REMOVED),
        "2026-11-26T00:00:00Z",
        "changed",
        ("2026-11-25T00:00:00Z", "2027-01-01T00:00:00Z", "2027-01-08T00:00:00Z"),
        "2026-11-25T00:02:00Z",
    ),
    (
        believed(canaries.retirement(moment("2026-11-20T12:00:00Z"))),
        "2026-11-26T00:00:00Z",
        "revoked",
        ("2026-11-20T12:00:00Z", None, None),
        "2026-11-20T12:02:00Z",
    ),
    (believed(FIRST, faults=(Fault(Reason.REVOKED_KEY, ""),)), "2026-11-02T00:00:00Z", "revoked", NONE, PUBLISHED),
    (believed(FIRST, faults=(Fault(Reason.BROKEN_CHAIN, ""),)), "2026-11-02T00:00:00Z", "invalid", NONE, PUBLISHED),
    (Standing(GOOD.published), "2026-11-02T00:00:00Z", "invalid", NONE, PUBLISHED),
    (GOOD, "2026-10-01T00:00:00Z", "invalid", NONE, PUBLISHED),
]


@pytest.mark.parametrize(("standing", "now", "state", "dates", "published"), TABLE)
def test_what_is_scraped(
    standing: Standing, now: str, state: str, dates: tuple[str | None, ...], published: str | None
) -> None:
    registry = CollectorRegistry()
    CanaryMetrics(registry, Watching(standing), FakeClock(moment(now)))
    for name, expected in zip(("issued", "next_due", "expiry"), dates, strict=True):
        value = registry.get_sample_value(f"heliograph_canary_{name}_timestamp_seconds")
        assert value == (moment(expected).timestamp() if expected else 0), name
    states = {each: registry.get_sample_value("heliograph_canary_state", {"state": each}) for each in State}
    assert states == {each: float(each == state) for each in State}
    feed = registry.get_sample_value("heliograph_feed_published_timestamp_seconds", {"feed": "canary"})
    assert feed == (moment(published).timestamp() if published else 0)


def test_time_alone_changes_what_is_scraped() -> None:
    registry, clock = CollectorRegistry(), FakeClock(moment("2026-11-30T23:59:59Z"))
    CanaryMetrics(registry, Watching(GOOD), clock)
    assert b'heliograph_canary_state{state="due"} 1.0' in generate_latest(registry)
    clock.advance(1)
    assert b'heliograph_canary_state{state="overdue"} 1.0' in generate_latest(registry)


class OneStatus(FeedWatch):
    """Knows of one status document."""

    def __init__(self) -> None:
        pass

    def of(self, feed: Feed) -> Published | None:
        return Published(7, b"{}", "", moment(PUBLISHED), ()) if feed is Feed.STATUS else None


class Waiting(Publisher):
    """Has a status that waits."""

    def __init__(self) -> None:
        pass

    def pending_since(self, feed: Feed) -> datetime | None:
        return moment(PUBLISHED) if feed is Feed.STATUS else None


def of_feeds(registry: CollectorRegistry, name: str) -> dict[Feed, float | None]:
    return {
        feed: registry.get_sample_value(f"heliograph_feed_{name}_timestamp_seconds", {"feed": feed}) for feed in Feed
    }


def test_every_feed_says_when_it_was_published_and_since_when_something_waits() -> None:
    registry, at = CollectorRegistry(), moment(PUBLISHED).timestamp()
    CanaryMetrics(registry, Watching(Standing()), FakeClock(), OneStatus())
    PublishingMetrics(registry, Waiting())
    assert of_feeds(registry, "published") == {**dict.fromkeys(Feed, 0.0), Feed.STATUS: at}
    assert of_feeds(registry, "pending_since") == {
        Feed.CANARY: None, Feed.PEERING: 0.0, Feed.INCIDENTS: 0.0, Feed.STATUS: at
    }  # fmt: skip


def test_before_anything_is_published_every_feed_is_there() -> None:
    registry = CollectorRegistry()
    CanaryMetrics(registry, Watching(Standing()), FakeClock())
    PublishingMetrics(registry, None)
    assert of_feeds(registry, "published") == dict.fromkeys(Feed, 0.0)
    assert of_feeds(registry, "pending_since")[Feed.STATUS] == 0.0
    assert generate_latest(registry).count(b"# TYPE heliograph_feed_published_timestamp_seconds") == 1
