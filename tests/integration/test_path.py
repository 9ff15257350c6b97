"""The whole path in one process, on a real database and broker: event in, verified webhook out, row recorded."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg
import orjson

from consumers import broker
from consumers.encode import cloud_event
from publisher.app import Service
from publisher.delivery.egress import Rules
from publisher.endpoints import Directory
from publisher.ids import Ids
from publisher.secrets import Vault
from runtime.clock import SystemClock
from tests.support.process import until
from tests.support.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.settings import Settings


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Service]:
    stop = asyncio.Event()
    async with Service(settings) as service:
        task = asyncio.create_task(service.run(stop))
        try:
            yield service
        finally:
            stop.set()
            assert await task == 0


async def test_an_event_becomes_a_signed_webhook_and_a_row(settings: Settings) -> None:
    connection = await asyncpg.connect(settings.dsn())
    directory = Directory(Vault(settings.keys()), Ids(SystemClock()), Rules.of(settings))
    async with Receiver().listening() as receiver, running(settings):
        _, secret = await directory.register(connection, account="acct_1", url=receiver.url, events=["server.*"])
        receiver.trust(secret)
        producer = broker.KafkaProducer(settings)
        await producer.start()
        for number in range(3):
            await producer.send(
                [
                    cloud_event(
                        settings.kafka_topic_events,
                        "server.power.on",
                        time=datetime(2026, 11, 1, tzinfo=UTC),
                        source="/test",
                        account="acct_1",
                        event_id=f"e{number}",
                    )
                ]
            )
        await producer.stop()
        await receiver.until(lambda r: len(r.received) == 3)
    bodies = sorted((orjson.loads(each.body) for each in receiver.received), key=lambda body: body["sequence"])
    assert [body["sequence"] for body in bodies] == [1, 2, 3]
    assert bodies[0]["timestamp"] == "2026-11-01T00:00:00Z"
    states = await connection.fetch("SELECT state, attempts FROM delivery_log")
    assert [tuple(row) for row in states] == [("delivered", 1)] * 3
    await connection.close()


async def test_a_delivery_whose_endpoint_is_gone_is_cancelled_and_counted(settings: Settings) -> None:
    connection = await asyncpg.connect(settings.dsn())
    await connection.execute(
        "INSERT INTO messages (account_id, id, type, body) VALUES ('acct_1', 'msg_1', 'server.power.on', '{}')"
    )
    await connection.execute(
        "INSERT INTO queue (account_id, id, endpoint_id, message_id, type, state, due_at)"
        " VALUES ('acct_1', 'dlv_1', 'we_gone', 'msg_1', 'server.power.on', 'pending', now())"
    )
    labels = {"type": "server.power.on", "outcome": "cancelled"}
    async with running(settings) as service:

        async def is_counted() -> bool:
            return service.registry.get_sample_value("heliograph_deliveries_total", labels) == 1

        await until(is_counted, "the cancelled delivery is counted")
    assert await connection.fetchval("SELECT state FROM delivery_log") == "cancelled"
    await connection.close()
