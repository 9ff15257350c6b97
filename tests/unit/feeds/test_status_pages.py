"""What the status page shows of two documents, and what is kept of pages that were made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from feeds import status_pages
from feeds.models import ComponentStatus, Impact
from feeds.pages.numbered import page_number, page_of, pages
from feeds.routes import NothingHereError
from feeds.status_pages import find, fitting, full_names, grouped, is_stale, lines, months, overview
from tests.support import feed_documents as made

if TYPE_CHECKING:
    from feeds.models import IncidentsDocument

NOW, INCIDENTS, STATUS = made.NOW, made.incidents(), made.status()


def titles(shown: list[object]) -> list[str]:
    return [each.id for each in shown]  # type: ignore[attr-defined]  # incidents and maintenance have one


def test_what_is_open_under_way_to_come_and_over_is_told_apart() -> None:
    shown = overview(STATUS, INCIDENTS, NOW)
    assert titles(shown["open"]) == [made.OPEN.id]
    assert titles(shown["running"]) == [made.RUNNING.id]
    assert titles(shown["planned"]) == [made.PLANNED.id]
    assert titles(shown["past"]) == ["inc_2026_1107"]


@pytest.mark.parametrize(("later", "is_shown"), [(timedelta(0), True), (timedelta(seconds=1), False)])
def test_what_ended_a_fortnight_ago_is_shown_no_longer(later: timedelta, *, is_shown: bool) -> None:
    ended = made.PAST[0].resolved_at
    assert ended is not None
    assert bool(overview(STATUS, INCIDENTS, ended + timedelta(days=14) + later)["past"]) is is_shown


def test_planned_maintenance_stands_in_the_order_it_comes() -> None:
    sooner = made.PLANNED.model_copy(update={"id": "sooner", "scheduled_for": NOW})
    document = INCIDENTS.model_copy(update={"maintenances": [made.PLANNED, sooner]})
    assert titles(overview(STATUS, document, NOW)["planned"]) == ["sooner", made.PLANNED.id]


@pytest.mark.parametrize(
    ("age", "expected"), [(timedelta(hours=2), False), (timedelta(hours=2, seconds=1), True), (-timedelta(1), False)]
)
def test_a_document_is_stale_when_a_newer_one_should_be_there(age: timedelta, *, expected: bool) -> None:
    assert is_stale(STATUS, STATUS.as_of + age) is expected


@pytest.mark.parametrize(
    ("indicator", "status", "expected"),
    [
        (Impact.NONE, ComponentStatus.UNDER_MAINTENANCE, True),
        (Impact.NONE, ComponentStatus.OPERATIONAL, False),
        (Impact.MINOR, ComponentStatus.UNDER_MAINTENANCE, False),
    ],
)
def test_maintenance_colours_the_page_where_nothing_is_worse(
    indicator: Impact, status: ComponentStatus, *, expected: bool
) -> None:
    quiet = made.quiet_status()
    changed = [quiet.components[0].model_copy(update={"status": status}), *quiet.components[1:]]
    document = quiet.model_copy(update={"indicator": indicator, "components": changed})
    assert overview(document, None, NOW)["is_maintained"] is expected


def test_components_stand_in_their_groups_and_what_has_none_at_the_end() -> None:
    lost = STATUS.components[0].model_copy(update={"id": "XXX/compute", "group": "XXX"})
    document = STATUS.model_copy(update={"components": [lost, *STATUS.components]})
    found = [(group and group.id, [row.component.id for row in rows]) for group, rows in grouped(document)]
    assert [group for group, _ in found] == [*made.BASTIONS, None]
    assert found[0][1] == ["STO/compute", "STO/network", "STO/storage"]
    assert found[-1][1] == ["XXX/compute", *made.SHARED]
    assert len({row.place for _, rows in grouped(document) for row in rows}) == len(document.components)


def test_a_group_without_components_is_left_out() -> None:
    document = STATUS.model_copy(update={"components": STATUS.components[:1]})
    assert [group and group.id for group, _ in grouped(document)] == ["STO"]


def test_components_are_called_by_their_group_and_name() -> None:
    names = full_names(STATUS)
    assert (names["STO/compute"], names["panel"]) == ("Stockholm Compute", "Control panel")
    assert full_names(None) == {}


def test_every_component_is_shown_and_drawn_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown() -> list[bool]:
        return [row.bars is not None for _, rows in grouped(STATUS) for row in rows]

    assert shown() == [True] * len(STATUS.components)
    # Stockholm's first, one run before and one after its outage: a frame, three runs and a day with trouble.
    first = status_pages.FRAME + 3 * status_pages.RUN + status_pages.TROUBLE
    second = status_pages.FRAME + status_pages.RUN
    monkeypatch.setattr(status_pages, "DRAWN", first + second)
    assert shown() == [True, True] + [False] * (len(STATUS.components) - 2)
    monkeypatch.setattr(status_pages, "DRAWN", first + second - 1)
    assert shown() == [True] + [False] * (len(STATUS.components) - 1)
    monkeypatch.setattr(status_pages, "COMPONENTS", 5)
    assert (len(shown()), overview(STATUS, None, NOW)["unshown"]) == (5, len(STATUS.components) - 5)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], 0),
        ([1] * 99, 99),
        ([1] * 101, 100),
        ([20_000, 20_000], 2),
        ([20_000, 20_000, 1], 2),
        ([1_000_000, 1_000_000, 1], 2),
    ],
)
def test_an_incident_tells_as_many_updates_as_there_is_room_for(lengths: list[int], expected: int) -> None:
    assert fitting([made.OPEN.updates[0].model_copy(update={"body": "x" * each}) for each in lengths]) == expected


def test_an_incident_and_a_maintenance_of_one_id_are_two_things() -> None:
    twin = made.DONE.model_copy(update={"id": made.OPEN.id})
    document = INCIDENTS.model_copy(update={"maintenances": [twin]})
    assert find(document, made.OPEN.id, is_maintenance=False) is made.OPEN
    assert find(document, made.OPEN.id, is_maintenance=True) is twin
    assert find(document, "other", is_maintenance=True) is None


def test_the_history_has_what_has_begun_the_newest_first_by_month() -> None:
    assert [(f"{first:%Y-%m-%d}", [line.item.id for line in held]) for first, held in months(lines(INCIDENTS))] == [
        ("2026-11-01", ["mnt_2026_0031", "inc_2026_1120", "inc_2026_1107"]),
        ("2026-10-01", ["inc_2026_1031", "mnt_2026_0029"]),
        ("2026-09-01", ["inc_2026_0919"]),
    ]


def test_a_month_begins_at_midnight_utc() -> None:
    at = (datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))
    held = [made.OPEN.model_copy(update={"id": f"{n}", "started_at": each}) for n, each in enumerate(at)]
    document: IncidentsDocument = INCIDENTS.model_copy(update={"incidents": held, "maintenances": []})
    assert [first.month for first, _ in months(lines(document))] == [11, 10]


@pytest.mark.parametrize(
    ("asked", "count", "expected"),
    [(None, 0, 1), ("1", 0, 1), ("1", 101, 1), ("2", 101, 2), ("3", 101, 3), ("2", 51, 2)],
)
def test_a_page_is_asked_for_by_number(asked: str | None, count: int, expected: int) -> None:
    assert page_number(asked, count, 50) == expected


@pytest.mark.parametrize("asked", ["2", "0", "01", "-1", "x", "", "1 ", "٢", "9999999"])
def test_a_page_that_is_not_there_is_not_there(asked: str) -> None:
    with pytest.raises(NothingHereError):
        page_number(asked, 50, 50)


@pytest.mark.parametrize(("count", "expected"), [(0, 1), (1, 1), (50, 1), (51, 2), (100, 2)])
def test_everything_is_on_some_page(count: int, expected: int) -> None:
    assert pages(count, 50) == expected
    assert [each for n in range(1, expected + 1) for each in page_of(range(count), n, 50)] == list(range(count))
