"""What the intake relies on of a broker, promised once and asked of both: the fake the tests use and a real one.

Whatever is tested against the fake is worth as much as this file: a promise the fake keeps and the real one
breaks would be a bug nobody sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Protocol

import pytest

from consumers import broker
from consumers.broker import Outgoing, Partition
from runtime.embedded import free_port
from runtime.lifecycle import UnreachableError
from tests.support.fake_broker import FakeBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from consumers.decode import Record
    from runtime.settings import Settings

PATIENCE = 30.0
TOPIC, PARTITIONS = "events", 4


class Backend(Protocol):
    """A broker with an empty topic, on which a test opens what it needs."""

    topic: str

    def producer(self) -> contextlib.AbstractAsyncContextManager[broker.Producer]: ...

    def consumer(self) -> contextlib.AbstractAsyncContextManager[broker.Consumer]: ...


class Fake:
    """The one in memory."""

    topic = TOPIC

    def __init__(self) -> None:
        self.broker = FakeBroker({TOPIC: PARTITIONS})

    @contextlib.asynccontextmanager
    async def producer(self) -> AsyncIterator[broker.Producer]:
        yield self.broker.producer()

    @contextlib.asynccontextmanager
    async def consumer(self) -> AsyncIterator[broker.Consumer]:
        yield self.broker.consumer(TOPIC)


class Real:
    """A broker process and our clients for it."""

    def __init__(self, settings: Settings) -> None:
        if os.environ.get("HELIOGRAPH_TEST_BROKER") != "apache":  # which allows no less than its default
            settings = settings.model_copy(update={"kafka_session_timeout": 1.5})
        self.settings = settings
        self.topic = settings.kafka_topic_events

    @contextlib.asynccontextmanager
    async def producer(self) -> AsyncIterator[broker.Producer]:
        client = broker.KafkaProducer(self.settings)
        await client.start()
        try:
            yield client
        finally:
            await client.stop()

    @contextlib.asynccontextmanager
    async def consumer(self) -> AsyncIterator[broker.Consumer]:
        assigned = asyncio.Event()
        client = broker.KafkaConsumer(self.settings, [self.topic], assigned.set)
        await client.start()
        try:
            async with asyncio.timeout(PATIENCE):
                await assigned.wait()
            yield client
        finally:
            await client.stop()


@pytest.fixture(params=["fake", "real"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each broker in turn; the real one is started only for its own turn."""
    return Fake() if request.param == "fake" else Real(request.getfixturevalue("settings"))


async def read(consumer: broker.Consumer, count: int, *, limit: int = 100) -> list[Record]:
    """Poll until `count` records have come, within bounds of time."""
    records: list[Record] = []
    async with asyncio.timeout(PATIENCE):
        while len(records) < count:
            batch = await consumer.poll(limit, 0.5)
            assert len(batch) <= limit
            records += batch
    return records


def numbered(topic: str, count: int, keys: Sequence[bytes] = (b"one key",)) -> list[Outgoing]:
    """Return records whose values count up, dealt out to `keys` in turn."""
    return [Outgoing(topic, keys[number % len(keys)], b"%d" % number, []) for number in range(count)]


def after(records: Sequence[Record]) -> Mapping[Partition, int]:
    """Return the offsets to commit when `records` are handled."""
    return {Partition(record.topic, record.partition): record.offset + 1 for record in records}


def values(records: Sequence[Record]) -> list[bytes | None]:
    return [record.value for record in records]


async def test_records_of_a_key_come_once_each_and_in_order(backend: Backend) -> None:
    keys = [b"k%d" % number for number in range(7)]
    async with backend.producer() as producer, backend.consumer() as consumer:
        await producer.send(numbered(backend.topic, 70, keys))
        records = await read(consumer, 70)
    assert sorted(int(record.value or b"") for record in records) == list(range(70))
    for key in keys:
        of_key = [record for record in records if record.key == key]
        assert len({record.partition for record in of_key}) == 1
        assert values(of_key) == sorted(values(of_key), key=lambda value: int(value or b""))
        assert [record.offset for record in of_key] == sorted(record.offset for record in of_key)


async def test_a_poll_returns_no_more_than_asked_for_and_nothing_when_there_is_nothing(backend: Backend) -> None:
    async with backend.producer() as producer, backend.consumer() as consumer:
        await producer.send(numbered(backend.topic, 10, [b"a", b"b", b"c"]))
        records = await read(consumer, 10, limit=3)
        assert sorted(int(record.value or b"") for record in records) == list(range(10))
        assert list(await consumer.poll(3, 0.01)) == []


async def test_a_new_consumer_starts_at_what_was_committed_and_reads_the_rest_again(backend: Backend) -> None:
    async with backend.producer() as producer:
        await producer.send(numbered(backend.topic, 6))
        await producer.send([Outgoing(backend.topic, b"another key", b"kept", [])])
    async with backend.consumer() as first:
        records = await read(first, 7)
        handled = [record for record in records if record.key == b"one key"][:4]
        await first.commit(after(handled))
    async with backend.consumer() as second:
        again = await read(second, 3)
        assert sorted(values(again), key=str) == [b"4", b"5", b"kept"]
        await second.commit(after(again))
        assert list(await second.poll(10, 0.01)) == []


