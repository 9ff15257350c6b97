"""Facts become documents: built, signed once for each change, stored. Nobody is served what is not signed.

    every second: has a feed's mark moved, or a minute gone?
        -> the same facts in the same period? done
        -> facts in one snapshot -> model -> canonical bytes -> the same as the newest? done
        -> signature -> in turn with others: is the newest still the newest? -> stored -> told

Many changes are one document: a feed is built once a second at most. While the signer is away, or something else fails,
the last document stays, its age shows, and it is tried again, less and less often. Two processes may publish the same
change at the same time: the second finds another document in its place, gives way, and looks again.

Whoever delivers shares this process: what takes long is done in a thread, and a part at a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pydantic import BaseModel

from feeds import documents, marks
from feeds.documents import Feed, Signature
from feeds.waking import Alarm
from runtime.lifecycle import reason_of
from signer.canonical import canonical
from signer.client import SignerError, SignerRefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from datetime import datetime

    from feeds.documents import Head
    from feeds.marks import Mark
    from feeds.models import Document
    from runtime.clock import Clock
    from runtime.database import Connection, Pool
    from signer.protocol import PublicKey

    Build = Callable[[Connection, datetime], Awaitable[Document]]

logger = logging.getLogger(__name__)

#: Seconds between two looks at the marks; between two documents of a feed; after which a feed is built unasked.
INTERVAL, APART, REFRESH = 1.0, 1.0, 60.0
#: Seconds before something that fails is tried again: at first, and at the most.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0
#: Seconds between two looks, whatever the reason.
SHORTEST = 0.02
#: What is published here; the canary is its operators' alone. Of these, old documents are forgotten.
FEEDS = (Feed.INCIDENTS, Feed.PEERING, Feed.STATUS)
KEPT = timedelta(days=90)


class Signer(Protocol):
    """Signs with the feed key; each raises `SignerError` when it cannot."""

    async def sign_document(self, content: bytes) -> bytes:
        """Return the armored detached signature of a document."""
        ...

    async def public_key(self) -> PublicKey:
        """Return what signatures are verified with."""
        ...


class Source(NamedTuple):
    """Where a feed's document comes from: `build` reads facts and is told what time it is.

    `period_of` says which period a moment is of: within one the same facts make the same document, so it is not built
    again. Without it time alone may change the document.
    """

    feed: Feed
    build: Build
    period_of: Callable[[datetime], object] | None = None


@dataclass(slots=True)
class Progress:
    """How far a feed is; times are on the monotonic clock."""

    #: The mark whose changes are published, None before the first look.
    seen: int | None = None
    looked_at: float = 0.0
    not_before: float = 0.0
    failures: int = 0
    #: What was last told of a failure, None while there is none.
    told: type[Exception] | None = None
    #: What was published last, and the period it was built in.
    published: tuple[str, object] | None = None
    is_complete: bool = True
    pending_since: datetime | None = None


class _Draft(NamedTuple):
    """What is to be published as `number`; no `content` where the document before says the same already."""

    mark: int
    period: object
    number: int
    sha256: str
    content: bytes | None = None
    is_complete: bool = True


class Publisher:
    """Publishes the feeds of its sources; one for each process that has facts written."""

    def __init__(
        self,
        pool: Pool,
        signer: Signer | None,
        clock: Clock,
        sources: Iterable[Source],
        *,
        on_published: Callable[[], None] = lambda: None,
    ) -> None:
        """Without a `signer` nothing is published; `on_published` is told of every document this process stored."""
        self._pool = pool
        self._signer = signer
        self._clock = clock
        self._sources = {each.feed: each for each in sources}
        self._on_published = on_published
        self._progress = {feed: Progress() for feed in self._sources}
        self._alarm = Alarm()
        self._is_away = False

    def wake(self) -> None:
        """Look at once: facts have changed, and that is committed."""
        self._alarm.ring()

    def pending_since(self, feed: Feed) -> datetime | None:
        """Return since when changes wait to be published, None while none do."""
        progress = self._progress.get(feed)
        return progress.pending_since if progress else None

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until `stop`."""
        if self._signer is None:
            logger.warning(
                "%s are not published: nobody signs them, and unsigned they are not served; set FEED_KEY", _named(FEEDS)
            )
            await stop.wait()
            return
        pause = 0.0
        while not await self._alarm.wait(stop, pause):
            try:
                pause = await self.look()
            except Exception as error:  # whatever the database raises is worth another try
                pause = min(max(pause, INTERVAL) * 2, LONGEST_PAUSE)
                if not self._is_away:
                    logger.warning("feeds are not published: changes cannot be looked at (%s)", reason_of(error))
                logger.debug("why they cannot be looked at", exc_info=True)
                self._is_away = True
            else:
                if self._is_away:
                    logger.info("changes of the feeds can be looked at again")
                self._is_away = False

    async def look(self) -> float:
        """Publish what has changed; return the seconds until there is another reason to look, `INTERVAL` at most.

        Raises what the database raises when it is asked for changes. What goes wrong with one feed is logged.
        """
        async with self._pool.acquire() as connection:
            found = await marks.read(connection)
        now = self._clock.monotonic()
        self._note_pending(found)
        due = [feed for feed, progress in self._progress.items() if is_due(progress, _changes(found, feed), now)]
        await asyncio.gather(*(self._attempt(feed) for feed in due))
        return pause(self._progress.values(), self._clock.monotonic())

    def _note_pending(self, found: Mapping[str, Mark]) -> None:
        for feed, progress in self._progress.items():
            if self._signer is not None and progress.seen != _changes(found, feed) and progress.pending_since is None:
                progress.pending_since = self._clock.now()

    async def _attempt(self, feed: Feed) -> None:
        """Build one, and publish it if it says something new; failures are told once and put off the next try."""
        progress = self._progress[feed]
        now = self._clock.monotonic()
        try:
            is_done = await self._publish(feed, progress)
        except Exception as error:  # a builder's, the database's or the signer's: the others go on
            progress.failures += 1
            progress.not_before = self._clock.monotonic() + backoff(progress.failures)
            progress.pending_since = progress.pending_since or self._clock.now()
            _tell(feed, error, is_new=progress.told is not type(error))
            progress.told = type(error)
            return
        if progress.failures:
            logger.info("%s: is published again", feed)
        progress.failures, progress.told = 0, None
        progress.looked_at, progress.not_before = now, now + APART
        if is_done:
            progress.pending_since = None

    async def _publish(self, feed: Feed, progress: Progress) -> bool:
        """Say whether what is published is what the facts say; raises whatever goes wrong."""
        signer = self._signer
        if signer is None:
            return False
        draft = await self._draft(feed, progress)
        if draft.content is not None:
            progress.pending_since = progress.pending_since or self._clock.now()
            signature = await _signed(signer, draft.content)
            if not await self._save(feed, draft.number, draft.content, signature):
                progress.seen = None
                return False
            _tell_what_is_left_out(feed, is_complete=draft.is_complete, was_complete=progress.is_complete)
            progress.is_complete = draft.is_complete
            self._on_published()
        progress.published, progress.seen = (draft.sha256, draft.period), draft.mark
        return True

    async def _draft(self, feed: Feed, progress: Progress) -> _Draft:
        source, now = self._sources[feed], self._clock.now()
        period = source.period_of(now) if source.period_of else None
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            mark = _changes(await marks.read(connection), feed)
            newest: Head | None = await documents.head(connection, feed)
            if (
                newest is not None
                and source.period_of is not None
                and (mark, (newest.sha256, period)) == (progress.seen, progress.published)
            ):
                return _Draft(mark, period, newest.number, newest.sha256)
            model = await source.build(connection, now)
        content = await asyncio.to_thread(lambda: canonical(plain(model)))
        sha256 = hashlib.sha256(content).hexdigest()
        if newest is not None and newest.sha256 == sha256:
            return _Draft(mark, period, newest.number, sha256)
        return _Draft(mark, period, newest.number + 1 if newest else 1, sha256, content, model.is_complete)

    async def _save(self, feed: Feed, number: int, content: bytes, signature: Signature) -> bool:
        """Store a document unless another process has stored one meanwhile; say whether it was stored."""
        async with self._pool.acquire() as connection, connection.transaction():
            await documents.take_turn(connection)
            if await documents.last(connection, feed) != number - 1:
                return False
            await documents.save(
                connection, feed, number, content, signatures=[signature], published_at=self._clock.now()
            )
        logger.debug("%s %d is published", feed, number)
        return True


