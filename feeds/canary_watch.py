"""Knows how the newest canary stands, so that nobody who asks for it waits for the database or for gpg.

    every second: is there another number?  --yes, or five minutes are over-->  read it and judge it anew

A key may be revoked in the folder of public keys while nothing is published, and a row may be changed under its number:
so there is a new judgement from time to time. While the database is away the last one stands, and grows late by itself;
what has not been judged never takes its place. Where gpg or the public keys fail for long, nobody knows whether it
still holds: it is not believed any more then. Nor is one that stands in the place of a newer one, which somebody
removed; a retirement that was seen stays.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from feeds import canary_standing, documents
from feeds.canary import faults
from feeds.canary_standing import Standing
from feeds.documents import Feed
from runtime.lifecycle import first_of, reason_of
from signer.canary_check import Fault, Reason
from signer.faults import PgpError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from datetime import datetime

    from runtime.clock import Clock
    from runtime.database import Pool
    from signer.canary_judge import Pins

logger = logging.getLogger(__name__)

#: Seconds between two looks at the newest number, and two judgements at the most.
INTERVAL, JUDGED_FOR = 1.0, 300.0
#: Seconds for which a canary is believed that could not be judged anew.
UNJUDGED_FOR = 3600.0
#: Seconds between two tries while they fail.
LONGEST_PAUSE = 30.0


class CanaryWatch:
    """Holds the newest canary's `Standing`."""

    def __init__(
        self,
        pool: Pool,
        pins: Pins | None,
        clock: Clock,
        *,
        interval: float = INTERVAL,
        judged_for: float = JUDGED_FOR,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`pins` are the keys whose signatures count, None for nobody's; `on_change` is told of another standing."""
        self._pool = pool
        self._pins = pins
        self._clock = clock
        self._interval = interval
        self._judged_for = judged_for
        self._on_change = on_change
        self._standing = Standing()
        self._judged_at = 0.0
        self._is_away = False
        self.judged_at: datetime | None = None

    @property
    def standing(self) -> Standing:
        """The newest canary as it was last judged; the same object for as long as nothing changed."""
        return self._standing

    async def load(self) -> None:
        """Read and judge the newest canary; raises what the database raises, and `PgpError`.

        To be awaited once before anything is served: until then there seems to be none.
        """
        async with self._pool.acquire() as connection:
            stored = await canary_standing.stored(connection)
        now = self._clock.now()
        found = _not_behind(self._standing, await canary_standing.judge(stored, self._pins, now))
        self._judged_at, self.judged_at = self._clock.monotonic(), now
        if found != self._standing:
            self._take(found)

    async def look(self) -> None:
        """Judge anew if another canary is there, or it is time; raises as `load` does."""
        known = self._standing.published
        async with self._pool.acquire() as connection:
            newest = await documents.last(connection, Feed.CANARY)
        is_old = self._clock.monotonic() - self._judged_at >= self._judged_for
        if is_old or newest != (known.number if known else 0):
            await self.load()

    async def run(self, stop: asyncio.Event) -> None:
        """Look again and again until `stop`; failures are told once, and tried again, less and less often."""
        pause = self._interval
        while not await first_of(stop, pause):
            try:
                await self.look()
            except Exception as error:  # whatever the database or gpg raises is worth another try
                pause = min(pause * 2, max(LONGEST_PAUSE, self._interval))
                if not self._is_away:
                    logger.warning("the canary stands as last judged: it cannot be looked at (%s)", reason_of(error))
                logger.debug("why it cannot be looked at", exc_info=True)
                self._is_away = True
                self._doubt(error)
            else:
                pause = self._interval
                if self._is_away:
                    logger.info("the canary can be looked at again")
                self._is_away = False

    def _doubt(self, error: Exception) -> None:
        """Believe nothing any more that could not be judged for long, unless it is the database that is away."""
        standing = self._standing
        is_known = any(fault.reason is Reason.NOT_JUDGED for fault in standing.faults)
        if not isinstance(error, PgpError) or standing.published is None or is_known:
            return
        if self._clock.monotonic() - self._judged_at >= UNJUDGED_FOR:
            fault = Fault(Reason.NOT_JUDGED, f"it could not be checked for an hour ({error})")
            self._take(replace(standing, faults=(*standing.faults, fault)))

    def _take(self, found: Standing) -> None:
        self._standing = found
        if found.published is None:
            logger.warning("there is no canary any more")
        elif codes := faults(found):
            logger.error("canary %d is not to be believed (%s)", found.published.number, ", ".join(codes))
        else:
            logger.info("canary %d is the newest", found.published.number)
        self._on_change()


def _not_behind(known: Standing, found: Standing) -> Standing:
    """Return what was found, unless it is older than what is known, or is gone: then what is known, not to be believed.

    A retirement that was believed stays what it is: it ends the canary for good. Pure.
    """
    before, after = known.published, found.published
    if before is None or (after is not None and after.number >= before.number):
        return found
    logger.error("canary %d was there, and is gone: somebody removed what was published", before.number)
    if any(fault.reason is Reason.ROLLED_BACK for fault in known.faults):
        return known
    if known.statement is not None and known.statement.is_retirement and not known.faults:
        return known
    fault = Fault(Reason.ROLLED_BACK, f"canary {before.number} is stored no more")
    return replace(known, faults=(*known.faults, fault))
