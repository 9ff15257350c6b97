"""What has to happen every so often beside the flow of events.

Each chore has a loop of its own; none can stop the others or the service. What is done for all processes, not for each,
is done by one at a time (publisher/alone.py).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple, Protocol

from runtime.lifecycle import first_of, reason_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

logger = logging.getLogger(__name__)


#: Seconds between two tries of a chore that keeps failing, where its rhythm is quicker.
LONGEST_PAUSE = 60.0


class Turns(Protocol):
    """Who says whose turn it is (publisher/alone.py)."""

    def turn(self, chore: str) -> AbstractAsyncContextManager[bool]:
        """Return a context that says whether `chore` is ours for its length."""
        ...


class Chore(NamedTuple):
    """Some work and the seconds between two rounds of it; the first one begins at once.

    `is_for_all` says that it is done for all processes: a round is passed over while another one is at it.
    """

    name: str
    every: float
    work: Callable[[], Awaitable[None]]
    is_for_all: bool = False


async def keep(chores: Sequence[Chore], stop: asyncio.Event, turns: Turns) -> None:
    """Do every chore in its rhythm until `stop`; one that fails is logged and tried again, less and less often."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_repeat(chore, stop, turns), name=chore.name) for chore in chores]
    if any(task.cancelled() for task in tasks):  # a group is content with that; who keeps house is not
        raise RuntimeError("a chore was cancelled from within")


async def _repeat(chore: Chore, stop: asyncio.Event, turns: Turns) -> None:
    pause = chore.every
    while not stop.is_set():
        try:
            await _do(chore, turns)
            pause = chore.every
        except Exception as error:  # whatever it was, another round may fare better
            logger.warning("%s: %s; trying again in %g s", chore.name, reason_of(error), pause)
            logger.debug("why it failed", exc_info=True)
            await first_of(stop, pause)
            pause = max(chore.every, min(pause * 2, LONGEST_PAUSE))
        else:
            await first_of(stop, pause)


async def _do(chore: Chore, turns: Turns) -> None:
    if not chore.is_for_all:
        await chore.work()
        return
    async with turns.turn(chore.name) as is_ours:
        if is_ours:
            await chore.work()
