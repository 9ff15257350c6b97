"""Badges over HTTP: made once for what they show, never missing a change, and grey when nobody renews them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from feeds import badge_routes, badges
from feeds.canary_standing import Standing
from feeds.models import ComponentStatus
from tests.support import canaries, feed_documents
from tests.support.feed_documents import Shelf
from tests.support.feed_site import a_site
from tests.support.published_canaries import Watching, believed
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.api import Answer, Caller

ISSUED = datetime(2026, 11, 1, 9, 30, tzinfo=UTC)


@dataclass
class Site:
    """The badges, with what they show."""

    ask: Caller
    shelf: Shelf
    canary: Watching
    clock: FakeClock

    async def get(self, name: str, **headers: str) -> Answer:
        return await self.ask.with_(**headers)("GET", f"/badges/{name}.svg")

    async def says(self, name: str) -> str:
        """Return the title of a badge."""
        answer = await self.get(name)
        assert answer.status == 200, answer.content
        return answer.content.decode().partition("<title>")[2].partition("</title>")[0]


@pytest.fixture
async def site(dsn: str) -> AsyncIterator[Site]:
    shelf, canary, clock = Shelf(), Watching(Standing()), FakeClock(feed_documents.NOW)
    async with a_site(dsn, lambda _: badge_routes.routes(shelf, canary, clock)) as ask:
        yield Site(ask, shelf, canary, clock)


async def test_they_are_pictures_that_anybody_may_show(site: Site) -> None:
    site.shelf.status = feed_documents.latest(feed_documents.status())
    for name in ("status", "HEL/network", "canary"):
        answer = await site.get(name)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "image/svg+xml; charset=utf-8"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert answer.headers["Cache-Control"].startswith("public, max-age=60")
        again = await site.get(name, If_None_Match=answer.headers["ETag"])
        assert again.status == 304
        head = await site.ask("HEAD", f"/badges/{name}.svg")
        assert (head.status, head.content, head.headers["ETag"]) == (200, b"", answer.headers["ETag"])


async def test_they_say_what_the_document_says(site: Site) -> None:
    site.shelf.status = feed_documents.latest(feed_documents.status())
    assert await site.says("status") == "status: Partially Degraded Service"
    assert await site.says("HEL/network") == "Helsinki Network: degraded performance"
    assert await site.says("HEL%2Fnetwork") == "Helsinki Network: degraded performance"
    assert await site.says("dns") == "DNS: not reporting"
    assert await site.says("STO/compute") == "Stockholm Compute: operational"
    site.shelf.status = feed_documents.latest(feed_documents.quiet_status())
    assert await site.says("status") == "status: All Systems Operational"
    assert await site.says("HEL/network") == "Helsinki Network: operational"


async def test_a_component_may_have_any_name(site: Site) -> None:
    quiet = feed_documents.quiet_status()
    odd = quiet.components[0].model_copy(update={"id": "Umeå & co/100 %", "name": "a<b", "group": None})
    site.shelf.status = feed_documents.latest(quiet.model_copy(update={"components": [odd]}))
    path = badge_routes.component_path(odd.id)
    assert path == "/badges/Ume%C3%A5%20%26%20co/100%20%25.svg"
    answer = await site.ask("GET", path)
    assert answer.status == 200
    assert b"<title>a&lt;b: operational</title>" in answer.content


async def test_nothing_is_here_before_something_was_published_nor_of_what_nobody_has(site: Site) -> None:
    assert (await site.get("status")).status == 404
    assert (await site.get("STO/compute")).status == 404
    site.shelf.status = feed_documents.latest(feed_documents.status())
    assert (await site.get("STO/nothing")).status == 404
    assert (await site.get("STO")).status == 404


async def test_one_that_nobody_renews_turns_grey_and_back(site: Site) -> None:
    quiet = feed_documents.quiet_status()
    site.shelf.status = feed_documents.latest(quiet)
    site.clock.advance((quiet.as_of + badge_routes.OLD - site.clock.now()).total_seconds())
    assert await site.says("status") == "status: All Systems Operational"
    assert await site.says("panel") == "Control panel: operational"
    site.clock.advance(1)
    assert await site.says("status") == "status: not up to date"
    assert await site.says("panel") == "Control panel: not up to date"
    assert badges.GREEN.encode() not in (await site.get("panel")).content
    renewed = quiet.model_copy(update={"as_of": site.clock.now()})
    site.shelf.status = feed_documents.latest(renewed)
    assert await site.says("panel") == "Control panel: operational"


async def test_one_is_drawn_once_for_a_document(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def counting(badge: badges.Badge) -> bytes:
        drawn.append(badge.label)
        return badges.svg(badge)

    monkeypatch.setattr(badge_routes, "svg", counting)
    site.shelf.status = feed_documents.latest(feed_documents.quiet_status())
    for _ in range(3):
        for name in ("status", "panel", "canary"):
            await site.says(name)
    assert drawn == ["status", "Control panel", "warrant canary"]
    down = [
        each.model_copy(update={"status": ComponentStatus.MAJOR_OUTAGE})
        for each in site.shelf.status.document.components
    ]
    site.shelf.status = feed_documents.latest(feed_documents.quiet_status().model_copy(update={"components": down}))
    assert await site.says("panel") == "Control panel: major outage"
    assert len(drawn) == 4


async def test_the_canary_shows_in_every_state_and_for_no_longer_than_it_lasts(site: Site) -> None:
    assert await site.says("canary") == "warrant canary: missing"
    site.canary.standing = believed(canaries.first(ISSUED))
    for now, state, age in (
        (ISSUED + timedelta(hours=1), "current", 60),
        (datetime(2026, 11, 23, 23, 59, 45, tzinfo=UTC), "current", 15),
        (datetime(2026, 11, 24, tzinfo=UTC), "due", 60),
        (datetime(2026, 12, 1, tzinfo=UTC), "overdue", 60),
        (datetime(2026, 12, 8, tzinfo=UTC), "expired", 60),
    ):
        site.clock.advance((now - site.clock.now()).total_seconds())
        assert await site.says("canary") == f"warrant canary: {state}"
        answer = await site.get("canary")
        assert answer.headers["Cache-Control"] == f"public, max-age={age}, must-revalidate"
