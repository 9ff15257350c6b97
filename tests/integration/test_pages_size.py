"""How large a page is with all that it loads: small, however much there is and whatever was written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from feeds.pages import FILES, FOLDER
from tests.support import canaries, feed_documents
from tests.support.feed_documents import latest, shelf
from tests.support.feed_pages import Pages, some_pages
from tests.support.hostile_feeds import hostile_shelf
from tests.support.published_canaries import believed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LARGEST = 100_000
INCIDENT, MAINTENANCE = "/status/incidents/inc_2026_1120.0", "/status/maintenance/mnt_2026_0031.0"


@pytest.fixture
async def pages() -> AsyncIterator[Pages]:
    async with some_pages(shelf(), believed(canaries.first())) as made:
        yield made


def weight(page: bytes) -> int:
    """Return the bytes of a page with all that it loads, unpacked."""
    return len(page) + sum((FOLDER / name).stat().st_size for name in FILES)


async def test_pages_stay_small_however_much_there_is(pages: Pages) -> None:
    pages.shelf.incidents = latest(feed_documents.many_incidents(1_000, words=400))
    pages.shelf.peering = latest(feed_documents.peering(5_000))
    paths = ["/status/", "/status/history/", "/status/history/?page=20", "/peering/", "/peering/?page=50",
             "/peering/?prefix=185.240.0.0/12", "/warrant-canary/"]  # fmt: skip
    for path in paths:
        assert weight((await pages.ask("GET", path)).content) <= LARGEST, path


async def test_they_stay_small_and_whole_whatever_was_written(pages: Pages) -> None:
    hostile = hostile_shelf()
    pages.shelf.status, pages.shelf.incidents, pages.shelf.peering = hostile.status, hostile.incidents, hostile.peering
    for path in ("/status/", "/status/history/", INCIDENT, MAINTENANCE, "/peering/"):
        for language in ("en", "sv"):
            answer = await pages.ask("GET", path, Accept_Language=language)
            page = answer.content.decode()
            assert weight(answer.content) <= LARGEST, path
            assert "&lt;\u754c&gt; &amp; &#39;quoted&#39; turned[31m" in page, path
            assert not re.search("[\x00\x1b\u202e]", page), path
    said = await pages.text("/status/")
    assert "Read on : <\u754c>" in said
    assert "1 more open incident" in said
    components = 6 * 16
    assert f"{components - 60} more are in the document. Each bar is a day" in said
    told = await pages.text(INCIDENT)
    assert re.search(r"\d+ older updates stand in the document\.", told)
    assert "40 more are in the document." in await pages.text("/peering/")
