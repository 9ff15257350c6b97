"""Entries of a feed: which, in what order, under which id, and what they say."""

from __future__ import annotations

from datetime import timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.models import IncidentsDocument, IncidentStatus, Update
from feeds.plain_text import line, lines
from feeds.syndication import (
    FEED,
    INCIDENT,
    MAINTENANCE,
    MOST,
    channel,
    html_of,
    is_of,
    newest,
    text_of,
    uuid_of,
    with_groups,
)
from tests.support import feed_documents
from tests.support.feed_documents import DONE, NOW, OPEN, PAST, PLANNED, PROVIDER, RUNNING
from tests.support.key_site import SITE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feeds.models import Incident, Maintenance

DOCUMENT = feed_documents.incidents()


def of(incidents: Sequence[Incident] = (), maintenances: Sequence[Maintenance] = ()) -> IncidentsDocument:
    return DOCUMENT.model_copy(update={"incidents": list(incidents), "maintenances": list(maintenances)})


def updated(incident: Incident, minutes: int, body: str = "More.") -> Incident:
    """Return an incident of which something was said so many minutes after the last."""
    at = incident.updated_at + timedelta(minutes=minutes)
    update = Update(id=f"upd_{at}", status=IncidentStatus.MONITORING, body=body, created_at=at)
    return incident.model_copy(
        update={"updates": [update, *incident.updates], "updated_at": max(at, incident.updated_at)}
    )


