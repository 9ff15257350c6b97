"""Receivers that misbehave, on raw sockets: what a polite HTTP server library cannot be talked into.

A behaviour is a coroutine that is called with each request a connection brings and writes whatever it likes.
When it returns the next request is read, unless it closed the connection. The kit counts what arrived, so that
a test can say how often a receiver was really called.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import socket
import struct
import threading
import zlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Self

from yarl import URL

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

MIB = 2**20
FINAL = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Conversation:
    """One connection; `number` is how many requests it has brought, this one included."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = 0
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        """End the connection the orderly way, after what was sent."""
        self._writer.close()

    def reset(self) -> None:
        """End it with RST."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def left(self) -> None:
        """Wait until the other side has closed the connection."""
        await self._reader.read()

    async def request(self) -> bytes | None:
        """Read one whole request; None when the other side has left."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head)
            body = await self._reader.readexactly(int(length[1]) if length else 0)
        except (asyncio.IncompleteReadError, OSError):
            return None
        self.number += 1
        return head + body


Behaviour = Callable[[Conversation], Awaitable[None]]


class Misbehaving:
    """A listening socket with a behaviour, and what came in."""

    def __init__(self, behaviour: Behaviour, greeting: bytes) -> None:
        self.url = URL()
        self.requests: list[bytes] = []
        self.connections = 0
        #: Connections that have ended, whoever ended them.
        self.ended = 0
        self._behaviour = behaviour
        self._greeting = greeting
        self._changed = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def until(self, condition: Callable[[Misbehaving], bool], seconds: float = 10) -> None:
        """Wait for connections, their requests and their ends until `condition` holds."""
        async with asyncio.timeout(seconds):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._changed.set()
        self._writers.append(writer)
        writer.write(self._greeting)
        self._tasks.append(asyncio.create_task(self._converse(Conversation(reader, writer), writer)))

    async def _converse(self, conversation: Conversation, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing() and (request := await conversation.request()) is not None:
                self.requests.append(request)
                self._changed.set()
                await self._behaviour(conversation)
        except OSError:
            pass  # the client has had enough of this connection
        finally:
            writer.close()
            self.ended += 1
            self._changed.set()

    async def end(self) -> None:
        """Cut off what is left, and wait until the sockets are closed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)


@contextlib.asynccontextmanager
async def receiving(
    behaviour: Behaviour, *, tls: ssl.SSLContext | None = None, greeting: bytes = b""
) -> AsyncIterator[Misbehaving]:
    """Listen on a free loopback port, with TLS where a context is given; `url` says where.

    `greeting` is sent to whoever connects, before anything was asked.
    """
    receiver = Misbehaving(behaviour, greeting)
    server = await asyncio.start_server(receiver.connected, "127.0.0.1", 0, ssl=tls, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    receiver.url = URL(f"{'https' if tls else 'http'}://127.0.0.1:{port}/hooks")
    try:
        yield receiver
    finally:
        server.close()
        await receiver.end()
        await server.wait_closed()


class Handshakes:
    """What a TLS server of a thread saw: the first byte of each connection, and the requests behind the handshakes."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.first_bytes: list[bytes] = []
        self.requests: list[bytes] = []
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, name="TLS server")
        self.url = URL(f"https://127.0.0.1:{self._listening.getsockname()[1]}/hooks")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)  # which wakes the thread
        self._thread.join()
        self._listening.close()

    def _serve(self) -> None:
        """Serve one connection after the other. Blocking: asyncio's server hangs up without the alert that says why."""
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self.first_bytes.append(connection.recv(1, socket.MSG_PEEK))
                with self._context.wrap_socket(connection, server_side=True) as secured:
                    self.requests.append(secured.recv(65536))
                    secured.sendall(FINAL)


# --- behaviours ------------------------------------------------------------------------------------------------------


def answers(data: bytes) -> Behaviour:
    """Send `data` to each request and keep the connection."""

    async def behaviour(conversation: Conversation) -> None:
        await conversation.send(data)

    return behaviour


