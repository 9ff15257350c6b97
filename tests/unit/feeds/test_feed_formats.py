"""Atom, RSS and JSON Feed: each by its own specification, by a reader we did not write, and all saying the same."""

from __future__ import annotations

import re
from calendar import timegm
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, fromstring

import feedparser
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.atom import NAMESPACE, atom
from feeds.json_feed import json_feed
from feeds.plain_text import line
from feeds.rss import rss
from feeds.syndication import channel, html_of, text_of
from tests.support import feed_documents
from tests.support.feed_documents import OPEN
from tests.support.key_site import SITE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feeds.models import IncidentsDocument
    from feeds.syndication import Channel

ATOM = f"{{{NAMESPACE}}}"
ONE, ANY, MOST_ONE, SOME = (1, 1), (0, 10_000), (0, 1), (1, 10_000)
#: RFC 4287, 4.1.1 and 4.1.2, with what we promise beyond it: how often each element stands in another.
FEED: Mapping[str, tuple[int, int]] = {
    "id": ONE, "title": ONE, "subtitle": MOST_ONE, "updated": ONE, "author": SOME, "link": SOME, "generator": MOST_ONE,
    "entry": ANY,
}  # fmt: skip
ENTRY: Mapping[str, tuple[int, int]] = {
    "id": ONE, "title": ONE, "published": ONE, "updated": ONE, "link": ONE, "category": ANY, "content": ONE,
}  # fmt: skip
#: RSS 2.0, "Required channel elements" and "Elements of <item>".
CHANNEL: Mapping[str, tuple[int, int]] = {
    "title": ONE, "link": ONE, "description": ONE, "language": ONE, "lastBuildDate": ONE, "generator": MOST_ONE,
    "docs": MOST_ONE, f"{ATOM}link": SOME, "item": ANY,
}  # fmt: skip
ITEM: Mapping[str, tuple[int, int]] = {
    "title": ONE, "link": ONE, "guid": ONE, "pubDate": ONE, f"{ATOM}published": ONE, f"{ATOM}updated": ONE,
    "category": ANY, "description": ONE,
}  # fmt: skip
#: JSON Feed 1.1: what there is at the top and in an item; names of extensions begin with a low line.
TOP = {
    "version", "title", "home_page_url", "feed_url", "description", "user_comment", "next_url", "icon", "favicon",
    "authors", "language", "expired", "hubs", "items",
}  # fmt: skip
JSON_ITEM = {
    "id", "url", "external_url", "title", "content_html", "content_text", "summary", "image", "banner_image",
    "date_published", "date_modified", "authors", "tags", "language", "attachments",
}  # fmt: skip
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
RFC_822 = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000")
DOCUMENTS = {
    "some": feed_documents.incidents(),
    "none": feed_documents.no_incidents(),
    "a thousand": feed_documents.many_incidents(),
}


def of(document: IncidentsDocument, path: str = "/history.atom") -> Channel:
    return channel(document, SITE, path)


def counted(element: Element, allowed: Mapping[str, tuple[int, int]], prefix: str = "") -> None:
    """See that an element has what it must, and nothing that it may not."""
    names = [each.tag.removeprefix(prefix) for each in element]
    assert set(names) <= set(allowed)
    for name, (least, most) in allowed.items():
        assert least <= names.count(name) <= most, name


def text(element: Element, name: str) -> str:
    found = element.findtext(name)
    assert found
    return found


def links(element: Element, name: str) -> dict[str, tuple[str, str]]:
    """Return by relation where each leads, and to what type."""
    made = {each.attrib["rel"]: (each.attrib["href"], each.attrib["type"]) for each in element.iterfind(name)}
    assert len(made) == len(element.findall(name))
    return made


