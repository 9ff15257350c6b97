"""The calendar of maintenance: by RFC 5545 to the letter, and by a reader we did not write."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from icalendar import Calendar

from feeds.calendar_feed import calendar, escaped, folded, sequence_of, status_of
from feeds.models import IncidentsDocument, Maintenance, MaintenanceStatus, Update
from feeds.plain_text import line, lines
from tests.support import feed_documents
from tests.support.feed_documents import DONE, PLANNED, RUNNING
from tests.support.key_site import SITE

if TYPE_CHECKING:
    from collections.abc import Sequence

PATH = "/maintenance.ics"
#: RFC 5545, 3.6.1: what an event must have once, and what it may have once.
MUST = {"UID", "DTSTAMP", "DTSTART"}
MAY = {
    "CREATED", "DESCRIPTION", "DTEND", "LAST-MODIFIED", "LOCATION", "SEQUENCE", "STATUS", "SUMMARY", "TRANSP", "URL",
}  # fmt: skip
HOUR = timedelta(hours=1)


def of(maintenances: Sequence[Maintenance]) -> IncidentsDocument:
    return feed_documents.no_incidents().model_copy(update={"maintenances": list(maintenances)})


def events(document: IncidentsDocument) -> list[Any]:
    """Return the events as icalendar reads them."""
    read = Calendar.from_ical(calendar(document, SITE, PATH))
    assert not read.errors
    return list(read.walk("VEVENT"))


def with_words(title: str, body: str) -> Maintenance:
    return PLANNED.model_copy(
        update={
            "title": title,
            "components": [body],
            "updates": [each.model_copy(update={"body": body}) for each in PLANNED.updates],
        }
    )


def said(maintenance: Maintenance, at: datetime) -> Maintenance:
    """Return a maintenance of which something more was said."""
    more = Update(id=f"upd_{at}", status=MaintenanceStatus.SCHEDULED, body="More.", created_at=at)
    return maintenance.model_copy(
        update={
            "updates": sorted([more, *maintenance.updates], key=lambda each: each.created_at, reverse=True),
            "created_at": min(at, maintenance.created_at),
            "updated_at": max(at, maintenance.updated_at),
        }
    )


def test_there_is_an_event_for_each_maintenance_past_under_way_and_to_come() -> None:
    planned, running, done = events(feed_documents.incidents())
    assert [str(each["SUMMARY"]) for each in (planned, running, done)] == [
        PLANNED.title, RUNNING.title, DONE.title,
    ]  # fmt: skip
    assert (planned.start, planned.end) == (PLANNED.scheduled_for, PLANNED.scheduled_until)
    assert planned["LAST-MODIFIED"].dt == planned["DTSTAMP"].dt == PLANNED.updated_at
    assert planned["CREATED"].dt == PLANNED.created_at
    assert (str(planned["STATUS"]), str(planned["TRANSP"]), str(planned["LOCATION"])) == (
        "CONFIRMED", "TRANSPARENT", "REK/storage",
    )  # fmt: skip
    assert str(planned["URL"]) == "https://nordbastion.example/status/maintenance/mnt_2026_0032"
    assert str(done["DESCRIPTION"]) == (
        "Scheduled: 21 October 2026, 01:00 UTC to 21 October 2026, 03:00 UTC\nComponents: OSL/network\n\n"
        "21 October 2026, 02:10 UTC: Completed\nThe new router carries all traffic.\n\n"
        "14 October 2026, 09:00 UTC: Scheduled\nOne interruption of a minute."
    )


@pytest.mark.parametrize("document", [feed_documents.incidents(), feed_documents.no_incidents()], ids=["some", "none"])
def test_a_calendar_is_as_rfc_5545_has_it(document: IncidentsDocument) -> None:
    content = calendar(document, SITE, PATH)
    assert content.endswith(b"END:VCALENDAR\r\n")
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert all(len(each) <= 75 for each in content.split(b"\r\n"))
    read = Calendar.from_ical(content)
    assert (str(read["VERSION"]), "PRODID" in read, "METHOD" in read) == ("2.0", True, False)
    assert read.subcomponents  # 3.6: at least one
    assert str(read["URL"]) == "https://nordbastion.example/status/"
    assert str(read["SOURCE"]) == "https://nordbastion.example/maintenance.ics"
    for event in read.walk("VEVENT"):
        assert set(event) >= MUST
        assert set(event) <= MUST | MAY
        assert all(not isinstance(each, list) for each in event.values())
    uids = [str(each["UID"]) for each in [read, *read.walk("VEVENT")]]
    assert len(set(uids)) == len(uids)


@given(st.text(), st.text(min_size=1))
def test_whatever_is_written_comes_out_as_it_went_in(title: str, body: str) -> None:
    (event,) = events(of([with_words(title, body)]))
    assert str(event["SUMMARY"]) == (line(title) or "Maintenance mnt_2026_0032")
    assert str(event["LOCATION"]) == line(body)
    description = str(event["DESCRIPTION"])
    assert description.endswith(f": Scheduled\n{lines(body)}")


@given(st.text(alphabet=st.characters(codec="utf-8", categories=["L", "P", "S", "Zs", "Cf"])))
def test_a_long_line_is_folded_between_characters(content: str) -> None:
    made = folded(content)
    parts = made.removesuffix(b"\r\n").split(b"\r\n")
    assert all(len(each) <= 75 and each.decode() is not None for each in parts)
    assert all(each.startswith(b" ") for each in parts[1:])
    assert parts[0] + b"".join(each[1:] for each in parts[1:]) == content.encode()


def test_a_line_is_folded_only_where_it_must_be() -> None:
    assert folded("a" * 75) == b"a" * 75 + b"\r\n"
    assert folded("a" * 76) == b"a" * 75 + b"\r\n a\r\n"
    assert folded("a" * 150) == b"a" * 75 + b"\r\n " + b"a" * 74 + b"\r\n a\r\n"
    assert folded("a" * 74 + "ü") == b"a" * 74 + b"\r\n \xc3\xbc\r\n"


def test_text_is_escaped() -> None:
    assert escaped("a,b;c\\n\nd:e") == "a\\,b\\;c\\\\n\\nd:e"


@given(st.lists(st.integers(-100_000, 1_000_000), min_size=1, max_size=6))
def test_sequence_grows_with_whatever_is_said(minutes: list[int]) -> None:
    maintenance = PLANNED
    for each in minutes:
        before = maintenance
        maintenance = said(before, PLANNED.created_at + timedelta(minutes=each))
        assert sequence_of(maintenance) > sequence_of(before)


def test_an_event_is_the_same_after_an_update() -> None:
    later = said(PLANNED, PLANNED.updated_at + HOUR)
    (before,), (after,) = events(of([PLANNED])), events(of([later]))
    assert str(after["UID"]) == str(before["UID"])
    assert int(after["SEQUENCE"]) == sequence_of(later) > int(before["SEQUENCE"]) == 0
    assert after["LAST-MODIFIED"].dt == before["LAST-MODIFIED"].dt + HOUR


def test_sequence_begins_at_nought_and_does_not_go_back_when_old_updates_are_left_out() -> None:
    assert sequence_of(PLANNED) == 0
    cut = said(RUNNING, RUNNING.updated_at + HOUR)
    cut = cut.model_copy(update={"updates": cut.updates[:1]})
    assert sequence_of(cut) > sequence_of(RUNNING)


@pytest.mark.parametrize(
    ("started", "completed", "status"),
    [
        (None, None, "CONFIRMED"),
        (0, None, "CONFIRMED"),
        (0, 1, "CONFIRMED"),
        (None, 1, "CONFIRMED"),  # that it began came late, or never
        (-2, -1, "CONFIRMED"),  # it was begun early
        (None, 0, "CANCELLED"),
        (None, -100, "CANCELLED"),
    ],
)
def test_what_ended_before_it_was_to_begin_was_cancelled(
    started: int | None, completed: int | None, status: str
) -> None:
    """Numbers are hours after it was to begin."""
    maintenance = PLANNED.model_copy(
        update={
            "started_at": None if started is None else PLANNED.scheduled_for + started * HOUR,
            "completed_at": None if completed is None else PLANNED.scheduled_for + completed * HOUR,
        }
    )
    assert status_of(maintenance) == status
    assert str(events(of([maintenance]))[0]["STATUS"]) == status


def test_an_event_does_not_end_before_it_has_begun() -> None:
    (event,) = events(of([PLANNED.model_copy(update={"scheduled_until": PLANNED.scheduled_for})]))
    assert "DTEND" not in event
    assert event.start == PLANNED.scheduled_for


def test_a_thousand_are_all_in_it() -> None:
    many = [PLANNED.model_copy(update={"id": f"mnt_{number}"}) for number in range(1_000)]
    found = re.findall(rb"^UID:(.+)\r$", calendar(of(many), SITE, PATH), re.MULTILINE)
    assert len(set(found)) == len(found) == 1_001  # and the calendar itself
