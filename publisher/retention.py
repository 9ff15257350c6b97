"""What is kept how long: the one list of tables that forget, and the two moments at which they do.

`ensure` runs before anything is consumed, so that what comes finds a partition of its time; `sweep` runs now and
then. A table whose partitions cannot be changed is logged and does not keep the others from it: rows without a
partition go to the default one and are moved later, what should be gone is dropped the next time.

An age is that of an id, or of an event's first sight, not of a delivery's end; and a partition goes when all
of it is past. So rows live up to one partition (a day, a period of the inbox) longer than the settings say.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg

from consumers import inbox
from publisher import ids
from runtime import partitions
from runtime.database import TRANSIENT
from runtime.lifecycle import reason_of
from runtime.partitions import Layout, PartitionsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeVar

    from runtime.database import Pool
    from runtime.settings import Settings

    T = TypeVar("T")

logger = logging.getLogger(__name__)

DAY = 86_400_000
#: Days made ahead: how long the service may be stopped, or unable to make any, without rows in default partitions.
DAYS_AHEAD = 7
PERIODS_AHEAD = 1
TIME_DIGITS = 12


class Retention:
    """Keeps the tables of `layouts` cut; every process may have one."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        """Read from the settings how long what is kept."""
        self._pool = pool
        self._layouts = layouts(settings)

    async def ensure(self) -> None:
        """Make the partitions of today and the days to come; raises only what a database that is away raises."""
        made: list[str] = []
        for layout in self._layouts:
            made += await _apart(layout, partitions.make, self._pool) or ()
        if made:
            logger.info("partitions made: %s", ", ".join(made))

    async def sweep(self) -> None:
        """Do the same, then drop what is past; raises only what a database that is away raises."""
        await self.ensure()
        dropped: list[str] = []
        for layout in self._layouts:
            dropped += await _apart(layout, partitions.drop, self._pool) or ()
            if await _apart(layout, partitions.empty_default, self._pool):
                dropped.append(f"what was past in the default partition of {layout.table}")
        if dropped:
            logger.info("dropped, as retention says: %s", ", ".join(dropped))


def layouts(settings: Settings) -> tuple[Layout, ...]:
    """Return how each table that forgets is cut."""
    payloads, log = settings.retention_payloads, settings.retention_attempts
    return (
        _by_day("messages", ids.MESSAGE, payloads, "created_at"),
        _by_day("deliveries", ids.DELIVERY, log, "ended_at"),
        _by_day("attempts", ids.DELIVERY, log, "attempted_at"),
        _by_period("inbox", inbox.PERIOD_SECONDS * 1000, settings.retention_dedup, "seen_at"),
    )


def _by_day(table: str, prefix: str, keep: float, stamp: str) -> Layout:
    """Cut by the UTC day in the id (publisher/ids.py)."""
    return Layout(
        table=table,
        width=DAY,
        ahead=DAYS_AHEAD,
        keep=int(keep * 1000),
        stamp=stamp,
        key_at=lambda time: f"{prefix}_{time:0{TIME_DIGITS}x}",
        time_of=lambda key: int(key.removeprefix(f"{prefix}_"), 16),
        label=lambda time: datetime.fromtimestamp(time / 1000, UTC).strftime("%Y%m%d"),
    )


def _by_period(table: str, width: int, keep: float, stamp: str) -> Layout:
    """Cut by a number that counts periods since the epoch."""
    return Layout(
        table=table,
        width=width,
        ahead=PERIODS_AHEAD,
        keep=int(keep * 1000),
        stamp=stamp,
        key_at=lambda time: str(time // width),
        time_of=lambda key: int(key) * width,
        label=lambda time: str(time // width),
    )


async def _apart(layout: Layout, work: Callable[[Pool, Layout], Awaitable[T]], pool: Pool) -> T | None:
    """Do one table's work; what is wrong with one table is logged and leaves the others alone."""
    try:
        return await work(pool, layout)
    except TRANSIENT:
        raise
    except (asyncpg.PostgresError, PartitionsError) as error:
        logger.error("partitions of %s left as they are (%s)", layout.table, reason_of(error))  # noqa: TRY400 - where it was raised says nothing the text does not
        return None