async def forget(pool: Pool, clock: Clock) -> None:
    """Delete documents older than `KEPT`, but of each feed the newest not, and canaries never."""
    async with pool.acquire() as connection:
        forgotten = await documents.forget(connection, FEEDS, clock.now() - KEPT)
    if forgotten:
        logger.info("%d old documents of %s are forgotten", forgotten, _named(FEEDS))


def plain(model: Document) -> dict[str, Any]:
    """Return a document as a JSON value. Pure.

    The entries of its lists are written one by one: pydantic holds the interpreter while it writes some megabytes.
    """
    lists = {
        name: value
        for name, value in model
        if isinstance(value, list) and all(isinstance(each, BaseModel) for each in value)
    }
    made = model.model_dump(mode="json", exclude=set(lists))
    return made | {name: [each.model_dump(mode="json") for each in value] for name, value in lists.items()}


def is_due(progress: Progress, changes: int, now: float) -> bool:
    """Say whether a feed is to be built: something changed, or a while has gone; but not too soon. Pure."""
    if now < progress.not_before:
        return False
    return progress.seen != changes or now - progress.looked_at >= REFRESH


def backoff(failures: int) -> float:
    """Return the seconds to the next try after so many failures in a row. Pure."""
    return min(FIRST_PAUSE * 2.0 ** min(failures - 1, 30), LONGEST_PAUSE)


def pause(all_progress: Iterable[Progress], now: float) -> float:
    """Return the seconds to the next look: until what waits may be tried again, `INTERVAL` at most. Pure."""
    waits = [each.not_before - now for each in all_progress if each.pending_since is not None]
    return max(SHORTEST, min([INTERVAL, *waits]))


async def _signed(signer: Signer, content: bytes) -> Signature:
    armored = await signer.sign_document(content)
    return Signature((await signer.public_key()).primary, armored)


def _tell(feed: Feed, error: Exception, *, is_new: bool) -> None:
    level = logging.DEBUG
    if is_new:
        is_passing = isinstance(error, SignerError) and not isinstance(error, SignerRefusedError)
        level = logging.WARNING if is_passing else logging.ERROR
    logger.log(level, "%s: is not published, the last document stays (%s)", feed, reason_of(error))
    logger.debug("why %s is not published", feed, exc_info=error)


def _tell_what_is_left_out(feed: Feed, *, is_complete: bool, was_complete: bool) -> None:
    if was_complete and not is_complete:
        logger.warning("%s: there is more than can be signed at once; the document says that it is not complete", feed)
    elif is_complete and not was_complete:
        logger.info("%s: the document is complete again", feed)


def _changes(found: Mapping[str, Mark], feed: Feed) -> int:
    mark = found.get(feed)
    return mark.changes if mark else 0


def _named(feeds: Iterable[Feed]) -> str:
    *first, last = feeds
    return f"{', '.join(first)} and {last}"