async def test_rewinding_reads_again_from_there(backend: Backend) -> None:
    async with backend.producer() as producer, backend.consumer() as consumer:
        await producer.send(numbered(backend.topic, 5))
        records = await read(consumer, 5)
        where = Partition(backend.topic, records[0].partition)
        consumer.rewind({where: records[2].offset})
        assert values(await read(consumer, 3)) == [b"2", b"3", b"4"]
        consumer.rewind({where: records[4].offset})
        assert values(await read(consumer, 1)) == [b"4"]


async def test_what_is_no_longer_assigned_cannot_be_committed_and_rewinding_it_does_nothing(backend: Backend) -> None:
    elsewhere = {Partition(backend.topic, 99): 0, Partition("no-such-topic", 0): 3}
    async with backend.producer() as producer, backend.consumer() as consumer:
        await producer.send(numbered(backend.topic, 2))
        assert values(await read(consumer, 2)) == [b"0", b"1"]
        consumer.rewind(elsewhere)
        assert list(await consumer.poll(10, 0.01)) == []
        with pytest.raises(broker.TRANSIENT):
            await consumer.commit(elsewhere)
        await producer.send([Outgoing(backend.topic, b"one key", b"2", [])])
        assert values(await read(consumer, 1)) == [b"2"]


async def test_bytes_arrive_as_they_were_sent(backend: Backend) -> None:
    headers = [("twice", b"1"), ("twice", b"2"), ("empty", b""), ("null", None), ("naïve", b"\xff\x00")]
    sent = [
        Outgoing(backend.topic, b"\x00\xff", b"\xfe" * 3, headers),
        Outgoing(backend.topic, None, b"no key", []),
        Outgoing(backend.topic, b"", b"", []),
        Outgoing(backend.topic, b"tombstone", None, [("why", b"gone")]),
    ]
    async with backend.producer() as producer, backend.consumer() as consumer:
        await producer.send(sent)
        records = await read(consumer, len(sent))
    arrived = {record.value: record for record in records}
    for each in sent:
        record = arrived[each.value]
        assert (record.topic, record.key, list(record.headers)) == (each.topic, each.key, list(each.headers))
        assert record.timestamp > 0


async def test_a_record_with_neither_key_nor_value_can_be_sent(backend: Backend) -> None:
    """The real client asserts that there is one of them: the key becomes empty."""
    async with backend.producer() as producer, backend.consumer() as consumer:
        await producer.send([Outgoing(backend.topic, None, None, [("poison", b"null")])])
        (record,) = await read(consumer, 1)
    assert (record.key, record.value, list(record.headers)) == (b"", None, [("poison", b"null")])


async def test_lag_is_what_waits_and_goes_to_nothing(backend: Backend) -> None:
    async with backend.producer() as producer:
        await producer.send(numbered(backend.topic, 5))
    async with backend.consumer() as consumer:
        records = await read(consumer, 2, limit=2)
        where = Partition(backend.topic, records[0].partition)
        assert consumer.lag()[where] == 3
        await read(consumer, 3)
        assert consumer.lag()[where] == 0
        consumer.rewind({where: records[0].offset})
        assert consumer.lag()[where] == 5


async def test_a_record_nobody_takes_is_refused_and_the_next_one_is_not(backend: Backend) -> None:
    huge = Outgoing(backend.topic, b"one key", bytes(broker.PRODUCER_MAX_BYTES + 1), [])
    fits = Outgoing(backend.topic, b"one key", bytes(10_000_000), [])
    async with backend.producer() as producer, backend.consumer() as consumer:
        with pytest.raises(broker.RecordTooLargeError):
            await producer.send([huge])
        await producer.send([fits, *numbered(backend.topic, 1)])
        assert values(await read(consumer, 2)) == [fits.value, b"0"]


# --- the real one alone ----------------------------------------------------------------------------------------------


async def test_topics_are_made_once_and_listed(settings: Settings) -> None:
    wanted = {settings.kafka_topic_events: PARTITIONS, f"{settings.kafka_topic_events}-new": 1}
    await broker.create_topics(settings, wanted)
    await broker.create_topics(settings, wanted)
    assert set(wanted) < await broker.list_topics(settings)


async def test_a_broker_that_is_not_there_is_named(settings: Settings) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    lost = settings.model_copy(update={"kafka_bootstrap": (nowhere,), "startup_timeout": 0.3})
    consumer = broker.KafkaConsumer(lost, [TOPIC], lambda: None)
    producer = broker.KafkaProducer(lost)
    try:
        async with asyncio.timeout(PATIENCE):
            for attempt in (
                broker.list_topics(lost),
                broker.start_patiently(consumer, lost),
                broker.start_patiently(producer, lost),
            ):
                with pytest.raises(UnreachableError, match=f"^Kafka at {nowhere} did not answer within 0.3 s"):
                    await attempt
    finally:
        await consumer.stop()
        await producer.stop()
