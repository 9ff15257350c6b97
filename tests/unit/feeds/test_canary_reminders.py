"""Which reminder is sent when, and what it says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.canary_reminders import DUE, KEY, OVERDUE, Reminder, announcement, pressing
from tests.support import canaries

moment = datetime.fromisoformat
WEEK, DAY, LATE = Reminder.WEEK, Reminder.DAY, Reminder.OVERDUE
CANARY = canaries.first(moment("2027-02-01T12:00:00Z")).statement
#: Of somebody's own dates: three days before it is due.
SHORT = canaries.altered(canaries.first(moment("2027-02-01T12:00:00Z")), issued_at=moment("2027-02-26T00:00:00Z"))

TABLE = [
    ("2027-02-01T12:00:00Z", (), None),
    ("2027-02-21T23:59:59Z", (), None),
    ("2027-02-22T00:00:00Z", (), WEEK),
    ("2027-02-22T00:00:00Z", (WEEK,), None),
    ("2027-02-27T23:59:59Z", (), WEEK),
    ("2027-02-27T23:59:59Z", (WEEK,), None),
    ("2027-02-28T00:00:00Z", (WEEK,), DAY),
    ("2027-02-28T00:00:00Z", (), DAY),
    ("2027-02-28T12:00:00Z", (DAY,), None),
    ("2027-02-28T23:59:59Z", (WEEK, DAY), None),
    ("2027-03-01T00:00:00Z", (WEEK, DAY), LATE),
    ("2027-03-01T00:00:00Z", (), LATE),
    ("2027-03-01T00:00:00Z", (LATE,), None),
    ("2027-03-08T00:00:00Z", (WEEK,), LATE),
    ("2029-01-01T00:00:00Z", (WEEK, DAY, LATE), None),
    ("2027-02-25T00:00:00Z", (DAY,), None),  # a clock that went back
    ("2027-02-25T00:00:00Z", (LATE,), None),
]


@pytest.mark.parametrize(("now", "sent", "expected"), TABLE)
def test_the_most_pressing_reminder_is_sent_once(now: str, sent: tuple[str, ...], expected: Reminder | None) -> None:
    assert pressing(CANARY, moment(now), sent) is expected


def test_nobody_is_reminded_of_what_was_known_when_it_was_made() -> None:
    assert pressing(SHORT.statement, moment("2027-02-27T00:00:00Z"), ()) is None
    assert pressing(SHORT.statement, moment("2027-02-28T00:00:00Z"), ()) is DAY
    at_once = canaries.altered(SHORT, issued_at=moment("2027-02-28T00:00:00Z"))
    assert pressing(at_once.statement, moment("2027-02-28T12:00:00Z"), ()) is None
    assert pressing(at_once.statement, moment("2027-03-01T00:00:00Z"), ()) is LATE


def test_one_that_has_ended_reminds_of_nothing() -> None:
    assert pressing(canaries.retirement().statement, moment("2031-01-01T00:00:00Z"), ()) is None


MOMENTS = st.datetimes(datetime(2027, 2, 1), datetime(2027, 4, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds


@given(st.lists(MOMENTS))
def test_whenever_one_looks_each_is_sent_at_most_once_and_none_after_a_more_pressing_one(looks: list[datetime]) -> None:
    sent: list[Reminder] = []
    for now in looks:
        reminder = pressing(CANARY, now, sent)
        sent += [reminder] if reminder else []
    order = list(Reminder)
    assert sent == sorted(set(sent), key=order.index)


@given(st.integers(1, 600))
def test_who_looks_often_misses_none(minutes: int) -> None:
    sent: list[Reminder] = []
    now = CANARY.issued_at
    while now < moment("2027-03-02T00:00:00Z"):
        reminder = pressing(CANARY, now, sent)
        sent += [reminder] if reminder else []
        now += timedelta(minutes=minutes)
    assert sent == [WEEK, DAY, LATE]


def test_it_says_what_is_due_and_how_pressing_it_is() -> None:
    dates = {"sequence": 1, "next_due": "2027-03-01T00:00:00Z", "expires_at": "2027-03-08T00:00:00Z"}
    assert announcement(CANARY, WEEK) == (DUE, None, KEY, {**dates, "days_left": 7})
    assert announcement(CANARY, DAY) == (DUE, None, KEY, {**dates, "days_left": 1})
    assert announcement(CANARY, LATE) == (OVERDUE, None, KEY, dates)
    assert (DUE, OVERDUE) == ("canary.due", "canary.overdue")
