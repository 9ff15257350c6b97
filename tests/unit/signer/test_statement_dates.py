"""When a canary is due, and what it is worth: each boundary, every month's end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signer.canary_dates import GRACE, LEAD, LONGEST, SKEW, State, date_fault, expires_at, next_due, state
from tests.support.canaries import FIRST, STATEMENTS, altered, first, retirement, successor

SECOND = timedelta(seconds=1)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
CANARY = first().statement
assert CANARY.next_due is not None
assert CANARY.expires_at is not None
DUE, EXPIRY = CANARY.next_due, CANARY.expires_at
CHANGED = successor(
    first(), FIRST + timedelta(days=1), statements=STATEMENTS[1:], removed=frozenset({"warrants"})
).statement


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("issued", "due"),
    [
        ("2026-11-01T00:00:00", "2026-12-01"),
        ("2026-10-24T23:59:59", "2026-11-01"),
        ("2026-10-25T00:00:00", "2026-12-01"),
        ("2026-10-31T23:59:59", "2026-12-01"),
        ("2026-12-01T00:00:00", "2027-01-01"),
        ("2026-12-24T23:59:59", "2027-01-01"),
        ("2026-12-25T00:00:00", "2027-02-01"),
        ("2026-12-31T23:59:59", "2027-02-01"),
        ("2027-01-31T12:00:00", "2027-03-01"),
        ("2027-02-21T23:59:59", "2027-03-01"),
        ("2027-02-22T00:00:00", "2027-04-01"),
        ("2028-02-22T00:00:00", "2028-03-01"),
        ("2028-02-22T23:59:59", "2028-03-01"),
        ("2028-02-23T00:00:00", "2028-04-01"),
        ("2028-02-29T23:59:59", "2028-04-01"),
        ("2028-01-31T00:00:00", "2028-03-01"),
        ("2100-02-22T00:00:00", "2100-04-01"),
    ],
)
def test_a_canary_is_due_on_the_first_that_its_predecessor_was_not(issued: str, due: str) -> None:
    assert next_due(utc(issued)) == utc(due)


def test_months_are_those_of_utc() -> None:
    east = timezone(timedelta(hours=14))
    assert next_due(utc("2026-10-24T23:59:59").astimezone(east)) == utc("2026-11-01")
    assert next_due(utc("2026-10-25T00:00:00").astimezone(timezone(-timedelta(hours=12)))) == utc("2026-12-01")


@given(MOMENTS)
def test_a_canary_lasts_from_two_weeks_to_forty_five_days(moment: datetime) -> None:
    due = next_due(moment)
    assert (due.day, due.hour, due.minute, due.second, due.microsecond, due.tzinfo) == (1, 0, 0, 0, 0, UTC)
    assert LEAD < due - moment <= LEAD + timedelta(days=31)
    assert LEAD + GRACE < expires_at(due) - moment <= LONGEST


@given(MOMENTS)
def test_what_is_drafted_is_current_from_the_start_and_its_dates_make_sense(moment: datetime) -> None:
    made = first(moment).statement
    assert date_fault(made) == ""
    assert state(made, moment) is State.CURRENT


@given(MOMENTS, st.integers(1, 60))
def test_whoever_renews_each_time_it_becomes_due_is_never_late(moment: datetime, rounds: int) -> None:
    last = next_due(moment)
    for _ in range(rounds):
        following = next_due(last - LEAD)
        assert (following - last).days in {28, 29, 30, 31}
        last = following


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (FIRST, State.CURRENT),
        (FIRST - SKEW, State.CURRENT),
        (FIRST - SKEW - SECOND, State.INVALID),
        (DUE - LEAD - SECOND, State.CURRENT),
        (DUE - LEAD, State.DUE),
        (DUE - SECOND, State.DUE),
        (DUE, State.OVERDUE),
        (EXPIRY - SECOND, State.OVERDUE),
        (EXPIRY, State.EXPIRED),
        (EXPIRY + timedelta(days=36_500), State.EXPIRED),
    ],
)
def test_each_state_begins_at_its_boundary(now: datetime, expected: State) -> None:
    assert state(CANARY, now) is expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (DUE - LEAD - SECOND, State.CHANGED),
        (DUE - SECOND, State.CHANGED),
        (DUE, State.OVERDUE),
        (EXPIRY, State.EXPIRED),
    ],
)
def test_what_was_removed_shows_until_the_canary_is_late(now: datetime, expected: State) -> None:
    assert state(CHANGED, now) is expected


@pytest.mark.parametrize("now", [FIRST, DUE, EXPIRY])
def test_what_does_not_stand_a_check_is_invalid_at_any_time(now: datetime) -> None:
    assert state(CANARY, now, is_valid=False) is State.INVALID
    assert state(retirement().statement, now, is_valid=False) is State.INVALID
    assert state(None, now) is State.MISSING


@pytest.mark.parametrize("now", [FIRST, DUE, EXPIRY, EXPIRY + timedelta(days=36_500)])
def test_a_retirement_ends_a_canary_for_good_and_so_do_revoked_keys(now: datetime) -> None:
    assert state(retirement().statement, now) is State.REVOKED
    assert state(CANARY, now, is_revoked=True) is State.REVOKED
    assert state(CANARY, now, is_valid=False, is_revoked=True) is State.REVOKED


def test_a_retirement_of_the_future_has_not_ended_anything() -> None:
    assert state(retirement().statement, FIRST - SKEW - SECOND) is State.INVALID


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"next_due": DUE + SECOND}, "next_due is not the first of a month"),
        ({"next_due": DUE + timedelta(days=1)}, "next_due is not the first of a month"),
        ({"next_due": DUE + timedelta(hours=1)}, "next_due is not the first of a month"),
        ({"next_due": utc("2026-11-01")}, "are not in this order"),
        ({"issued_at": DUE}, "are not in this order"),
        ({"expires_at": DUE}, "are not in this order"),
        ({"expires_at": FIRST + LONGEST}, ""),
        ({"expires_at": FIRST + LONGEST + SECOND}, "expires_at is more than 45 days after issued_at"),
        ({"next_due": utc("2027-01-01"), "expires_at": utc("2027-01-08")}, "expires_at is more than 45 days"),
        ({"issued_at": utc("2026-11-30")}, ""),
    ],
)
def test_dates_that_make_no_sense_are_named_and_invalid(fields: dict[str, datetime], words: str) -> None:
    made = altered(first(), **fields).statement
    fault = date_fault(made)
    assert words in fault
    assert bool(fault) == bool(words)
    assert (state(made, made.issued_at) is State.INVALID) == bool(words)


@given(MOMENTS, st.lists(st.timedeltas(timedelta(0), timedelta(days=60)), min_size=2, max_size=20))
def test_time_leads_in_one_direction(moment: datetime, steps: list[timedelta]) -> None:
    made = first(moment).statement
    order = [State.CURRENT, State.DUE, State.OVERDUE, State.EXPIRED]
    seen = [order.index(state(made, moment + step)) for step in sorted(steps)]
    assert seen == sorted(seen)
