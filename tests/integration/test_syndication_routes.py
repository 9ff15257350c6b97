"""What one subscribes to, over HTTP, from a document that was published: its bytes, its headers, its 404s."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

import feedparser
from icalendar import Calendar

from feeds import documents
from feeds.documents import Feed, Signature
from feeds.feed_watch import FeedWatch
from feeds.syndication_routes import component_path, routes
from signer.canonical import canonical
from tests.support import feed_documents
from tests.support.feed_documents import NOW, OPEN, PAST, PLANNED, Shelf, latest
from tests.support.feed_site import a_site
from tests.support.key_site import SITE
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pydantic import BaseModel

    from feeds.routes import Route
    from runtime.database import Pool
    from tests.support.api import Caller

PATHS = {
    "/history.atom": "application/atom+xml; charset=utf-8",
    "/history.rss": "application/rss+xml; charset=utf-8",
    "/feed.json": "application/feed+json",
    "/maintenance.ics": "text/calendar; charset=utf-8",
    "/history/HEL/network.atom": "application/atom+xml; charset=utf-8",
    "/history/HEL.atom": "application/atom+xml; charset=utf-8",
    "/history/panel.atom": "application/atom+xml; charset=utf-8",
}


@contextlib.asynccontextmanager
async def serving(dsn: str, shelf: Shelf) -> AsyncIterator[Caller]:
    async with a_site(dsn, lambda _: routes(shelf, SITE)) as caller:
        yield caller


async def test_each_is_served_as_what_it_is_for_everybody(dsn: str) -> None:
    async with serving(dsn, feed_documents.shelf()) as caller:
        for path, content_type in PATHS.items():
            answer = await caller("GET", path)
            assert (answer.status, answer.headers["Content-Type"]) == (200, content_type)
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == "public, max-age=60"
            assert answer.headers["Last-Modified"] == "Fri, 20 Nov 2026 01:30:00 GMT"
            assert f"https://nordbastion.example{path}".encode() in answer.content.replace(b"\r\n ", b"")
            head = await caller("HEAD", path)
            assert (head.status, head.content, head.headers["ETag"]) == (200, b"", answer.headers["ETag"])
            known = await caller("GET", path, If_None_Match=answer.headers["ETag"])
            assert (known.status, known.content) == (304, b"")


async def test_nothing_is_there_before_something_was_published(dsn: str) -> None:
    async with serving(dsn, Shelf(status=latest(feed_documents.status()))) as caller:
        for path in PATHS:
            assert (await caller("GET", path)).status == 404


async def test_there_is_no_feed_of_a_component_nobody_knows(dsn: str) -> None:
    async with serving(dsn, feed_documents.shelf()) as caller:
        for path in ("/history/STO/nothing.atom", "/history/STO.rss", "/history/.atom", "/history/HE.atom"):
            assert (await caller("GET", path)).status == 404


async def test_a_component_has_its_own_and_a_place_what_is_there(dsn: str) -> None:
    async with serving(dsn, feed_documents.shelf()) as caller:
        titles = {
            path: [each.title for each in feedparser.parse((await caller("GET", path)).content).entries]
            for path in (
                "/history/HEL/network.atom",
                "/history/HEL.atom",
                "/history/STO/compute.atom",
                "/history/dns.atom",
            )
        }
    assert titles == {
        "/history/HEL/network.atom": [OPEN.title, PAST[0].title],
        "/history/HEL.atom": [OPEN.title, PAST[0].title],
        "/history/STO/compute.atom": [PAST[2].title],
        "/history/dns.atom": [],
    }


async def test_a_component_that_was_only_named_has_a_feed_whatever_is_in_its_name(dsn: str) -> None:
    named = OPEN.model_copy(update={"components": ["a b/ü?#%.x"]})
    document = feed_documents.no_incidents().model_copy(update={"incidents": [named]})
    async with serving(dsn, Shelf(incidents=latest(document))) as caller:
        path = component_path("a b/ü?#%.x")
        assert path == "/history/a%20b/%C3%BC%3F%23%25.x.atom"
        answer = await caller("GET", path)
        read = feedparser.parse(answer.content)
        assert [each.title for each in read.entries] == [OPEN.title]
        assert (await caller("GET", component_path("a b"))).status == 200
        assert [each.href for each in read.feed.links if each.rel == "self"] == [f"https://nordbastion.example{path}"]


async def test_all_of_them_follow_a_newer_document(dsn: str) -> None:
    shelf = Shelf(incidents=latest(feed_documents.no_incidents()))
    async with serving(dsn, shelf) as caller:
        before = [(await caller("GET", path)).content for path in list(PATHS)[:4]]
        assert (await caller("GET", "/history/HEL/network.atom")).status == 404
        shelf.incidents = latest(feed_documents.incidents(), number=2, published_at=NOW + timedelta(hours=1))
        for path, old in zip(PATHS, before, strict=False):
            answer = await caller("GET", path)
            assert answer.content != old
            assert answer.headers["Last-Modified"] == "Fri, 20 Nov 2026 02:30:00 GMT"
        assert (await caller("GET", "/history/HEL/network.atom")).status == 200
        assert (await caller("GET", "/history/dns.atom")).status == 404
        shelf.status = latest(feed_documents.status())
        assert (await caller("GET", "/history/dns.atom")).status == 200


async def published(pool: Pool, feed: Feed, number: int, document: BaseModel) -> None:
    content = canonical(document.model_dump(mode="json"))
    async with pool.acquire() as connection, connection.transaction():
        signatures = [Signature("F" * 40, b"signature")]
        await documents.save(connection, feed, number, content, signatures=signatures, published_at=NOW)


async def test_what_is_in_the_database_is_what_readers_get(dsn: str) -> None:
    held: list[tuple[Pool, FeedWatch]] = []

    def made(pool: Pool) -> list[Route]:
        held.append((pool, FeedWatch(pool, FakeClock())))
        return routes(held[0][1], SITE)

    async with a_site(dsn, made) as caller:
        pool, watch = held[0]
        assert (await caller("GET", "/history.atom")).status == 404
        await published(pool, Feed.INCIDENTS, 1, feed_documents.incidents())
        await published(pool, Feed.STATUS, 1, feed_documents.status())
        await watch.load()
        read = feedparser.parse((await caller("GET", "/history.rss")).content)
        assert read.entries[0].title == OPEN.title
        events = Calendar.from_ical((await caller("GET", "/maintenance.ics")).content).walk("VEVENT")
        assert str(events[0]["SUMMARY"]) == PLANNED.title
        assert (await caller("GET", "/history/panel.atom")).status == 200
        await published(pool, Feed.INCIDENTS, 2, feed_documents.no_incidents())
        await watch.load()
        assert feedparser.parse((await caller("GET", "/history.rss")).content).entries == []
