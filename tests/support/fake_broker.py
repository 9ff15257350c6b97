"""A broker in memory that keeps the promises of `consumers.broker` and breaks them when told to.

What the intake is tested against where the fault matters and the network does not; tests/contract/test_broker.py
holds it to the same promises as the real one. One consumer group, whose members take over from each other.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumers.broker import PRODUCER_MAX_BYTES, Outgoing, Partition, RecordTooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

#: 2026-11-01T00:00:00Z; records get consecutive milliseconds from here.
FIRST_TIMESTAMP = 1_793_491_200_000


class UnavailableError(OSError):
    """What the fake raises where a real client reports a broker that is away."""


@dataclass(slots=True)
class Stored:
    """A record as it was appended; what `poll` returns."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class FakeBroker:
    """Topics, the offsets the group has committed, and the faults to come."""

    def __init__(self, topics: Mapping[str, int], *, max_bytes: int = PRODUCER_MAX_BYTES) -> None:
        """Make `topics` with so many partitions each; `max_bytes` is the largest record a producer may send."""
        self.logs: dict[Partition, list[Stored]] = {
            Partition(topic, number): [] for topic, count in topics.items() for number in range(count)
        }
        self.committed: dict[Partition, int] = {}
        self.max_bytes = max_bytes
        #: How many of the next commits and sends fail; `inf` until further notice.
        self.failing_commits: float = 0
        self.failing_sends: float = 0
        #: What has happened so far: `append`, `commit`, `commit failed`, `send failed`.
        self.seen: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def consumer(self, *topics: str, on_rebalance: Callable[[], None] = lambda: None) -> FakeConsumer:
        """Return the group's next member, with every partition of `topics`."""
        return FakeConsumer(self, topics, on_rebalance)

    def producer(self) -> FakeProducer:
        """Return a producer."""
        return FakeProducer(self)

    def records(self, topic: str) -> list[Stored]:
        """Return what is in `topic`, partition by partition."""
        return [record for where, log in sorted(self.logs.items()) if where.topic == topic for record in log]

    def append(self, record: Outgoing, *, partition: int | None = None, timestamp: int | None = None) -> Stored:
        """Put a record there, whatever its size; without `partition` its key decides."""
        if partition is None:
            count = sum(where.topic == record.topic for where in self.logs)
            partition = zlib.crc32(record.key or b"") % count
        log = self.logs[Partition(record.topic, partition)]
        offset = len(log)
        stamp = FIRST_TIMESTAMP + offset if timestamp is None else timestamp
        stored = Stored(record.topic, partition, offset, stamp, record.key, record.value, tuple(record.headers))
        log.append(stored)
        self.happened("append")
        return stored

    def is_drained(self, topic: str) -> bool:
        """Say whether the group has committed everything in `topic`."""
        return all(self.committed.get(where, 0) == len(log) for where, log in self.logs.items() if where.topic == topic)

    def happened(self, what: str) -> None:
        """Count `what` and wake whoever waits for something to happen."""
        self.seen[what] += 1
        self._changed.set()

    async def until(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        """Return as soon as something happened that makes `condition` true; TimeoutError after `seconds`."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class FakeConsumer:
    """The member of the group that has every partition."""

    def __init__(self, broker: FakeBroker, topics: Sequence[str], on_rebalance: Callable[[], None]) -> None:
        """Start at the committed offsets, or at the first record."""
        self._broker = broker
        #: Next offset to read of each partition; a test takes one out to reassign it elsewhere.
        self.positions = {where: broker.committed.get(where, 0) for where in broker.logs if where.topic in topics}
        on_rebalance()

    async def poll(self, limit: int, seconds: float) -> Sequence[Stored]:
        """Return at most `limit` records, in order within each partition; none after `seconds`."""
        if not any(self.lag().values()):
            try:
                await self._broker.until(lambda: any(self.lag().values()), seconds)
            except TimeoutError:
                return []
        batch: list[Stored] = []
        for where, position in self.positions.items():
            taken = self._broker.logs[where][position : position + limit - len(batch)]
            self.positions[where] += len(taken)
            batch += taken
        return batch

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit, unless told to fail or no longer assigned."""
        if self._broker.failing_commits:
            self._broker.failing_commits -= 1
            self._broker.happened("commit failed")
            raise UnavailableError("the coordinator is away")
        for where in offsets:
            if where not in self.positions:
                raise UnavailableError(f"{where} is not assigned")
        self._broker.committed |= offsets
        self._broker.happened("commit")

    def rewind(self, offsets: Mapping[Partition, int]) -> None:
        """Read on from these offsets, where the partition is assigned."""
        self.positions |= {where: offset for where, offset in offsets.items() if where in self.positions}

    def lag(self) -> Mapping[Partition, int]:
        """Return how many records wait in each partition."""
        return {where: len(self._broker.logs[where]) - position for where, position in self.positions.items()}


class FakeProducer:
    """A producer; as on the real one, what preceded a refused record is written."""

    def __init__(self, broker: FakeBroker) -> None:
        """Write to `broker`."""
        self._broker = broker

    async def send(self, records: Iterable[Outgoing]) -> None:
        """Append every record, unless told to fail."""
        for record in records:
            if self._broker.failing_sends:
                self._broker.failing_sends -= 1
                self._broker.happened("send failed")
                raise UnavailableError(f"{record.topic} has no leader")
            if _size(record) > self._broker.max_bytes:
                raise RecordTooLargeError(f"{_size(record)} bytes, {self._broker.max_bytes} allowed")
            key = b"" if record.key is None and record.value is None else record.key
            self._broker.append(record._replace(key=key))


def _size(record: Outgoing) -> int:
    headers = sum(len(name.encode()) + len(content or b"") for name, content in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers
