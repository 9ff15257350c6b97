"""A topic read without a group: looked through from end to end, or followed for ever.

Nothing is committed, and nobody's partitions move. Who follows keeps bookmarks of its own, and they tell more than an
offset: a topic that was deleted and made again has the same offsets with other records behind them.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from consumers.broker import OUT_OF_RANGE, READ_WAIT_MS, TRANSIENT, Partition, open_topic
from runtime.lifecycle import UnreachableError, reason_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from consumers.decode import Record
    from runtime.settings import Settings

T = TypeVar("T")

#: Records a reader takes at once.
READ_AT_ONCE = 100


class Moment(NamedTuple):
    """What a broker answers when it is asked for the first offset at or after a time."""

    offset: int
    timestamp: int


class Client(Protocol):
    """What a reader needs of aiokafka's consumer, whose own partitions are named tuples like ours."""

    def assignment(self) -> AbstractSet[Partition]:
        """Return all partitions of the topic."""
        ...

    def seek(self, where: Partition, offset: int, /) -> None:
        """Fetch from there."""
        ...

    async def position(self, where: Partition, /) -> int:
        """Return the next offset."""
        ...

    async def beginning_offsets(self, partitions: AbstractSet[Partition], /) -> Mapping[Partition, int]:
        """Ask for the first offsets."""
        ...

    async def end_offsets(self, partitions: AbstractSet[Partition], /) -> Mapping[Partition, int]:
        """Ask for the offsets after the last."""
        ...

    async def offsets_for_times(self, times: Mapping[Partition, int], /) -> Mapping[Partition, Moment | None]:
        """Ask for the first offsets at or after a time in milliseconds; None where there is none."""
        ...

    async def getmany(
        self, *partitions: Partition, timeout_ms: int, max_records: int
    ) -> Mapping[Partition, Sequence[Record]]:
        """Return what has been fetched, or nothing after `timeout_ms`."""
        ...

    def last_stable_offset(self, where: Partition, /) -> int | None:
        """Return where the partition ended when it last answered; None when it has not."""
        ...

    def last_poll_timestamp(self, where: Partition, /) -> int | None:
        """Return when it last answered, in Unix milliseconds; None when it has not."""
        ...


class Bookmark(NamedTuple):
    """Where to read on in a partition: the next offset, and the timestamp (Unix ms) of the record before it."""

    offset: int
    timestamp: int


class News(NamedTuple):
    """Records that came, in order within each partition; and whether these were the last there are now."""

    records: Sequence[Record]
    is_at_end: bool


class AnotherTopicError(Exception):
    """The topic is not the one the bookmarks are of, or has lost records they have not come to; the text says how."""


class TopicReader:
    """Reads one topic."""

    def __init__(self, client: Client, address: str, patience: float) -> None:
        """Take a started client that has all partitions; `open_reader` makes one."""
        self._client = client
        self._address = address
        self._patience = patience

    async def records(self, *, since_ms: int | None = None, last: int | None = None) -> AsyncGenerator[Record]:
        """Yield what is there now, from the beginning to the end, in order within each partition.

        `since_ms` (Unix milliseconds) leaves out what is older; `last` begins at most so many records before each
        partition's end, or a little earlier. Raises `UnreachableError` when the broker stops answering.
        """
        starts = await self._answer(self._starts(since_ms, last))
        async for record in self._read(starts):
            if since_ms is None or record.timestamp >= since_ms:
                yield record

    async def record(self, partition: int, offset: int) -> Record | None:
        """Return the record at these coordinates; None where there is none, or none any more."""
        async with contextlib.aclosing(self._read({partition: offset})) as found:
            async for record in found:  # the first one stands elsewhere where this offset is gone
                return record if record.offset == offset else None
        return None

    async def follow(self, bookmarks: Mapping[int, Bookmark]) -> AsyncGenerator[News]:
        """Yield what comes for ever, from the bookmarks on; from the beginning in a partition that has none.

        There are news several times a second, with or without records. Raises `AnotherTopicError` where the bookmarks
        do not fit, and `UnreachableError` when a partition stops answering: a client can be stuck for good after a
        restart of its broker, and says nothing.
        """
        await self._answer(self._open_at(bookmarks))
        while True:
            batches = await self._answer(self._news())
            fresh = [record for batch in batches.values() for record in batch if _is_fresh(record, bookmarks)]
            yield News(fresh, await self._answer(self._is_at_end(bookmarks)))

    async def _open_at(self, bookmarks: Mapping[int, Bookmark]) -> None:
        """Seek one record before each bookmark: to see that it is still the same one."""
        beginnings = await self._client.beginning_offsets(self._client.assignment())
        if gone := bookmarks.keys() - {where.partition for where in beginnings}:
            raise AnotherTopicError(f"partition {min(gone)} is gone")
        for where, beginning in beginnings.items():
            bookmark = bookmarks.get(where.partition)
            if bookmark is not None and bookmark.offset < beginning:
                raise AnotherTopicError(f"partition {where.partition} begins at {beginning}, after {bookmark.offset}")
            self._client.seek(where, beginning if bookmark is None else max(beginning, bookmark.offset - 1))

    async def _news(self) -> Mapping[Partition, Sequence[Record]]:
        """Return records, or nothing once every partition has answered that there are none."""
        partitions = self._client.assignment()
        before = {each: self._client.last_poll_timestamp(each) for each in partitions}
        while True:
            try:
                batches = await self._client.getmany(timeout_ms=READ_WAIT_MS, max_records=READ_AT_ONCE)
            except OUT_OF_RANGE:
                raise AnotherTopicError("it does not reach that far any more") from None
            if batches or all(self._client.last_poll_timestamp(each) != before[each] for each in partitions):
                return batches

    async def _is_at_end(self, bookmarks: Mapping[int, Bookmark]) -> bool:
        is_at_end = True
        for where in self._client.assignment():
            position, end = await self._client.position(where), self._client.last_stable_offset(where)
            bookmark = bookmarks.get(where.partition)
            known = position if bookmark is None else max(position, bookmark.offset)
            if end is not None and end < known:  # the embedded broker says so instead of refusing to read there
                raise AnotherTopicError(f"partition {where.partition} ends at {end}, before {known}")
            is_at_end &= end == position
        return is_at_end

    async def _starts(self, since_ms: int | None, last: int | None) -> dict[int, int]:
        partitions = self._client.assignment()
        starts = {each.partition: first for each, first in (await self._client.beginning_offsets(partitions)).items()}
        if last is not None:
            for each, end in (await self._client.end_offsets(partitions)).items():
                starts[each.partition] = max(starts[each.partition], end - last)
        if since_ms is not None:
            found = await self._client.offsets_for_times(dict.fromkeys(partitions, max(0, since_ms)))
            for each, first in found.items():
                if first is not None:  # or there is nothing that young, which reading finds out
                    starts[each.partition] = max(starts[each.partition], first.offset)
        return starts

    async def _read(self, starts: Mapping[int, int]) -> AsyncGenerator[Record]:
        """Yield from these offsets to where each partition ended when it first answered.

        The end is taken from that answer: asked for offsets, the embedded broker names the last batch's beginning.
        """
        remaining = {each: starts[each.partition] for each in self._client.assignment() if each.partition in starts}
        ends: dict[Partition, int] = {}
        for where, offset in remaining.items():
            self._client.seek(where, offset)
        while remaining:
            batches, through = await self._answer(self._next(remaining, ends))
            for where, records in batches.items():
                for record in records:
                    if record.offset < ends[where]:
                        yield record
            for where in through:
                del remaining[where]

    async def _next(
        self, remaining: Mapping[Partition, int], ends: dict[Partition, int]
    ) -> tuple[Mapping[Partition, Sequence[Record]], Sequence[Partition]]:
        """Return records, and the partitions that are read to their end; there is one of the two. Fills in `ends`."""
        while True:
            batches = await self._client.getmany(*remaining, timeout_ms=READ_WAIT_MS, max_records=READ_AT_ONCE)
            for where in remaining.keys() - ends.keys():
                if (end := self._client.last_stable_offset(where)) is not None:
                    ends[where] = end
            through = [each for each in ends.keys() & remaining if await self._client.position(each) >= ends[each]]
            if batches or through:
                return batches, through

    async def _answer(self, asked: Awaitable[T]) -> T:
        """Wait for the broker's answer, within bounds of time."""
        try:
            async with asyncio.timeout(self._patience) as limit:
                return await asked
        except TRANSIENT as error:
            reason = f"nothing for {self._patience:g} s" if limit.expired() else reason_of(error)
            raise UnreachableError(f"Kafka at {self._address} does not answer any more ({reason})") from None


@contextlib.asynccontextmanager
async def open_reader(settings: Settings, topic: str, *, begins_again: bool = True) -> AsyncIterator[TopicReader]:
    """Open a reader of `topic`, which exists: asked for one that does not, a broker may make it.

    Who follows takes `begins_again=False`: an offset that is gone is then an error instead of the first record. Raises
    `UnreachableError` when no broker answers in time.
    """
    async with open_topic(settings, topic, begins_again=begins_again) as client:
        yield TopicReader(client, ",".join(settings.kafka_bootstrap), settings.startup_timeout)


def _is_fresh(record: Record, bookmarks: Mapping[int, Bookmark]) -> bool:
    """Say whether a record is behind its bookmark; raise `AnotherTopicError` if the one before it is not that one."""
    bookmark = bookmarks.get(record.partition)
    if bookmark is None or record.offset >= bookmark.offset:
        return True
    if record.timestamp != bookmark.timestamp:
        raise AnotherTopicError(f"what stands at {record.partition}@{record.offset} is another record than before")
    return False
