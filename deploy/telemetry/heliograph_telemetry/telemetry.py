"""Publishes windows that are over, and health reports, beside the work of the API and never in its way.

`publish` takes the bytes of a record and returns when they are acknowledged. While it fails, windows wait, up to a
number; one whose acknowledgement was lost goes out again, which Heliograph notices. A report that cannot be published
is dropped: the next one says how things are then.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Self

from heliograph_telemetry.records import report_record, window_record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType

    from heliograph_telemetry.limits import Limits
    from heliograph_telemetry.records import Report
    from heliograph_telemetry.windows import Window

logger = logging.getLogger(__name__)

#: Seconds between two looks for windows that are over, and between two reports.
LOOK, REPORT = 5.0, 60.0
#: Seconds one record may take to be acknowledged, and reports to be made.
PATIENCE = 30.0
#: Windows that wait while nothing can be published: a day of three policies, a minute each.
MOST_WAITING = 3 * 24 * 60


class Telemetry:
    """Works from entry to exit; on exit the windows under way are published too."""

    def __init__(
        self,
        limits: Limits,
        publish: Callable[[bytes], Awaitable[object]],
        *,
        health: Callable[[], Awaitable[Iterable[Report]]] | None = None,
        look: float = LOOK,
        every: float = REPORT,
        patience: float = PATIENCE,
    ) -> None:
        """Take seconds: windows are looked for every `look`, `health` is asked at once and then every `every`.

        A component that has not reported for fifteen minutes is shown as stale. `patience` bounds each question and
        each record.
        """
        self._limits = limits
        self._publish = publish
        self._health = health
        self._look = look
        self._every = every
        self._patience = patience
        self._waiting: deque[Window] = deque()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Begin."""
        self._tasks = [asyncio.create_task(self._repeat(self.publish_windows, self._look), name="publish windows")]
        if self._health is not None:
            self._tasks.append(asyncio.create_task(self._repeat(self.publish_health, self._every), name="report"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish what was counted, or say how much of it is lost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._wait(self._limits.windows.take_all())
        try:
            await self._send_waiting()
        except Exception as failure:  # whatever the publisher raises, the API ends all the same
            logger.warning("%d windows of limits are lost (%s)", len(self._waiting), type(failure).__name__)

    async def publish_windows(self) -> None:
        """Publish the windows that are over; raises what `publish` raises, and tries the same ones the next time."""
        self._limits.limiter.forget(self._limits.clock.monotonic())
        self._wait(self._limits.windows.take(self._limits.clock.unix()))
        await self._send_waiting()

    async def publish_health(self) -> None:
        """Ask for reports and publish them; raises what either raises. What is no report is logged, and left out."""
        if self._health is None:
            return
        async with asyncio.timeout(self._patience):
            reports = await self._health()
        for report in reports:
            try:
                record = report_record(report, self._limits.clock.unix())
            except ValueError as error:
                logger.error("a health report was not published: %s", error)  # noqa: TRY400 - the text is all there is to say
                continue
            await self._send(record)

    def _wait(self, windows: Iterable[Window]) -> None:
        self._waiting.extend(windows)
        lost = len(self._waiting) - MOST_WAITING
        if lost > 0:
            logger.warning("%d windows of limits are lost: too many wait to be published", lost)
        for _ in range(lost):
            self._waiting.popleft()

    async def _send_waiting(self) -> None:
        while self._waiting:
            await self._send(window_record(self._waiting[0]))
            self._waiting.popleft()

    async def _send(self, record: bytes) -> None:
        async with asyncio.timeout(self._patience):
            await self._publish(record)

    async def _repeat(self, work: Callable[[], Awaitable[None]], every: float) -> None:
        while True:
            try:
                await work()
            except Exception as error:  # whatever it was, the next round may fare better
                logger.warning("telemetry was not published (%s); trying again in %g s", type(error).__name__, every)
                logger.debug("why it failed", exc_info=True)
            await asyncio.sleep(every)
