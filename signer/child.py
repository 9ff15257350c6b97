"""The signing process as a child of the service: started, started again when it ends, and never left behind.

It is not told our settings, nor our secrets: it gets a search path and its arguments. It ends when its stdin does, so
even a parent that is killed leaves no signer running.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING

from runtime.lifecycle import cancel
from signer.faults import AgentError
from signer.protocol import READY

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Collection
    from pathlib import Path

logger = logging.getLogger(__name__)

#: Seconds until it says it is ready, and until it has ended.
START, STOP = 30.0, 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
_TOLD = ("PATH", "HOME", "TMPDIR", "LANG", "TZ", "PYTHONPATH")


class Child:
    """A signer that runs; `pid` is that of the process of the moment."""

    def __init__(self, arguments: Collection[str]) -> None:
        """`arguments` are those of `signer.agent`."""
        self._arguments = tuple(arguments)
        self._process: Process | None = None
        self.starts = asyncio.Condition()
        self.started = 0

    @property
    def pid(self) -> int | None:
        """The process, None between two."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Start it and return when it listens; raises `AgentError` when it does not."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "signer.agent", "--until-stdin-ends", *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: value for name in _TOLD if (value := os.environ.get(name)) is not None},
            start_new_session=True,  # a Ctrl-C is for the parent, which needs the signer until it has drained
        )
        self._process = process
        assert process.stdout is not None  # noqa: S101 - asked for above
        try:
            async with asyncio.timeout(START):
                is_ready = await process.stdout.readline() == READY
        except TimeoutError:
            is_ready = False
        if not is_ready:
            await self.end()
            raise AgentError("the signing process did not start; its log line above says why")
        async with self.starts:
            self.started += 1
            self.starts.notify_all()

    async def keep(self) -> None:
        """Start it again whenever it ends; returns only by being cancelled."""
        pause = FIRST_PAUSE
        while True:
            if self._process is not None:
                code = await self._process.wait()
                logger.error("the signing process ended (exit code %d); starting it again in %.1f s", code, pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            with contextlib.suppress(AgentError, OSError):  # said already by the process; the next round tries again
                await self.start()
                pause = FIRST_PAUSE

    async def end(self) -> None:
        """Have it end, and wait until it has."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None  # noqa: S101 - asked for above
        process.stdin.close()
        try:
            async with asyncio.timeout(STOP):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def child(
    *,
    socket: Path,
    home: Path,
    fingerprint: str,
    canary: Collection[str] = (),
    log_level: str = "info",
    log_format: str = "auto",
) -> AsyncIterator[Child]:
    """Run a signer beside this process; raises `AgentError` when it does not start. Its log goes to our stderr."""
    made = Child(
        [
            *("--socket", str(socket), "--home", str(home), "--key", fingerprint),
            *(f"--canary={each}" for each in canary),
            *("--log-level", log_level, "--log-format", log_format),
        ]
    )
    try:
        await made.start()
    except BaseException:  # cancelled, too: nobody else knows of the process
        await made.end()
        raise
    keeping = asyncio.create_task(made.keep())
    try:
        yield made
    finally:
        await cancel(keeping)
        await made.end()
