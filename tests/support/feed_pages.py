"""The pages of the feeds as they are served, without the rest of the service: of documents and canaries one chooses."""

from __future__ import annotations

import asyncio
import contextlib
import html
import os
import re
import subprocess
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from feeds import canary_page, peering_page, status_pages
from feeds.pages import Link, Site, assets
from feeds.pages.missing import Missing
from feeds.routes import NothingHereError, Route
from tests.support.api import Caller
from tests.support.feed_documents import NOW
from tests.support.published_canaries import Watching
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from feeds.canary import Watched
    from feeds.canary_standing import Standing
    from feeds.routes import Handler
    from runtime.clock import Clock
    from runtime.database import Pool
    from tests.support.feed_documents import Shelf

NAVIGATION = (
    Link("/status/", "Status"),
    Link("/warrant-canary/", "Warrant canary"),
    Link("/peering/", "Peering"),
    Link("/pgp/", "Keys"),
)
SITE = Site(
    "NordBastion", "https://nordbastion.example/", "https://api.nordbastion.example", "/v1", navigation=NAVIGATION
)


def all_routes(shelf: Shelf, canary: Watched, pool: Pool, clock: Clock, site: Site = SITE) -> list[Route]:
    """Return every page but that of the keys."""
    return [
        *status_pages.routes(shelf, site, clock),
        *peering_page.routes(shelf, site),
        *canary_page.routes(canary, pool, site, clock),
        *assets(),
    ]


class Announcer:
    """A stream of server-sent events that says what it is told to, to whoever came last."""

    def __init__(self) -> None:
        self.connected = asyncio.Event()
        self._told: asyncio.Queue[bytes] = asyncio.Queue()

    def tell(self, feed: str) -> None:
        self._told.put_nowait(f"event: {feed}\ndata: {{}}\n\n".encode())

    async def serve(self, request: web.Request) -> web.StreamResponse:
        told = self._told = asyncio.Queue()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": hello\n\n")
        self.connected.set()
        while True:
            await response.write(await told.get())


@contextlib.asynccontextmanager
async def serving(routes: Iterable[Route], *, stream: Handler | None = None) -> AsyncIterator[str]:
    """Serve them on a free port; yield the address."""

    @web.middleware
    async def missing(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except NothingHereError:
            return web.Response(status=404)

    app = web.Application(middlewares=[missing])
    for route in map(Missing(SITE).instead, routes):
        app.router.add_get(("/v1" if route.is_api else "") + route.path, route.handler)
    if stream:
        app.router.add_get("/v1/transparency/stream", stream)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Away:
    """A database that is not there."""

    def acquire(self) -> object:
        raise OSError("away")


@dataclass
class Pages:
    """The pages, and what they are made of."""

    ask: Caller
    shelf: Shelf
    canary: Watching
    clock: FakeClock

    async def text(self, path: str) -> str:
        """Return a page as it is read aloud."""
        answer = await self.ask("GET", path)
        assert answer.status == 200, path
        return words(answer.content)


def words(page: bytes) -> str:
    """Return what is read aloud of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.decode())).split())


@contextlib.asynccontextmanager
async def some_pages(held: Shelf, standing: Standing) -> AsyncIterator[Pages]:
    """Serve all pages but that of the keys, without a database, at an onion service too."""
    clock, canary = FakeClock(NOW), Watching(standing)
    pool: Pool = Away()  # type: ignore[assignment]  # never answers
    site = replace(SITE, onion_location="http://abc.onion")
    async with serving(all_routes(held, canary, pool, clock, site)) as url, aiohttp.ClientSession() as session:
        yield Pages(Caller(url, session), held, canary, clock)


def shell_lines(page: bytes) -> str:
    """Return the only lines for a shell that a page has."""
    [lines] = re.findall(r'<pre class="shell".*?><code>(.*?)</code>', page.decode(), re.DOTALL)
    return html.unescape(lines)


async def in_shell(script: str, folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Run lines of a page as a reader does who has the keyring `home`."""
    return await asyncio.to_thread(
        subprocess.run,
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={"GNUPGHOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
