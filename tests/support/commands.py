"""What an operator does around the service: subscribe, emit, look at it over HTTP, count its processes."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import orjson

from tests.support.process import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ACCOUNT = "acct_1"


class Answer(NamedTuple):
    """An HTTP response."""

    status: int
    content_type: str
    text: str


async def add_webhook(environ: Mapping[str, str], url: str, *options: str) -> str:
    """Run `heliograph webhook add` for `ACCOUNT`; return the secret it shows."""
    finished = await run("webhook", "add", "--account", ACCOUNT, "--url", url, *options, environ=environ)
    assert finished.code == 0, finished
    secret: str = orjson.loads(finished.stdout[0])["secret"]
    return secret


async def emit(environ: Mapping[str, str], event_type: str, *options: str) -> None:
    """Run `heliograph emit` for `ACCOUNT`."""
    finished = await run("emit", event_type, "--account", ACCOUNT, *options, environ=environ)
    assert finished.code == 0, finished


async def get(url: str) -> Answer:
    """GET `url`."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return Answer(response.status, response.content_type, await response.text())


def descendants(pid: int) -> set[int]:
    """Return the processes that `pid` started, and those they started."""
    found = {pid}
    parents = {child: parent for child, parent, _ in _processes()}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def running(pids: set[int]) -> set[int]:
    """Return those of `pids` that still run: an ended one that nobody has waited for does not."""
    return {pid for pid, _, state in _processes() if pid in pids and state != "Z"}


def _processes() -> Iterator[tuple[int, int, str]]:
    """Yield pid, parent and state of every process (proc(5))."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent, *_ = (folder / "stat").read_text().rpartition(") ")[2].split()
            yield int(folder.name), int(parent), state
