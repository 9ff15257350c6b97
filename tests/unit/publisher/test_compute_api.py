"""The compute API's series: which windows are one, what state a component is in, what of its checks is shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from consumers.telemetry import POLICIES, STATUSES, RateLimitWindow
from feeds.component_days import SILENCE
from publisher import compute_api
from publisher.compute_api import MOST_CHECKS, Decisions, Measured, Reported
from publisher.ratelimit_windows import Counts, Key, merged

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def window(**changes: Any) -> RateLimitWindow:
    return RateLimitWindow.model_validate(
        {
            "type": "ratelimit.window",
            "policy": "read",
            "window_start": NOW,
            "window_seconds": 60,
            "allowed": 5,
            "limited": 1,
        }
        | changes
    )


def key(**changes: Any) -> Key:
    return Key(NOW, 60, "read", "")._replace(**changes)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, key()),
        ({"instance": None}, key()),
        ({"instance": "a"}, key(instance="a")),
        ({"policy": "auth"}, key(policy="auth")),
        ({"window_seconds": 30}, key(seconds=30)),
        ({"window_start": NOW + timedelta(seconds=60)}, key(start=NOW + timedelta(seconds=60))),
    ],
)
def test_a_window_is_known_by_policy_start_length_and_instance(change: dict[str, Any], expected: Key) -> None:
    assert merged([window(), window(**change)]) == {key(): Counts(5, 1)} | {expected: Counts(5, 1)}


def test_of_two_records_of_a_window_each_greater_number_holds() -> None:
    assert merged([window(allowed=7, limited=0), window(allowed=3, limited=2)]) == {key(): Counts(7, 2)}


@given(
    st.lists(st.tuples(st.sampled_from(POLICIES), st.sampled_from("ab"), st.integers(0, 9), st.integers(0, 9))),
    st.randoms(),
)
def test_order_and_repetition_of_windows_do_not_matter(records: list[tuple[str, str, int, int]], random: Any) -> None:
    windows = [window(policy=p, instance=i, allowed=a, limited=d) for p, i, a, d in records]
    again = windows + [each for each in windows if random.random() < 0.5]
    random.shuffle(again)
    assert merged(again) == merged(windows)


def test_decisions_are_there_from_the_start_and_count_by_policy() -> None:
    registry = CollectorRegistry()
    decisions = Decisions(registry)

    def told() -> dict[tuple[str, str], float | None]:
        return {
            (policy, decision): registry.get_sample_value(
                "compute_api_ratelimit_decisions_total", {"policy": policy, "decision": decision}
            )
            for policy in POLICIES
            for decision in ("allowed", "limited")
        }

    nothing = dict.fromkeys(told(), 0.0)
    assert told() == nothing
    decisions.add("write", 4, 3)
    decisions.add("write", 1, 0)
    assert told() == nothing | {("write", "allowed"): 5, ("write", "limited"): 3}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize(
    ("age", "is_stale"), [(timedelta(0), False), (SILENCE, False), (SILENCE + timedelta(microseconds=1), True)]
)
def test_a_component_is_what_it_said_until_it_is_silent(status: str, age: timedelta, *, is_stale: bool) -> None:
    assert compute_api.state(Reported(status, NOW - age, ()), NOW) == ("stale" if is_stale else status)


def test_one_that_never_reported_is_stale() -> None:
    assert compute_api.state(None, NOW) == "stale"


def check(name: str, value: float | None = 1.0, unit: str | None = "ms") -> dict[str, Any]:
    return {"name": name, "status": "ok", "observed_value": value, "unit": unit}


def test_of_the_checks_figures_are_shown_each_once() -> None:
    checks = [
        check("b"),
        check("a", 2, None),
        check("b", 9.0),
        check("b", 7.0, "s"),
        check("c", None),
        check("a", 3, ""),
    ]
    assert compute_api.measured(checks) == [Measured("a", "", 2.0), Measured("b", "ms", 1.0), Measured("b", "s", 7.0)]


def test_of_too_many_checks_the_first_by_name_are_shown() -> None:
    found = compute_api.measured(check(f"{number:03}") for number in reversed(range(100)))
    assert [each.check for each in found] == [f"{number:03}" for number in range(MOST_CHECKS)]
