"""One bounded HTTP exchange: connect, TLS, send, read at most so much, within one timeout.

It stands on aiohttp's connector and response parser, below its client session. The connector brings what must
not be home-made (DNS, happy eyeballs, TLS with verification, a pool of kept-alive connections) and the C parser
reads the answer; the session brings cookies, redirects, proxies, decompression, several timers and a header
object per request, none of which a webhook may or should have, at more than the price of everything else
together (docs/performance.md). The price of this choice is that `ResponseHandler` is not documented API: the
version is pinned and tests/integration/test_transport.py holds every behaviour used here.

Nothing is followed, nothing is decompressed, no environment proxy is read. One timer per attempt covers the
whole exchange, so a receiver that drips bytes ends when one that is silent does.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import aiohttp
from aiohttp.client_reqrep import ClientRequest
from multidict import CIMultiDict

from publisher.delivery import headers
from publisher.delivery.egress import RefusedUrlError, UrlFault, VettedResolver
from publisher.delivery.outcome import BlockedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from aiohttp.abc import AbstractResolver
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.streams import StreamReader
    from yarl import URL

    from publisher.delivery.egress import Rules

READ_BUFFER = 16_384
MAX_HEADER_BYTES = 8_190
#: Prepared URLs kept; past it the oldest is prepared again.
ROUTES = 20_000
#: Idle connections are closed before most receivers close them.
KEEPALIVE = 15.0
#: Seconds a DNS answer is believed, and a connection to it kept.
DNS_CACHE = 30
DNS_TIMEOUT, DNS_TRIES = 3.0, 2
#: Where a connection's protocol remembers its beginning, on the event loop's clock.
_SINCE = "heliograph_since"

SWITCHING_PROTOCOLS = 101
#: Interim answers (1xx) that are skipped; a receiver that sends more is not going to answer.
MAX_INTERIM = 16

_NO_TIMERS = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)


@dataclass(frozen=True, slots=True)
class Response:
    """What came back: final status, `Retry-After` where given, and at most `response_bytes` of the body."""

    status: int
    retry_after: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class _Route:
    """What never changes for a URL: the connector's key and the head of the request."""

    request: ClientRequest
    head: bytes


def dns_resolver() -> AbstractResolver:
    """Return a resolver that uses no threads: a name server that hangs holds up nobody but its own names."""
    return aiohttp.AsyncResolver(timeout=DNS_TIMEOUT, tries=DNS_TRIES)


