"""A real consumer that gets stuck on a real broker: it is replaced, and nothing is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from consumers import broker, watchdog
from consumers.broker import Outgoing, Partition
from consumers.watchdog import WatchedConsumer
from runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.decode import Record
    from runtime.settings import Settings

PATIENCE = 20.0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOOK", 0.02)
    monkeypatch.setattr(watchdog, "ASK", 0.05)
    monkeypatch.setattr(watchdog, "UNREADY", 0.2)


async def read(consumer: WatchedConsumer, values: set[bytes]) -> None:
    """Poll and commit until all of `values` have come."""
    missing = set(values)
    async with asyncio.timeout(PATIENCE):
        while missing:
            records: Sequence[Record] = await consumer.poll(100, 0.05)
            missing -= {record.value or b"" for record in records}
            if records:
                await consumer.commit({Partition(each.topic, each.partition): each.offset + 1 for each in records})


async def test_a_consumer_whose_fetches_end_nowhere_is_replaced_and_reads_what_came_meanwhile(
    settings: Settings,
) -> None:
    """It takes seconds: the embedded broker lets the new member wait until the old one's session has ended."""
    settings = settings.model_copy(update={"kafka_session_timeout": 1.5})
    restarts: list[int] = []
    consumer = WatchedConsumer(
        lambda: broker.KafkaConsumer(settings, [settings.kafka_topic_events], lambda: None),
        clock=SystemClock(),
        on_restart=lambda: restarts.append(1),
        patience=0.5,
    )
    producer = broker.KafkaProducer(settings)
    await producer.start()
    await consumer.start()
    try:
        await producer.send([Outgoing(settings.kafka_topic_events, b"key", b"before", [])])
        await read(consumer, {b"before"})
        assert not restarts
        stuck = consumer._client
        assert isinstance(stuck, broker.KafkaConsumer)
        await let_no_fetch_end(stuck)
        after = [b"%d" % number for number in range(5)]
        for value in after:
            await producer.send([Outgoing(settings.kafka_topic_events, b"key", value, [])])
        await read(consumer, set(after))
        assert consumer._client is not stuck
        assert len(restarts) == 1
        async with asyncio.timeout(PATIENCE):
            while consumer.trouble():  # until it has got on for a while
                await consumer.poll(100, 0.05)
    finally:
        await consumer.stop()
        await producer.stop()


async def let_no_fetch_end(client: broker.KafkaConsumer) -> None:
    """Make the client wait for answers that never come, and that no timeout of its own ends."""

    async def wait_for_ever(*_: object) -> bool:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return False
        return True

    fetcher = client._client._fetcher
    fetcher._proc_fetch_request = wait_for_ever
    if fetcher._pending_tasks:
        await asyncio.wait(set(fetcher._pending_tasks))


async def test_an_idle_consumer_is_left_alone(settings: Settings) -> None:
    settings = settings.model_copy(update={"kafka_session_timeout": 1.5})
    restarts: list[int] = []
    joined = asyncio.Event()
    consumer = WatchedConsumer(
        lambda: broker.KafkaConsumer(settings, [settings.kafka_topic_events], joined.set),
        clock=SystemClock(),
        on_restart=lambda: restarts.append(1),
        patience=0.3,
    )
    await consumer.start()
    try:
        async with asyncio.timeout(PATIENCE):
            while not joined.is_set():
                await consumer.poll(100, 0.05)
        for _ in range(16):
            assert list(await consumer.poll(100, 0.05)) == []
        assert not restarts
        assert consumer.assigned == len(await consumer._client.ends())  # type: ignore[union-attr]  # it is there
    finally:
        await consumer.stop()
