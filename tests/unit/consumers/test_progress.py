"""When a consumer is stuck, and when it only looks like it: seconds go by as the test says."""

from __future__ import annotations

import pytest

from consumers.broker import Partition
from consumers.progress import JOINING, Progress, Sight

P0, P1 = Partition("events", 0), Partition("events", 1)
PATIENCE = 30.0


def seen(position: int | None = 5, answered_at: int | None = 1, *, has_records: bool = False) -> Sight:
    return Sight(position, answered_at, has_records)


def after(seconds: float, *sights: Sight, ends: dict[Partition, int] | None = None) -> Progress:
    """Return what a second look at partition 0 after another makes of it, each `seconds` after the one before."""
    progress = Progress()
    progress.look(0, {P0: seen()})
    for sight in sights:
        if ends:
            progress.told(ends)
        progress.look(seconds, {P0: sight})
    return progress


@pytest.mark.parametrize(
    ("sight", "ends", "reason"),
    [
        pytest.param(seen(5, 2), None, "", id="idle, and answered"),
        pytest.param(seen(6, 1), None, "", id="read on from what was fetched before"),
        pytest.param(seen(5, 1, has_records=True), {P0: 9}, "", id="records wait for the loop, not for the broker"),
        pytest.param(seen(5, 1), None, "events/0 has not answered for 30 s", id="silence"),
        pytest.param(seen(5, 2), {P0: 5}, "", id="at the end"),
        pytest.param(seen(5, 2), {P0: 8}, "3 records wait in events/0 and none was read for 30 s", id="behind"),
        pytest.param(seen(8, 2), {P0: 8}, "", id="caught up"),
        pytest.param(seen(None, None), {P0: 8}, "", id="it has lost its place a moment ago"),
    ],
)
def test_what_is_stuck(sight: Sight, ends: dict[Partition, int] | None, reason: str) -> None:
    assert after(PATIENCE, sight, ends=ends).stuck(PATIENCE) == reason


def test_a_moment_less_than_patience_is_not_stuck() -> None:
    assert after(PATIENCE - 0.5, seen(5, 1)).stuck(PATIENCE) == ""
    assert after(PATIENCE - 0.5, seen(5, 2), ends={P0: 8}).stuck(PATIENCE) == ""


def test_an_answer_or_a_record_ends_the_count() -> None:
    assert after(20, seen(5, 1), seen(5, 2), seen(5, 2)).stuck(PATIENCE) == ""
    assert after(20, seen(5, 2), seen(6, 2), seen(6, 3), ends={P0: 8}).stuck(PATIENCE) == ""
    assert after(20, seen(5, 1), seen(5, 1)).stuck(PATIENCE) == "events/0 has not answered for 40 s"


def test_a_record_that_has_just_arrived_is_no_lag_yet() -> None:
    progress = after(PATIENCE, *(seen(5, 2 + number) for number in range(10)))
    progress.told({P0: 6})
    assert progress.stuck(PATIENCE) == ""
    assert progress.waiting() == {P0: 1}
    progress.look(0.5, {P0: seen(6, 99)})
    assert progress.waiting() == {}
    assert progress.standstill == 0


def test_what_the_broker_takes_back_is_no_lag_either() -> None:
    progress = after(20, seen(5, 2), ends={P0: 8})
    progress.told({P0: 5})
    progress.look(20, {P0: seen(5, 3)})
    assert progress.stuck(PATIENCE) == ""
    assert progress.standstill == 0


def test_each_partition_counts_for_itself() -> None:
    progress = Progress()
    progress.look(0, {P0: seen(), P1: seen()})
    for number in range(4):
        progress.look(10, {P0: seen(6 + number, 2 + number), P1: seen()})
    assert progress.stuck(PATIENCE) == "events/1 has not answered for 40 s"
    progress.look(1, {P0: seen(20, 20)})  # somebody else has it now
    assert progress.stuck(PATIENCE) == ""
    assert progress.assigned == 1


def test_the_time_before_a_partition_was_first_seen_is_not_its_own() -> None:
    progress = Progress()
    progress.look(PATIENCE, {P0: seen()})
    progress.look(PATIENCE, {P0: seen(5, 2), P1: seen()})
    assert (progress.stuck(PATIENCE), progress.standstill) == ("", 0)
    progress.look(1, None)
    progress.look(PATIENCE, {P0: seen(5, 2), P1: seen()})
    assert progress.stuck(PATIENCE) == ""


def test_who_joins_a_group_is_given_longer() -> None:
    progress = Progress()
    assert progress.assigned is None
    progress.look(JOINING, None)
    assert (progress.stuck(PATIENCE), progress.standstill) == ("", JOINING)
    progress.look(PATIENCE, None)
    assert progress.stuck(PATIENCE) == f"it has not become a member of its group for {JOINING + PATIENCE:.0f} s"
    progress.look(1, {})  # there may be more members than partitions
    assert progress.stuck(PATIENCE) == ""
    assert progress.assigned == 0


def test_commits_that_are_refused_for_ever_are_stuck() -> None:
    progress = Progress()
    progress.committed(is_refused=True)
    progress.look(20, {P0: seen()})
    assert progress.standstill == 20
    progress.committed(is_refused=True)
    progress.look(20, {P0: seen(6, 2)})
    assert progress.stuck(PATIENCE) == "no offset could be committed for 40 s"
    progress.committed(is_refused=False)
    progress.look(20, {P0: seen(7, 3)})
    assert progress.stuck(PATIENCE) == ""


def test_a_partition_nobody_has_is_not_told_of() -> None:
    progress = after(1, seen(5, 2))
    progress.told({P1: 99})
    assert progress.waiting() == {}
