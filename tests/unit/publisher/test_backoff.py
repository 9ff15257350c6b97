"""The waits between attempts: they grow, they spread, they are those the documentation names."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from publisher.delivery import backoff
from publisher.delivery.backoff import Policy, delay

HOUR = Policy(retries=3, window=3600, attempt_timeout=15)


class Middle(Random):
    """Randomness without any: the middle of every range."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def _waits(policy: Policy) -> list[float]:
    return [delay(policy, attempt, Middle()) for attempt in range(1, policy.retries + 1)]


def test_three_retries_in_an_hour_wait_as_documented() -> None:
    waits = _waits(HOUR)
    assert waits == pytest.approx([95.16, 475.81, 2379.03], abs=0.01)
    documented = " ".join((backoff.__doc__ or "").split())
    shown = [f"{wait // 60:.0f} min {wait % 60:.0f} s" for wait in waits]
    assert f"{shown[0]}, {shown[1]} and {shown[2]}" in documented


@given(st.integers(1, 20), st.floats(0.1, 120), st.floats(1, 1_000_000))
def test_waits_grow_and_none_is_a_sliver_of_the_last(retries: int, timeout: float, spare: float) -> None:
    waits = _waits(Policy(retries, (retries + 1) * timeout + spare, timeout))
    assert all(later > earlier for earlier, later in pairwise(waits))
    assert waits[0] >= waits[-1] / (backoff.SPREAD * 1.000001)


def test_twenty_retries_do_not_begin_with_a_salvo() -> None:
    waits = _waits(Policy(retries=20, window=3600, attempt_timeout=15))
    assert waits[0] > 15
    assert sum(waits) * (1 + backoff.JITTER) + 21 * 15 == pytest.approx(3600)


@given(st.integers(), st.integers(1, 3))
def test_jitter_stays_within_its_share(seed: int, attempt: int) -> None:
    middle = delay(HOUR, attempt, Middle())
    assert middle * (1 - backoff.JITTER) <= delay(HOUR, attempt, Random(seed)) <= middle * (1 + backoff.JITTER)


def test_jitter_uses_its_whole_share_and_only_the_randomness_it_is_given() -> None:
    rng = Random(20261101)
    middle = delay(HOUR, 1, Middle())
    spread = [delay(HOUR, 1, rng) / middle - 1 for _ in range(500)]
    assert min(spread) < -0.18
    assert max(spread) > 0.18
    rng = Random(20261101)
    assert [delay(HOUR, 1, rng) / middle - 1 for _ in range(500)] == spread


@pytest.mark.parametrize(("retries", "window", "timeout"), [(3, 60, 15), (3, 59.9, 15), (1, 1, 15), (20, 315, 15)])
def test_a_window_without_room_for_a_wait_is_refused(retries: int, window: float, timeout: float) -> None:
    with pytest.raises(
        ValueError, match=rf"^{retries + 1} attempts of up to {timeout} s do not fit into .* {window:g} s$"
    ):
        Policy(retries, window, timeout)


@pytest.mark.parametrize(("retries", "window", "timeout"), [(3, 60.1, 15), (1, 31, 15), (0, 1, 15), (0, 15, 15)])
def test_a_window_with_room_is_accepted_and_one_without_retries_needs_none(
    retries: int, window: float, timeout: float
) -> None:
    assert Policy(retries, window, timeout).retries == retries


@given(st.integers(1, 20), st.floats(0.1, 120), st.floats(0.1, 1e6))
def test_what_policy_accepts_has_positive_waits(retries: int, timeout: float, window: float) -> None:
    assume(window > (retries + 1) * timeout)
    assert all(wait > 0 for wait in _waits(Policy(retries, window, timeout)))
