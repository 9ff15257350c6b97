"""Who may be called now: each bound on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from publisher.delivery.gate import Gate
from tests.support.gates import LIMITS, end, endpoint, job, run, start
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from publisher.endpoints import Endpoint


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def gate(clock: FakeClock) -> Gate:
    return Gate(LIMITS, clock)


def slots(gate: Gate, to: Endpoint, *, is_fresh: bool = False, first: int = 1000) -> int:
    """Start attempts until no more are admitted; return how many that were."""
    count = 0
    while gate.admits(to, is_fresh=is_fresh):
        start(gate, job(first + count, to), is_fresh=is_fresh)
        count += 1
    return count


# --- allowance and caps ----------------------------------------------------------------------------------------------


def test_an_endpoint_nothing_is_known_of_may_have_two_attempts(gate: Gate) -> None:
    assert slots(gate, endpoint()) == 2
    assert gate.of("we_1") == 0
    assert gate.of("we_never_seen") == 2


@pytest.mark.parametrize(("successes", "allowed"), [(0, 2), (1, 3), (3, 5), (6, 8), (50, 8)])
def test_each_success_allows_one_more_up_to_the_cap(gate: Gate, successes: int, allowed: int) -> None:
    run(gate, successes, succeeded=True)
    assert gate.of("we_1") == allowed
    assert slots(gate, endpoint()) == allowed


@pytest.mark.parametrize(("failures", "allowed"), [(1, 4), (2, 2), (3, 1), (9, 1)])
def test_each_failure_halves_it_and_one_is_left(gate: Gate, failures: int, allowed: int) -> None:
    run(gate, 50, succeeded=True)
    run(gate, failures, succeeded=False)
    assert slots(gate, endpoint()) == allowed


def test_a_success_after_failures_allows_one_more_again(gate: Gate) -> None:
    run(gate, 3, succeeded=False)
    run(gate, 2, succeeded=True)
    assert slots(gate, endpoint()) == 3


def test_an_account_has_so_many_over_all_its_endpoints(gate: Gate) -> None:
    for number in range(3):
        run(gate, 50, succeeded=True, to=endpoint(f"we_{number}"))
    assert [slots(gate, endpoint(f"we_{number}"), first=100 * number) for number in range(3)] == [8, 4, 0]
    assert gate.admits(endpoint("we_9", "acct_2"), is_fresh=True)


def test_fresh_deliveries_leave_a_quarter_to_those_that_wait_in_the_database(gate: Gate) -> None:
    run(gate, 50, succeeded=True)
    assert slots(gate, endpoint(), is_fresh=True) == 6
    assert slots(gate, endpoint(), first=2000) == 2


def test_fresh_deliveries_of_an_unknown_endpoint_may_use_what_little_there_is(gate: Gate) -> None:
    assert slots(gate, endpoint(), is_fresh=True) == 2


def test_what_is_fresh_and_in_hand_takes_no_room_from_what_waits_in_the_database(gate: Gate) -> None:
    run(gate, 50, succeeded=True)
    fresh = [job(number) for number in range(1000, 1040)]
    for each in fresh:
        each.is_fresh = True
        gate.hold(each)
    for each in fresh[:6]:
        gate.start(each, is_fresh=True)
    assert not gate.admits(endpoint(), is_fresh=True)
    assert gate.of("we_1") == 2
    claimed = [job(1), job(2)]
    for each in claimed:
        gate.hold(each)
    assert gate.of("we_1") == 0
    for each in claimed:
        gate.let_go(each)
    for each in fresh:
        gate.let_go(each)
    assert gate.of("we_1") == 2


# --- stalls ----------------------------------------------------------------------------------------------------------


def test_nothing_more_is_started_towards_an_endpoint_that_hangs(gate: Gate, clock: FakeClock) -> None:
    run(gate, 50, succeeded=True)
    hanging = start(gate, job(0))
    clock.advance(2)
    assert gate.admits(endpoint(), is_fresh=True)
    clock.advance(0.1)
    assert not gate.admits(endpoint(), is_fresh=True)
    assert gate.of("we_1") == 0
    assert gate.choose([job(9)], 100, 4) == ([], [job(9)])
    end(gate, hanging, succeeded=True)
    assert gate.admits(endpoint(), is_fresh=True)


def test_the_oldest_attempt_decides_whether_it_hangs(gate: Gate, clock: FakeClock) -> None:
    run(gate, 50, succeeded=True)
    oldest = start(gate, job(0))
    clock.advance(1.5)
    start(gate, job(1))
    clock.advance(1)
    assert not gate.admits(endpoint(), is_fresh=True)
    end(gate, oldest, succeeded=True)
    assert gate.admits(endpoint(), is_fresh=True)


def test_whom_it_is_closed_to_may_be_given_nothing(gate: Gate, clock: FakeClock) -> None:
    other, failing = endpoint("we_2"), endpoint("we_3")
    run(gate, 10, succeeded=False, to=failing)
    oldest = start(gate, job(1))
    end(gate, start(gate, job(2, other)), succeeded=True)
    assert gate.closed_to() == ["we_3"]
    start(gate, job(3))
    assert (sorted(gate.closed_to()), set(gate.circuits())) == (["we_1", "we_3"], {"we_3"})
    end(gate, oldest, succeeded=True)
    clock.advance(30)
    assert (gate.closed_to(), set(gate.circuits())) == (["we_1"], {"we_3"})


# --- the circuit -----------------------------------------------------------------------------------------------------


def test_the_circuit_opens_and_lets_one_probe_through_at_a_time(gate: Gate, clock: FakeClock) -> None:
    run(gate, 9, succeeded=False)
    assert gate.admits(endpoint(), is_fresh=False)
    run(gate, 1, succeeded=False)
    assert (gate.open_circuits(), gate.is_open("we_1")) == (1, True)
    assert (slots(gate, endpoint()), gate.of("we_1")) == (0, 0)
    clock.advance(29.9)
    assert gate.of("we_1") == 0
    clock.advance(0.1)
    assert gate.of("we_1") == 1
    assert slots(gate, endpoint()) == 1
    end(gate, job(1000), succeeded=False)
    assert slots(gate, endpoint()) == 0
    clock.advance(30)
    assert slots(gate, endpoint()) == 1
    end(gate, job(1000), succeeded=True)
    assert gate.open_circuits() == 0
    assert slots(gate, endpoint()) == 2


def test_while_it_is_open_nothing_fresh_is_kept_in_hand(gate: Gate, clock: FakeClock) -> None:
    run(gate, 10, succeeded=False)
    assert gate.choose([job(1)], 100, 4) == ([], [job(1)])
    clock.advance(30)
    assert gate.choose([job(1)], 100, 4) == ([], [job(1)])


@pytest.mark.parametrize(
    ("failed", "succeeded", "is_open"), [(7, 3, True), (6, 4, False), (9, 0, False), (0, 50, False), (10, 0, True)]
)
def test_it_asks_for_a_share_and_a_minimum(gate: Gate, failed: int, succeeded: int, is_open: bool) -> None:  # noqa: FBT001 - a column of the table
    run(gate, failed, succeeded=False)
    run(gate, succeeded, succeeded=True)
    assert gate.is_open("we_1") is is_open


def test_failures_are_forgotten_with_the_window(gate: Gate, clock: FakeClock) -> None:
    run(gate, 9, succeeded=False)
    clock.advance(301)
    run(gate, 1, succeeded=False)
    assert not gate.is_open("we_1")


def test_attempts_that_were_under_way_when_it_opened_do_not_shorten_the_wait(gate: Gate, clock: FakeClock) -> None:
    run(gate, 9, succeeded=False)
    late = start(gate, job(500))
    run(gate, 1, succeeded=False)
    clock.advance(20)
    end(gate, late, succeeded=False)
    clock.advance(29)
    assert not gate.admits(endpoint(), is_fresh=False)
    clock.advance(1)
    assert gate.admits(endpoint(), is_fresh=False)


# --- what is kept in hand --------------------------------------------------------------------------------------------


def test_in_hand_are_so_many_for_each_attempt_allowed(gate: Gate) -> None:
    jobs = [job(number) for number in range(20)]
    chosen, waiting = gate.choose(jobs, 100, 4)
    assert (chosen, waiting) == (jobs[:8], jobs[8:])
    for each in chosen:
        gate.hold(each)
    assert gate.choose(jobs[8:], 100, 4) == ([], jobs[8:])


def test_in_hand_are_no_more_than_there_is_room(gate: Gate) -> None:
    jobs = [job(number, endpoint(f"we_{number}", f"acct_{number}")) for number in range(20)]
    assert gate.choose(jobs, 5, 4) == (jobs[:5], jobs[5:])
    assert gate.choose(jobs, -1, 4) == ([], jobs)


def test_an_account_with_many_endpoints_does_not_fill_the_hand(gate: Gate) -> None:
    mine = [job(number, endpoint(f"we_{number}")) for number in range(100)]
    theirs = job(1000, endpoint("we_theirs", "acct_2"))
    chosen, _ = gate.choose([*mine, theirs], 1000, 4)
    assert len(chosen) == LIMITS.per_account * 4 + 1
    assert theirs in chosen


# --- memory ----------------------------------------------------------------------------------------------------------


def test_what_works_and_is_idle_is_forgotten_after_a_window(gate: Gate, clock: FakeClock) -> None:
    for number in range(1000):
        run(gate, 1, succeeded=True, to=endpoint(f"we_{number}", f"acct_{number}"))
    clock.advance(299)
    gate.tidy()
    assert len(gate._endpoints) == 1000
    clock.advance(2)
    gate.tidy()
    assert not gate._endpoints
    assert not gate._held
    assert not gate._running


def test_what_is_under_way_is_not_forgotten(gate: Gate, clock: FakeClock) -> None:
    start(gate, job(1, endpoint("we_busy")))
    clock.advance(1000)
    gate.tidy()
    assert set(gate._endpoints) == {"we_busy"}


def test_a_circuit_that_was_open_has_kept_what_waits_waiting(gate: Gate, clock: FakeClock) -> None:
    assert gate.hindered_at("we_1") is None
    run(gate, 9, succeeded=False)
    gate.of("we_1")
    assert gate.hindered_at("we_1") is None
    run(gate, 1, succeeded=False)
    gate.of("we_1")
    assert gate.hindered_at("we_1") == clock.monotonic()
    clock.advance(30)
    run(gate, 1, succeeded=True)
    recovered = clock.monotonic()
    assert gate.hindered_at("we_1") == recovered
    clock.advance(5)
    assert gate.of("we_1") > 0
    assert gate.hindered_at("we_1") == recovered


def test_so_has_an_endpoint_that_is_stalled_and_not_one_that_has_as_many_as_it_may(
    gate: Gate, clock: FakeClock
) -> None:
    assert slots(gate, endpoint()) == 2
    assert gate.of("we_1") == 0
    assert gate.hindered_at("we_1") is None
    clock.advance(LIMITS.stall + 0.1)
    assert not gate.admits(endpoint(), is_fresh=False)
    assert gate.hindered_at("we_1") == clock.monotonic()


def test_an_open_circuit_is_forgotten_when_nothing_is_left_to_probe_with(gate: Gate, clock: FakeClock) -> None:
    run(gate, 10, succeeded=False)
    clock.advance(299)
    gate.tidy()
    assert gate.open_circuits() == 1
    clock.advance(2)
    gate.tidy()
    assert (gate.open_circuits(), gate._endpoints) == (0, {})


def test_a_full_account_is_given_nothing_more_from_the_database(gate: Gate) -> None:
    run(gate, 50, succeeded=True, to=endpoint("we_9"))
    for number in range(LIMITS.per_account):
        start(gate, job(number, endpoint(f"we_{number % 6}")))
    assert gate.is_full("acct_1")
    assert gate.of("we_9") == 0
    end(gate, job(0, endpoint("we_0")), succeeded=True)
    assert gate.of("we_9") == LIMITS.per_endpoint
