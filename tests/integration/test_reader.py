"""Looking through a topic on a real broker: all of it, its newest part, one record; and a broker that goes away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from consumers import broker
from consumers.broker import Outgoing
from consumers.reader import open_reader
from runtime.embedded import EmbeddedBroker, free_port
from runtime.lifecycle import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from consumers.decode import Record
    from runtime.settings import Settings

PATIENCE = 60.0


async def produce(settings: Settings, topic: str, values: Iterable[bytes | None], key: bytes = b"k") -> None:
    producer = broker.KafkaProducer(settings)
    await producer.start()
    try:
        await producer.send(Outgoing(topic, key, value, [("number", b"1")]) for value in values)
    finally:
        await producer.stop()


async def read(settings: Settings, topic: str, *, since_ms: int | None = None, last: int | None = None) -> list[Record]:
    async with asyncio.timeout(PATIENCE), open_reader(settings, topic) as reader:
        return [record async for record in reader.records(since_ms=since_ms, last=last)]


def numbers(records: Iterable[Record]) -> list[int]:
    return [int(record.value or b"") for record in records]


async def test_a_topic_is_read_from_its_beginning_to_its_end_whatever_has_been_committed(settings: Settings) -> None:
    """In several batches, from several partitions, in order within each."""
    topic = settings.kafka_topic_events
    for key in (b"a", b"b", b"c", b"d", b"e"):
        await produce(settings, topic, (b"%d" % number for number in range(250)), key)
    records = await read(settings, topic)
    assert len({record.partition for record in records}) > 1
    assert sorted(numbers(records)) == sorted(list(range(250)) * 5)
    for key in (b"a", b"b", b"c", b"d", b"e"):
        assert numbers(record for record in records if record.key == key) == list(range(250))
    assert [(name, content) for name, content in records[0].headers] == [("number", b"1")]
    assert len(await read(settings, topic)) == len(records)


async def test_an_empty_topic_has_an_end_too(settings: Settings) -> None:
    assert await read(settings, settings.kafka_topic_dead_letters) == []
    assert await read(settings, settings.kafka_topic_dead_letters, since_ms=0, last=5) == []


async def test_what_comes_while_reading_is_left_for_the_next_time(settings: Settings) -> None:
    topic = settings.kafka_topic_dead_letters
    await produce(settings, topic, (b"%d" % number for number in range(150)))
    found = []
    async with asyncio.timeout(PATIENCE), open_reader(settings, topic) as reader:
        async for record in reader.records():
            found.append(record)
            if len(found) == 1:
                await produce(settings, topic, [b"150", b"151"])
    assert numbers(found) == list(range(150))


async def test_the_newest_are_read_from_near_the_end(settings: Settings) -> None:
    topic = settings.kafka_topic_dead_letters
    for number in range(20):
        await produce(settings, topic, [b"%d" % number])
    assert numbers(await read(settings, topic, last=3)) == [17, 18, 19]
    assert numbers(await read(settings, topic, last=1000)) == list(range(20))


async def test_what_is_older_is_left_out(settings: Settings) -> None:
    topic = settings.kafka_topic_dead_letters
    await produce(settings, topic, [b"0", b"1", b"2"])
    newest = (await read(settings, topic))[-1]
    await asyncio.sleep(0.005)  # the broker's clock counts milliseconds: the next record has a later one
    await produce(settings, topic, [b"3", b"4"])
    assert numbers(await read(settings, topic, since_ms=newest.timestamp + 1)) == [3, 4]
    assert numbers(await read(settings, topic, since_ms=newest.timestamp))[-3:] == [2, 3, 4]
    assert numbers(await read(settings, topic, since_ms=-5)) == [0, 1, 2, 3, 4]
    assert await read(settings, topic, since_ms=newest.timestamp + 3_600_000) == []


async def test_one_record_is_found_by_its_coordinates_or_not_at_all(settings: Settings) -> None:
    topic = settings.kafka_topic_dead_letters
    await produce(settings, topic, [b"%d" % number for number in range(10)])
    async with asyncio.timeout(PATIENCE), open_reader(settings, topic) as reader:
        for offset in (7, 0, 9, 3):
            record = await reader.record(0, offset)
            assert record is not None
            assert (record.offset, record.value) == (offset, b"%d" % offset)
        for partition, offset in ((0, 10), (0, 10**17), (1, 0)):
            assert await reader.record(partition, offset) is None


async def test_one_record_in_an_empty_topic_is_not_found(settings: Settings) -> None:
    async with asyncio.timeout(PATIENCE), open_reader(settings, settings.kafka_topic_dead_letters) as reader:
        assert await reader.record(0, 0) is None
        assert await reader.record(0, 5) is None


async def test_a_record_larger_than_a_fetch_is_read(settings: Settings) -> None:
    topic = settings.kafka_topic_dead_letters
    await produce(settings, topic, [b"1", bytes(5_000_000), b"3"])
    assert [len(record.value or b"") for record in await read(settings, topic)] == [1, 5_000_000, 1]


async def test_a_broker_that_is_not_there_is_named(settings: Settings) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    lost = settings.model_copy(update={"kafka_bootstrap": (nowhere,), "startup_timeout": 0.3})
    with pytest.raises(UnreachableError, match=f"^Kafka at {nowhere} did not answer within 0.3 s"):
        await read(lost, "events")


async def test_a_broker_that_goes_away_while_it_is_read_ends_the_reading(settings: Settings, tmp_path: Path) -> None:
    server = EmbeddedBroker(tmp_path / "broker.log")
    await server.start()
    try:
        mine = settings.model_copy(update={"kafka_bootstrap": (server.bootstrap,), "startup_timeout": 2.0})
        await broker.create_topics(mine, {"letters": 1})
        await produce(mine, "letters", (bytes(100_000) for _ in range(200)))
        async with asyncio.timeout(PATIENCE), open_reader(mine, "letters") as reader:
            reading = reader.records()
            await anext(reading)
            await server.stop()
            with pytest.raises(UnreachableError, match=rf"^Kafka at {server.bootstrap} does not answer any more \("):
                assert len([record async for record in reading]) < 0, "an end was reached"
            with pytest.raises(UnreachableError):
                await reader.record(0, 199)
    finally:
        await server.stop()