class Text(HTMLParser):
    """What a browser would show of HTML; and the elements in it."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.elements: set[str] = set()
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        assert {name for name, _ in attrs} <= {"datetime"}

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    @property
    def words(self) -> list[str]:
        return "".join(self.parts).split()


def test_the_last_updated_comes_first_whatever_it_is() -> None:
    titles = [entry.title for entry in newest(DOCUMENT, SITE)]
    # Stockholm ended in September and got its postmortem two days later; the planned work was announced on the 18th.
    assert titles == [each.title for each in (OPEN, RUNNING, PLANNED, PAST[0], PAST[1], DONE, PAST[2])]


def test_fifty_of_a_thousand_are_shown_and_an_old_one_comes_back_when_it_is_updated() -> None:
    many = feed_documents.many_incidents()
    shown = newest(many, SITE)
    assert [entry.title for entry in shown] == [f"Incident number {number}" for number in range(MOST)]
    oldest = many.incidents[-1]
    late = updated(oldest, int((NOW - oldest.updated_at).total_seconds() // 60))
    again = newest(many.model_copy(update={"incidents": [*many.incidents[:-1], late]}), SITE)
    assert again[0].title == oldest.title
    assert len(again) == MOST


def test_an_id_stays_while_everything_else_changes() -> None:
    (before,) = newest(of([OPEN]), SITE)
    changed = updated(OPEN, 5).model_copy(update={"title": "Another", "components": ["panel"]})
    elsewhere = SITE.__class__("Nord", "https://n.example/", "https://elsewhere.example", "/v2")
    (after,) = newest(of([changed]), elsewhere)
    assert after.id == before.id
    assert after.updated == before.updated + timedelta(minutes=5)
    assert after.published == before.published
    assert (after.url, after.title) == ("https://elsewhere.example/status/incidents/inc_2026_1120", "Another")


def test_ids_are_those_that_readers_have_already() -> None:
    assert uuid_of("NordBastion", INCIDENT, "inc_2026_1107").urn == "urn:uuid:e1c1d1f6-6e71-53fe-80cc-321686a4b4f9"
    (entry,) = newest(of([PAST[0]]), SITE)
    assert entry.id == uuid_of(PROVIDER, INCIDENT, PAST[0].id).urn


def test_what_differs_has_another_id() -> None:
    things = [
        (provider, kind, key)
        for provider in ("A", "B")
        for kind in (INCIDENT, MAINTENANCE, FEED)
        for key in ("", "1", "2")
    ]
    assert len({uuid_of(*each) for each in things}) == len(things)


@given(st.integers(0, 10_000), st.text(min_size=1))
def test_updated_moves_with_each_update_and_every_update_is_inside(minutes: int, body: str) -> None:
    (before,) = newest(of([OPEN]), SITE)
    (after,) = newest(of([updated(OPEN, minutes, body)]), SITE)
    assert after.updated == before.updated + timedelta(minutes=minutes)
    assert after.said[1:] == before.said
    assert after.said[0].body == lines(body)


@given(st.text(), st.text(min_size=1), st.text(min_size=1))
def test_whatever_is_written_is_shown_as_it_is_and_nothing_of_it_is_markup(
    title: str, body: str, component: str
) -> None:
    incident = OPEN.model_copy(
        update={
            "title": title,
            "components": [component],
            "updates": [OPEN.updates[0].model_copy(update={"body": body})],
        }
    )
    (entry,) = newest(of([incident]), SITE)
    shown = Text(html_of(entry))
    assert shown.elements <= {"p", "strong", "time", "br"}
    words = ["Impact:", "Minor", "Components:", *line(component).split(), "20", "November", "2026,", "01:13", "UTC"]
    assert shown.words == [*words, "Monitoring", *lines(body).split()]
    assert text_of(entry).split() == [*words[:-1], "UTC:", "Monitoring", *lines(body).split()]
    assert entry.title == (line(title) or "Incident inc_2026_1120")


def test_a_body_keeps_its_paragraphs_and_its_lines() -> None:
    update = OPEN.updates[0].model_copy(update={"body": "One <b>&\nstill one.\n\n \n\nTwo."})
    (entry,) = newest(of([OPEN.model_copy(update={"updates": [update]})]), SITE)
    assert html_of(entry).endswith("</strong></p>\n<p>One &lt;b&gt;&amp;<br>\nstill one.</p>\n<p>Two.</p>")


def test_names_of_components_are_escaped_too() -> None:
    (entry,) = newest(of([OPEN.model_copy(update={"components": ["<b>&"]})]), SITE)
    assert "<p><strong>Components:</strong> &lt;b&gt;&amp;</p>" in html_of(entry)


def test_an_entry_says_what_is_known_beside_what_was_said() -> None:
    (entry,) = newest(of([], [PLANNED]), SITE)
    assert entry.facts == (
        ("Scheduled", "27 November 2026, 02:00 UTC to 27 November 2026, 05:00 UTC"),
        ("Components", "REK/storage"),
    )
    assert entry.tags == ("maintenance", "scheduled", "REK/storage")
    assert entry.url == "https://nordbastion.example/status/maintenance/mnt_2026_0032"
    (nameless,) = newest(of([], [PLANNED.model_copy(update={"title": "", "components": []})]), SITE)
    assert (nameless.title, nameless.tags) == ("Maintenance mnt_2026_0032", ("maintenance", "scheduled"))


def test_an_id_leads_to_its_own_page_whatever_is_in_it() -> None:
    (entry,) = newest(of([OPEN.model_copy(update={"id": "../a b/ü?#"})]), SITE)
    assert entry.url == "https://nordbastion.example/status/incidents/..%2Fa%20b%2F%C3%BC%3F%23"


@pytest.mark.parametrize(
    ("component", "named", "concerned"),
    [
        (None, [], True),
        ("STO/compute", [], False),
        ("STO/compute", ["STO/compute"], True),
        ("STO/compute", ["HEL/compute", "STO/compute"], True),
        ("STO/compute", ["STO"], True),
        ("STO", ["STO/compute"], True),
        ("STO", ["STOCK/compute"], False),
        ("STO/compute", ["STO/compute2", "ST"], False),
        ("STO/compute2", ["STO/compute"], False),
        ("panel", ["panel"], True),
    ],
)
def test_a_component_has_what_names_it_or_where_it_is(
    component: str | None, named: list[str], *, concerned: bool
) -> None:
    assert is_of(component, named) is concerned


def test_places_have_feeds_as_components_have() -> None:
    assert with_groups(["STO/compute", "panel", "a//b", "/"]) == {"STO", "STO/compute", "panel", "a", "a/", "a//b", "/"}


def test_the_feed_of_a_component_is_a_feed_of_its_own() -> None:
    everything, one = channel(DOCUMENT, SITE, "/a"), channel(DOCUMENT, SITE, "/b", "OSL/network")
    assert [entry.title for entry in one.entries] == [RUNNING.title, DONE.title]
    assert (one.title, one.url) == ("NordBastion status: OSL/network", "https://nordbastion.example/b")
    assert one.id != everything.id
    assert one.updated == RUNNING.updated_at
    assert {entry.id for entry in one.entries} <= {entry.id for entry in everything.entries}


def test_an_empty_feed_is_as_old_as_its_document() -> None:
    empty = channel(feed_documents.no_incidents(), SITE, "/a")
    assert (empty.entries, empty.updated) == ((), feed_documents.no_incidents().as_of)
