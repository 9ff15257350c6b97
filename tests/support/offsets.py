"""What a consumer group has committed, asked of the broker by somebody outside of the group's members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition

if TYPE_CHECKING:
    from runtime.settings import Settings


async def acknowledged(settings: Settings, partitions: int) -> int:
    """Return how many records of the events' topic the group has committed."""
    client = AIOKafkaConsumer(
        bootstrap_servers=list(settings.kafka_bootstrap), group_id=settings.kafka_group, enable_auto_commit=False
    )
    await client.start()
    try:
        where = [TopicPartition(settings.kafka_topic_events, number) for number in range(partitions)]
        client.assign(where)
        return sum([await client.committed(each) or 0 for each in where])
    finally:
        await client.stop()
