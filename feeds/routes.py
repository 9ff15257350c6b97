"""What is served of the feeds: each route with what describes it. Whoever registers them sets limits before them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import hdrs, web

if TYPE_CHECKING:
    from feeds.serving import Fixed

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class NothingHereError(LookupError):
    """A handler has nothing at this address: a 404, in the words of whoever registers the route."""


class NotPublishedError(NothingHereError):
    """There will be something at this address: nothing has been published yet."""


class Stored(NamedTuple):
    """What a route answers just now whoever asks, and a Cache-Control of its own where that moves with the clock."""

    fixed: Fixed
    cache_control: str | None = None

    def answer(self, request: web.Request) -> web.Response:
        """Answer a request."""
        moving: dict[str, str] = {}
        if self.cache_control is not None:
            moving[hdrs.CACHE_CONTROL] = self.cache_control
        return self.fixed.answer(request, moving)


class Route(NamedTuple):
    """A GET (and HEAD) that is open to all.

    `path` is aiohttp's. Below the provider's base path stand those with `is_api`; they are in the OpenAPI document, and
    take nothing in their query but the parameters named in `query`. `stored` says what the handler would answer from
    memory to a plain request, None while that is for the handler to find out: answering then needs no handler.
    """

    path: str
    handler: Handler
    name: str
    summary: str
    content_type: str
    is_api: bool = True
    query: tuple[str, ...] = ()
    stored: Callable[[], Stored | None] | None = None


class Described(NamedTuple):
    """A route with `is_api` before it has a handler: what the OpenAPI document is made from.

    Parts of `path` in braces are named as in that document. A route that `may_be_missing` answers 404 where there is
    nothing; `headers` are those it has beside the ones of every route.
    """

    path: str
    name: str
    summary: str
    description: str
    content_type: str
    may_be_missing: bool = False
    headers: tuple[str, ...] = ()
    query: tuple[str, ...] = ()

    def by(self, handler: Handler, stored: Callable[[], Stored | None] | None = None) -> Route:
        """Return the route; see there."""
        return Route(self.path, handler, self.name, self.summary, self.content_type, query=self.query, stored=stored)