class Transport:
    """Posts to customers; one per process."""

    def __init__(
        self,
        rules: Rules,
        *,
        timeout: float,
        response_bytes: int,
        user_agent: str,
        make_resolver: Callable[[], AbstractResolver] = dns_resolver,
    ) -> None:
        """Call whom `rules` allow; bound each exchange by `timeout` seconds, its answer by `response_bytes`."""
        self._rules = rules
        self._make_resolver = make_resolver
        self._timeout = timeout
        self._response_bytes = response_bytes
        self.user_agent = user_agent
        self._routes: dict[URL, _Route] = {}
        self._connector: aiohttp.TCPConnector | None = None

    async def __aenter__(self) -> Self:
        """Open the pool. Limits are the worker's business: a full pool would let one receiver stop the others."""
        self._loop = asyncio.get_running_loop()
        self._resolver = VettedResolver(self._rules, self._make_resolver())
        self._connector = aiohttp.TCPConnector(
            limit=0,
            ttl_dns_cache=DNS_CACHE,
            keepalive_timeout=KEEPALIVE,
            resolver=self._resolver,
            socket_factory=self._rules.make_socket,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        if self._connector is not None:
            await self._connector.close()
            await self._resolver.close()

    async def post(self, url: URL, own_headers: Mapping[str, str], body: bytes) -> Response:
        """Send `body` and return the answer; raises whatever went wrong (`outcome.result_of_error` names it).

        A kept-alive connection that turns out to be closed is replaced at once, within the same timeout: the
        receiver had not answered on it, and the attempt was made to reach it.
        """
        route = self._routes.get(url) or self._prepare(url)
        lines = "".join([f"{name}: {value}\r\n" for name, value in own_headers.items()])
        content = b"%bcontent-length: %d\r\n%b\r\n%b" % (route.head, len(body), lines.encode("latin-1"), body)
        assert self._connector is not None  # noqa: S101 - `post` is only called inside the context
        async with asyncio.timeout(self._timeout):
            while True:
                connection = await self._connector.connect(route.request, [], _NO_TIMERS)
                now = self._loop.time()
                is_fresh = _is_fresh(connection, now)
                if not is_fresh and not _is_reusable(connection, now):
                    connection.close()
                    continue
                try:
                    return await self._exchange(connection, content)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                    if is_fresh:
                        raise
                finally:
                    connection.close()  # does nothing once it is back in the pool

    async def _exchange(self, connection: Connection, content: bytes) -> Response:
        protocol = connection.protocol
        transport = connection.transport
        if protocol is None or transport is None:
            raise aiohttp.ServerDisconnectedError
        protocol.set_response_params(
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=READ_BUFFER,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )
        transport.write(content)
        for _ in range(MAX_INTERIM + 1):
            message, payload = await protocol.read()
            if not 100 <= message.code < 200 or message.code == SWITCHING_PROTOCOLS:  # noqa: PLR2004 - interim
                break
        else:
            raise aiohttp.ClientPayloadError("nothing but interim answers")
        body = await self._read(protocol, payload)
        response = Response(message.code, message.headers.get("retry-after"), body)
        if payload.is_eof() and message.code != SWITCHING_PROTOCOLS:
            connection.release()
        return response

    async def _read(self, protocol: ResponseHandler, payload: StreamReader) -> bytes:
        """Read up to the limit; an answer that breaks off has still been given.

        A body that cannot be parsed closes the connection without waking its reader, so both are waited for.
        """
        content = bytearray()
        try:
            while (missing := self._response_bytes - len(content)) > 0 and not payload.at_eof():
                closed = protocol.closed
                if payload.is_eof() or closed is None:
                    content += payload.read_nowait(missing)
                    break
                closed.add_done_callback(_retrieve)
                reading = asyncio.ensure_future(payload.read(missing))
                try:
                    await asyncio.wait((reading, closed), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    reading.cancel()  # does nothing to one that has ended
                if not reading.done():
                    break
                content += reading.result()
        except aiohttp.ClientError:
            pass
        return bytes(content)

    def _prepare(self, url: URL) -> _Route:
        host = url.host_port_subcomponent
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.fixed(self.user_agent).items())
        head = f"POST {url.raw_path_qs} HTTP/1.1\r\nhost: {host}\r\n{lines}"
        try:
            self._rules.check_url(str(url))
        except RefusedUrlError as error:
            if error.fault is not UrlFault.NAME:  # which no resolver takes: not blocked, unknown
                raise BlockedError(str(error)) from None
        request = ClientRequest("POST", url, headers=CIMultiDict(), loop=self._loop)
        route = self._routes[url] = _Route(request, head.encode("latin-1"))
        if len(self._routes) > ROUTES:
            del self._routes[next(iter(self._routes))]
        return route


def _retrieve(closed: asyncio.Future[None]) -> None:
    """Look at why a connection was closed, so that nobody is told that nobody did."""
    if not closed.cancelled():
        closed.exception()


def _is_fresh(connection: Connection, now: float) -> bool:
    """Say whether a connection carries its first request; remember since when it stands."""
    protocol = connection.protocol
    if protocol is None or hasattr(protocol, _SINCE):
        return False
    setattr(protocol, _SINCE, now)
    return True


def _is_reusable(connection: Connection, now: float) -> bool:
    """Say whether a kept-alive connection may carry another request.

    Not when it is older than its address was vetted for, nor when it spoke out of turn: what it said is not the
    answer to come.
    """
    protocol = connection.protocol
    return protocol is not None and now - float(getattr(protocol, _SINCE)) < DNS_CACHE and not protocol.should_close