def answers_and_closes(data: bytes) -> Behaviour:
    """Send `data`, then end the connection."""

    async def behaviour(conversation: Conversation) -> None:
        await conversation.send(data)
        conversation.close()

    return behaviour


def sends_apart(first: bytes, second: bytes) -> Behaviour:
    """Send an answer in two segments."""

    async def behaviour(conversation: Conversation) -> None:
        await conversation.send(first)
        await asyncio.sleep(0.01)
        await conversation.send(second)

    return behaviour


def sized(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return a complete answer with a body."""
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status}\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body


async def hangs(conversation: Conversation) -> None:
    """Take the request and never say a word."""
    await conversation.left()


async def closes(conversation: Conversation) -> None:
    """Take the request and leave without an answer."""
    conversation.close()


async def resets(conversation: Conversation) -> None:
    """Take the request and cut the connection."""
    conversation.reset()


async def resets_within_the_body(conversation: Conversation) -> None:
    await conversation.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart")
    await asyncio.sleep(0)
    conversation.reset()


def drips(data: bytes, pause: float = 0.01) -> Behaviour:
    """Send `data` byte by byte, then go on with the last byte for ever: no byte is ever late, the answer is."""

    async def behaviour(conversation: Conversation) -> None:
        for byte in data:
            await conversation.send(bytes([byte]))
            await asyncio.sleep(pause)
        while True:
            await conversation.send(data[-1:])
            await asyncio.sleep(pause)

    return behaviour


def repeats(start: bytes, unit: bytes, pause: float = 0.02) -> Behaviour:
    """Send `start`, then `unit` again and again with a pause before each: never silent for long, never done."""

    async def behaviour(conversation: Conversation) -> None:
        await conversation.send(start)
        while True:
            await asyncio.sleep(pause)
            await conversation.send(unit)

    return behaviour


def floods(start: bytes, unit: bytes) -> Behaviour:
    """Send `start`, then `unit` as fast as it is taken, without end."""

    async def behaviour(conversation: Conversation) -> None:
        await conversation.send(start)
        while True:
            await conversation.send(unit)

    return behaviour


class Gate:
    """A receiver's behaviour: requests wait until it is opened; counts how many waited at once."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()
        self.inside = 0
        self.most = 0

    async def __call__(self, conversation: Conversation) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self.is_open.wait()
        self.inside -= 1
        await conversation.send(FINAL)


def first_then(first: Behaviour, later: Behaviour) -> Behaviour:
    """Behave one way to a connection's first request, another way to those after it."""

    async def behaviour(conversation: Conversation) -> None:
        await (first if conversation.number == 1 else later)(conversation)

    return behaviour


def bomb(size: int) -> bytes:
    """Return an answer that says gzip and would unpack to `size` zeros; a gigabyte takes one megabyte."""
    return sized(_zipped(size), "content-encoding: gzip")


def _zipped(size: int) -> bytes:
    """Return a gzip file of `size` zeros, put together from one compressed block so that no time is spent on it."""
    block = bytes(MIB)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    unit = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    count, rest = divmod(size, MIB)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    tail = packer.compress(block[:rest]) + packer.flush()
    checksum = functools.reduce(lambda crc, _: zlib.crc32(block, crc), range(count), 0)
    head = struct.pack("<BBBBIBB", 0x1F, 0x8B, zlib.DEFLATED, 0, 0, 2, 255)
    return head + unit * count + tail + struct.pack("<II", zlib.crc32(block[:rest], checksum), size % 2**32)


# --- around them -----------------------------------------------------------------------------------------------------


def parsed(request: bytes) -> tuple[str, list[tuple[str, str]], bytes]:
    """Return a request's first line, its headers in alphabetical order, and its body."""
    head, _, body = request.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    split = (field.partition(":") for field in fields)
    return line, sorted((name.lower(), value.strip()) for name, _, value in split), body


def header(request: bytes, name: str) -> str:
    """Return one header of a request; raises KeyError where there is none."""
    return dict(parsed(request)[1])[name]


def port_of_nobody() -> int:
    """Return a loopback port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
