"""The short way of what is polled: documents that lie in memory are answered before any route is looked for.

    plain GET or HEAD of a stored document -> limit -> the head made beforehand, what moves in it, the bytes

Readers poll feeds all day, and nearly every answer is the one before it. What every answer has (a request id, the
limit, what makes it safe) is on it all the same: an answer of the short way and one of the long way differ in nothing,
and tests/integration/test_shortcut.py compares them. Whatever is unusual takes the long way: a query, another version
of HTTP, a connection to be closed, a wish for a signature, a limit reached or counted elsewhere, nothing to serve yet.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.helpers import rfc822_formatted_time
from multidict import istr

from publisher.api import feed_answers
from publisher.api.limits import ADDRESS, texts_of
from publisher.api.protocol import secure
from publisher.api.request_ids import request_id
from publisher.profiles.model import LimitClass

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from feeds.routes import Route, Stored
    from feeds.serving import Prepared
    from publisher.api.call import Client
    from publisher.api.limits import Limiter
    from publisher.api.metrics import ApiMetrics, Seen
    from publisher.api.request_log import RequestLog
    from publisher.ids import Ids
    from publisher.profiles import Profile
    from runtime.clock import Clock

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

METHODS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
#: What would break out of a header.
BREAKS = re.compile(r"[\r\n\0]")


class Shortcut:
    """Stands before the application."""

    def __init__(
        self,
        profile: Profile,
        routes: Mapping[str, Route],
        *,
        limiter: Limiter,
        client_of: Callable[[web.BaseRequest], Client],
        ids: Ids,
        clock: Clock,
        is_https: bool,
        metrics: ApiMetrics,
        log: RequestLog,
    ) -> None:
        """`routes` by their whole path, which `metrics` knows; those without `stored` are left to the application."""
        self._request_id = istr(profile.headers.request_id)
        self._told = "".join(f"{name}: {text}\r\n" for name, text in texts_of(profile.limits).items())
        self._limiter = limiter
        self._client_of = client_of
        self._ids = ids
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._shelves = {
            path: _Shelf(
                route.stored,
                profile.headers.sign if feed_answers.is_json(route) else None,
                is_https=is_https,
                seen={method: metrics.of(method, path) for method in METHODS},
            )
            for path, route in routes.items()
            if route.stored is not None
        }

    def before(self, handler: Handler) -> Handler:
        """Return a handler that answers what it can, and leaves the rest to the one given."""

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return self.answer(request) or await handler(request)

        return handle

    def answer(self, request: web.BaseRequest) -> web.StreamResponse | None:
        """Answer a request, or say by None that it has to take the long way."""
        started = self._clock.monotonic()
        path, method = request.raw_path, request.method
        shelf = self._shelves.get(path)
        if shelf is None or method not in METHODS or request.version != HttpVersion11 or not request.keep_alive:
            return None
        asked = request.headers
        if hdrs.EXPECT in asked or hdrs.UPGRADE in asked or (shelf.sign is not None and shelf.sign in asked):
            return None
        stored = shelf.stored()
        if stored is None:
            return None
        standing = self._limiter.hit_at_once(LimitClass.READ, ADDRESS + self._client_of(request).address)
        if standing is None or not standing.is_allowed:
            return None
        self._metrics.decided(LimitClass.READ, is_allowed=True)
        span = self._log.begun(method, path)
        chosen = stored.fixed.choose(request)
        moving = "" if stored.cache_control is None else f"Cache-Control: {stored.cache_control}\r\n"
        known = request_id(asked.get(self._request_id), self._ids)
        head = (
            f"{shelf.head(stored, chosen)}{moving}{standing.said(self._told)}"
            f"{self._request_id}: {known}\r\nDate: {rfc822_formatted_time()}\r\n\r\n"
        )
        seconds = self._clock.monotonic() - started
        seen = shelf.seen[method]
        if seen is not None:
            self._metrics.counted(seen, chosen.status, seconds)
        self._log.ended(method, path, span, chosen.status, seconds, known)
        return _Whole(chosen.status, head.encode(), chosen.content if chosen.is_sent else b"")


class _Shelf:
    """The heads of what one path answers: what stays the same in them for as long as its document does."""

    def __init__(
        self, stored: Callable[[], Stored | None], sign: str | None, *, is_https: bool, seen: Mapping[str, Seen | None]
    ) -> None:
        self.stored = stored
        self.seen = seen
        self.sign = None if sign is None else istr(sign)
        self._is_https = is_https
        self._of: object = None
        self._heads: dict[Prepared, str] = {}

    def head(self, stored: Stored, chosen: Prepared) -> str:
        if self._of is not stored.fixed:
            self._of, self._heads = stored.fixed, {}
        found = self._heads.get(chosen)
        if found is None:
            found = self._heads[chosen] = _head(chosen, self.sign, moves=stored.cache_control, is_https=self._is_https)
        return found


def _head(chosen: Prepared, sign: str | None, *, moves: str | None, is_https: bool) -> str:
    """Return the status line and the lasting headers of an answer; raises ValueError for one that would break. Pure."""
    made = web.Response(status=chosen.status, headers=chosen.headers)
    if sign is not None:
        feed_answers.vary(made, sign)
    secure(made, is_https=is_https)
    if chosen.status != HTTPStatus.NOT_MODIFIED:
        made.headers[hdrs.CONTENT_LENGTH] = str(len(chosen.content))
    if moves is not None:
        made.headers.pop(hdrs.CACHE_CONTROL, None)
    for name, value in made.headers.items():
        if BREAKS.search(name + value):
            raise ValueError(f"{name}: a header cannot be {value!r}")
    lines = "".join(f"{name}: {value}\r\n" for name, value in made.headers.items())
    return f"HTTP/1.1 {chosen.status} {HTTPStatus(chosen.status).phrase}\r\n{lines}"


class _Whole(web.StreamResponse):
    """An answer that is written as it is; of aiohttp's own only what it asks of an answer."""

    def __init__(self, status: int, head: bytes, content: bytes) -> None:
        # aiohttp's own makes headers and state that nobody here looks at
        self._status = status
        self._keep_alive = True
        self._head = head
        self._content = content
        self._request: web.BaseRequest | None = None

    async def prepare(self, request: web.BaseRequest) -> None:
        """Know to whom."""
        self._request = request

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002 - aiohttp's own
        """Write everything, and wait while the client reads slower than we write."""
        assert self._request is not None  # noqa: S101 - prepare comes first
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        if self._content:
            transport.writelines((self._head, self._content))
        else:
            transport.write(self._head)
        await self._request.writer.drain()
