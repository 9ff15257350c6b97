"""What is published, told as it happens: server-sent events (WHATWG HTML, 9.2), one for each document of every feed.

    event: start      where the stream stands; `is_resumed` says whether everything since `Last-Event-ID` follows
    event: <feed>     a document: its number, digest, and where its bytes and their signature stay

Whoever comes back with the id of the last event it saw is told what it missed; where that is too much, or too long ago,
it is told that it starts afresh, and reads the feeds themselves. Streams cost no database while they wait: the watch
holds what is new. Who does not take what it is sent is cut off, and may come back.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, NamedTuple

import orjson
from aiohttp import hdrs, web

from feeds import documents, feed_routes
from feeds.canary_routes import CONNECTIONS
from feeds.publish import KEPT
from feeds.routes import Described
from signer.statement import moment_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from feeds.documents import Entry
    from feeds.feed_watch import FeedWatch
    from feeds.routes import Route
    from runtime.clock import Clock
    from runtime.database import Pool

EVENTS = "text/event-stream"
LAST_EVENT_ID, QUERY = "Last-Event-ID", "last_event_id"
#: Streams that one process, and one address, may have open.
MOST, MOST_OF_ADDRESS = 200, 3
#: Seconds between two comments that keep a stream open, and in which a reader has to take what it was sent.
HEARTBEAT = 15.0
#: Milliseconds after which a client that lost its stream comes back; documents that it is told of then.
RETRY = 3000
MOST_RESUMED = 1000
#: An id as it is written here.
ID = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
BEAT = b":\n\n"
HEADERS = {
    hdrs.CONTENT_TYPE: EVENTS,
    hdrs.CACHE_CONTROL: "no-store",
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
    "X-Accel-Buffering": "no",
}
DESCRIBED = Described(
    f"{feed_routes.BASE}/stream",
    "stream",
    "Be told of every document as it is published: server-sent events.",
    "First an event `start` with the newest position, then for each document an event named as its feed, whose id is "
    "its position and whose data are `feed`, `number`, `sha256`, `url`, `signature_url` and `published_at`. With "
    f"`{LAST_EVENT_ID}` (or `{QUERY}`) those missed come first; where there are more than {MOST_RESUMED} of them, or "
    "that id is not known any more, `is_resumed` of `start` is false. A comment comes every "
    f"{HEARTBEAT:g} seconds. An address may have {MOST_OF_ADDRESS} streams.",
    EVENTS,
    query=(QUERY,),
)


class TooManyStreamsError(Exception):
    """There is no room for another stream; `is_of_address` says that the caller has too many itself."""

    def __init__(self, *, is_of_address: bool) -> None:
        """Say whose they are."""
        whose = f"from your address ({MOST_OF_ADDRESS})" if is_of_address else "open here"
        super().__init__(f"There are too many streams {whose}: try again later.")
        self.is_of_address = is_of_address


class Beginning(NamedTuple):
    """Where a stream begins: after this position, with what was missed if it is resumed."""

    position: int
    missed: Sequence[Entry] = ()
    is_resumed: bool = False


class Streams:
    """The streams that are open in this process."""

    def __init__(
        self,
        watch: FeedWatch,
        pool: Pool,
        clock: Clock,
        *,
        url: str,
        address_of: Callable[[web.Request], str],
        heartbeat: float = HEARTBEAT,
    ) -> None:
        """`url` is where the API is for the public, with its base path; `address_of` says whose streams are counted."""
        self.watch = watch
        self.url = url.rstrip("/")
        self.heartbeat = heartbeat
        #: Set when all are to end.
        self.ending = asyncio.Event()
        self._pool = pool
        self._clock = clock
        self._address_of = address_of
        self._all: list[_Stream] = []
        self._turns = asyncio.Semaphore(CONNECTIONS)

    @property
    def route(self) -> Route:
        """What is served."""
        return DESCRIBED.by(self.serve)

    @property
    def count(self) -> int:
        """How many are open."""
        return sum(each.is_open for each in self._all)

    async def run(self, stop: asyncio.Event) -> None:
        """End all streams at `stop`, or when this is cancelled: clients come back, to another process perhaps."""
        try:
            await stop.wait()
        finally:
            self.ending.set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Return a stream, told once it is sent; raises `TooManyStreamsError`, and what the database raises."""
        if request.method == hdrs.METH_HEAD:
            return web.Response(headers=HEADERS)
        stream = self._admitted(request)
        try:
            stream.beginning = await self._beginning(last_seen(request))
        except BaseException:
            stream.is_over = True
            raise
        return stream

    def _admitted(self, request: web.Request) -> _Stream:
        address = self._address_of(request)
        self._all = [each for each in self._all if each.is_open]
        if sum(each.address == address for each in self._all) >= MOST_OF_ADDRESS:
            raise TooManyStreamsError(is_of_address=True)
        if len(self._all) >= MOST or self.ending.is_set():
            raise TooManyStreamsError(is_of_address=False)
        stream = _Stream(self, request, address)
        self._all.append(stream)
        return stream

    async def _beginning(self, last: int | None) -> Beginning:
        """Return where a stream begins for whoever has seen the event `last`."""
        if last is not None:
            async with self._turns, self._pool.acquire() as connection:
                published_at = await documents.published_at(connection, last)
                if published_at is not None and published_at > self._clock.now() - KEPT:
                    missed = await documents.since(connection, last, MOST_RESUMED + 1)
                    if len(missed) <= MOST_RESUMED:
                        return Beginning(last, missed, is_resumed=True)
        return Beginning(self.watch.position)


