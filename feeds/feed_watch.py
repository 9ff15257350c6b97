"""Knows the newest document of each feed, so that nobody who asks for one waits for the database.

    every second: is there another position?  --yes-->  read the newest documents and what the stream has to tell

While the database is away the last documents are served, and their age shows. So it is with a document this process
cannot read, which one of a newer version may have published: the last one it could read stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, get_args, get_origin

import orjson
from pydantic import BaseModel, ValidationError

from feeds import documents
from feeds.documents import Feed
from feeds.models import IncidentsDocument, PeeringDocument, StatusDocument
from feeds.waking import Alarm
from runtime.lifecycle import reason_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from feeds.documents import Entry, Published
    from runtime.clock import Clock
    from runtime.database import Connection, Pool

logger = logging.getLogger(__name__)

D = TypeVar("D")

#: What each feed's documents are.
MODELS: Mapping[Feed, type[BaseModel]] = {
    Feed.INCIDENTS: IncidentsDocument,
    Feed.PEERING: PeeringDocument,
    Feed.STATUS: StatusDocument,
}
#: Entries of the stream that are held for those who read it.
MOST_ENTRIES = 256
#: Seconds between two tries while they fail.
LONGEST_PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class Latest(Generic[D]):
    """The newest document of a feed: as it was signed, and as a model."""

    published: Published
    document: D


class Documents(Protocol):
    """Who knows the newest documents: a `FeedWatch`, for those who only read them. None: not published yet."""

    @property
    def incidents(self) -> Latest[IncidentsDocument] | None:
        """Incidents and maintenance; the same object for as long as nothing newer is there."""
        ...

    @property
    def status(self) -> Latest[StatusDocument] | None:
        """How everything does."""
        ...

    @property
    def peering(self) -> Latest[PeeringDocument] | None:
        """What is announced."""
        ...


class FeedWatch:
    """Holds the newest documents; None where nothing has been published yet."""

    def __init__(self, pool: Pool, clock: Clock, *, interval: float = 1.0) -> None:
        """Look every `interval` seconds."""
        self._pool = pool
        self._clock = clock
        self._interval = interval
        self._latest: dict[Feed, Latest[Any]] = {}
        #: Of documents that could not be read: told once.
        self._unread: dict[Feed, int] = {}
        #: None before the first load.
        self._position: int | None = None
        self._entries: deque[Entry] = deque(maxlen=MOST_ENTRIES)
        #: The position before the first of the entries.
        self._floor = 0
        #: The last position of a stream that is no more: a database was put back, and positions are given again.
        self._withdrawn = 0
        self._change = asyncio.Event()
        self._alarm = Alarm()
        self._is_away = False

    @property
    def incidents(self) -> Latest[IncidentsDocument] | None:
        """Incidents and maintenance; the same object for as long as nothing newer is there."""
        return self._latest.get(Feed.INCIDENTS)

    @property
    def status(self) -> Latest[StatusDocument] | None:
        """How everything does."""
        return self._latest.get(Feed.STATUS)

    @property
    def peering(self) -> Latest[PeeringDocument] | None:
        """What is announced."""
        return self._latest.get(Feed.PEERING)

    @property
    def position(self) -> int:
        """The newest position in the stream of all feeds, 0 where nothing has been published."""
        return self._position or 0

    def of(self, feed: Feed) -> Published | None:
        """Return the newest document of a feed as it was signed; the canary has a watch of its own."""
        latest = self._latest.get(feed)
        return latest.published if latest else None

    def after(self, position: int) -> Sequence[Entry] | None:
        """Return what was published after a position, in order; None where that is too long ago to be known here."""
        if position < self._floor or self.position < position <= self._withdrawn:
            return None
        return [each for each in self._entries if each.position > position]

    async def load(self) -> None:
        """Read the newest ones; raises what the database raises."""
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            position = await documents.position(connection)
            entries = await self._entries_since(connection, position)
            found = {feed: await self._newer(connection, feed) for feed in MODELS}
        read = [await self._read(feed, published) for feed, published in found.items() if published is not None]
        for latest in read:
            self._latest |= latest
        is_new = position != self._position
        if position < self.position:
            self._withdrawn = max(self._withdrawn, self.position)
        if entries is None:
            self._entries.clear()
            self._floor = position
        else:
            self._append(entries)
        self._position = position
        if is_new:
            change, self._change = self._change, asyncio.Event()
            change.set()

    async def look(self) -> None:
        """Load if there is another position; raises as `load` does."""
        async with self._pool.acquire() as connection:
            position = await documents.position(connection)
        if position != self._position:
            await self.load()

    async def run(self, stop: asyncio.Event) -> None:
        """Look again and again until `stop`; failures are told once, and tried again, less and less often."""
        pause = self._interval
        while not await self._alarm.wait(stop, pause):
            try:
                await self.look()
            except Exception as error:  # whatever the database raises is worth another try
                pause = min(pause * 2, max(LONGEST_PAUSE, self._interval))
                if not self._is_away:
                    logger.warning("feeds are served as last read: they cannot be looked at (%s)", reason_of(error))
                logger.debug("why they cannot be looked at", exc_info=True)
                self._is_away = True
            else:
                pause = self._interval
                if self._is_away:
                    logger.info("the feeds can be looked at again")
                self._is_away = False

    def wake(self) -> None:
        """Look at once: something was published in this process."""
        self._alarm.ring()

    def changed(self) -> Coroutine[None, None, object]:
        """Return what to await: it ends when there is something newer than at the moment of this call."""
        return self._change.wait()

    async def _entries_since(self, connection: Connection, position: int) -> Sequence[Entry] | None:
        """Return what the stream has not been told of; None where it is too much, or begins anew."""
        known = self._position
        if known is None or position < known:
            return None
        entries = await documents.since(connection, known, MOST_ENTRIES + 1)
        return entries if len(entries) <= MOST_ENTRIES else None

    async def _newer(self, connection: Connection, feed: Feed) -> Published | None:
        """Return a feed's newest document, None where it is known."""
        held = self._latest.get(feed)
        number = await documents.last(connection, feed)
        if number in {held.published.number if held else 0, self._unread.get(feed)}:
            return None
        return await documents.latest(connection, feed)

    async def _read(self, feed: Feed, published: Published) -> Mapping[Feed, Latest[Any]]:
        """Return a document as a model; nothing where this version cannot read it, which is told once."""
        try:
            document = await asyncio.to_thread(read_document, MODELS[feed], published.content)
        except (ValidationError, orjson.JSONDecodeError) as error:
            wrong = error.errors()[:3] if isinstance(error, ValidationError) else ()
            logger.error(  # noqa: TRY400 - where it was raised says nothing, what is wrong does
                "%s %d cannot be read by this version, the one before stays (%s)", feed, published.number,
                "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['type']}" for each in wrong) or "no JSON",
            )  # fmt: skip
            self._unread[feed] = published.number
            return {}
        self._unread.pop(feed, None)
        return {feed: Latest(published, document)}

    def _append(self, entries: Sequence[Entry]) -> None:
        for each in entries:
            if len(self._entries) == MOST_ENTRIES:
                self._floor = self._entries[0].position
            self._entries.append(each)


def read_document(model: type[BaseModel], content: bytes) -> BaseModel:
    """Return a document as a model. Pure.

    Raises ValidationError, or orjson.JSONDecodeError. Entries of lists are read one by one: pydantic holds the
    interpreter while it reads some megabytes, and whoever delivers shares it.
    """
    value = orjson.loads(content)
    if isinstance(value, dict):
        for name, field in model.model_fields.items():
            [*entry] = get_args(field.annotation) if get_origin(field.annotation) is list else ()
            if entry and isinstance(value.get(name), list):
                value[name] = [entry[0].model_validate(each) for each in value[name]]
    return model.model_validate(value)
