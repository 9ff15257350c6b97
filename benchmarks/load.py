"""A client that asks over kept-alive connections as fast as it is answered, and processes that answer it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

CONNECTIONS = 16


async def load(url: str, request: Callable[[int], bytes], seconds: float, status: bytes) -> float:
    """Ask for so long over `CONNECTIONS` connections, each waiting for its answer; return answers a second."""
    loop = asyncio.get_running_loop()
    parts = urlsplit(url)
    numbers = iter(range(10**9))
    answered = 0
    end = loop.time() + seconds

    async def ask() -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            while loop.time() < end:
                writer.write(request(next(numbers)))
                head = await reader.readuntil(b"\r\n\r\n")
                if head[9:12] != status:
                    raise RuntimeError(f"{head!r}{await reader.read(1000)!r}")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                answered += 1
        finally:
            writer.close()

    begun = loop.time()
    await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    return answered / (loop.time() - begun)


def request(method: str, path: str, token: str, content: bytes = b"") -> bytes:
    """Return a request as it goes over the wire."""
    body = f"content-type: application/json\r\ncontent-length: {len(content)}\r\n" if content else ""
    return f"{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{body}\r\n".encode() + content


@contextlib.asynccontextmanager
async def process(*arguments: str, **variables: str) -> AsyncIterator[str]:
    """Run a Python process that says where it listens; yield that address."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HELIOGRAPH_")}
    child = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=environment | variables, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert child.stdout is not None  # noqa: S101 - asked for above
        yield str(orjson.loads(await child.stdout.readline())["api"])
    finally:
        child.terminate()
        await child.wait()


async def serve(handle: Callable[[web.Request], Awaitable[web.Response]]) -> None:
    """Serve one handler at `/`, as bare as aiohttp has it; print where, and go on until the process is ended."""
    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port, *_ = runner.addresses[0]
    print(orjson.dumps({"api": f"http://{host}:{port}"}).decode(), flush=True)
    await asyncio.Event().wait()
