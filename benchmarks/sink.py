"""A receiver that costs as little as one can: nginx answering 204, on a free loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runtime.embedded import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONFIG = """
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_buffer_size 64k;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 204; }}
        location = /status {{ stub_status; }}
    }}
}}
"""


class Sink(NamedTuple):
    """Where it listens, where it counts, and the process to charge."""

    url: str
    status_url: str
    pid: int


class SinkMissingError(Exception):
    """There is no nginx."""


@contextlib.asynccontextmanager
async def nginx() -> AsyncIterator[Sink]:
    """Run nginx for the length of the context; raises `SinkMissingError` where there is none."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        raise SinkMissingError("the benchmark's sink is nginx. On Debian: sudo apt-get install nginx-light")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="heliograph-sink-") as folder:
        Path(folder).chmod(0o755)  # noqa: ASYNC240 - before anything runs
        config = Path(folder, "nginx.conf")
        config.write_text(CONFIG.format(folder=folder, port=port))  # noqa: ASYNC240 - before anything runs
        child = subprocess.Popen(  # noqa: ASYNC220 - forks in no time
            [binary, "-c", str(config), "-p", folder, "-e", f"{folder}/error.log"]
        )
        try:
            async with asyncio.timeout(10):
                while True:
                    with contextlib.suppress(OSError):
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                        writer.close()
                        break
                    await asyncio.sleep(0.05)
            yield Sink(f"http://127.0.0.1:{port}/hooks", f"http://127.0.0.1:{port}/status", child.pid)
        finally:
            child.terminate()
            child.wait()
