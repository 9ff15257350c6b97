"""What is said of an incident or a maintenance ends in the same, in whichever order and however often it comes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.catalogue import CATALOGUE
from feeds.incident_facts import MOMENTS
from feeds.incidents import STATES, fold, is_open
from feeds.models import Impact, Incident, IncidentStatus, Maintenance, MaintenanceStatus
from tests.support.incident_courses import (
    START,
    UPDATES,
    any_events,
    course,
    every_kind,
    interleaved,
    minute,
    opened,
    resolved,
    rows,
    scheduled,
    updated,
    work,
)

if TYPE_CHECKING:
    from consumers.events import Event


def incident(*events: Event) -> Incident:
    [made], nothing = fold(rows(*events))
    assert not nothing
    return made


def maintenance(*events: Event) -> Maintenance:
    nothing, [made] = fold(rows(*events))
    assert not nothing
    return made


def at(number: float | None) -> datetime | None:
    return None if number is None else minute(number)


def test_every_type_about_incidents_and_maintenance_has_its_place() -> None:
    about = {name for name in CATALOGUE if name.startswith(("incident.", "maintenance."))}
    assert about == set(STATES) == set(MOMENTS)


@pytest.mark.parametrize(
    ("said", "status", "resolved_at", "monitoring_at"),
    [
        ("opened@0", "investigating", None, None),
        ("opened@0 identified@5", "identified", None, None),
        ("opened@0 monitoring@5 monitoring@9", "monitoring", None, 5),
        ("opened@0 monitoring@5 investigating@6 monitoring@9", "monitoring", None, 9),
        ("opened@0 monitoring@5 identified@9", "identified", None, 5),
        ("opened@0 monitoring@5 resolved@9", "resolved", 9, 5),
        # the end came before the beginning, or without it
        ("resolved@9 opened@0", "resolved", 9, None),
        ("resolved@9", "resolved", 9, None),
        ("monitoring@5", "monitoring", None, 5),
        # updates that came late change the list alone
        ("opened@0 resolved@9 identified@3", "resolved", 9, None),
        ("opened@0 resolved@9 investigating@12", "resolved", 9, None),
        ("opened@0 resolved@9 monitoring@12", "resolved", 9, None),
        ("opened@0 identified@9 resolved@9", "resolved", 9, None),
        ("opened@0 resolved@9 resolved@15", "resolved", 9, None),
        # a postmortem
        ("opened@0 resolved@9 postmortem@90", "postmortem", 9, None),
        ("opened@0 resolved@9 postmortem@9", "postmortem", 9, None),
        ("opened@0 resolved@9 postmortem@90 monitoring@95", "postmortem", 9, None),
        ("opened@0 postmortem@90", "postmortem", 90, None),
        ("opened@0 postmortem@8 resolved@9", "postmortem", 9, None),
        # opened again
        ("opened@0 resolved@9 opened@20", "investigating", None, None),
        ("opened@0 monitoring@5 resolved@9 opened@20 identified@25", "identified", None, None),
        ("opened@0 resolved@9 postmortem@15 opened@20 resolved@30", "resolved", 30, None),
        ("opened@0 resolved@9 opened@9", "resolved", 9, None),
        ("opened@0 resolved@9 opened@5", "resolved", 9, None),
    ],
)
def test_an_incident_stands_where_its_course_led(
    said: str, status: str, resolved_at: float | None, monitoring_at: float | None
) -> None:
    events = course(said)
    for order in (events, events[::-1]):
        made = incident(*order)
        assert made.status == status
        assert made.resolved_at == at(resolved_at)
        assert made.monitoring_at == at(monitoring_at)
        assert is_open(made) is (resolved_at is None)
        assert len(made.updates) == len(events)


def test_an_incident_is_what_its_newest_opening_says_since_its_first() -> None:
    made = incident(
        updated("identified", 4),
        opened(20, title="It came back", impact="major", components=["HEL/network", "STO/network", "HEL/network"]),
        resolved(9),
        opened(2, title="Packet loss", impact="minor", components=["HEL/network"]),
    )
    assert (made.title, made.impact, made.components) == ("It came back", Impact.MAJOR, ["HEL/network", "STO/network"])
    assert (made.started_at, made.created_at, made.updated_at) == (minute(2), minute(2), minute(20))
    assert [each.created_at for each in made.updates] == [minute(20), minute(9), minute(4), minute(2)]


def test_an_incident_without_its_opening_has_no_title_and_began_when_it_was_first_heard_of() -> None:
    made = incident(resolved(9), updated("identified", 4))
    assert (made.title, made.impact, made.components) == ("", Impact.NONE, [])
    assert (made.started_at, made.created_at, made.updated_at) == (minute(4), minute(4), minute(9))


def test_an_update_before_the_beginning_makes_no_incident_older() -> None:
    made = incident(opened(5), updated("identified", 4))
    assert (made.started_at, made.created_at) == (minute(5), minute(4))
    assert made.status is IncidentStatus.INVESTIGATING


def test_the_same_words_at_the_same_moment_are_one_update_whatever_their_ids() -> None:
    first = updated("identified", 4, event_id="b", body="The same.")
    for second_id in ("a", "c"):
        second = replace(first, id=second_id, source=f"/{second_id}")
        [alone] = incident(first).updates
        assert incident(first, second).updates == incident(second, first).updates == [alone]
    others = [
        updated("monitoring", 4, body="The same."),
        updated("identified", 5, body="The same."),
        updated("identified", 4, body="Another."),
    ]
    ids = [each.id for each in incident(first, *others).updates]
    assert len(set(ids)) == len(ids) == 4
    assert alone.id in ids


def test_of_two_openings_at_one_moment_one_counts_whichever_came_first() -> None:
    one = opened(0, event_id="1", title="One", body="One.")
    other = replace(opened(0, event_id="1", title="Other", body="Other."), source="/zzz")
    assert incident(one, other) == incident(other, one)
    assert incident(one, other).title == "Other"


def test_fractions_of_a_second_count_and_are_not_shown() -> None:
    made = incident(opened(0), updated("monitoring", 1 + 0.002), updated("identified", 1 + 0.004))
    assert made.status is IncidentStatus.IDENTIFIED
    assert made.updated_at == minute(1)


def test_moments_are_compared_as_moments_wherever_they_were_written() -> None:
    elsewhere = (START + timedelta(minutes=3)).astimezone(tz=None).isoformat()
    made = incident(opened(0), updated("identified", 0, updated_at="2026-11-07T06:05:00+02:00"), resolved(4))
    assert (made.status, made.resolved_at) == (IncidentStatus.RESOLVED, minute(4))
    assert made.updated_at.astimezone(UTC) == minute(5)
    assert incident(opened(0), resolved(0, resolved_at=elsewhere)).resolved_at == minute(3)


@pytest.mark.parametrize(
    ("said", "status", "started_at", "completed_at"),
    [
        ("scheduled@-60:0-120", "scheduled", None, None),
        ("scheduled@-60:0-120 started@2", "in_progress", 2, None),
        ("scheduled@-60:0-120 started@-2", "in_progress", -2, None),
        ("scheduled@-60:0-120 started@2 completed@80", "completed", 2, 80),
        ("scheduled@-60:0-120 completed@80", "completed", None, 80),
        ("completed@80 scheduled@-60:0-120", "completed", None, 80),
        ("started@2", "in_progress", 2, None),
        ("completed@80", "completed", None, 80),
        ("started@80 completed@2", "completed", 80, 2),
        ("scheduled@-60:0-120 started@2 completed@80 completed@90", "completed", 2, 80),
        ("scheduled@-60:0-120 started@2 started@3", "in_progress", 2, None),
        # the plan reached us late
        ("scheduled@100:0-120 started@2 completed@80", "completed", 2, 80),
        ("scheduled@100:2-120 started@2", "in_progress", 2, None),
        ("scheduled@2:2-120 started@2", "in_progress", 2, None),
        # planned anew
        ("scheduled@-60:0-120 scheduled@-30:10-130", "scheduled", None, None),
        ("scheduled@-60:0-120 started@2 scheduled@5:1000-1100", "scheduled", None, None),
        ("scheduled@-60:0-120 started@2 completed@80 scheduled@90:1000-1100", "scheduled", None, None),
        ("scheduled@-60:0-120 started@2 scheduled@5:1000-1100 started@1001 completed@1050", "completed", 1001, 1050),
    ],
)
def test_a_maintenance_stands_where_its_course_led(
    said: str, status: str, started_at: float | None, completed_at: float | None
) -> None:
    events = course(said)
    for order in (events, events[::-1]):
        made = maintenance(*order)
        assert made.status == status
        assert made.started_at == at(started_at)
        assert made.completed_at == at(completed_at)
        assert is_open(made) is (completed_at is None)
        assert len(made.updates) == len(events)


def test_a_maintenance_is_what_its_newest_plan_says() -> None:
    made = maintenance(
        scheduled(-30, 10, 130, title="Later", components=["OSL/network", "OSL/network"]),
        scheduled(-60, 0, 120, title="Sooner", components=[]),
    )
    assert (made.title, made.components) == ("Later", ["OSL/network"])
    assert (made.scheduled_for, made.scheduled_until) == (minute(10), minute(130))
    assert (made.created_at, made.updated_at) == (minute(-60), minute(-30))


def test_a_maintenance_without_its_plan_was_for_when_it_was_first_heard_of() -> None:
    made = maintenance(work("completed", 80), work("started", 2))
    assert (made.title, made.components) == ("", [])
    assert (made.scheduled_for, made.scheduled_until) == (minute(2), minute(80))


def test_no_maintenance_ends_before_it_begins() -> None:
    made = maintenance(scheduled(-60, 10, 5))
    assert (made.scheduled_for, made.scheduled_until) == (minute(10), minute(10))


def test_an_incident_and_a_maintenance_of_one_id_have_nothing_to_do_with_each_other() -> None:
    incidents, maintenances = fold(
        rows(opened(0, incident_id="x"), work("completed", 5, maintenance_id="x"), scheduled(-9, 0, 9))
    )
    assert [(each.id, each.status) for each in incidents] == [("x", "investigating")]
    assert {each.id: each.status for each in maintenances} == {
        "x": MaintenanceStatus.COMPLETED,
        "mnt_2026_0031": MaintenanceStatus.SCHEDULED,
    }


def test_both_lists_have_the_newest_first() -> None:
    events = [
        *(opened(at_minute, incident_id=name) for name, at_minute in (("b", 5), ("a", 5), ("c", 9), ("d", 1))),
        *(scheduled(0, at_minute, 99, maintenance_id=name) for name, at_minute in (("b", 5), ("a", 5), ("c", 9))),
    ]
    incidents, maintenances = fold(rows(*events))
    assert [each.id for each in incidents] == ["c", "b", "a", "d"]
    assert [each.id for each in maintenances] == ["c", "b", "a"]


def test_what_is_interleaved_is_of_every_type_and_every_state() -> None:
    about = {name for name in CATALOGUE if name.startswith(("incident.", "maintenance."))}
    assert {each.type for each in every_kind()} == about
    stored = rows(*every_kind())
    assert {row.status for row in stored if row.kind == "incident"} == set(IncidentStatus)
    assert {row.status for row in stored if row.kind == "maintenance"} == set(STATES.values()) & set(MaintenanceStatus)


@given(interleaved())
def test_any_order_and_any_repetition_end_in_the_same(both: tuple[list[Event], list[Event]]) -> None:
    events, again = both
    assert fold(rows(*again)) == fold(rows(*events))


@given(any_events(), st.sampled_from(["/a", "/z"]))
def test_a_repetition_under_other_ids_changes_nothing(events: list[Event], source: str) -> None:
    stored = rows(*events)
    assert fold([*stored, *(row._replace(source=source) for row in stored)]) == fold(stored)


@given(any_events(), st.sampled_from([each for each in UPDATES if each != "postmortem"]), st.integers(0, 9))
def test_nothing_but_another_opening_opens_what_was_resolved(events: list[Event], status: str, number: int) -> None:
    stored = rows(*events, resolved(9, incident_id="a"))
    before = {each.id: each for each in fold(stored)[0]}["a"]
    after = {each.id: each for each in fold([*stored, *rows(updated(status, number, incident_id="a"))])[0]}["a"]
    assert (after.status, after.resolved_at) == (before.status, before.resolved_at)
    assert len(after.updates) == len(before.updates) + 1