class _Stream(web.StreamResponse):
    """One stream: an answer that does not end by itself."""

    def __init__(self, streams: Streams, request: web.Request, address: str) -> None:
        super().__init__(headers=HEADERS)
        self.force_close()
        self.address = address
        self.beginning = Beginning(0)
        self.is_over = False
        self._streams = streams
        self._request = request

    @property
    def is_open(self) -> bool:
        """Say whether anybody may be there; who has gone is noticed here before anything is sent."""
        transport = self._request.transport
        return not (self.is_over or transport is None or transport.is_closing())

    async def write_eof(self, data: bytes = b"") -> None:
        """Tell everything there is, until the end."""
        try:
            await self._tell()
        finally:
            self.is_over = True
        await super().write_eof(data)

    async def _tell(self) -> None:
        """Return when all streams end, and when this one is so far behind that it has to resume."""
        watch, position = self._streams.watch, self.beginning.position
        await self.write(start(self.beginning))
        told: Sequence[Entry] | None = self.beginning.missed
        while told is not None:
            for each in told:
                await self.write(event(each, self._streams.url))
                position = each.position
            told = watch.after(position)
            if told is not None and not told and not await self._something_new():
                return

    async def _something_new(self) -> bool:
        """Wait for the watch, and say meanwhile that this is still here; False for the end."""
        waits = [asyncio.ensure_future(each) for each in (self._streams.watch.changed(), self._streams.ending.wait())]
        try:
            while not self._streams.ending.is_set():
                done, _ = await asyncio.wait(
                    waits, timeout=self._streams.heartbeat, return_when=asyncio.FIRST_COMPLETED
                )
                if done:
                    return not self._streams.ending.is_set()
                transport = self._request.transport
                if transport is None:
                    return False
                if transport.get_write_buffer_size() > 0:  # what was sent a heartbeat ago at least
                    transport.abort()
                    return False
                await self.write(BEAT)
        finally:
            for each in waits:
                each.cancel()
        return False


def last_seen(request: web.Request) -> int | None:
    """Return the id of the last event a client has seen, None where it names none that could be one of ours."""
    given = request.headers.get(LAST_EVENT_ID) or request.query.get(QUERY, "")
    return int(given) if ID.fullmatch(given) else None


def start(beginning: Beginning) -> bytes:
    """Return the first event of a stream. Pure."""
    position, is_resumed = beginning.position, beginning.is_resumed
    return b"retry: %d\n" % RETRY + _event("start", position, {"position": position, "is_resumed": is_resumed})


def event(entry: Entry, url: str) -> bytes:
    """Return the event of a document; `url` is where the API is for the public. Pure."""
    place = f"{url}{feed_routes.place(entry.feed, entry.number)}"
    return _event(
        entry.feed,
        entry.position,
        {
            "feed": str(entry.feed),
            "number": entry.number,
            "sha256": entry.sha256,
            "url": f"{place}{feed_routes.DOCUMENT}",
            "signature_url": f"{place}{feed_routes.ARMORED}",
            "published_at": moment_text(entry.published_at),
        },
    )


def _event(name: str, position: int, data: dict[str, object]) -> bytes:
    return b"event: %s\nid: %d\ndata: %s\n\n" % (name.encode(), position, orjson.dumps(data))
