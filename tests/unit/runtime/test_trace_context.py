"""Which traces are recorded: what came is followed, within bounds, and everything can be named."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.trace_context import (
    TRACEPARENT,
    WISHED_PER_SECOND,
    Budget,
    Sampler,
    ids_of,
    is_recorded,
    trace_id_of,
    traceparent,
    unrecorded,
)
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from runtime.clock import Clock

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
NOT_RECORDED, RECORDED = f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-01"

nonzero_traces = st.integers(1, (1 << 128) - 1)
nonzero_spans = st.integers(1, (1 << 64) - 1)


def a_sampler(share: float, clock: Clock | None = None) -> Sampler:
    return Sampler(share, Random(20261101), clock or FakeClock())


@given(nonzero_traces, nonzero_spans)
def test_what_is_written_is_valid_and_read_as_it_was_written(trace: int, span: int) -> None:
    text = traceparent(trace, span)
    assert TRACEPARENT.fullmatch(text)
    assert ids_of(text) == (trace, span)
    assert is_recorded(text)
    assert TRACEPARENT.fullmatch(unrecorded(text))
    assert not is_recorded(unrecorded(text))
    assert ids_of(unrecorded(text)) == (trace, span)


@given(st.integers(0, 255))
def test_the_lowest_bit_of_the_flags_says_whether_a_trace_is_recorded(flags: int) -> None:
    assert is_recorded(f"00-{TRACE}-{SPAN}-{flags:02x}") == bool(flags & 1)


def test_without_a_context_nothing_is_recorded() -> None:
    assert not is_recorded(None)


def test_a_trace_has_the_id_it_came_with_or_one_that_follows_from_the_name() -> None:
    assert trace_id_of(RECORDED, "msg_1") == trace_id_of(NOT_RECORDED, "msg_2") == TRACE
    derived = trace_id_of(None, "msg_1")
    assert TRACEPARENT.fullmatch(f"00-{derived}-{SPAN}-01")
    assert derived == trace_id_of(None, "msg_1") != trace_id_of(None, "msg_2")


def test_of_what_comes_without_a_decision_the_share_is_recorded() -> None:
    sampler = a_sampler(0.1)
    assert sum(sampler.wants(None) for _ in range(10_000)) == pytest.approx(1000, rel=0.15)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 1000)])
def test_a_share_of_nothing_is_nothing_and_of_all_is_all(share: float, expected: int) -> None:
    sampler = a_sampler(share)
    assert sum(sampler.wants(None) for _ in range(1000)) == expected


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_what_its_producer_does_not_record_is_not_recorded_here(share: float) -> None:
    assert not a_sampler(share).wants(NOT_RECORDED)


def test_a_producer_that_wants_everything_gets_so_many_a_second_and_of_the_rest_the_share() -> None:
    clock, rng = FakeClock(), Random(1)
    sampler = a_sampler(0.1, clock)
    wishes = [traceparent(rng.getrandbits(128), 1) for _ in range(WISHED_PER_SECOND + 10_000)]
    answers = [sampler.wants(wish) for wish in wishes]
    assert all(answers[:WISHED_PER_SECOND])
    rest = answers[WISHED_PER_SECOND:]
    assert sum(rest) == pytest.approx(1000, rel=0.15)
    other = a_sampler(0.1, clock)
    for _ in range(WISHED_PER_SECOND):
        other.wants(RECORDED)
    assert [other.wants(wish) for wish in wishes[WISHED_PER_SECOND:]] == rest  # every process keeps the same ones
    clock.advance(1)
    assert all(sampler.wants(wish) for wish in wishes[:WISHED_PER_SECOND])


def test_of_a_trace_s_id_the_random_end_decides() -> None:
    sampler = a_sampler(0.5)
    for _ in range(WISHED_PER_SECOND):
        sampler.wants(RECORDED)
    assert sampler.wants(f"00-{'f' * 18}{'0' * 14}-{SPAN}-01")
    assert not sampler.wants(f"00-{'0' * 18}{'f' * 14}-{SPAN}-01")


def test_a_budget_is_never_more_than_a_second_s_worth() -> None:
    clock = FakeClock()
    budget = Budget(clock, 3)
    assert [budget.take() for _ in range(4)] == [True, True, True, False]
    clock.advance(0.4)
    assert [budget.take() for _ in range(2)] == [True, False]
    clock.advance(3600)
    assert [budget.take() for _ in range(4)] == [True, True, True, False]
