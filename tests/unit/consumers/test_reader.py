"""What a reader does about offsets that are gone or not the same; tests/integration/test_reader.py has a broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka.errors import OffsetOutOfRangeError, TopicAuthorizationFailedError

from consumers.broker import Partition
from consumers.reader import AnotherTopicError, Bookmark, TopicReader
from runtime.lifecycle import UnreachableError
from tests.support.fake_broker import Stored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from consumers.reader import Moment

ONE = Partition("letters", 0)


class Client:
    """One partition, whose retention or compaction has taken some offsets; out of range, it begins at the first."""

    def __init__(self, offsets: Sequence[int], end: int) -> None:
        self._offsets = offsets
        self._end = end
        self._position = 0
        self._polls = 0
        self.error: Exception | None = None

    def assignment(self) -> AbstractSet[Partition]:
        return {ONE}

    def seek(self, where: Partition, offset: int) -> None:
        assert where == ONE
        self._position = offset if self._offsets[0] <= offset <= self._end else self._offsets[0]

    async def beginning_offsets(self, _: AbstractSet[Partition]) -> dict[Partition, int]:
        return {ONE: self._offsets[0]}

    async def end_offsets(self, _: AbstractSet[Partition]) -> dict[Partition, int]:
        return {ONE: self._end}

    async def offsets_for_times(self, _: Mapping[Partition, int]) -> Mapping[Partition, Moment | None]:
        return {ONE: None}

    async def getmany(self, *_: Partition, timeout_ms: int, max_records: int) -> dict[Partition, list[Stored]]:
        assert (timeout_ms, max_records) > (0, 0)
        if self.error is not None:
            raise self.error
        self._polls += 1
        await asyncio.sleep(0)
        found = [Stored("letters", 0, each, 0, None, b"", ()) for each in self._offsets if each >= self._position]
        self._position = self._end
        return {ONE: found} if found else {}

    def last_stable_offset(self, _: Partition) -> int:
        return self._end

    def last_poll_timestamp(self, _: Partition) -> int:
        return self._polls

    async def position(self, _: Partition) -> int:
        return self._position


@pytest.mark.parametrize(
    ("offset", "is_there"), [(5, True), (8, True), (6, False), (4, False), (9, False), (10, False), (99, False)]
)
async def test_a_record_that_is_gone_is_not_replaced_by_the_next_one(offset: int, *, is_there: bool) -> None:
    reader = TopicReader(Client([5, 7, 8], 10), "a.example:9092", 10)
    record = await reader.record(0, offset)
    assert (record is not None) is is_there
    assert record is None or record.offset == offset


async def test_records_beyond_the_end_that_came_with_the_last_ones_are_left_for_the_next_time() -> None:
    reader = TopicReader(Client([5, 7, 8, 12], 10), "a.example:9092", 10)
    assert [record.offset async for record in reader.records()] == [5, 7, 8]


async def test_a_broker_that_refuses_is_named_with_its_reason() -> None:
    client = Client([0], 1)
    client.error = TopicAuthorizationFailedError("letters")
    with pytest.raises(UnreachableError, match=r"^Kafka at a\.example:9092 does not answer any more \(.*letters"):
        await TopicReader(client, "a.example:9092", 10).record(0, 0)


# --- following -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bookmark", "offsets"),
    [
        (None, [5, 7, 8]),
        (Bookmark(5, 0), [5, 7, 8]),
        (Bookmark(8, 0), [8]),
        (Bookmark(7, 99), [7, 8]),  # what stood before it has been compacted away: nothing to compare
        (Bookmark(9, 0), []),
        (Bookmark(10, 99), []),
    ],
)
async def test_following_goes_on_from_the_bookmark(bookmark: Bookmark | None, offsets: list[int]) -> None:
    reader = TopicReader(Client([5, 7, 8], 10), "a.example:9092", 10)
    news = await anext(reader.follow({} if bookmark is None else {0: bookmark}))
    assert [record.offset for record in news.records] == offsets
    assert news.is_at_end


@pytest.mark.parametrize(
    ("bookmarks", "words"),
    [
        ({0: Bookmark(4, 0)}, "partition 0 begins at 5, after 4"),
        ({0: Bookmark(8, 99)}, "what stands at 0@7 is another record than before"),
        ({0: Bookmark(11, 0)}, "partition 0 ends at 10, before 11"),
        ({0: Bookmark(5, 0), 1: Bookmark(0, 0)}, "partition 1 is gone"),
    ],
)
async def test_bookmarks_of_another_topic_are_noticed(bookmarks: dict[int, Bookmark], words: str) -> None:
    reader = TopicReader(Client([5, 7, 8], 10), "a.example:9092", 10)
    with pytest.raises(AnotherTopicError, match=words):
        await anext(reader.follow(bookmarks))


async def test_an_offset_that_the_broker_does_not_have_is_another_topic_and_no_broker_that_is_away() -> None:
    client = Client([5], 6)
    client.error = OffsetOutOfRangeError({ONE: 6})
    with pytest.raises(AnotherTopicError):
        await anext(TopicReader(client, "a.example:9092", 10).follow({0: Bookmark(6, 0)}))


async def test_a_partition_that_is_stuck_is_noticed_beside_one_that_answers() -> None:
    other = Partition("letters", 1)

    class HalfStuck(Client):
        def assignment(self) -> AbstractSet[Partition]:
            return {ONE, other}

        def seek(self, where: Partition, offset: int) -> None:
            if where == ONE:
                super().seek(where, offset)

        async def beginning_offsets(self, partitions: AbstractSet[Partition]) -> dict[Partition, int]:
            return dict.fromkeys(partitions, self._offsets[0])

        def last_poll_timestamp(self, where: Partition) -> int:
            return super().last_poll_timestamp(where) if where == ONE else 1

    following = TopicReader(HalfStuck([5], 6), "a.example:9092", 0.05).follow({})
    assert [record.offset for record in (await anext(following)).records] == [5]
    with pytest.raises(UnreachableError):
        await anext(following)


async def test_a_client_that_is_stuck_does_not_keep_its_follower_waiting_for_ever() -> None:
    class Stuck(Client):
        def last_poll_timestamp(self, _: Partition) -> int:
            return 1

    following = TopicReader(Stuck([5], 6), "a.example:9092", 0.05).follow({})
    assert [record.offset for record in (await anext(following)).records] == [5]
    with pytest.raises(UnreachableError, match=r"does not answer any more \(nothing for 0.05 s\)"):
        await anext(following)
