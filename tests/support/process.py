"""Heliograph as its users run it: a child process in a clean environment, listened to, and never left behind.

A child gets no variable of the test's environment but `PATH`, a temporary folder of its own (so that what it
leaves there is seen), free ports, and the settings it is given. Whatever happens to the test, it is ended: by
the context manager, or by the kernel when the test process itself is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from runtime import settings as runtime_settings
from runtime.settings import variable

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from runtime.settings import Settings

ROOT = Path(__file__).parents[2]
START_SECONDS = 30.0
#: What the service promises for SIGTERM and SIGINT.
STOP_SECONDS = 10.0
LAST_WORDS_SECONDS = 5.0
POLL_SECONDS = 0.05
TAIL_LINES = 40
LONGEST_LINE = 2**20


class Finished(NamedTuple):
    """A command that has ended; `stdout` and `stderr` are its lines."""

    code: int
    stdout: list[str]
    stderr: list[str]

    def __str__(self) -> str:
        return "\n".join([f"exit code {self.code}", "stdout:", *self.stdout, "stderr:", *self.stderr])


class Heliograph:
    """A running `heliograph …`."""

    def __init__(self, child: Process, arguments: tuple[str, ...], folder: Path) -> None:
        self.child = child
        self.arguments = arguments
        self.folder = folder
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self._heard = asyncio.Condition()
        self._open_streams = 2
        self._listeners = (
            asyncio.create_task(self._listen(child.stdout, self.stdout)),
            asyncio.create_task(self._listen(child.stderr, self.stderr)),
        )

    async def ready(self, seconds: float = START_SECONDS) -> dict[str, Any]:
        """Wait for the ready line; return what it says."""
        await self._until(lambda: bool(self.stdout), seconds, "the ready line")
        line: dict[str, Any] = orjson.loads(self.stdout[0])
        return line

    async def says(self, text: str, seconds: float = START_SECONDS) -> str:
        """Wait for a line that contains `text`, on stdout or stderr; return it."""
        await self._until(lambda: any(text in line for line in self.stdout + self.stderr), seconds, repr(text))
        return next(line for line in self.stdout + self.stderr if text in line)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.child.send_signal(number)

    async def ended(self, seconds: float = STOP_SECONDS) -> Finished:
        """Wait for the process to end by itself, or by what it was sent."""
        try:
            async with asyncio.timeout(seconds):
                await self.child.wait()
        except TimeoutError:
            raise AssertionError(self.explain(f"still running after {seconds:g} s")) from None
        await asyncio.wait(self._listeners, timeout=LAST_WORDS_SECONDS)
        assert self.child.returncode is not None
        return Finished(self.child.returncode, self.stdout, self.stderr)

    async def terminate(self) -> Finished:
        """Send SIGTERM and wait, at most as long as the service promises to take."""
        self.send(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """Send SIGKILL and wait until it is gone."""
        self.send(signal.SIGKILL)
        await self.ended()

    def left_behind(self) -> list[str]:
        """Return what lies in the child's temporary folder."""
        # The PostgreSQL wheel locks its installation with this empty file, for all processes that share the folder.
        return sorted(path.name for path in self.folder.iterdir() if path.name != ".lockfile")

    def explain(self, what: str) -> str:
        """Return `what` with all one needs to understand it."""
        return "\n".join(
            [
                f"heliograph {' '.join(self.arguments)} (exit code {self.child.returncode}): {what}",
                *("stdout:", *self.stdout[-TAIL_LINES:]),
                *("stderr:", *self.stderr[-TAIL_LINES:]),
            ]
        )

    async def close(self) -> None:
        """End it whatever it is doing, and remove its folder."""
        with contextlib.suppress(ProcessLookupError):
            self.child.kill()
        await self.child.wait()
        for listener in self._listeners:
            listener.cancel()
        await asyncio.gather(*self._listeners, return_exceptions=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        try:
            async with asyncio.timeout(seconds), self._heard:
                await self._heard.wait_for(lambda: condition() or self._open_streams == 0)
        except TimeoutError:
            raise AssertionError(self.explain(f"did not say {what} within {seconds:g} s")) from None
        if not condition():
            await self.ended()
            raise AssertionError(self.explain(f"ended without saying {what}"))

    async def _listen(self, stream: asyncio.StreamReader | None, lines: list[str]) -> None:
        assert stream is not None
        async for raw in stream:
            async with self._heard:
                lines.append(raw.decode().removesuffix("\n"))
                self._heard.notify_all()
        async with self._heard:
            self._open_streams -= 1
            self._heard.notify_all()


@contextlib.asynccontextmanager
async def started(
    *arguments: str, environ: Mapping[str, str] | None = None, code: Path = ROOT
) -> AsyncIterator[Heliograph]:
    """Start `heliograph <arguments>` with `environ` over the clean environment; end it at the end.

    `code` is the folder whose packages it runs: another version's, for one.
    """
    folder = _folder()
    child = await asyncio.create_subprocess_exec(
        *_dying_with_us(),
        *(sys.executable, "-m", "publisher", *arguments),
        env={**_clean(folder), **(environ or {})},
        cwd=code,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
        start_new_session=True,
    )
    heliograph = Heliograph(child, arguments, folder)
    try:
        yield heliograph
    finally:
        await heliograph.close()


async def run(
    *arguments: str, environ: Mapping[str, str] | None = None, seconds: float = 60, code: Path = ROOT
) -> Finished:
    """Run `heliograph <arguments>` to its end."""
    async with started(*arguments, environ=environ, code=code) as heliograph:
        return await heliograph.ended(seconds)


def environ_of(settings: Settings, **others: object) -> dict[str, str]:
    """Return the environment that says what `settings` were made from, and `others` (field names) over it."""
    return runtime_settings.environ_of(settings.model_copy(update=others))


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 30) -> None:
    """Ask again and again, for what announces itself to nobody (a row, a file, a process)."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - there is no event to wait for, that is its purpose
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None


def _folder() -> Path:
    """Make a folder of a short name: a socket's whole path has room for 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="hgt-"))
    folder.chmod(0o711)  # where tests run as root, PostgreSQL runs as somebody else
    return folder


def _clean(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        variable("api_listen"): "127.0.0.1:0",
        variable("admin_listen"): "127.0.0.1:0",
    }


def _dying_with_us() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
