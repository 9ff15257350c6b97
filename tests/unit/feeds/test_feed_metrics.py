"""What is scraped of the canary, at each of its states."""

from __future__ import annotations

from datetime import datetime

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from feeds.canary_standing import Standing
from feeds.metrics import CanaryMetrics
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
