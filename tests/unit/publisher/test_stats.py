"""What the rows of an endpoint's log add up to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from publisher.api.models import RangeStats
from publisher.api.stats import LONGEST
from publisher.stats import QUANTILES, RANGES, Ended, Row, combine

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
STARTS = {name: NOW - length for name, length in RANGES.items()}
QUICK = [0.1, 0.2, 0.3]
NO_ROWS: dict[str, int] = {"delivered": 0, "dropped": 0, "cancelled": 0}


def whole(name: str, number: int, *, is_cut: bool | None = False, seconds: list[float] | None = None) -> Row:
    return Row(
        name, None, None, is_whole=True, number=number, seconds=seconds, last_delivered_at=NOW, last_dropped_at=None,
        is_cut=is_cut,
    )  # fmt: skip


def part(name: str, state: str | None, result: str | None, number: int) -> Row:
    return whole(name, number)._replace(state=state, last_result=result, is_whole=False)


def test_without_rows_every_range_is_there_and_empty() -> None:
    assert combine(STARTS, ()) == {name: Ended(name, start) for name, start in STARTS.items()}
    assert combine(STARTS, ())["hour"].outcomes == NO_ROWS


def test_a_range_nothing_was_made_in_stays_empty() -> None:
    made = combine(STARTS, [whole("hour", 0, is_cut=None), part("hour", None, None, 0)])["hour"]
    assert (made.outcomes, made.results, made.is_complete) == (NO_ROWS, {}, True)


def test_outcomes_and_results_are_added_up_by_range() -> None:
    rows = [
        part("hour", "delivered", "2xx", 5),
        part("hour", "dropped", "5xx", 2),
        part("hour", "cancelled", "5xx", 1),
        part("hour", "cancelled", None, 3),
        whole("hour", 11, seconds=QUICK),
        part("day", "dropped", "timeout", 7),
        whole("day", 7, is_cut=True),
    ]
    made = combine(STARTS, rows)
    assert made["hour"].outcomes == {"delivered": 5, "dropped": 2, "cancelled": 4}
    assert made["hour"].results == {"2xx": 5, "5xx": 3}
    assert (made["hour"].seconds, made["hour"].is_complete, made["hour"].last_delivered_at) == (QUICK, True, NOW)
    assert (made["day"].outcomes["dropped"], made["day"].results, made["day"].is_complete) == (7, {"timeout": 7}, False)
    assert made["day"].seconds is None


def test_what_is_documented_is_what_there_is() -> None:
    assert set(RANGES) == set(RangeStats.model_fields["range"].annotation.__args__)  # type: ignore[union-attr]  # a Literal
    assert RANGES[LONGEST] == max(RANGES.values()) == timedelta(days=7)
    assert list(RANGES.values()) == sorted(RANGES.values())
    assert len(QUANTILES) == 3
