"""The topic of API keys and sessions, followed: every process that decides about callers hears of each change itself.

No consumer group: each process reads all of it, and what it writes is the same whoever writes it. How far the topic
has been read stands in the database with the rows, in one transaction, so a restart goes on from there and need not
wait for Kafka. A record that cannot be understood revokes the credential it names: nobody gets in by mistake, and the
log says where it stands. It is no dead letter, for a replay could put an old grant over a newer revocation.

A session may be unknown and its token good: the topic is a list of revocations. So its tombstones must be there for
longer than a token lives, and for longer than `LONGEST_ABSENCE`: `delete.retention.ms` of a day, Kafka's default, does.
"""

from __future__ import annotations

import contextlib
import logging
import math
from typing import TYPE_CHECKING

from consumers import credentials
from consumers.credential_records import Credential, decode, id_of
from consumers.credentials import LONGEST_ABSENCE, SupersededError
from consumers.decode import InvalidRecordError
from consumers.reader import AnotherTopicError
from runtime.lifecycle import first_of, reason_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection
    from contextlib import AbstractAsyncContextManager

    from consumers.credentials import Reading
    from consumers.decode import Record
    from consumers.reader import News, TopicReader
    from runtime.clock import Clock
    from runtime.database import Pool

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
#: Seconds after which a follower takes a new client, whatever the old one says, and compares its bookmarks.
RENEW = 3600.0
#: Seconds between two notes that we are at the end of the topic.
TOUCH = 600.0


class Follower:
    """Reads the topic to its end once, then follows it."""

    def __init__(
        self,
        *,
        pool: Pool,
        topic: str,
        reader: Callable[[], AbstractAsyncContextManager[TopicReader]],
        clock: Clock,
        on_change: Callable[[Collection[str] | None], None],
        renew: float = RENEW,
        longest_absence: float = LONGEST_ABSENCE,
    ) -> None:
        """`reader` opens one of `topic` that does not begin again when an offset is gone.

        `on_change` is called with the ids that have changed, committed by then; with None when any may have.
        """
        self._pool = pool
        self._topic = topic
        self._open = reader
        self._clock = clock
        self._on_change = on_change
        self._renew = renew
        self._longest_absence = longest_absence
        self._is_loaded = False
        #: The last reading whose bookmarks did not fit the topic.
        self._unfit = 0
        #: The reading we follow, whether look-ups see it, and when we said last that we are at the end.
        self._number = 0
        self._is_current = False
        self._touched = -math.inf

    @property
    def is_loaded(self) -> bool:
        """Say whether the topic has been read to its end, now or before."""
        return self._is_loaded

    async def load(self) -> None:
        """Return when the topic has been read to its end: at once, where that was so not too long ago.

        Raises `UnreachableError` when no broker answers in time, and what the database raises.
        """
        async with self._pool.acquire() as connection:
            self._is_loaded = await credentials.is_fresh(connection, self._topic, longest_absence=self._longest_absence)
        while not self._is_loaded:
            with contextlib.suppress(AnotherTopicError, SupersededError):
                await self._follow(lambda: self._is_loaded)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop`, whatever happens to broker or database; raises nothing."""
        pause = FIRST_PAUSE
        while not stop.is_set():
            renewal = self._clock.monotonic() + self._renew
            try:
                await self._follow(lambda: stop.is_set() or self._clock.monotonic() >= renewal)  # noqa: B023 - called within this round
            except (AnotherTopicError, SupersededError):
                pass  # said already, or another process's doing; the next round takes up another reading
            except Exception as error:  # whatever broker or database raise is worth another try
                logger.warning("credentials are not followed (%s); trying again in %.1f s", reason_of(error), pause)
                logger.debug("why they are not followed", exc_info=True)
            else:
                pause = FIRST_PAUSE
                continue
            await first_of(stop, pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _follow(self, is_enough: Callable[[], bool]) -> None:
        """Follow the newest reading until that is enough, which is asked several times a second."""
        async with self._open() as reader:
            reading = await self._take_up()
            try:
                async with contextlib.aclosing(reader.follow(reading.bookmarks)) as coming:
                    async for news in coming:
                        await self._take(news)
                        if is_enough():
                            return
            except AnotherTopicError as error:
                logger.warning(
                    "topic %s is not the one that was read before (%s): reading it anew, from its beginning",
                    *(self._topic, error),
                )
                self._unfit = reading.number
                raise

    async def _take_up(self) -> Reading:
        async with self._pool.acquire() as connection:
            reading = await credentials.take_up(
                connection, self._topic, instead_of=self._unfit, longest_absence=self._longest_absence
            )
        if not reading.bookmarks:
            logger.info("credentials: reading topic %s from its beginning", self._topic)
        self._on_change(None)  # another process may have gone on from where this one was
        self._number, self._is_current, self._touched = reading.number, reading.is_current, -math.inf
        return reading

    async def _take(self, news: News) -> None:
        """Write what came, tell whom it concerns, and say how far we are."""
        if news.records:
            found = [(record, credential) for record in news.records if (credential := _read(record))]
            async with self._pool.acquire() as connection:
                await credentials.put(connection, self._number, news.records, found)
            self._on_change({credential.id for _, credential in found})
        if not news.is_at_end:
            return
        is_due = self._clock.monotonic() - self._touched >= TOUCH
        if is_due or (news.records and not self._is_current):
            await self._arrive()

    async def _arrive(self) -> None:
        """Say that we are at the end; the first time, what was read becomes what is looked up."""
        async with self._pool.acquire() as connection:
            await credentials.touch(connection, self._number)
            self._touched = self._clock.monotonic()
            if self._is_current:
                return
            self._is_current = await credentials.make_current(connection, self._number)
        self._is_loaded = True
        if not self._is_current:
            logger.warning(
                "topic %s is empty: the credentials that were read before stay in force until there is a record in it",
                self._topic,
            )
            return
        self._on_change(None)
        logger.info("credentials: topic %s is read to its end", self._topic)


def _read(record: Record) -> Credential | None:
    """Return what a record says; the end of its credential where that is not understood, None where it names none."""
    where = (record.topic, record.partition, record.offset)
    try:
        credential_id = id_of(record)
    except InvalidRecordError as error:
        logger.error("credential record %s/%d@%d is passed over: %s", *where, error)  # noqa: TRY400 - it says all
        return None
    try:
        return decode(record)
    except InvalidRecordError as error:
        logger.error("credential record %s/%d@%d revokes what it names: %s", *where, error)  # noqa: TRY400 - it says all
        return Credential(credential_id, is_revoked=True)
