"""The server as it stands on the internet, and raw sockets to talk to it: what no HTTP client can be made to send."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import orjson
from multidict import CIMultiDict

from publisher import profiles
from publisher.api.protocol import Listener
from publisher.api.server import Site, envelope_of, runner
from publisher.ids import Ids
from tests.support.time import FakeClock

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from aiohttp import web

    from publisher.api.protocol import Bounds, Connection
    from publisher.api.shortcut import Shortcut

SECONDS = 10
ENVELOPE = envelope_of(profiles.load("nordbastion"), Ids(FakeClock()))


class Said(NamedTuple):
    """An answer as it came over the wire."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """What is in the envelope of errors."""
        return dict(orjson.loads(self.body)["error"])


class Line:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> Said:
        """Read one answer, as long as its Content-Length says."""
        async with asyncio.timeout(SECONDS):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
            headers = CIMultiDict((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
            body = await self.reader.readexactly(int(headers.get("Content-Length", "0")))
        return Said(int(first.split(" ")[1]), headers, body)

    async def rest(self) -> bytes:
        """Read until the server has hung up, however it did."""
        read = b""
        async with asyncio.timeout(SECONDS):
            with contextlib.suppress(ConnectionError):
                while chunk := await self.reader.read(65536):
                    read += chunk
        return read

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


class Served:
    """A listening server; `listener` has its connections."""

    def __init__(self, port: int, listener: Listener, tls: ssl.SSLContext | None) -> None:
        self.port = port
        self.listener = listener
        self._tls = tls

    def connections(self) -> list[Connection]:
        """Return those that are open."""
        return cast("list[Connection]", self.listener.connections)

    @contextlib.asynccontextmanager
    async def line(self, *, tls: ssl.SSLContext | None = None, limit: int = 2**16) -> AsyncIterator[Line]:
        """Open a connection, with a client's TLS context where the server has one."""
        line = Line(*await asyncio.open_connection("127.0.0.1", self.port, ssl=tls, limit=limit))
        try:
            yield line
        finally:
            await line.close()

    async def ask(self, data: bytes, *, tls: ssl.SSLContext | None = None) -> Said:
        """Send bytes on a connection of their own; return the answer."""
        async with self.line(tls=tls) as line:
            line.send(data)
            return await line.answer()


@contextlib.asynccontextmanager
async def serving(
    app: web.Application,
    *,
    tls: ssl.SSLContext | None = None,
    bounds: Bounds | None = None,
    connections: int = 100,
    is_https: bool = False,
    is_public: bool = True,
    shortcut: Shortcut | None = None,
) -> AsyncIterator[Served]:
    """Serve `app` on a free loopback port; errors are in NordBastion's envelope unless it is not public."""
    envelope = ENVELOPE if is_public else None
    running = runner(
        app, envelope=envelope, connections=connections, is_https=is_https, bounds=bounds, shortcut=shortcut
    )
    await running.setup()
    try:
        await Site(running, "127.0.0.1", 0, tls=tls).start()
        assert isinstance(running.server, Listener)
        yield Served(running.addresses[0][1], running.server, tls)
    finally:
        await running.cleanup()
