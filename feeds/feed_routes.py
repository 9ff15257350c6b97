"""The routes of what this service signs itself: peering, incidents and status, byte for byte, and their signatures.

What is served of the newest document is made once and kept: a request costs neither the database nor the signer. A
cache is to ask again each time for `.json` and `.json.asc`, or a reader would have new bytes and an old signature; the
bare route, which programs poll, may be a few seconds old. All name the address (Content-Location) at which the very
bytes and their signature stay, for as long as old documents are kept.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import hdrs

from feeds import documents
from feeds.canary_routes import ASKED_AGAIN, CONNECTIONS, JSON, KEPT, NUMBER, OPEN, SIGNATURE
from feeds.documents import Feed
from feeds.routes import Described, NothingHereError, Stored
from feeds.serving import Fixed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aiohttp import web

    from feeds.documents import Published
    from feeds.feed_watch import FeedWatch
    from feeds.routes import Route
    from runtime.database import Pool

BASE = "/transparency"
FEEDS = (Feed.PEERING, Feed.INCIDENTS, Feed.STATUS)
#: Those whose bare route is the document; of incidents it is a list (`publisher/api/incidents.py`).
BARE = (Feed.PEERING, Feed.STATUS)
#: Whoever polls may be some seconds late; while a new one is fetched the old one is better than to wait.
POLLED: Mapping[str, str] = {**OPEN, hdrs.CACHE_CONTROL: "public, max-age=10, stale-while-revalidate=30"}
#: Bytes from which packing a document is left to a thread.
LARGE = 65_536
DOCUMENT, ARMORED = ".json", ".json.asc"

_OF_NEWEST = ("Last-Modified", "Link", "Content-Location")
_OF_OLD = ("Last-Modified", "Link")
_MEANING = {
    Feed.PEERING: "the peering record, with what is announced",
    Feed.INCIDENTS: "incidents and maintenance, with all updates",
    Feed.STATUS: "how everything does",
}


def _described(feed: Feed) -> Iterator[Described]:
    path, meaning = f"{BASE}/{feed}", _MEANING[feed]
    if feed in BARE:
        yield Described(
            path,
            f"get_{feed}",
            f"Show {meaning}.",
            f"The very bytes of `{feed}.json`, which verify with `{feed}.json.asc`; they may be some seconds old. "
            "`as_of` says up to when facts are in it.",
            JSON,
            may_be_missing=True,
            headers=_OF_NEWEST,
        )
    yield Described(
        f"{path}{DOCUMENT}",
        f"get_{feed}_document",
        f"Get {meaning}, as it was signed, byte for byte.",
        "Canonical JSON (RFC 8785). `Content-Location` is where these very bytes stay.",
        JSON,
        may_be_missing=True,
        headers=_OF_NEWEST,
    )
    yield Described(
        f"{path}{ARMORED}",
        f"get_{feed}_signature",
        f"Get the detached signature of `{feed}.json`.",
        "Made with the feed key.",
        SIGNATURE,
        may_be_missing=True,
        headers=_OF_NEWEST,
    )
    yield Described(
        f"{path}/documents/{{number}}{DOCUMENT}",
        f"get_old_{feed}_document",
        f"Get a document of {feed} by its number, as it was signed, byte for byte.",
        "Never changes; kept for 90 days at least.",
        JSON,
        may_be_missing=True,
        headers=_OF_OLD,
    )
    yield Described(
        f"{path}/documents/{{number}}{ARMORED}",
        f"get_old_{feed}_signature",
        f"Get the detached signature of a document of {feed}.",
        "Never changes; kept for 90 days at least.",
        SIGNATURE,
        may_be_missing=True,
        headers=_OF_OLD,
    )


#: Which feed each is of.
DESCRIBED: Mapping[Described, Feed] = {each: feed for feed in FEEDS for each in _described(feed)}


def routes(watch: FeedWatch, pool: Pool) -> list[Route]:
    """Return the routes; the newest documents are the `watch`'s, old ones are read from the database."""
    turns = asyncio.Semaphore(CONNECTIONS)
    served = {feed: _Served(feed, watch, pool, turns) for feed in FEEDS}
    return [
        each.by(served[feed].old)
        if "{" in each.path
        else each.by(served[feed].newest, partial(served[feed].stored, each.path.rpartition("/")[2]))
        for each, feed in DESCRIBED.items()
    ]


