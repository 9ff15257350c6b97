"""When a feed is built and tried again: pure decisions, as tables."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.publish import LONGEST_PAUSE, Progress, backoff, is_due, pause

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seen", "changes", "now", "expected"),
    [
        (None, 0, 1000.0, True),
        (3, 3, 1001.0, False),
        (3, 4, 1001.0, True),
        (3, 4, 1000.9, False),
        (4, 3, 1001.0, True),  # counted anew: another database
        (3, 3, 1059.9, False),
        (3, 3, 1060.0, True),
    ],
)
def test_a_feed_is_due_when_it_changed_or_a_minute_is_over_and_not_twice_a_second(
    seen: int | None, changes: int, now: float, *, expected: bool
) -> None:
    progress = Progress(seen=seen, looked_at=1000.0, not_before=1001.0 if seen is not None else 0.0)
    assert is_due(progress, changes, now) is expected


@pytest.mark.parametrize(("failures", "seconds"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 15), (6, 15), (10_000, 15)])
def test_what_fails_is_tried_less_and_less_often(failures: int, seconds: float) -> None:
    assert backoff(failures) == seconds


def test_the_next_look_is_when_something_that_waits_may_be_tried() -> None:
    calm, waiting = Progress(not_before=5000.0), Progress(not_before=1000.4, pending_since=NOON)
    assert pause([calm], 1000.0) == 1.0
    assert pause([calm, waiting], 1000.0) == pytest.approx(0.4)
    assert pause([], 1000.0) == 1.0


@given(st.lists(st.builds(Progress, not_before=st.floats(0, 1e6), pending_since=st.sampled_from([None, NOON]))))
def test_looks_are_never_further_apart_than_a_second_and_never_without_a_pause(all_progress: list[Progress]) -> None:
    assert 0 < pause(all_progress, 5e5) <= 1.0
    assert LONGEST_PAUSE <= 60
