"""Lanes: turns, slots, who waits and who leaves; and all bounds together under random traffic."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publisher.delivery.gate import Gate
from publisher.delivery.lane import Lane
from tests.support.gates import LIMITS, endpoint, job, run
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from publisher.queue import Job


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def gate(clock: FakeClock) -> Gate:
    return Gate(LIMITS, clock)


def test_endpoints_take_turns_and_who_must_wait_is_passed_by(gate: Gate) -> None:
    lane = Lane(gate, slots=100, is_fresh=False)
    busy, idle = endpoint("we_busy", "acct_1"), endpoint("we_idle", "acct_2")
    jobs = [*(job(number, busy) for number in range(5)), job(10, idle)]
    for each in jobs:
        gate.hold(each)
    lane.add(jobs)
    started = list(lane.starting(0))
    assert [each.endpoint.id for each in started] == ["we_busy", "we_idle", "we_busy"]
    assert (len(lane), lane.running, lane.held) == (3, 3, 6)
    assert list(lane.starting(0)) == []
    lane.ended(started[0], succeeded=True)
    assert list(lane.starting(0)) == []
    lane.unpark("acct_1")
    assert [each.id for each in lane.starting(0)] == ["dlv_2", "dlv_3"]


def test_a_lane_has_so_many_slots(gate: Gate) -> None:
    lane = Lane(gate, slots=3, is_fresh=True)
    jobs = [job(number, endpoint(f"we_{number}", f"acct_{number}")) for number in range(10)]
    for each in jobs:
        gate.hold(each)
    lane.add(jobs)
    assert len(list(lane.starting(0))) == 3
    lane.ended(jobs[0], succeeded=True)
    assert [each.id for each in lane.starting(0)] == ["dlv_3"]


def test_what_must_leave_is_taken_back_and_the_rest_keeps_its_order(gate: Gate) -> None:
    lane = Lane(gate, slots=0, is_fresh=True)
    jobs = [job(number, endpoint(f"we_{number % 3}")) for number in range(9)]
    for each in jobs:
        gate.hold(each)
    lane.add(jobs)
    lane.take_back(lambda each: each.endpoint.id == "we_1" or each.id == "dlv_0")
    assert {each.id for each in lane.stale} == {"dlv_1", "dlv_4", "dlv_7", "dlv_0"}
    lane.slots = 100
    run(gate, 50, succeeded=True, to=endpoint("we_0"))
    run(gate, 50, succeeded=True, to=endpoint("we_2"))
    assert [each.id for each in lane.starting(0)] == ["dlv_3", "dlv_2", "dlv_6", "dlv_5", "dlv_8"]


def test_what_has_waited_too_long_does_not_start(gate: Gate) -> None:
    lane = Lane(gate, slots=10, is_fresh=True)
    jobs = [job(number) for number in range(4)]
    for position, each in enumerate(jobs):
        each.taken_at = 10.0 * position
        gate.hold(each)
    lane.add(jobs)
    assert list(lane.starting(20.0)) == jobs[2:]
    assert (lane.stale, len(lane)) == (jobs[:2], 0)


@pytest.mark.parametrize("is_fresh", [False, True])
def test_claimed_ones_that_their_account_keeps_waiting_leave_their_slots(gate: Gate, *, is_fresh: bool) -> None:
    lane = Lane(gate, slots=100, is_fresh=is_fresh)
    jobs = [job(number, endpoint(f"we_{number}")) for number in range(LIMITS.per_account + 3)]
    for each in jobs:
        gate.hold(each)
    lane.add(jobs)
    assert len(list(lane.starting(0))) == LIMITS.per_account
    assert lane.stale == ([] if is_fresh else jobs[LIMITS.per_account :])
    assert len(lane) == (3 if is_fresh else 0)


def test_time_alone_lets_a_parked_endpoint_be_asked_again(gate: Gate, clock: FakeClock) -> None:
    lane = Lane(gate, slots=10, is_fresh=False)
    run(gate, 10, succeeded=False)
    probe = job(1)
    gate.hold(probe)
    lane.add([probe])
    assert list(lane.starting(0)) == []
    clock.advance(30)
    assert list(lane.starting(0)) == []
    lane.unpark_all()
    assert list(lane.starting(0)) == [probe]


class Traffic:
    """Two lanes behind one gate, and what is under way in them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.gate = Gate(LIMITS, self.clock)
        self.lanes = (Lane(self.gate, slots=12, is_fresh=True), Lane(self.gate, slots=4, is_fresh=False))
        self.running: list[tuple[Lane, Job]] = []
        self.attempted: Counter[str] = Counter()
        self.total = 0

    def arrive(self, lane: Lane, owners: list[int]) -> None:
        jobs = [job(self.total + n, endpoint(f"we_{owner}", f"acct_{owner // 2}")) for n, owner in enumerate(owners)]
        self.total += len(jobs)
        for each in jobs:
            self.gate.hold(each)
        lane.add(jobs)

    def start(self) -> None:
        for lane in self.lanes:
            lane.unpark_all()
            for each in lane.starting(0):
                self.running.append((lane, each))
                self.attempted[each.id] += 1

    def end(self, position: int, *, succeeded: bool) -> None:
        lane, each = self.running.pop(position)
        lane.ended(each, succeeded=succeeded)
        self.gate.let_go(each)

    def check(self) -> None:
        of_endpoint = Counter(each.endpoint.id for _, each in self.running)
        of_account = Counter(each.endpoint.account for _, each in self.running)
        assert max(of_endpoint.values(), default=0) <= LIMITS.per_endpoint
        assert max(of_account.values(), default=0) <= LIMITS.per_account
        for lane in self.lanes:
            assert lane.running == sum(each is lane for each, _ in self.running) <= lane.slots


@settings(max_examples=200)
@given(st.data())
def test_under_any_traffic_no_bound_is_passed_and_everyone_gets_a_turn(data: st.DataObject) -> None:
    traffic = Traffic()
    for _ in range(data.draw(st.integers(1, 30))):
        for lane in traffic.lanes:
            traffic.arrive(lane, data.draw(st.lists(st.integers(0, 5), max_size=6)))
        traffic.start()
        traffic.check()
        traffic.clock.advance(data.draw(st.floats(0, 5)))
        for _ in range(data.draw(st.integers(0, len(traffic.running)))):
            position = data.draw(st.integers(0, len(traffic.running) - 1))
            traffic.end(position, succeeded=data.draw(st.booleans()))
    for _ in range(
        40 * (traffic.total + 1)
    ):  # whatever happened: with time and successes everything is attempted, once
        while traffic.running:
            traffic.end(0, succeeded=True)
        traffic.clock.advance(31)
        traffic.start()
        if not traffic.running:
            break
    assert len(traffic.attempted) == traffic.total
    assert set(traffic.attempted.values()) <= {1}
    assert not traffic.gate._running