def place(feed: Feed, number: int) -> str:
    """Return where a document stays, below the provider's base path and without its ending; a canary too."""
    return f"{BASE}/{feed}/{'history' if feed is Feed.CANARY else 'documents'}/{number}"


class _Served:
    """The files of one feed."""

    def __init__(self, feed: Feed, watch: FeedWatch, pool: Pool, turns: asyncio.Semaphore) -> None:
        self._feed = feed
        self._watch = watch
        self._pool = pool
        self._turns = turns
        self._made: tuple[Published, Mapping[str, Fixed]] | None = None
        self._making = asyncio.Lock()

    async def newest(self, request: web.Request) -> web.Response:
        published, made = self._watch.of(self._feed), self._made
        if published is None:
            raise NothingHereError
        if made is None or made[0] is not published:
            made = await self._make(published)
        return _found(made[1], request).answer(request)

    def stored(self, name: str) -> Stored | None:
        """Return what is served by that name, None unless it has been made of the newest document."""
        published, made = self._watch.of(self._feed), self._made
        if published is None or made is None or made[0] is not published or name not in made[1]:
            return None
        return Stored(made[1][name])

    async def old(self, request: web.Request) -> web.Response:
        number = request.match_info["number"]
        if not NUMBER.fullmatch(number):
            raise NothingHereError
        async with self._turns, self._pool.acquire() as connection:
            published = await documents.read(connection, self._feed, int(number))
        if published is None:
            raise NothingHereError
        return _found(await _packed(published, number), request).answer(request)

    async def _make(self, published: Published) -> tuple[Published, Mapping[str, Fixed]]:
        """Make the files of the newest document; whoever comes meanwhile waits for the same ones."""
        async with self._making:
            if self._made is None or self._made[0] is not published:
                self._made = published, await _packed(published, str(self._feed), is_newest=True)
            return self._made


async def _packed(published: Published, stem: str, *, is_newest: bool = False) -> Mapping[str, Fixed]:
    if len(published.content) < LARGE:
        return files(published, stem, is_newest=is_newest)
    return await asyncio.to_thread(files, published, stem, is_newest=is_newest)


def files(published: Published, stem: str, *, is_newest: bool) -> dict[str, Fixed]:
    """Return what is served of a document by name, which begins with `stem`: its bytes and its signature. Pure.

    Of the newest one also the bytes by the bare name.
    """
    document, armored = f"{stem}{DOCUMENT}", f"{stem}{ARMORED}"
    link = f'<{armored}>; rel="related"; type="{SIGNATURE}"'

    def fixed(ending: str, content: bytes, content_type: str, headers: Mapping[str, str]) -> Fixed:
        own = {**headers, hdrs.LINK: link}
        if is_newest:
            own[hdrs.CONTENT_LOCATION] = f"{stem}/documents/{published.number}{ending}"
        return Fixed(content, content_type, own, modified=published.published_at, packs=content_type == JSON)

    always = ASKED_AGAIN if is_newest else KEPT
    made = {document: fixed(DOCUMENT, published.content, JSON, always)}
    if published.signatures:
        made[armored] = fixed(ARMORED, published.signatures[0].armored, SIGNATURE, always)
    if is_newest:
        made[stem] = fixed(DOCUMENT, published.content, JSON, POLLED)
    return made


def _found(made: Mapping[str, Fixed], request: web.Request) -> Fixed:
    found = made.get(request.path.rpartition("/")[2])
    if found is None:
        raise NothingHereError
    return found
