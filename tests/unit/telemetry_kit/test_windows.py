"""What was decided is published once, whole, whatever the clock does, and without a word on who called."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumers import telemetry
from consumers.decode import InvalidRecordError
from heliograph_telemetry import Check, Report
from heliograph_telemetry.records import STATUSES, report_record, window_record
from heliograph_telemetry.windows import Window, Windows
from tests.support.fake_broker import Stored

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
UNIX = START.timestamp()


def a_counter(seconds: int = 60) -> Windows:
    names = (f"name{number}" for number in itertools.count())
    return Windows(seconds, lambda: next(names))


def decoded(record: bytes, now: datetime = START) -> Any:
    return telemetry.decode(Stored("telemetry", 0, 0, 0, None, record, ()), now=now)


def test_a_window_is_taken_when_it_is_over_and_once() -> None:
    windows = a_counter()
    windows.count("read", is_allowed=True, unix=UNIX + 0.5)
    windows.count("read", is_allowed=False, unix=UNIX + 59.9)
    windows.count("write", is_allowed=True, unix=UNIX + 1)
    windows.count("read", is_allowed=True, unix=UNIX + 60)
    assert windows.take(UNIX + 59.9) == []
    assert windows.take(UNIX + 60) == [
        Window("read", int(UNIX), 60, 1, 1, "name0"),
        Window("write", int(UNIX), 60, 1, 0, "name0"),
    ]
    assert windows.take(UNIX + 60) == []
    assert windows.take_all() == [Window("read", int(UNIX) + 60, 60, 1, 0, "name0")]
    assert windows.take_all() == []


def test_a_clock_set_back_begins_windows_of_another_name() -> None:
    windows = a_counter()
    windows.count("read", is_allowed=True, unix=UNIX)
    windows.take(UNIX + 60)
    for second in (59, 59, 61):
        windows.count("read", is_allowed=True, unix=UNIX + second)
    assert [(each.allowed, each.instance) for each in windows.take_all()] == [(2, "name1"), (1, "name1")]


def test_a_name_begins_with_the_first_request_so_that_forks_differ() -> None:
    names = iter(["first", "second"])
    windows = Windows(60, lambda: next(names))
    assert next(names) == "first"
    windows.count("read", is_allowed=True, unix=UNIX)
    windows.count("read", is_allowed=True, unix=UNIX)
    assert [each.instance for each in windows.take_all()] == ["second"]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("count"), st.sampled_from(["read", "write"]), st.booleans()),
            st.tuples(st.just("move"), st.integers(-300, 300)),
            st.just(("take",)),
        )
    )
)
def test_whatever_the_clock_does_every_decision_is_in_one_window(steps: list[tuple[Any, ...]]) -> None:
    windows, now = a_counter(), UNIX
    counted: Counter[tuple[str, bool]] = Counter()
    taken: list[Window] = []
    for step in steps:
        if step[0] == "count":
            windows.count(step[1], is_allowed=step[2], unix=now)
            counted[step[1], step[2]] += 1
        elif step[0] == "move":
            now += step[1]
        else:
            taken += windows.take(now)
    taken += windows.take_all()
    keys = [(each.policy, each.start, each.instance) for each in taken]
    assert len(set(keys)) == len(keys)
    published: Counter[tuple[str, bool]] = Counter()
    for each in taken:
        published[each.policy, True] += each.allowed
        published[each.policy, False] += each.limited
    assert +published == counted


def test_a_window_is_what_the_service_reads() -> None:
    record = window_record(Window("auth", int(UNIX), 60, 3, 2, "a1b2"))
    assert decoded(record) == telemetry.RateLimitWindow(
        type="ratelimit.window",
        policy="auth",
        window_start=START,
        window_seconds=60,
        allowed=3,
        limited=2,
        instance="a1b2",
    )
    assert orjson.loads(record).keys() == telemetry.RateLimitWindow.model_fields.keys()  # and nothing else


NAMES = st.one_of(st.text(max_size=5), st.sampled_from(["STO/compute", "a/b/c", " a", "a/ b", "x" * 64, "x" * 65]))
VALUES = st.one_of(st.none(), st.floats(), st.integers(), st.just(10**400), st.booleans())
CHECKS = st.builds(Check, NAMES, NAMES, VALUES, st.one_of(st.none(), NAMES))


@given(
    st.builds(
        Report,
        NAMES,
        st.one_of(st.sampled_from(STATUSES), NAMES),
        st.one_of(st.lists(CHECKS, max_size=2), st.integers(99, 102).map(lambda n: [Check("a", "b")] * n)),
    ),
    st.floats(0, 10**9),
)
@example(Report("panel", "operational", [Check("lag", "ok", 1, "")]), 0.0)
def test_what_the_kit_takes_for_a_report_the_service_does_too_and_else_neither(report: Report, ago: float) -> None:
    value = {
        "type": "health.report",
        "component": report.component,
        "status": report.status,
        "checks": [
            {"name": c.name, "status": c.status, "observed_value": _number(c.observed_value), "unit": c.unit}
            for c in report.checks
        ],
        "time": (START - timedelta(seconds=ago)).isoformat(),
    }
    try:
        record = report_record(report, UNIX - ago)
    except ValueError:
        with pytest.raises((InvalidRecordError, TypeError)):  # orjson itself takes no half of a character
            decoded(orjson.dumps(value))
    else:
        said = decoded(record)
        assert said == decoded(orjson.dumps(value)).model_copy(update={"time": said.time})


def _number(value: float | None) -> object:
    """Return what JSON has of it; what is no figure is a word there, which no reader takes."""
    try:
        number = None if value is None else float(value)
    except OverflowError:
        return "too large"
    return "none" if number is not None and (number != number or abs(number) == float("inf")) else number  # noqa: PLR0124 - NaN


def test_the_statuses_are_the_contracts() -> None:
    assert STATUSES == telemetry.STATUSES


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (Report("a/b/c", "operational"), "component 'a/b/c' is neither"),
        (Report("panel", "fine"), "status 'fine' of panel is none of"),
        (Report("panel", "operational", [Check("", "ok")]), "check '' has 0 characters"),
        (Report("panel", "operational", [Check(" lag", "ok")]), "blanks around it"),
        (Report("panel", "operational", [Check("lag", "ok", float("nan"))]), "observed_value of check 'lag'"),
        (Report("panel", "operational", [Check("lag", "ok", 1, "m\ns")]), "unit of check 'lag'"),
    ],
)
def test_what_is_no_report_is_named(report: Report, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        report_record(report, UNIX)