def parsed(content: bytes) -> Element:
    assert content.startswith(b"<?xml version='1.0' encoding='utf-8'?>\n")
    return fromstring(content)  # noqa: S314 - made by ourselves a line before


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_atom_is_as_rfc_4287_has_it(document: IncidentsDocument) -> None:
    root = parsed(atom(of(document)))
    assert root.tag == f"{ATOM}feed"
    counted(root, FEED, ATOM)
    assert links(root, f"{ATOM}link") == {
        "self": ("https://nordbastion.example/history.atom", "application/atom+xml"),
        "alternate": ("https://nordbastion.example/status/", "text/html"),
        "via": ("https://nordbastion.example/v1/transparency/incidents.json", "application/json"),
    }
    entries = root.findall(f"{ATOM}entry")
    for entry in entries:
        counted(entry, ENTRY, ATOM)
        assert DATE.fullmatch(text(entry, f"{ATOM}published"))
        assert DATE.fullmatch(text(entry, f"{ATOM}updated"))
        assert [each.attrib["type"] for each in entry.iterfind(f"{ATOM}content")] == ["html"]
        assert links(entry, f"{ATOM}link")["alternate"][0].startswith("https://nordbastion.example/status/")
    ids = [text(each, f"{ATOM}id") for each in [root, *entries]]
    assert all(re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", each) for each in ids)
    assert len(set(ids)) == len(ids)
    newest = max((text(each, f"{ATOM}updated") for each in entries), default=f"{document.as_of:%Y-%m-%dT%H:%M:%SZ}")
    assert text(root, f"{ATOM}updated") == newest


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_rss_is_as_its_specification_has_it(document: IncidentsDocument) -> None:
    root = parsed(rss(of(document, "/history.rss")))
    assert (root.tag, root.attrib, len(root)) == ("rss", {"version": "2.0"}, 1)
    made = root[0]
    counted(made, CHANNEL)
    assert links(made, f"{ATOM}link")["self"] == ("https://nordbastion.example/history.rss", "application/rss+xml")
    assert RFC_822.fullmatch(text(made, "lastBuildDate"))
    for item in made.iterfind("item"):
        counted(item, ITEM)
        guid = item.find("guid")
        assert guid is not None
        assert guid.attrib == {"isPermaLink": "false"}
        assert RFC_822.fullmatch(text(item, "pubDate"))
        moved = parsedate_to_datetime(text(item, "pubDate"))
        assert moved == datetime.fromisoformat(text(item, f"{ATOM}updated"))


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_json_feed_is_as_its_specification_has_it(document: IncidentsDocument) -> None:
    made = orjson.loads(json_feed(of(document, "/feed.json")))
    assert made["version"] == "https://jsonfeed.org/version/1.1"
    assert made["feed_url"] == "https://nordbastion.example/feed.json"
    assert {each for each in made if not each.startswith("_")} <= TOP
    assert made["_signed"]["about"]  # an extension says where it is explained
    assert made["authors"] == [{"name": "NordBastion", "url": "https://nordbastion.example/"}]
    for item in made["items"]:
        assert set(item) <= JSON_ITEM
        assert item["id"]
        assert item["content_html"]
        assert DATE.fullmatch(item["date_published"])
        assert DATE.fullmatch(item["date_modified"])
        assert all(isinstance(each, str) for each in item["tags"])


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_reader_finds_the_same_in_atom_and_in_rss(document: IncidentsDocument) -> None:
    made = of(document)
    for content, version in ((atom(made), "atom10"), (rss(made), "rss20")):
        read = feedparser.parse(content)
        assert (read.bozo, read.version) == (False, version)
        assert read.feed.title == "NordBastion status"
        assert [each.id for each in read.entries] == [each.id for each in made.entries]
        for seen, entry in zip(read.entries, made.entries, strict=True):
            assert (seen.title, seen.link) == (entry.title, entry.url)
            assert moment(seen.updated_parsed) == entry.updated
            assert [each.term for each in seen.tags] == list(entry.tags)
            shown = seen.content[0].value if version == "atom10" else seen.description
            assert "".join(shown.split()) == "".join(html_of(entry).replace("<br>", "<br/>").split())


@given(st.text(), st.text(min_size=1))
def test_whatever_is_written_comes_out_of_every_format_as_it_went_in(title: str, body: str) -> None:
    incident = OPEN.model_copy(
        update={
            "title": title,
            "components": [body],
            "updates": [each.model_copy(update={"body": body}) for each in OPEN.updates],
        }
    )
    document = feed_documents.no_incidents().model_copy(update={"incidents": [incident]})
    made = of(document)
    (entry,) = made.entries
    (in_json,) = orjson.loads(json_feed(made))["items"]
    in_atom, in_rss = parsed(atom(made)).find(f"{ATOM}entry"), parsed(rss(made)).find("channel/item")
    assert in_atom is not None
    assert in_rss is not None
    expected = (line(title) or f"Incident {OPEN.id}", html_of(entry))
    assert (in_atom.findtext(f"{ATOM}title"), in_atom.findtext(f"{ATOM}content")) == expected
    assert (in_rss.findtext("title"), in_rss.findtext("description")) == expected
    assert (in_json["title"], in_json["content_html"], in_json["content_text"]) == (*expected, text_of(entry))
    tags = list(entry.tags)
    assert [each.attrib["term"] for each in in_atom.iterfind(f"{ATOM}category")] == tags
    assert [each.text for each in in_rss.iterfind("category")] == in_json["tags"] == tags


def test_names_of_the_provider_are_escaped() -> None:
    site = SITE.__class__('A <b> & "C"', "https://p.example/?a&b", "https://api.p.example", "/v1")
    made = channel(feed_documents.incidents(), site, "/history.atom", "a<b>&")
    root = parsed(atom(made))
    assert text(root, f"{ATOM}title") == 'A <b> & "C" status: a<b>&'
    assert text(root, f"{ATOM}author/{ATOM}uri") == "https://p.example/?a&b"
    assert text(parsed(rss(made)), "channel/title") == 'A <b> & "C" status: a<b>&'


def moment(parts: Any) -> datetime:
    """Return the moment that feedparser read."""
    return datetime.fromtimestamp(timegm(parts), UTC)
