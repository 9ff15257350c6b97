"""Results written in groups: one transaction every few tens of milliseconds instead of one per delivery.

What is not written yet still occupies its slot, so when the database is away delivery stops by itself instead
of piling up results. A group that cannot be written is tried again until it is, or until its leases have run
out and the next worker has sent the same messages again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from runtime.database import TRANSIENT
from runtime.lifecycle import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from publisher.queue import Finished, Queue

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
LARGEST_GROUP = 1000


class Recorder:
    """Collects finished attempts and writes them; `on_recorded(finished, held)` tells what was written."""

    def __init__(
        self,
        queue: Queue,
        *,
        interval: float,
        on_recorded: Callable[[Sequence[Finished], set[str]], None],
        traced: Callable[[Sequence[Finished]], AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        """Wait `interval` seconds for more results before writing; `traced` surrounds each write."""
        self._queue = queue
        self._interval = interval
        self._on_recorded = on_recorded
        self._traced = traced
        self._waiting: list[Finished] = []
        self._arrived = asyncio.Event()

    def add(self, finished: Finished) -> None:
        """Take a result; never waits."""
        self._waiting.append(finished)
        self._arrived.set()

    async def run(self) -> None:
        """Write groups until cancelled."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(self._interval)
            await self.flush()

    async def flush(self) -> None:
        """Write everything that waits; returns when it is written."""
        self._arrived.clear()
        while self._waiting:
            group, self._waiting = self._waiting[:LARGEST_GROUP], self._waiting[LARGEST_GROUP:]
            try:
                await self._write(group)
            except BaseException:
                self._waiting[:0] = group
                self._arrived.set()
                raise

    async def _write(self, group: Sequence[Finished]) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                with self._traced(group):
                    held = await self._queue.record(group)
            except Exception as error:
                if isinstance(error, TRANSIENT) and not isinstance(error, ValueError):  # asyncpg's own is both
                    logger.warning(
                        "%d results not recorded (%s); trying again in %.1f s", len(group), reason_of(error), pause
                    )
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)
                    continue
                if len(group) == 1:  # written off here; its lease ends and it is attempted again
                    logger.exception("the result of delivery %s cannot be recorded", group[0].delivery_id)
                    self._on_recorded(group, set())
                    return
                for finished in group:  # one result must not keep the others from being written
                    await self._write([finished])
                return
            else:
                self._on_recorded(group, held)
                return
