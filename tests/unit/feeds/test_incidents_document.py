"""The document of incidents has what is open and the newest of the rest, and never more than can be signed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from feeds import incidents
from feeds.incidents import LONGEST_SHARE, MOST_ENTRIES, Row, build, fold
from feeds.models import Incident, IncidentsDocument, Maintenance
from feeds.room import MOST_BYTES, size
from signer.canonical import canonical
from signer.protocol import MAX_CONTENT
from tests.support.incident_courses import any_events, interleaved, opened, resolved, rows, scheduled, updated, work

if TYPE_CHECKING:
    from consumers.events import Event

NOW = datetime(2026, 11, 20, 13, 30, tzinfo=UTC)
MIDNIGHT = NOW.replace(hour=0, minute=0)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def document(stored: list[Row], now: datetime = NOW) -> IncidentsDocument:
    return build(*fold(stored), provider="NordBastion", now=now)


def content(made: IncidentsDocument) -> bytes:
    return canonical(made.model_dump(mode="json"))


def many(count: int, *, first: int = 0, is_open: bool = False, body: str = "Words.", updates: int = 0) -> list[Row]:
    """Return what is said of as many incidents, each an hour after the one before."""
    made = []
    for number in range(first, first + count):
        name, at = f"inc_{number:05}", LONG_AGO + timedelta(hours=number)
        said = [("incident.opened", {"title": name, "impact": "minor", "components": ["HEL/network"], "body": body})]
        said += [("incident.updated", {"status": "monitoring", "body": body}) for _ in range(updates)]
        said += [] if is_open else [("incident.resolved", {"body": body})]
        made += [
            Row(name, what, at + timedelta(seconds=place), "/s", f"{name}-{place}", {"incident_id": name, **data})
            for place, (what, data) in enumerate(said)
        ]
    return made


def test_an_empty_document_is_as_old_as_its_day() -> None:
    made = document([])
    assert made == IncidentsDocument(
        provider="NordBastion", as_of=MIDNIGHT, incidents=[], maintenances=[], is_complete=True
    )


@pytest.mark.parametrize(
    ("happened", "as_of"),
    [
        ([LONG_AGO], MIDNIGHT),
        ([MIDNIGHT], MIDNIGHT),
        ([MIDNIGHT + timedelta(hours=1), MIDNIGHT + timedelta(hours=3)], MIDNIGHT + timedelta(hours=3)),
        ([NOW], NOW),
        # a clock that is ahead
        ([MIDNIGHT + timedelta(hours=1), NOW + timedelta(seconds=1)], MIDNIGHT + timedelta(hours=1)),
        ([NOW + timedelta(days=400)], MIDNIGHT),
    ],
)
def test_it_is_as_of_the_newest_fact_of_the_day(happened: list[datetime], as_of: datetime) -> None:
    stored = [row._replace(happened_at=at) for row, at in zip(many(len(happened)), happened, strict=False)]
    assert document(stored).as_of == as_of


def test_the_day_is_that_of_utc() -> None:
    east = datetime.fromisoformat("2026-11-20T01:30:00+02:00")
    assert document([], east).as_of == datetime(2026, 11, 19, tzinfo=UTC)


def test_the_bytes_stay_for_the_day_and_change_with_a_fact() -> None:
    stored = rows(opened(0), updated("monitoring", 5))
    morning, evening = MIDNIGHT + timedelta(seconds=1), MIDNIGHT + timedelta(hours=23)
    assert content(document(stored, morning)) == content(document(stored, evening))
    assert content(document(stored, morning)) != content(document([*stored, *rows(resolved(9))], evening))


def test_it_reads_back_as_it_was_made() -> None:
    stored = rows(
        opened(0), updated("monitoring", 5, body="Ein „Wort“, 字, \x01, \\ and \U0001f600"), work("started", 3)
    )
    made = document(stored)
    assert IncidentsDocument.model_validate_json(content(made)) == made


@given(interleaved())
def test_any_order_and_any_repetition_end_in_the_same_bytes(both: tuple[list[Event], list[Event]]) -> None:
    events, again = both
    assert content(document(rows(*again))) == content(document(rows(*events)))


@given(any_events())
def test_the_size_of_an_entry_is_that_of_its_canonical_bytes(events: list[Event]) -> None:
    made = document(rows(*events))
    entries: list[Incident | Maintenance] = [*made.incidents, *made.maintenances]
    for entry in entries:
        assert size(entry) == len(canonical(entry.model_dump(mode="json"))) + 1


@pytest.mark.parametrize("body", ['\x01\x7f"\\/\b\f\n\r\t', "é字\U0001f600\u2028\ufffd", "plain"])
def test_that_is_so_for_every_character(body: str) -> None:
    [entry] = document(rows(opened(0, body=body, title=body))).incidents
    assert size(entry) == len(canonical(entry.model_dump(mode="json"))) + 1


def test_what_is_open_is_there_however_old_and_of_the_rest_the_newest() -> None:
    old = many(3, is_open=True)
    rest = many(MOST_ENTRIES + 5, first=10)
    made = document([*rest, *old, *rows(scheduled(0, 60, 90))])
    names = [each.id for each in made.incidents]
    newest = [f"inc_{number:05}" for number in range(10 + MOST_ENTRIES + 5 - (MOST_ENTRIES - 4), 10 + MOST_ENTRIES + 5)]
    assert names == [*newest[::-1], "inc_00002", "inc_00001", "inc_00000"]
    assert len(made.maintenances) == 1
    assert not made.is_complete


def test_as_many_as_there_may_be_are_all_of_them() -> None:
    made = document(many(MOST_ENTRIES))
    assert len(made.incidents) == MOST_ENTRIES
    assert made.is_complete
    assert not document(many(MOST_ENTRIES + 1)).is_complete


def test_more_open_ones_than_there_may_be_are_there_nevertheless() -> None:
    made = document([*many(MOST_ENTRIES + 5, is_open=True), *many(3, first=5_000)])
    assert len(made.incidents) == MOST_ENTRIES + 5
    assert not made.is_complete


def test_of_large_ones_as_many_as_fit_are_there() -> None:
    made = document([*many(60, body="x" * 20_000, updates=4), *many(1, first=90, is_open=True)])
    taken, one = len(content(made)), size(made.incidents[-1])
    assert MOST_BYTES - one < taken <= MOST_BYTES
    assert made.incidents[0].id == "inc_00090"
    assert [each.id for each in made.incidents[1:]] == [f"inc_{59 - n:05}" for n in range(len(made.incidents) - 1)]
    assert not made.is_complete


def test_bytes_are_counted_to_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = many(30)
    # the brackets of a list hold one comma less than it has entries, and `true` is a letter shorter than `false`
    taken = len(content(document(stored)))
    for most, is_complete in ((taken + 2, True), (taken, False)):
        monkeypatch.setattr(incidents, "MOST_BYTES", most)
        made = document(stored)
        assert made.is_complete is is_complete
        assert len(content(made)) <= most


def test_open_ones_that_are_too_large_lose_their_oldest_updates() -> None:
    made = document([*many(2, is_open=True, body="x" * 20_000, updates=150), *many(1, first=50)])
    assert len(content(made)) <= MOST_BYTES
    assert [len(each.updates) for each in made.incidents] == [2, 10, 10]
    assert [each.status for each in made.incidents] == ["resolved", "monitoring", "monitoring"]
    newest = made.incidents[1].updates
    assert newest[0].created_at == made.incidents[1].updated_at
    assert newest[-1].created_at > made.incidents[1].created_at
    assert not made.is_complete


def test_a_long_story_that_is_over_loses_its_oldest_updates_and_not_the_others() -> None:
    stored = [*many(20), *many(1, first=50, body="x" * 20_000, updates=1_100)]
    made = document(stored)
    assert [each.id for each in made.incidents] == ["inc_00050", *(f"inc_{19 - n:05}" for n in range(20))]
    longest = made.incidents[0]
    assert (len(longest.updates), longest.updates[0].status, longest.resolved_at) == (
        10,
        "resolved",
        longest.updated_at,
    )
    assert size(longest) <= MOST_BYTES // LONGEST_SHARE
    assert not made.is_complete


def test_at_worst_the_oldest_open_ones_are_left_out() -> None:
    made = document(many(300, is_open=True, body="x" * 20_000, updates=2))
    assert len(content(made)) <= MOST_BYTES
    assert {len(each.updates) for each in made.incidents} == {1}
    assert made.incidents[0].id == "inc_00299"
    assert 100 < len(made.incidents) < 300
    assert not made.is_complete


def test_the_signer_takes_the_largest() -> None:
    assert MOST_BYTES < MAX_CONTENT
