"""What a reader does about offsets that are not there; the rest meets a broker in tests/integration/test_reader.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import TopicAuthorizationFailedError

from consumers.broker import TopicReader
from runtime.lifecycle import UnreachableError
from tests.support.fake_broker import Stored

if TYPE_CHECKING:
    from collections.abc import Sequence

ONE = TopicPartition("letters", 0)


class Client:
    """One partition, whose retention or compaction has taken some offsets; out of range, it begins at the first."""

    def __init__(self, offsets: Sequence[int], end: int) -> None:
        self._offsets = offsets
        self._end = end
        self._position = 0
        self.error: Exception | None = None

    def assignment(self) -> set[TopicPartition]:
        return {ONE}

    def seek(self, where: TopicPartition, offset: int) -> None:
        assert where == ONE
        self._position = offset if self._offsets[0] <= offset <= self._end else self._offsets[0]

    async def beginning_offsets(self, _: set[TopicPartition]) -> dict[TopicPartition, int]:
        return {ONE: self._offsets[0]}

    async def getmany(self, *_: TopicPartition, **__: int) -> dict[TopicPartition, list[Stored]]:
        if self.error is not None:
            raise self.error
        found = [Stored("letters", 0, each, 0, None, b"", ()) for each in self._offsets if each >= self._position]
        self._position = self._end
        return {ONE: found} if found else {}

    def last_stable_offset(self, _: TopicPartition) -> int:
        return self._end

    async def position(self, _: TopicPartition) -> int:
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
