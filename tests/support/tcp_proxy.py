"""A network that breaks when a test says so: a TCP proxy that cuts, stalls, loses and throttles what it passes on."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

CHUNK = 65_536
#: Pieces of a second a throttled line is cut into: each carries its share of the rate.
PIECES = 20
#: Closing sends RST instead of FIN, as from a host that knows nothing of the connection.
RESET = struct.pack("ii", 1, 0)


class Fault(enum.Enum):
    """What is wrong with the network."""

    NONE = enum.auto()
    #: Connections are reset, new ones as well.
    CUT = enum.auto()
    #: Nothing gets through; it all does once the fault is over.
    STALLED = enum.auto()
    #: Whatever is sent is gone, and a connection that was open meanwhile never answers again.
    LOST = enum.auto()


class Proxy:
    """Listens on a loopback port and passes everything on to wherever `connect` leads."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._fault = Fault.NONE
        self._flows = asyncio.Event()
        self._flows.set()
        self._rate: float | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def address(self) -> str:
        """Where it listens, host:port."""
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset every connection, and each new one, until `heal`."""
        self._become(Fault.CUT)
        for link in self._links:
            link.reset()

    def stall(self) -> None:
        """Hold everything back until `heal`, then pass it on."""
        self._become(Fault.STALLED)

    def lose(self) -> None:
        """Let connections fall silent for good; until `heal` new ones are silent, too."""
        self._become(Fault.LOST)
        for link in self._links:
            link.is_lost = True

    def throttle(self, rate: float) -> None:
        """Pass on so many bytes a second and direction of each connection, until `heal`."""
        self._rate = rate

    def heal(self) -> None:
        """End every fault; what is lost stays lost."""
        self._rate = None
        self._become(Fault.NONE)

    def _become(self, fault: Fault) -> None:
        self._fault = fault
        (self._flows.clear if fault is Fault.STALLED else self._flows.set)()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Proxy]:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer, is_lost=self._fault is Fault.LOST)
        self._links.add(link)
        try:
            if self._fault is Fault.CUT:
                return
            if self._fault is Fault.LOST:
                await self._pump(link, reader, None)
                return
            await self._flows.wait()
            try:
                far_reader, far_writer = await self._connect()
            except OSError:  # nobody listens there
                return
            link.writers.append(far_writer)
            pumps = [
                asyncio.create_task(self._pump(link, reader, far_writer)),
                asyncio.create_task(self._pump(link, far_reader, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                if link.is_lost:  # that an end has gone is lost as well: the other one learns nothing
                    await asyncio.wait(pumps)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            self._links.discard(link)
            link.reset()

    async def _pump(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None) -> None:
        """Pass on what is read, until the end of it or of the connection."""
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                while data:
                    size = max(1, int(self._rate / PIECES)) if self._rate else len(data)
                    piece, data = data[:size], data[size:]
                    if self._rate:
                        await asyncio.sleep(len(piece) / self._rate)
                    await self._flows.wait()
                    if not link.is_lost and writer is not None:
                        writer.write(piece)
                        await writer.drain()


class _Link:
    """A connection and what it was connected to."""

    def __init__(self, writer: asyncio.StreamWriter, *, is_lost: bool) -> None:
        self.writers = [writer]
        self.is_lost = is_lost

    def reset(self) -> None:
        for writer in self.writers:
            sock: socket.socket = writer.get_extra_info("socket")
            if sock.family != socket.AF_UNIX and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
