"""What the control plane wrote, however odd, in every format: readable by its readers, and the same in all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import feedparser
import icalendar
import orjson
import pytest

from feeds import badges
from feeds.atom import atom
from feeds.calendar_feed import calendar
from feeds.json_feed import json_feed
from feeds.plain_text import line, lines
from feeds.rss import rss
from feeds.statuspage import ANSWERS, Statuspage
from feeds.syndication import channel
from tests.support.feed_pages import SITE
from tests.support.hostile_feeds import LONG, hostile_shelf

if TYPE_CHECKING:
    from feeds.models import IncidentsDocument, StatusDocument

#: Controls but for line ends, and what turns the direction of text.
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
TITLE, BODY = line(LONG), lines(LONG)


@pytest.fixture(scope="module")
def documents() -> tuple[IncidentsDocument, StatusDocument]:
    held = hostile_shelf(1)
    assert held.incidents
    assert held.status
    return held.incidents.document, held.status.document


@pytest.mark.parametrize("path", ANSWERS)
def test_statuspage_says_it_in_plain_text(documents: tuple[IncidentsDocument, StatusDocument], path: str) -> None:
    answer = ANSWERS[path](Statuspage(*documents, SITE))
    said = orjson.dumps(answer).decode()
    assert not CONTROLS.search(said)
    assert not re.search(r"\\u00[01]|\\u202e", said)
    for each in (*answer.get("incidents", ()), *answer.get("scheduled_maintenances", ())):
        assert each["name"] == TITLE
        assert {update["body"] for update in each["incident_updates"]} == {BODY}
    for each in answer.get("components", ()):
        assert each["group"] or each["name"].startswith(TITLE)


@pytest.mark.parametrize("form", [atom, rss])
def test_a_feed_says_the_same(documents: tuple[IncidentsDocument, StatusDocument], form: type) -> None:
    made = form(channel(documents[0], SITE, "/history"))
    assert not CONTROLS.search(made.decode())
    read = feedparser.parse(made)
    assert not read.bozo
    assert {each.title for each in read.entries} == {TITLE}


def test_a_json_feed_says_the_same(documents: tuple[IncidentsDocument, StatusDocument]) -> None:
    made = json_feed(channel(documents[0], SITE, "/feed.json"))
    items = orjson.loads(made)["items"]
    assert {each["title"] for each in items} == {TITLE}
    assert not any(CONTROLS.search(each["content_text"]) for each in items)
    assert all(BODY in each["content_text"] for each in items)


def test_a_calendar_says_the_same(documents: tuple[IncidentsDocument, StatusDocument]) -> None:
    made = calendar(documents[0], SITE, "/maintenance.ics")
    assert not CONTROLS.search(made.decode())
    events = icalendar.Calendar.from_ical(made).walk("VEVENT")
    assert len(events) == len(documents[0].maintenances)
    assert {str(each["SUMMARY"]) for each in events} == {TITLE}
    assert all(BODY in str(each["DESCRIPTION"]) for each in events)


def test_a_badge_says_its_beginning(documents: tuple[IncidentsDocument, StatusDocument]) -> None:
    status = documents[1]
    drawn = badges.svg(badges.of_component(status.components[0], status)).decode()
    assert not CONTROLS.search(drawn)
    assert f"<title>{status.groups[0].name} &lt;\u754c&gt; &amp; 'quoted' turned[31m" in drawn
