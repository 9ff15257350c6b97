"""How a claim is shared among the endpoints that have something due: properties for any rooms and any limit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publisher.queue import Room, allot

NAMES = [f"we_{number}" for number in range(12)]
SPACE = st.integers(-2, 12)
ROOMS = st.builds(Room, others=SPACE, known=st.dictionaries(st.sampled_from(NAMES), SPACE))
generously = settings(deadline=None, max_examples=300)


@pytest.mark.parametrize(
    ("due", "room", "limit", "shares"),
    [
        ([], Room(), 10, {}),
        (["a", "b"], Room(), 0, {}),
        (["a", "b"], Room(), -1, {}),
        (["a", "b", "c"], Room(), 2, {"a": 1, "b": 1}),
        (["a", "b", "c"], Room(), 7, {"a": 3, "b": 2, "c": 2}),
        (["a", "b", "c"], Room(others=1), 7, {"a": 1, "b": 1, "c": 1}),
        (["a", "b", "c"], Room(others=9, known={"b": 0}), 4, {"a": 2, "c": 2}),
        (["a", "b", "c"], Room(others=9, known={"a": 1, "c": -3}), 4, {"a": 1, "b": 3}),
    ],
)
def test_endpoints_take_turns_within_their_room(due: list[str], room: Room, limit: int, shares: dict[str, int]) -> None:
    assert allot(due, room, limit) == shares


@generously
@given(st.lists(st.sampled_from(NAMES), unique=True), ROOMS, st.integers(0, 150))
def test_the_whole_limit_is_used_when_there_is_room_for_it(due: list[str], room: Room, limit: int) -> None:
    space = sum(max(0, room.of(endpoint_id)) for endpoint_id in due)
    assert sum(allot(due, room, limit).values()) == min(limit, space)


@generously
@given(st.lists(st.sampled_from(NAMES), unique=True), ROOMS, st.integers(0, 150))
def test_nobody_gets_more_than_its_room_nor_a_share_of_nothing(due: list[str], room: Room, limit: int) -> None:
    for endpoint_id, share in allot(due, room, limit).items():
        assert endpoint_id in due
        assert 0 < share <= room.of(endpoint_id)


@generously
@given(st.lists(st.sampled_from(NAMES), unique=True), ROOMS, st.integers(0, 150))
def test_shares_differ_by_one_at_most_unless_a_room_cuts_one_off(due: list[str], room: Room, limit: int) -> None:
    shares = allot(due, room, limit)
    most = max(shares.values(), default=0)
    for endpoint_id in due:
        share = shares.get(endpoint_id, 0)
        assert share >= most - 1 or share == max(0, room.of(endpoint_id))


@generously
@given(st.lists(st.sampled_from(NAMES), unique=True), ROOMS, st.integers(0, 150))
def test_who_stands_first_gets_no_less_than_who_stands_behind(due: list[str], room: Room, limit: int) -> None:
    shares = allot(due, room, limit)
    uncut = [shares.get(each, 0) for each in due if shares.get(each, 0) < room.of(each)]
    assert uncut == sorted(uncut, reverse=True)
