"""A component's day: slots and what they come to, whatever the order of reports."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds import component_days
from feeds.component_days import CODES, KEPT, SHOWN, SLOTS, Counted, counted, is_silent, slot_of, worst
from feeds.models import ComponentStatus

if TYPE_CHECKING:
    from random import Random

moment = datetime.fromisoformat
UP, MAINTAINED, SLOW, PARTIAL, MAJOR = component_days.STATUSES

SLOT_OF = [
    ("2026-11-01T00:00:00Z", date(2026, 11, 1), 0),
    ("2026-11-01T00:04:59.999999Z", date(2026, 11, 1), 0),
    ("2026-11-01T00:05:00Z", date(2026, 11, 1), 1),
    ("2026-11-01T23:54:59Z", date(2026, 11, 1), 286),
    ("2026-11-01T23:59:59.999999Z", date(2026, 11, 1), 287),
    ("2026-11-02T00:00:00Z", date(2026, 11, 2), 0),
    ("2026-11-02T00:00:00+01:00", date(2026, 11, 1), 276),
    ("2026-10-31T23:59:59-01:00", date(2026, 11, 1), 11),
    ("2028-02-28T23:59:59Z", date(2028, 2, 28), 287),
    ("2028-02-29T00:00:00Z", date(2028, 2, 29), 0),
    ("2027-02-28T23:59:59-00:01", date(2027, 3, 1), 0),
    ("2027-01-01T00:00:00Z", date(2027, 1, 1), 0),
]


@pytest.mark.parametrize(("text", "day", "slot"), SLOT_OF)
def test_a_moment_falls_into_a_slot_of_a_day_in_utc(text: str, day: date, slot: int) -> None:
    assert slot_of(moment(text)) == (day, slot)


@given(st.floats(946_800_000, 4_100_000_000), st.sampled_from([UTC, timezone(timedelta(hours=5.5))]))
def test_a_slot_begins_no_later_than_its_moments_and_lasts_five_minutes(seconds: float, zone: timezone) -> None:
    at = datetime.fromtimestamp(seconds, zone)
    day, slot = slot_of(at)
    begin = datetime.combine(day, datetime.min.time(), UTC) + timedelta(minutes=5 * slot)
    assert timedelta(0) <= at - begin < timedelta(minutes=5)
    assert 0 <= slot < SLOTS


def test_a_worse_status_has_a_larger_code_and_none_is_forgotten() -> None:
    assert list(ComponentStatus) == list(component_days.STATUSES)
    assert list(CODES.values()) == [1, 2, 3, 4, 5]


COUNTED = [
    (b"", Counted(0, 0), None, None),
    (bytes(288), Counted(0, 0), None, None),
    (bytes([1]) * 288, Counted(288, 288), 100.0, UP),
    (bytes([5]) * 288, Counted(0, 288), 0.0, MAJOR),
    (bytes([1, 0, 0, 4]), Counted(1, 2), 50.0, PARTIAL),
    (bytes([1, 2, 3, 4, 5]), Counted(3, 5), 60.0, MAJOR),
    (bytes([2]), Counted(1, 1), 100.0, MAINTAINED),
    (bytes([3, 1]), Counted(2, 2), 100.0, SLOW),
    (bytes([1, 1, 4]), Counted(2, 3), 66.66, PARTIAL),
    (bytes([1]) * 287 + bytes([4]), Counted(287, 288), 99.65, PARTIAL),
    (bytes([1]) * 25_919 + bytes([4]), Counted(25_919, 25_920), 99.99, PARTIAL),
]


@pytest.mark.parametrize(("slots", "count", "uptime", "bad"), COUNTED, ids=lambda each: str(each)[:30])
def test_slots_come_to_an_uptime(
    slots: bytes, count: Counted, uptime: float | None, bad: ComponentStatus | None
) -> None:
    assert counted(slots) == count
    assert counted(slots).uptime == uptime
    assert worst(slots) is bad


@given(st.integers(0, 26_000), st.integers(1, 26_000))
def test_uptime_is_rounded_down_so_that_100_means_always(down: int, reported: int) -> None:
    uptime = Counted(max(0, reported - down), reported).uptime
    assert uptime is not None
    assert (uptime == 100) == (down == 0)
    assert uptime == round(uptime, 2)
    assert uptime <= max(0, reported - down) / reported * 100 < uptime + 0.0100001


reports = st.lists(
    st.tuples(
        st.sampled_from(["STO/compute", "panel"]),
        st.sampled_from(component_days.STATUSES),
        st.integers(0, 26 * 3600).map(lambda seconds: moment("2028-02-28T23:00:00Z") + timedelta(seconds=seconds)),
    ),
    max_size=30,
)


@given(reports, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_of_reports_matters(
    said: list[tuple[str, ComponentStatus, datetime]], rng: Random
) -> None:
    again = [*said, *said[: len(said) // 2]]
    rng.shuffle(again)
    assert component_days.of_reports(again) == component_days.of_reports(said)


@given(reports)
def test_every_slot_is_the_worst_that_was_reported_in_it(said: list[tuple[str, ComponentStatus, datetime]]) -> None:
    made = component_days.of_reports(said)
    assert all(len(slots) == SLOTS for slots in made.values())
    wanted: dict[tuple[str, date, int], int] = {}
    for component, status, at in said:
        key = component, *slot_of(at)
        wanted[key] = max(wanted.get(key, 0), CODES[status])
    found = {(*key, slot): code for key, slots in made.items() for slot, code in enumerate(slots) if code}
    assert found == wanted


@pytest.mark.parametrize(("seconds", "silent"), [(-300, False), (0, False), (900, False), (900.001, True)])
def test_after_a_quarter_of_an_hour_a_component_is_silent(seconds: float, silent: bool) -> None:  # noqa: FBT001 - a table
    at = moment("2026-11-01T00:00:00Z")
    assert is_silent(at, at + timedelta(seconds=seconds)) is silent


def test_one_day_more_is_kept_than_shown() -> None:
    assert KEPT == SHOWN + 1
    assert component_days.oldest_kept(moment("2026-11-01T00:30:00+01:00")) == date(2026, 8, 2)
    assert component_days.oldest_kept(moment("2026-11-01T00:00:00Z")) == date(2026, 8, 3)
