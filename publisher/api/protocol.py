"""One client's connection, as it faces the internet: what it may hold open, and what leaves on every answer.

aiohttp gives no time for a request's head, bounds the number of headers and the length of each but not all of them
together, answers what is not HTTP in its own words and names itself on every answer. `Connection` (one for each
socket) and `Listener` (all of them) change that. They lean on the insides of aiohttp's own classes, which
tests/integration/test_server.py pins.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from aiohttp import hdrs, web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from publisher.api import errors
from publisher.api.errors import ApiError
from publisher.profiles.model import Fault

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    #: Turns an error that no route has seen into a whole answer.
    Envelope = Callable[[ApiError], web.Response]

logger = logging.getLogger(__name__)

#: A full house is over, and the next one worth a line in the log, when a tenth has left.
ROOM_AGAIN = 0.9
SECURITY = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
#: A page that needs more sets its own.
PAGE_SECURITY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
}
HTML = "text/html"
STRICT_TRANSPORT = "max-age=31536000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How long a client may take, in seconds, and how much it may send before its request begins, in bytes.

    `head` is for the whole head of a request, from the connection or its first byte, and for a TLS handshake;
    `idle` between two requests; `send` for an answer nobody reads; `linger` for the rest of a body nobody wants.
    """

    head: float = 10.0
    idle: float = 75.0
    send: float = 60.0
    linger: float = 1.0
    head_bytes: int = 65_536
    line_bytes: int = 8190
    headers: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms a listener serves; see `runner`."""

    connections: int
    bounds: Bounds
    envelope: Envelope | None
    is_https: bool


class Connection(RequestHandler):
    """One client's connection."""

    __slots__ = ("_head_bytes", "_head_timer", "_house", "_send_timer", "_terms", "_unsent")

    def __init__(self, house: Listener, terms: Terms, **options: Any) -> None:  # noqa: ANN401 - aiohttp's own
        """Serve for `house`."""
        super().__init__(house, **options)
        self._house = house
        self._terms = terms
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._unsent = 0

    # --- times and sizes ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a head, or hang up at once when there are too many of us."""
        if not self._house.has_room():
            self._manager = None  # to aiohttp, a connection that has already ended
            cast("asyncio.Transport", transport).abort()
            return
        super().connection_made(transport)
        self._head_timer = self._loop.call_later(self._terms.bounds.head, self._is_late)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the timers."""
        self._stop_head_timer()
        self._stop_send_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; what is no whole head yet has to become one in time."""
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._stop_head_timer()
            self._head_bytes = 0
        elif data and self._is_between_requests():
            if self._head_timer is None:
                self._head_timer = self._loop.call_later(self._terms.bounds.head, self._is_late)
            self._head_bytes += len(data)
            if self._head_bytes > self._terms.bounds.head_bytes:
                self._refuse()

    def pause_writing(self) -> None:
        """The client reads slower than we write: from now on it is seen to go on."""
        super().pause_writing()
        self._watch_sending()

    def resume_writing(self) -> None:
        """It has nearly everything."""
        self._stop_send_timer()
        super().resume_writing()

    def _is_between_requests(self) -> bool:
        """Say whether aiohttp waits for a request: bytes that come in meanwhile are of a body, or wait their turn."""
        return self._waiter is not None and not self._waiter.done()

    def _refuse(self) -> None:
        """Have a head that is too large answered like one the parser refuses."""
        self._stop_head_timer()
        problem = BadHttpMessage("the head is too large")
        self._messages.append((_ErrInfo(status=HTTPStatus.BAD_REQUEST, exc=problem, message=""), EMPTY_PAYLOAD))
        assert self._waiter is not None  # noqa: S101 - see _is_between_requests
        self._waiter.set_result(None)

    def _is_late(self) -> None:
        self._head_timer = None
        self.force_close()

    def _watch_sending(self) -> None:
        """Look again later; hang up on who has taken nothing meanwhile."""
        if self.transport is not None:
            self._unsent = self.transport.get_write_buffer_size()
            self._send_timer = self._loop.call_later(self._terms.bounds.send, self._is_stuck)

    def _is_stuck(self) -> None:
        self._send_timer = None
        if self.transport is None:
            return
        if self.transport.get_write_buffer_size() < self._unsent:
            self._watch_sending()
        else:
            self.transport.abort()  # closing would wait for what is not read to be sent

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    # --- answers to what reached no route -----------------------------------------------------------------------------

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it repeats what was sent
    ) -> web.StreamResponse:
        """Answer what is not HTTP, and what failed around the routes; neither the client nor what it sent is logged."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun, so this one cannot be given")
        if status == HTTPStatus.BAD_REQUEST:
            problem = ApiError(Fault.MALFORMED, "malformed_request", self._what_is_wrong(exc))
        else:
            logger.error("a request crashed outside of its route", exc_info=exc)
            problem = errors.of_exception(exc or TimeoutError())
        response = self._answer(problem, status)
        response.force_close()
        return response

    def _what_is_wrong(self, exc: BaseException | None) -> str:
        """Name what the parser names, without repeating what was sent."""
        if isinstance(exc, LineTooLong):
            return f"The path, or a header, is longer than {self.max_field_size} bytes."
        if isinstance(exc, BadHttpMessage) and "duplicate" in str(exc).lower():
            return "A header stands twice that may stand once."
        return "This is not an HTTP request we understand."

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; what aiohttp itself raised before any route (417) is put into the envelope first."""
        if isinstance(resp, web.HTTPExpectationFailed):
            problem = ApiError(Fault.MALFORMED, "expectation_failed", "The only expectation taken is 100-continue.")
            resp = self._answer(problem, resp.status)
        return await super().finish_response(request, resp, start_time)

    def _answer(self, problem: ApiError, status: int) -> web.Response:
        if self._terms.envelope is None:
            return _Unrouted(status=status, text=HTTPStatus(status).phrase, is_https=self._terms.is_https)
        made = self._terms.envelope(problem)
        return _Unrouted(status=made.status, body=made.body, headers=made.headers, is_https=self._terms.is_https)


