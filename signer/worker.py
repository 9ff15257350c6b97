"""One thread for calls that block, with a short queue before it: gpg is slow, and a keyring takes one at a time."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from signer.faults import BusyError, GpgUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Worker:
    """Runs what it is given, in order, off the event loop."""

    def __init__(self, name: str, *, most: int) -> None:
        """At most `most` calls wait or run."""
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._most = most
        self._room = threading.BoundedSemaphore(most)
        self._is_closed = False

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns; raises what it raises, `BusyError` at once when too many wait.

        Whoever is cancelled gives up its place in the queue; what runs already is not interrupted.
        """
        if self._is_closed:
            raise GpgUnavailableError("this keyring has been closed")
        if not self._room.acquire(blocking=False):
            raise BusyError(f"{self._most} calls wait for gpg already")
        future = self._executor.submit(work)
        future.add_done_callback(lambda _: self._room.release())
        return await asyncio.wrap_future(future)

    async def close(self, last: Callable[[], None]) -> None:
        """Take no more calls, finish those that wait, then do `last`."""
        if self._is_closed:
            return
        self._is_closed = True
        ending = asyncio.wrap_future(self._executor.submit(last))
        try:
            await asyncio.shield(ending)
        finally:
            self._executor.shutdown(wait=False)
