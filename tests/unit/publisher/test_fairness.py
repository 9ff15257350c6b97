"""Who goes next: the bounds as a table, and the turns as properties, on a clock that moves when told to."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.delivery.fairness import Gate, Limits, Turns
from tests.support.jobs import a_job, an_endpoint
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from publisher.endpoints import Endpoint
    from publisher.queue import Job

LIMITS = Limits(per_endpoint=3, per_account=5, stall=2, share=0.7, minimum=10, window=300, probe=30)


def endpoint(name: str = "we_1", account: str = "acct_1") -> Endpoint:
    return an_endpoint(endpoint_id=name, account=account)


def job(number: int, to: Endpoint | None = None) -> Job:
    return a_job(f"dlv_{number}", endpoint=to)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def gate(clock: FakeClock) -> Gate:
    return Gate(LIMITS, clock)


def run(gate: Gate, count: int, *, succeeded: bool) -> None:
    for number in range(count):
        gate.start(job(number))
        gate.end(job(number), succeeded=succeeded)


def test_an_endpoint_has_so_many_attempts_at_once(gate: Gate) -> None:
    for number in range(3):
        assert gate.admits(endpoint())
        gate.start(job(number))
    assert not gate.admits(endpoint())
    assert gate.waiting() == ["we_1"]
    gate.end(job(0), succeeded=True)
    assert gate.admits(endpoint())
    assert gate.waiting() == []


def test_an_account_has_so_many_over_all_its_endpoints(gate: Gate) -> None:
    for number in range(5):
        gate.start(job(number, endpoint(f"we_{number}")))
    assert not gate.admits(endpoint("we_9"))
    assert gate.admits(endpoint("we_9", "acct_2"))
    gate.end(job(0, endpoint("we_0")), succeeded=False)
    assert gate.admits(endpoint("we_9"))


def test_nothing_more_is_started_towards_an_endpoint_that_hangs(gate: Gate, clock: FakeClock) -> None:
    gate.start(job(0))
    clock.advance(1.9)
    assert gate.admits(endpoint())
    clock.advance(0.2)
    assert not gate.admits(endpoint())
    assert gate.waiting() == ["we_1"]
    gate.end(job(0), succeeded=False)
    assert gate.admits(endpoint())


def test_the_circuit_opens_on_most_of_many_and_lets_one_probe_through_at_a_time(gate: Gate, clock: FakeClock) -> None:
    run(gate, 9, succeeded=False)
    assert gate.admits(endpoint())
    run(gate, 1, succeeded=False)
    assert not gate.admits(endpoint())
    assert gate.open_circuits() == 1
    assert gate.waiting() == ["we_1"]
    clock.advance(30)
    assert gate.admits(endpoint())
    assert gate.waiting() == []
    gate.start(job(100))
    assert not gate.admits(endpoint())
    gate.end(job(100), succeeded=False)
    assert not gate.admits(endpoint())
    clock.advance(30)
    gate.start(job(101))
    gate.end(job(101), succeeded=True)
    assert gate.admits(endpoint())
    assert gate.open_circuits() == 0


@pytest.mark.parametrize(
    ("failed", "succeeded", "is_open"), [(7, 3, True), (6, 4, False), (9, 0, False), (0, 50, False)]
)
def test_the_circuit_asks_for_a_share_and_a_minimum(gate: Gate, failed: int, succeeded: int, is_open: bool) -> None:  # noqa: FBT001 - a column of the table
    run(gate, failed, succeeded=False)
    run(gate, succeeded, succeeded=True)
    assert gate.admits(endpoint()) is not is_open


def test_failures_are_forgotten_with_the_window(gate: Gate, clock: FakeClock) -> None:
    run(gate, 9, succeeded=False)
    clock.advance(301)
    run(gate, 1, succeeded=False)
    assert gate.admits(endpoint())


def test_endpoints_that_do_not_fail_take_no_memory(gate: Gate) -> None:
    for number in range(1000):
        each = job(number, endpoint(f"we_{number}", f"acct_{number}"))
        gate.start(each)
        gate.end(each, succeeded=True)
    assert not gate._endpoints
    assert not gate._accounts


def test_turns_go_round_and_skip_who_must_wait(gate: Gate) -> None:
    turns = Turns(gate)
    busy, idle = endpoint("we_busy", "acct_1"), endpoint("we_idle", "acct_2")
    turns.add([job(number, busy) for number in range(5)])
    turns.add([job(10, idle)])
    taken = []
    while (each := turns.next()) is not None:
        gate.start(each)
        taken.append(each.endpoint.id)
    assert taken == ["we_busy", "we_idle", "we_busy", "we_busy"]
    assert len(turns) == 2
    assert [each.id for each in turns.drain()] == ["dlv_3", "dlv_4"]
    assert len(turns) == 0
    assert turns.next() is None


@given(st.lists(st.integers(0, 5), max_size=60))
def test_every_job_gets_its_turn_once_and_in_order(owners: list[int]) -> None:
    turns = Turns(Gate(LIMITS, FakeClock()))
    jobs = [job(number, endpoint(f"we_{owner}", f"acct_{owner}")) for number, owner in enumerate(owners)]
    turns.add(jobs)
    taken: list[Job] = []
    while (each := turns.next()) is not None:
        taken.append(each)
    assert Counter(each.id for each in taken) == Counter(each.id for each in jobs)
    for owner in set(owners):
        mine = [each.id for each in taken if each.endpoint.id == f"we_{owner}"]
        assert mine == [each.id for each in jobs if each.endpoint.id == f"we_{owner}"]
    positions = {each.endpoint.id: place for place, each in reversed(list(enumerate(taken)))}
    assert sorted(positions.values()) == list(range(len(positions)))
