"""Numbered events: produced to a topic, and found again in the inbox and at the customer's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg

from consumers import broker
from consumers.catalogue import CATALOGUE
from consumers.encode import cloud_event
from publisher.delivery.egress import Rules
from publisher.endpoints import Directory
from publisher.ids import Ids
from publisher.secrets import Vault
from runtime.clock import SystemClock
from tests.support.process import until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from consumers.broker import Outgoing
    from runtime.settings import Settings
    from tests.support.customers import Customers
    from tests.support.process import Heliograph

EVENT_TYPE = "server.power.on"
ACCOUNTS = [f"acct_{number:02}" for number in range(20)]
#: Seconds a fault may take to pass: a killed member's session, an election, a client that is started anew.
PATIENCE = 90.0


def event(topic: str, number: int) -> Outgoing:
    """Return event `number`, of one of the accounts; the order's number tells it."""
    return cloud_event(
        topic,
        EVENT_TYPE,
        time=datetime(2026, 11, 1, tzinfo=UTC),
        source="/test",
        account=ACCOUNTS[number % len(ACCOUNTS)],
        event_id=f"event-{number}",
        data={**CATALOGUE[EVENT_TYPE].EXAMPLE, "order_number": order(number)},
    )


def order(number: int) -> str:
    """Return the number of the order that event `number` is about."""
    return f"ORD-{number}"


async def produce(settings: Settings, numbers: Iterable[int]) -> None:
    """Return when all of these events are acknowledged."""
    producer = broker.KafkaProducer(settings, linger_ms=5)
    await producer.start()
    try:
        await producer.send(event(settings.kafka_topic_events, number) for number in numbers)
    finally:
        await producer.stop()


async def admitted(settings: Settings) -> set[str]:
    """Return the ids of the events in the inbox, where each stands once."""
    connection = await asyncpg.connect(settings.dsn())
    try:
        return {row[0] for row in await connection.fetch("SELECT event_id FROM inbox")}
    finally:
        await connection.close()


async def until_admitted(
    settings: Settings, numbers: Iterable[int], service: Heliograph | None = None, *, seconds: float = PATIENCE
) -> None:
    """Return when all of these events are in the inbox; nothing else may be. `service` says why they are not."""
    wanted = {f"event-{number}" for number in numbers}

    async def are_there() -> bool:
        return await admitted(settings) >= wanted

    try:
        await until(are_there, f"{len(wanted)} events in the inbox", seconds)
    except AssertionError as error:
        raise AssertionError(service.explain(str(error)) if service else str(error)) from None
    assert await admitted(settings) == wanted


async def subscribe(settings: Settings, customers: Customers) -> None:
    """Give each account an endpoint of its own name."""
    directory = Directory(Vault(settings.keys()), Ids(SystemClock()), Rules.of(settings))
    connection = await asyncpg.connect(settings.dsn())
    try:
        for account in ACCOUNTS:
            url = customers.url(account)
            _, secret = await directory.register(connection, account=account, url=url, events=["server.*"])
            customers.trust(account, secret)
    finally:
        await connection.close()


async def until_delivered(customers: Customers, count: int, seconds: float = PATIENCE) -> None:
    """Return when the events up to `count` have arrived, each as one message however often it came."""
    wanted = {(ACCOUNTS[number % len(ACCOUNTS)], order(number)) for number in range(count)}
    await customers.until(lambda: customers.arrivals.keys() >= wanted, f"{count} events delivered", seconds)
    assert customers.refused == []
    assert customers.arrivals.keys() == wanted
    assert all(len(set(requests)) == 1 for requests in customers.arrivals.values()), "an event came as two messages"
