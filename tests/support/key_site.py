"""The published keys as they are served, without the rest of the service: on a free port, from a folder."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from feeds.key_routes import routes
from feeds.pages import Link, Site, assets
from feeds.routes import NothingHereError
from tests.support.api import Caller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from feeds.keys import PublishedKeys
    from feeds.routes import Handler
    from feeds.security_text import SecurityText
    from runtime.clock import Clock

SITE = Site(
    "NordBastion",
    "https://nordbastion.example/",
    "https://nordbastion.example",
    "/v1",
    navigation=(Link("/status/", "Status"), Link("/pgp/", "PGP keys")),
)


@contextlib.asynccontextmanager
async def serving(
    keys: PublishedKeys, *, clock: Clock, security: SecurityText | None = None, site: Site = SITE
) -> AsyncIterator[Caller]:
    """Serve them; yield who asks."""

    @web.middleware
    async def missing(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except NothingHereError:
            return web.Response(status=404)

    app = web.Application(middlewares=[missing])
    for route in [*routes(keys, site, clock=clock, security=security), *assets()]:
        assert not route.is_api
        app.router.add_get(route.path, route.handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as session:
            yield Caller(f"http://127.0.0.1:{runner.addresses[0][1]}", session)
    finally:
        await runner.cleanup()
