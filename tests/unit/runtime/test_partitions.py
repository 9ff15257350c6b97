"""Which partitions are made and which dropped: as a table, and as properties that hold for any history."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.partitions import EARLIEST, LATEST, Layout, Partition, PartitionsError, parse_bounds, plan

DAY = 86_400_000
#: The twentieth day, at noon.
NOON = 20 * DAY + DAY // 2


def a_layout(*, width: int = DAY, ahead: int = 2, keep: int = 7 * DAY) -> Layout:
    return Layout(
        table="t",
        width=width,
        ahead=ahead,
        keep=keep,
        stamp="at",
        key_at=lambda time: f"k_{time:012x}",
        time_of=lambda key: int(key.removeprefix("k_"), 16),
        label=lambda time: str(time // width),
    )


def day(number: int, days: int = 1) -> Partition:
    return Partition(f"t_{number}", number * DAY, (number + days) * DAY)


@pytest.mark.parametrize(
    ("existing", "now", "make", "drop"),
    [
        pytest.param([], NOON, [19, 20, 21, 22], [], id="none: the day before, today, the days ahead"),
        pytest.param(range(13, 23), NOON, [], [], id="all there"),
        pytest.param(range(13, 23), 21 * DAY - 1, [], [], id="the last moment of a day"),
        pytest.param(range(13, 23), 21 * DAY, [23], [13], id="the first of the next"),
        pytest.param([12, 18, 19, 20, 21], 20 * DAY - 1, [], [], id="the youngest row of day 12 is not yet past"),
        pytest.param([12, 19, 20, 21, 22], 20 * DAY, [], [12], id="it is, at the end of its day and a week"),
        pytest.param([1, 2, 3], NOON, [19, 20, 21, 22], [1, 2, 3], id="stopped for long"),
        pytest.param([19, 21], NOON, [20, 22], [], id="a hole"),
        pytest.param([19, 20, 21, 22, 90], NOON, [], [], id="one far ahead"),
    ],
)
def test_what_is_made_and_dropped(existing: list[int], now: int, make: list[int], drop: list[int]) -> None:
    decided = plan(a_layout(), now, [day(number) for number in existing])
    assert decided.make == tuple(map(day, make))
    assert decided.drop == tuple(map(day, drop))


def test_a_range_that_somebody_cut_otherwise_is_left_alone() -> None:
    month = Partition("t_month", 0, 21 * DAY)
    assert plan(a_layout(), NOON, [month]).make == (day(21), day(22))
    assert plan(a_layout(), NOON, [month]).drop == ()
    past = Partition("t_past", EARLIEST, 13 * DAY)
    rest = Partition("t_rest", 13 * DAY, LATEST)
    assert plan(a_layout(), NOON, [past, rest]).make == ()
    assert plan(a_layout(), NOON, [past, rest]).drop == (past,)


def test_what_would_be_past_at_once_is_not_made() -> None:
    assert plan(a_layout(keep=DAY // 4), NOON, []).make == (day(20), day(21), day(22))


widths = st.sampled_from([DAY, 15 * DAY])
times = st.integers(100 * 15 * DAY, 2000 * 15 * DAY)
keeps = st.integers(1, 90 * DAY)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Layout, int, list[Partition]]:
    """Draw a layout, a moment, and what its runs at earlier moments may have left, with holes."""
    width = draw(widths)
    now = draw(times)
    numbers = draw(st.sets(st.integers(now // width - 60, now // width + 10)))
    layout = a_layout(width=width, ahead=draw(st.integers(0, 9)), keep=draw(keeps))
    return layout, now, [Partition(f"t_{number}", number * width, (number + 1) * width) for number in numbers]


@given(histories())
def test_nothing_young_is_dropped_and_nothing_past_is_left(history: tuple[Layout, int, list[Partition]]) -> None:
    layout, now, existing = history
    dropped = plan(layout, now, existing).drop
    assert all(now - (each.end - 1) > layout.keep for each in dropped)
    assert all(now - (each.end - 1) <= layout.keep for each in set(existing) - set(dropped))


@given(histories())
def test_ranges_tile_the_time_that_is_wanted(history: tuple[Layout, int, list[Partition]]) -> None:
    layout, now, existing = history
    decided = plan(layout, now, existing)
    left = sorted({*existing, *decided.make} - {*decided.drop}, key=lambda each: each.start)
    assert all(earlier.end <= later.start for earlier, later in pairwise(left))
    ahead = [each for each in left if now - layout.width < each.end and each.start <= now + layout.ahead * layout.width]
    assert all(earlier.end == later.start for earlier, later in pairwise(ahead))
    assert any(each.start <= now < each.end for each in ahead)
    assert ahead[-1].end > now + layout.ahead * layout.width


@given(histories())
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(history: tuple[Layout, int, list[Partition]]) -> None:
    layout, now, existing = history
    decided = plan(layout, now, existing)
    again = plan(layout, now, {*existing, *decided.make} - {*decided.drop})
    assert (again.make, again.drop) == ((), ())


@pytest.mark.parametrize(
    ("bounds", "start", "end"),
    [
        ("FOR VALUES FROM ('k_000005265c00') TO ('k_00000a4cb800')", DAY, 2 * DAY),
        ("FOR VALUES FROM (MINVALUE) TO ('k_00000a4cb800')", EARLIEST, 2 * DAY),
        ("FOR VALUES FROM ('k_000005265c00') TO (MAXVALUE)", DAY, LATEST),
    ],
)
def test_bounds_are_read_as_postgresql_writes_them(bounds: str, start: int, end: int) -> None:
    assert parse_bounds(a_layout(), "t_1", bounds) == Partition("t_1", start, end)


@pytest.mark.parametrize(
    "bounds",
    [
        "FOR VALUES IN ('k_000005265c00')",
        "FOR VALUES WITH (modulus 2, remainder 0)",
        "FOR VALUES FROM ('zebra') TO ('zoo')",
        "FOR VALUES FROM ('k_000005265c00', 1) TO ('k_00000a4cb800', 1)",
    ],
)
def test_bounds_of_another_hand_are_refused_by_name(bounds: str) -> None:
    with pytest.raises(PartitionsError, match=r"^partition t_odd is FOR VALUES .*: detach it$"):
        parse_bounds(a_layout(), "t_odd", bounds)
