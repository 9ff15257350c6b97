"""Two processes of each role beside each other, no leader among them: nothing is lost when some are killed.

Both signers, consumers, deliverers and APIs share one Kafka and one PostgreSQL. In the middle of the events a consumer
and a deliverer get SIGKILL. Afterwards the ledger is compared: every event arrived at every endpoint that asked, is
recorded as delivered, and came again only as the same message, at most as often as the killed deliverer had slots.
"""

from __future__ import annotations

import contextlib
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg

from consumers import broker
from consumers.catalogue import CATALOGUE
from consumers.encode import cloud_event
from tests.support import gpg
from tests.support.commands import get
from tests.support.customers import Customers
from tests.support.directories import a_directory
from tests.support.process import Heliograph, environ_of, started, until
from tests.support.signers import socket_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from consumers.broker import Outgoing
    from runtime.settings import Settings

EVENTS = 600
ACCOUNTS = [f"acct_{number}" for number in range(8)]
PRIVATE, PUBLIC = "server.power.on", "incident.opened"
EXPECTED = {(ACCOUNTS[number % len(ACCOUNTS)], f"ORD-{number}") for number in range(EVENTS)}
#: What a killed deliverer may have sent and not recorded; leases are over three seconds later.
SLOTS = 8
QUICK = {"attempt_timeout": 2, "lease_margin": 1, "max_in_flight": SLOTS}
DOCUMENT = "/v1/transparency/incidents.json"


def events(topic: str) -> Iterator[Outgoing]:
    for number in range(EVENTS):
        yield cloud_event(
            topic, PRIVATE, time=datetime(2026, 11, 1, tzinfo=UTC), source="/test", event_id=f"event-{number}",
            account=ACCOUNTS[number % len(ACCOUNTS)],
            data={**CATALOGUE[PRIVATE].EXAMPLE, "order_number": f"ORD-{number}"},
        )  # fmt: skip


def incident(topic: str) -> Outgoing:
    return cloud_event(
        topic, PUBLIC, time=datetime(2026, 11, 1, tzinfo=UTC), source="/test", event_id="incident", account=None,
        data=CATALOGUE[PUBLIC].EXAMPLE,
    )  # fmt: skip


async def produce(settings: Settings, *records: Outgoing) -> None:
    producer = broker.KafkaProducer(settings)
    await producer.start()
    try:
        await producer.send(records)
    finally:
        await producer.stop()


async def test_nothing_is_lost_and_little_comes_twice_when_some_of_many_are_killed(settings: Settings) -> None:
    connection = await asyncpg.connect(settings.dsn())
    directory = a_directory(**settings.keys())
    with gpg.home() as home, socket_path() as one_socket, socket_path() as other_socket:
        home.make()
        signing = {"HELIOGRAPH_GNUPGHOME": str(home.path), "HELIOGRAPH_FEED_KEY": home.fingerprints()[0]}
        async with contextlib.AsyncExitStack() as stack:
            customers = await stack.enter_async_context(Customers().listening())
            for account in ACCOUNTS:
                _, secret = await directory.register(
                    connection, account=account, url=customers.url(account), events=["server.*"]
                )
                customers.trust(account, secret)

            async def two_of(role: str, **others: object) -> list[Heliograph]:
                """Start two, each with a signer of its own."""
                return [
                    await stack.enter_async_context(
                        started(
                            "serve", "--role", role,
                            environ=environ_of(settings, **QUICK, **others, signer_socket=socket)
                            | (signing if role == "sign" else {}),
                        )
                    )
                    for socket in (one_socket, other_socket)
                ]  # fmt: skip

            signers = await two_of("sign")
            for each in signers:
                await each.ready()
            consumers, deliverers, apis = await two_of("consume"), await two_of("deliver"), await two_of("api")
            ready = [await each.ready() for each in (*apis, *consumers, *deliverers)]

            await produce(settings, *events(settings.kafka_topic_events), incident(settings.kafka_topic_events))
            await customers.until(lambda: customers.count >= EVENTS // 8, "some arrived")
            for process in (deliverers[0], consumers[0]):
                process.send(signal.SIGKILL)
            assert customers.count < EVENTS, "all had arrived before anybody was killed: this run has proven nothing"
            for process in (deliverers[0], consumers[0]):
                await process.ended()
            await customers.until(lambda: customers.arrivals.keys() >= EXPECTED, "every event everywhere", 60)

            async def is_recorded() -> bool:
                left = "SELECT count(*) FROM delivery_log WHERE state <> 'delivered'"
                return bool(await connection.fetchval(left) == 0)

            await until(is_recorded, "every delivery recorded")

            async def is_published() -> bool:
                return (await get(ready[0]["api"] + DOCUMENT)).status == 200

            await until(is_published, "the incident is published")
            documents = [await get(each["api"] + DOCUMENT) for each in ready[:2]]
            assert documents[0].text == documents[1].text
            for process in (*apis, consumers[1], deliverers[1], *signers):
                assert (await process.terminate()).code == 0
    check_arrivals(customers)
    assert await connection.fetchval("SELECT count(*) FROM messages WHERE type = $1", PRIVATE) == EVENTS
    assert await connection.fetchval("SELECT count(*) FROM attempts WHERE result = '2xx'") == EVENTS
    numbers = await connection.fetch("SELECT count(*), max(number) FROM documents GROUP BY feed")
    assert all(count == newest for count, newest in numbers), "two publishers left a gap"
    await connection.close()


def check_arrivals(customers: Customers) -> None:
    assert customers.refused == []
    assert customers.arrivals.keys() == EXPECTED
    assert all(len(set(requests)) == 1 for requests in customers.arrivals.values())
    assert customers.count - EVENTS <= SLOTS