class _Unrouted(web.Response):
    """An answer no route has made: `on_response_prepare` is not sent for it, so it sees to its headers itself."""

    def __init__(self, *, is_https: bool, **options: Any) -> None:  # noqa: ANN401 - aiohttp's own
        super().__init__(**options)
        self._is_https = is_https

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        secure(self, is_https=self._is_https)


class Listener(web.Server):
    """All connections of one listener."""

    def __init__(self, *args: Any, terms: Terms, **options: Any) -> None:  # noqa: ANN401 - aiohttp's own
        """Serve on `terms`."""
        super().__init__(*args, **options)
        self._terms = terms
        self._is_full = False
        #: Connections that are open now.
        self.open = 0

    def __call__(self) -> RequestHandler:
        """Return what serves the next connection."""
        return Connection(self, self._terms, loop=self._loop, **self._kwargs)

    def has_room(self) -> bool:
        """Say whether one more may come; the log hears of it once."""
        if self.open < self._terms.connections:
            return True
        if not self._is_full:
            self._is_full = True
            logger.warning("%s connections are open: further ones are closed at once", self.open)
        return False

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Count one that came."""
        self.open += 1
        super().connection_made(handler, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Count one that went."""
        self.open -= 1
        if self.open < self._terms.connections * ROOM_AGAIN:
            self._is_full = False
        super().connection_lost(handler, exc)


def secure(response: web.StreamResponse, *, is_https: bool) -> None:
    """Put on an answer what every answer has, and take off who made it; what a handler has set stays."""
    headers = response.headers
    headers.pop(hdrs.SERVER, None)  # there is one at most
    for name, value in SECURITY.items():
        headers.setdefault(name, value)
    if is_https:
        headers.setdefault("Strict-Transport-Security", STRICT_TRANSPORT)
    if headers.get(hdrs.CONTENT_TYPE, "").startswith(HTML):
        for name, value in PAGE_SECURITY.items():
            headers.setdefault(name, value)
