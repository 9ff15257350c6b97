"""What has to happen every so often beside the flow of events.

Each chore has a loop of its own; none can stop the others or the service.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple

from runtime.lifecycle import first_of, reason_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

logger = logging.getLogger(__name__)


#: Seconds between two tries of a chore that keeps failing, where its rhythm is quicker.
LONGEST_PAUSE = 60.0


class Chore(NamedTuple):
    """Some work and the seconds between two rounds of it; the first one begins at once."""

    name: str
    every: float
    work: Callable[[], Awaitable[None]]


async def keep(chores: Sequence[Chore], stop: asyncio.Event) -> None:
    """Do every chore in its rhythm until `stop`; one that fails is logged and tried again, less and less often."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_repeat(chore, stop), name=chore.name) for chore in chores]
    if any(task.cancelled() for task in tasks):  # a group is content with that; who keeps house is not
        raise RuntimeError("a chore was cancelled from within")


async def _repeat(chore: Chore, stop: asyncio.Event) -> None:
    pause = chore.every
    while not stop.is_set():
        try:
            await chore.work()
            pause = chore.every
        except Exception as error:  # whatever it was, another round may fare better
            logger.warning("%s: %s; trying again in %g s", chore.name, reason_of(error), pause)
            logger.debug("why it failed", exc_info=True)
            await first_of(stop, pause)
            pause = max(chore.every, min(pause * 2, LONGEST_PAUSE))
        else:
            await first_of(stop, pause)
