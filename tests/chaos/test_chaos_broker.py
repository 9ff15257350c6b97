"""The fault table, Kafka: out of reach, restarted, down for minutes, and unable to take a dead letter."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from consumers import broker
from consumers.broker import Outgoing
from tests.support.fault_stage import Stage, a_stage
from tests.support.process import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.books import Balance
    from tests.support.process import Heliograph

pytestmark = pytest.mark.timeout(600)

#: Longer than a request to Kafka may take, and than a member's session.
LONG = 15.0
MINUTES = 120.0
LAG = "heliograph_kafka_lag_records"


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with a_stage() as made:
        yield made


@pytest.fixture
async def apache() -> AsyncIterator[Stage]:
    """Have an Apache Kafka: the embedded broker forgets everything when it ends, and takes every record."""
    async with a_stage(is_apache=True) as made:
        yield made


async def in_the_middle(stage: Stage) -> Heliograph:
    """Start intake and delivery, and return the former while it has much to do."""
    consume, _ = await asyncio.gather(stage.serve("consume"), stage.serve("deliver"))
    await stage.produce(5000)
    await stage.arrived(1)
    return consume


async def recovers(stage: Stage, consume: Heliograph, *, seconds: float = 120) -> Balance:
    """See that it is ready again by itself, that its lag goes to nothing, and that the books are right.

    Delivery has not been touched, and events that were read again are known: nothing may come twice.
    """
    await stage.becomes(200, consume, seconds=seconds)
    await stage.produce(200)
    found = await stage.balanced(again=0)

    async def has_no_lag() -> bool:
        return await stage.metric(consume, LAG) == 0

    await until(has_no_lag, "the lag is 0")
    return found


@pytest.mark.parametrize("how", ["cut", "lose", "stall"])
async def test_network_to_kafka_away(how: str, stage: Stage, count: Callable[[Balance, int], None]) -> None:
    consume = await in_the_middle(stage)
    getattr(stage.kafka, how)()
    await stage.becomes(503, consume)
    await asyncio.sleep(LONG)
    stage.kafka.heal()
    count(await recovers(stage, consume), 0)


async def test_network_to_kafka_slow(stage: Stage, count: Callable[[Balance, int], None]) -> None:
    consume = (await asyncio.gather(stage.serve("consume"), stage.serve("deliver")))[0]
    await stage.produce(1000)
    stage.kafka.throttle(200_000)
    await stage.arrived(500)
    stage.kafka.heal()
    count(await recovers(stage, consume), 0)


@pytest.mark.parametrize("seconds", [5.0, MINUTES], ids=["restarted", "down for minutes"])
async def test_broker_killed_and_started_again(
    seconds: float, apache: Stage, count: Callable[[Balance, int], None]
) -> None:
    consume = await in_the_middle(apache)
    await asyncio.to_thread(apache.apache.kill)
    await asyncio.sleep(seconds)
    if seconds == MINUTES:
        await apache.becomes(503, consume)
    await asyncio.to_thread(apache.apache.start)
    count(await recovers(apache, consume), 0)


async def test_dead_letter_topic_unavailable(apache: Stage, count: Callable[[Balance, int], None]) -> None:
    """It is gone while everything else is there; it is made again, and what could not be put aside is."""
    settings = apache.settings
    consume, _ = await asyncio.gather(apache.serve("consume"), apache.serve("deliver"))
    async with administering(apache) as admin:
        await admin.delete_topics([settings.kafka_topic_dead_letters])
    await apache.produce(100, [Outgoing(settings.kafka_topic_events, b"key", b"no event", [])])
    await apache.becomes(503, consume, seconds=150)  # seven tries of ten seconds each
    _, trouble = await apache.health(consume)
    assert "intake:progress" in trouble
    assert await apache.acknowledged() <= 100
    await broker.create_topics(settings, {settings.kafka_topic_dead_letters: 1})
    await apache.becomes(200, consume)
    count(await apache.balanced(again=0, others=1), 0)
    assert await apache.metric(consume, "heliograph_dead_letters_total") == 1


@contextlib.asynccontextmanager
async def administering(stage: Stage) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=list(stage.settings.kafka_bootstrap))
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
