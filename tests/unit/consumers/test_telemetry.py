"""Records of the compute API's telemetry: what each says, and that whatever makes no sense says nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.decode import UNKNOWN_TYPE, InvalidRecordError, Reason
from consumers.telemetry import (
    MAX_AHEAD,
    MAX_CHECKS,
    MAX_COUNT,
    STATUSES,
    TYPES,
    Check,
    HealthReport,
    RateLimitWindow,
    decode,
)
from feeds.models import ComponentStatus
from tests.support.fake_broker import FIRST_TIMESTAMP, Stored

NOW = datetime(2026, 11, 1, 9, 30, tzinfo=UTC)
WINDOW: dict[str, Any] = {
    "type": "ratelimit.window",
    "policy": "read",
    "window_start": "2026-11-01T09:29:00Z",
    "window_seconds": 60,
    "allowed": 41_210,
    "limited": 0,
}
REPORT: dict[str, Any] = {
    "type": "health.report",
    "component": "STO/compute",
    "status": "operational",
    "checks": [{"name": "api_latency", "status": "pass", "observed_value": 41.5, "unit": "ms"}],
    "time": "2026-11-01T10:29:30+01:00",
}


def record(value: object) -> Stored:
    """Return a record; bytes and None are its value as they are, anything else is written as JSON."""
    content = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    return Stored("telemetry", 0, 7, FIRST_TIMESTAMP, None, content, ())


def refused(value: object, **changes: Any) -> InvalidRecordError:
    """Return why a record says nothing."""
    with pytest.raises(InvalidRecordError) as caught:
        decode(record(value), now=NOW, **changes)
    return caught.value


def test_a_window_is_read() -> None:
    said = decode(record(WINDOW), now=NOW)
    start = datetime(2026, 11, 1, 9, 29, tzinfo=UTC)
    assert said == RateLimitWindow(
        type="ratelimit.window", policy="read", window_start=start, window_seconds=60, allowed=41_210, limited=0
    )


def test_a_report_is_read_and_its_time_is_utc() -> None:
    said = decode(record(REPORT), now=NOW)
    check = Check(name="api_latency", status="pass", observed_value=41.5, unit="ms")
    time = datetime(2026, 11, 1, 9, 29, 30, tzinfo=UTC)
    assert said == HealthReport(
        type="health.report", component="STO/compute", status="operational", checks=[check], time=time
    )
    assert isinstance(said, HealthReport)
    assert said.time.tzinfo is UTC


@pytest.mark.parametrize(
    "checks",
    [[], [{"name": "a", "status": "b"}], [{"name": "a", "status": "b", "observed_value": None, "unit": None, "x": 1}]],
)
def test_a_check_need_not_measure_anything(checks: list[dict[str, Any]]) -> None:
    said = decode(record({**REPORT, "checks": checks}), now=NOW)
    assert isinstance(said, HealthReport)
    assert [(each.observed_value, each.unit) for each in said.checks] == [(None, None)] * len(checks)


def test_a_report_need_not_say_what_was_looked_at_and_may_say_more() -> None:
    short = {name: value for name, value in REPORT.items() if name != "checks"}
    said = decode(record({**short, "region": {"of": "tomorrow"}}), now=NOW)
    assert isinstance(said, HealthReport)
    assert said.checks == []
    assert "region" not in said.model_dump()


def test_a_check_may_count_what_has_no_unit() -> None:
    said = decode(
        record({**REPORT, "checks": [{"name": "a", "status": "b", "observed_value": 3, "unit": ""}]}), now=NOW
    )
    assert isinstance(said, HealthReport)
    assert [(each.observed_value, each.unit) for each in said.checks] == [(3.0, "")]


@pytest.mark.parametrize("component", ["panel", "STO/compute", "Object storage/EU 1", "Umeå/beräkning"])
def test_a_component_has_a_name_or_a_bastion_and_a_name(component: str) -> None:
    said = decode(record({**REPORT, "component": component}), now=NOW)
    assert isinstance(said, HealthReport)
    assert said.component == component


WRONG = [
    (REPORT, {"component": ""}),
    (REPORT, {"component": "/compute"}),
    (REPORT, {"component": "STO/"}),
    (REPORT, {"component": "STO/compute/1"}),
    (REPORT, {"component": "STO / compute"}),
    (REPORT, {"component": " STO/compute"}),
    (REPORT, {"component": "STO\ncompute"}),
    (REPORT, {"component": "STO\u202ecompute"}),
    (REPORT, {"component": "STO\x00"}),
    (REPORT, {"component": "S" * 65}),
    (REPORT, {"component": 7}),
    (REPORT, {"status": "fine"}),
    (REPORT, {"status": None}),
    (REPORT, {"time": "2026-11-01T09:29:00"}),
    (REPORT, {"time": 1_793_525_400}),
    (REPORT, {"time": "0001-01-01T00:00:00+10:00"}),
    (REPORT, {"time": "9999-12-31T23:59:59-10:00"}),
    (REPORT, {"checks": {}}),
    (REPORT, {"checks": [{"status": "pass"}]}),
    (REPORT, {"checks": [{"name": "a\tb", "status": "pass"}]}),
    (REPORT, {"checks": [{"name": "a", "status": "pass", "observed_value": "1"}]}),
    (REPORT, {"checks": [{"name": "a", "status": "pass", "observed_value": True}]}),
    (REPORT, {"checks": [{"name": "a", "status": "pass", "unit": "m" * 65}]}),
    (REPORT, {"checks": [{"name": "a", "status": "pass", "unit": "m\u202es"}]}),
    (REPORT, {"checks": [{"name": "a", "status": "pass"}] * (MAX_CHECKS + 1)}),
    *((REPORT, {"checks": [{"name": name, "status": "pass"}]}) for name in ("", " a", "a ", "n" * 65)),
    *((REPORT, {"checks": [{"name": "a", "status": word}]}) for word in ("", "pass ", "s" * 65, "a\x00", None)),
    (WINDOW, {"policy": "all"}),
    (WINDOW, {"window_start": "today"}),
    (WINDOW, {"window_seconds": 0}),
    (WINDOW, {"window_seconds": 86_401}),
    (WINDOW, {"window_seconds": 60.5}),
    (WINDOW, {"allowed": -1}),
    (WINDOW, {"allowed": True}),
    (WINDOW, {"limited": MAX_COUNT + 1}),
    (WINDOW, {"limited": "3"}),
]


@pytest.mark.parametrize(("said", "changes"), WRONG, ids=lambda each: str(each)[:60])
def test_what_makes_no_sense_is_refused_by_name_and_without_its_content(
    said: dict[str, Any], changes: dict[str, Any]
) -> None:
    error = refused({**said, **changes})
    [member] = changes
    assert error.reason is Reason.SCHEMA
    assert error.event_type == said["type"]
    assert f"value.{member}" in error.detail
    assert "\u202e" not in error.detail


@pytest.mark.parametrize("number", [b"1e999", b"NaN", b"Infinity"])
def test_a_value_is_finite(number: bytes) -> None:
    text = json.dumps(REPORT).encode().replace(b"41.5", number)
    assert refused(text).reason in {Reason.SCHEMA, Reason.JSON}


@pytest.mark.parametrize("kind", TYPES)
def test_the_longest_there_may_be_is_read(kind: str) -> None:
    most = {
        "ratelimit.window": {**WINDOW, "window_seconds": 86_400, "allowed": MAX_COUNT, "limited": MAX_COUNT},
        "health.report": {
            **REPORT,
            "component": "S" * 64,
            "checks": [{"name": "n" * 64, "status": "s" * 64, "unit": "u" * 64}] * MAX_CHECKS,
        },
    }
    assert decode(record(most[kind]), now=NOW).type == kind


@pytest.mark.parametrize(("said", "member"), [(WINDOW, "window_start"), (REPORT, "time")])
def test_a_clock_may_be_ahead_a_little(said: dict[str, Any], member: str) -> None:
    ahead = NOW + MAX_AHEAD
    assert decode(record({**said, member: ahead.isoformat()}), now=NOW).moment == ahead
    error = refused({**said, member: (ahead + timedelta(microseconds=1)).isoformat()})
    assert (error.reason, error.event_type) == (Reason.SCHEMA, said["type"])
    assert "5 minutes ahead" in error.detail


def test_it_may_come_as_late_as_it_likes() -> None:
    assert decode(record({**REPORT, "time": "1970-01-01T00:00:00Z"}), now=NOW).moment.year == 1970


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.EMPTY),
        (b"", Reason.JSON),
        (b"{", Reason.JSON),
        (b"\xff\xfe", Reason.JSON),
        (b'{"type":"health.report","x":' + b"[" * 50_000 + b"]" * 50_000 + b"}", Reason.JSON),
        ([], Reason.SCHEMA),
        ({}, Reason.SCHEMA),
        ({"type": 3}, Reason.SCHEMA),
        ({**REPORT, "type": "health.reports"}, Reason.UNKNOWN_TYPE),
    ],
    ids=["tombstone", "empty", "cut", "binary", "deep", "list", "no type", "type no text", "unknown"],
)
def test_what_is_no_telemetry_is_of_no_type(value: object, reason: Reason) -> None:
    error = refused(value)
    assert (error.reason, error.event_type) == (reason, UNKNOWN_TYPE)
    assert "health.reports" not in error.detail


def test_a_record_has_a_size_it_may_have() -> None:
    size = len(json.dumps(REPORT))
    assert decode(record(REPORT), now=NOW, max_bytes=size).type == "health.report"
    assert refused(REPORT, max_bytes=size - 1).reason is Reason.TOO_LARGE


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(lambda each: json.dumps(each).encode())
)
def test_no_bytes_raise_anything_else(value: bytes) -> None:
    with pytest.raises(InvalidRecordError):
        decode(record(value), now=NOW)


def test_statuses_are_those_of_the_documents() -> None:
    assert set(STATUSES) == set(ComponentStatus)
