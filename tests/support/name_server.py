"""A name server on this machine that answers as badly as it is told to, and keeps what it was asked.

A name's first label says what becomes of it: `nxdomain`, `servfail`, `silent` (never an answer) or `here`
(127.0.0.1). UDP only, which is all a resolver asks first; `until` waits for questions.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

RCODES = {"here": 0, "servfail": 2, "nxdomain": 3}
HEADER = 12
TYPE_A = 1


class NameServer(asyncio.DatagramProtocol):
    """Raises nothing; a name it does not know is as good as `nxdomain`."""

    def __init__(self) -> None:
        self.port = 0
        #: Names asked for, in order, with repetitions.
        self.asked: list[str] = []
        self._changed = asyncio.Event()
        self._transport: asyncio.DatagramTransport | None = None

    async def until(self, condition: Callable[[NameServer], bool], seconds: float = 10) -> None:
        """Wait for questions until `condition` holds."""
        async with asyncio.timeout(seconds):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # the loop's own class is none, nominally
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        labels, position = [], HEADER
        while (length := data[position]) > 0:
            labels.append(data[position + 1 : position + 1 + length].decode())
            position += 1 + length
        end = position + 5
        (kind,) = struct.unpack_from(">H", data, position + 1)
        self.asked.append(".".join(labels))
        self._changed.set()
        if labels[0] == "silent" or self._transport is None:
            return
        rcode = RCODES.get(labels[0], 3)
        has_answer = rcode == 0 and kind == TYPE_A
        answer = struct.pack(">HHHIH4B", 0xC00C, TYPE_A, 1, 60, 4, 127, 0, 0, 1) if has_answer else b""
        head = data[:2] + struct.pack(">HHHHH", 0x8180 | rcode, 1, int(has_answer), 0, 0)
        self._transport.sendto(head + data[HEADER:end] + answer, addr)


@contextlib.asynccontextmanager
async def a_name_server() -> AsyncIterator[NameServer]:
    """Listen on a free loopback port."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
