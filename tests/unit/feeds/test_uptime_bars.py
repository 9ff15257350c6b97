"""What is drawn and told of a component's days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from feeds.models import ComponentStatus, Day
from feeds.uptime_bars import HEIGHT, HEIGHTS, SILENT, bars

GOOD, SLOW, HALF, DOWN, WORKS = (
    ComponentStatus.OPERATIONAL,
    ComponentStatus.DEGRADED_PERFORMANCE,
    ComponentStatus.PARTIAL_OUTAGE,
    ComponentStatus.MAJOR_OUTAGE,
    ComponentStatus.UNDER_MAINTENANCE,
)


def days(*worst: ComponentStatus | None) -> list[Day]:
    first = date(2026, 2, 27)
    return [
        Day(date=str(first + timedelta(days=n)), worst=each, uptime=None if each is None else 99.5)
        for n, each in enumerate(worst)
    ]


def test_days_that_look_the_same_are_one_line() -> None:
    made = bars(days(None, None, GOOD, GOOD, GOOD, DOWN, GOOD))
    assert [(run.status, run.start, run.length) for run in made.runs] == [
        (SILENT, 0, 2),
        (GOOD, 2, 3),
        (DOWN, 5, 1),
        (GOOD, 6, 1),
    ]
    assert (made.width, made.silent) == (7, 2)


def test_all_bars_stand_on_the_same_ground() -> None:
    for run in bars(days(None, *ComponentStatus)).runs:
        assert run.middle + run.height / 2 == HEIGHT


def test_no_two_kinds_of_day_are_of_one_height_and_the_worse_are_the_taller() -> None:
    assert len(set(HEIGHTS.values())) == len(ComponentStatus) + 1
    assert HEIGHTS[SILENT] < HEIGHTS[WORKS] < HEIGHTS[GOOD] < HEIGHTS[SLOW] < HEIGHTS[HALF] < HEIGHTS[DOWN] == HEIGHT


def test_days_with_trouble_are_told_the_newest_first() -> None:
    made = bars(days(GOOD, WORKS, None, SLOW))
    assert [(each.day, each.status, each.uptime) for each in made.troubles] == [
        (datetime(2026, 3, 2, tzinfo=UTC), SLOW, 99.5),
        (datetime(2026, 2, 28, tzinfo=UTC), WORKS, 99.5),
    ]


def test_no_days_are_no_bars() -> None:
    assert bars([]) == (0, [], [], 0)


@given(st.lists(st.sampled_from([None, *ComponentStatus]), max_size=120))
def test_every_day_is_drawn_once_as_what_it_was(worst: list[ComponentStatus | None]) -> None:
    drawn = [run.status for run in bars(days(*worst)).runs for _ in range(run.length)]
    assert drawn == [each or SILENT for each in worst]
