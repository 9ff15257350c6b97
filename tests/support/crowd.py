"""Twenty accounts, their endpoints, and any number of events for them: what runs under faults count with.

Event `n` is about order `ORD-n` and belongs to the n-th account, over and over; each fourth account has two endpoints.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from consumers import broker
from consumers.catalogue import CATALOGUE
from consumers.encode import cloud_event
from publisher.delivery.egress import Rules
from publisher.endpoints import Directory
from publisher.ids import Ids
from publisher.secrets import Vault
from runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import asyncpg

    from consumers.broker import Outgoing
    from runtime.settings import Settings
    from tests.support.customers import Customers

ACCOUNTS = [f"acct_{number:02}" for number in range(20)]
ENDPOINTS = {
    account: [f"{account}-{number}" for number in range(2 if position % 4 == 0 else 1)]
    for position, account in enumerate(ACCOUNTS)
}
EVENT_TYPE = "server.power.on"


def account_of(number: int) -> str:
    return ACCOUNTS[number % len(ACCOUNTS)]


def expected(numbers: Iterable[int]) -> set[tuple[str, str]]:
    """Return which endpoint has to get which order, of these events."""
    return {(name, f"ORD-{number}") for number in numbers for name in ENDPOINTS[account_of(number)]}


async def subscribe(
    settings: Settings,
    connection: asyncpg.Connection[asyncpg.Record],
    customers: Customers,
    endpoints: Mapping[str, Sequence[str]] = ENDPOINTS,
) -> None:
    """Register endpoints, named by account, and let the customers know their secrets."""
    directory = Directory(Vault(settings.keys()), Ids(SystemClock()), Rules.of(settings))
    for account, names in endpoints.items():
        for name in names:
            _, secret = await directory.register(
                connection, account=account, url=customers.url(name), events=["server.*"]
            )
            customers.trust(name, secret)


async def produce(settings: Settings, numbers: Iterable[int], others: Sequence[Outgoing] = ()) -> None:
    """Produce these events, and `others` behind them; return when every one is acknowledged."""
    producer = broker.KafkaProducer(settings, linger_ms=5)
    await producer.start()
    try:
        await producer.send(events(settings.kafka_topic_events, numbers))
        await producer.send(others)
    finally:
        await producer.stop()


def events(topic: str, numbers: Iterable[int]) -> Iterator[Outgoing]:
    """Yield the events as records."""
    for number in numbers:
        yield cloud_event(
            topic,
            EVENT_TYPE,
            time=datetime(2026, 11, 1, tzinfo=UTC),
            source="/test",
            account=account_of(number),
            event_id=f"event-{number}",
            data={**CATALOGUE[EVENT_TYPE].EXAMPLE, "order_number": f"ORD-{number}"},
        )
