"""The promise itself: the service may be killed or stopped at any moment, and no event is lost.

10,000 events for 20 accounts go through a real process that gets SIGKILL ten times, each time while requests are
under way, and once more the moment it is ready. Afterwards every endpoint has every event, every delivery stands
recorded, and what came twice came as the same message. The moments are random; the seed is printed, and
HELIOGRAPH_TEST_SEED repeats it. On Apache Kafka, whose sessions outlive a killed member for twice as long, it is
2,000 events and four kills.
"""

from __future__ import annotations

import os
import random
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg
import orjson
import pytest

from consumers import broker
from consumers.catalogue import CATALOGUE
from consumers.encode import cloud_event
from publisher.delivery.egress import Rules
from publisher.endpoints import Directory
from publisher.ids import Ids
from publisher.secrets import Vault
from runtime.clock import SystemClock
from tests.support import misbehaving as kit
from tests.support.customers import Customers
from tests.support.process import Heliograph, environ_of, started, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from consumers.broker import Outgoing
    from runtime.settings import Settings

EVENTS, KILLS = (2000, 4) if os.environ.get("HELIOGRAPH_TEST_BROKER") == "apache" else (10_000, 10)
ACCOUNTS = [f"acct_{number:02}" for number in range(20)]
#: Two endpoints for each fourth account, one for the others.
ENDPOINTS = {
    account: [f"{account}-{number}" for number in range(2 if position % 4 == 0 else 1)]
    for position, account in enumerate(ACCOUNTS)
}
EVENT_TYPE = "server.power.on"
#: Short leases: what a killed process held is taken over after three seconds.
ATTEMPT_TIMEOUT, LEASE_MARGIN = 2, 1

UNDELIVERED = "SELECT count(*) FROM delivery_log WHERE state <> 'delivered'"


def account_of(number: int) -> str:
    return ACCOUNTS[number % len(ACCOUNTS)]


EXPECTED = {(name, f"ORD-{number}") for number in range(EVENTS) for name in ENDPOINTS[account_of(number)]}


@pytest.mark.timeout(300)
async def test_killed_at_any_moment_it_loses_nothing(settings: Settings) -> None:
    seed = int(os.environ.get("HELIOGRAPH_TEST_SEED") or random.SystemRandom().randrange(10**6))
    moments = sorted(random.Random(seed).sample(range(1, len(EXPECTED)), KILLS))
    print(f"seed {seed}: SIGKILL after {', '.join(map(str, moments))} requests, and once as soon as it is ready")  # noqa: T201 - for a failure's report
    environ = environ_of(settings, attempt_timeout=ATTEMPT_TIMEOUT, lease_margin=LEASE_MARGIN)
    connection = await asyncpg.connect(settings.dsn())
    try:
        async with Customers().listening() as customers:
            await subscribe(settings, connection, customers, ENDPOINTS)
            await produce(settings, EVENTS)
            for moment in moments:
                async with started("serve", environ=environ) as service:
                    await service.ready()
                    await arrivals(customers, service, moment)
                    await service.kill()
            async with started("serve", environ=environ) as service:
                await service.ready()
                await service.kill()
            async with started("serve", environ=environ) as service:
                await service.ready()
                await customers.until(lambda: customers.arrivals.keys() >= EXPECTED, "every event everywhere", 120)
                await until(lambda: is_zero(connection, UNDELIVERED), "every delivery recorded", 60)
                assert (await service.terminate()).code == 0
        check_arrivals(customers)
        await check_rows(connection, customers)
    finally:
        await connection.close()


async def test_kill_9_after_send_before_record(settings: Settings) -> None:
    """What was sent and answered but not written is sent again after the lease, as the same message, and only once."""
    patient = environ_of(settings, attempt_timeout=ATTEMPT_TIMEOUT, lease_margin=LEASE_MARGIN, record_interval=1)
    connection = await asyncpg.connect(settings.dsn())
    try:
        async with Customers().listening() as customers:
            await subscribe(settings, connection, customers, {"acct_00": ["acct_00-0", "acct_00-1"]})
            async with started("serve", environ=patient) as service:
                await service.ready()
                await produce(settings, 1)
                await arrivals(customers, service, 2)  # answered, and for a second nobody writes that down
                await service.kill()
            left = "SELECT state, attempts, due_at > now() AS is_leased FROM queue"
            assert [tuple(row) for row in await connection.fetch(left)] == [("leased", 0, True)] * 2
            async with started("serve", environ=environ_of(settings)) as service:
                await service.ready()
                await arrivals(customers, service, 4)
                await until(lambda: is_zero(connection, UNDELIVERED), "both deliveries recorded")
                assert (await service.terminate()).code == 0
        assert customers.refused == []
        assert set(customers.arrivals) == {("acct_00-0", "ORD-0"), ("acct_00-1", "ORD-0")}
        for first, again in customers.arrivals.values():
            assert first == again
        log = "SELECT state, attempts, (SELECT count(*) FROM attempts WHERE delivery_id = id) FROM delivery_log"
        assert [tuple(row) for row in await connection.fetch(log)] == [("delivered", 1, 1)] * 2
    finally:
        await connection.close()


async def test_sigterm_drains_within_its_timeout_and_releases_leases(settings: Settings) -> None:
    """What ends while it drains is recorded; what does not is given back, due at once; nothing new is begun."""
    gate = kit.Gate()
    connection = await asyncpg.connect(settings.dsn())
    try:
        async with kit.receiving(gate) as slow, kit.receiving(kit.hangs) as silent:
            directory = Directory(Vault(settings.keys()), Ids(SystemClock()), Rules.of(settings))
            ids = {}
            for name, receiver in (("slow", slow), ("silent", silent)):
                ids[name], _ = await directory.register(
                    connection, account="acct_00", url=str(receiver.url), events=["server.*"]
                )
            async with started("serve", environ=environ_of(settings, drain_timeout=2)) as service:
                await service.ready()
                await produce(settings, 1)
                await slow.until(lambda r: len(r.requests) == 1)
                await silent.until(lambda r: len(r.requests) == 1)
                service.send(signal.SIGTERM)
                await service.says("SIGTERM: draining")
                gate.is_open.set()
                assert (await service.ended()).code == 0
            assert (len(slow.requests), len(silent.requests)) == (1, 1)
        log = "SELECT endpoint_id, state, attempts FROM delivery_log"
        assert {tuple(row) for row in await connection.fetch(log)} == {
            (ids["slow"], "delivered", 1),
            (ids["silent"], "pending", 0),
        }
        left = "SELECT lease, due_at <= now() AS is_due FROM queue"
        assert [tuple(row) for row in await connection.fetch(left)] == [(None, True)]
    finally:
        await connection.close()


async def subscribe(
    settings: Settings,
    connection: asyncpg.Connection[asyncpg.Record],
    customers: Customers,
    endpoints: Mapping[str, Sequence[str]],
) -> None:
    directory = Directory(Vault(settings.keys()), Ids(SystemClock()), Rules.of(settings))
    for account, names in endpoints.items():
        for name in names:
            _, secret = await directory.register(
                connection, account=account, url=customers.url(name), events=["server.*"]
            )
            customers.trust(name, secret)


async def produce(settings: Settings, count: int) -> None:
    producer = broker.KafkaProducer(settings, linger_ms=5)
    await producer.start()
    try:
        await producer.send(events(settings.kafka_topic_events, count))
    finally:
        await producer.stop()


def events(topic: str, count: int) -> Iterator[Outgoing]:
    for number in range(count):
        yield cloud_event(
            topic,
            EVENT_TYPE,
            time=datetime(2026, 11, 1, tzinfo=UTC),
            source="/test",
            account=account_of(number),
            event_id=f"event-{number}",
            data={**CATALOGUE[EVENT_TYPE].EXAMPLE, "order_number": f"ORD-{number}"},
        )


async def arrivals(customers: Customers, service: Heliograph, moment: int) -> None:
    try:
        await customers.until(lambda: customers.count >= moment, f"{moment} requests", 45)
    except AssertionError as error:
        raise AssertionError(service.explain(str(error))) from None


async def is_zero(connection: asyncpg.Connection[asyncpg.Record], query: str) -> bool:
    return bool(await connection.fetchval(query) == 0)


def check_arrivals(customers: Customers) -> None:
    assert customers.refused == []
    assert customers.arrivals.keys() == EXPECTED
    twice = customers.count - len(EXPECTED)
    print(f"{customers.count} requests for {len(EXPECTED)} deliveries: {twice} came more than once")  # noqa: T201 - the same
    assert twice > 0, "no kill met a request under way: this run has proven nothing"
    for where, requests in customers.arrivals.items():
        assert len(set(requests)) == 1, f"{where} got different requests for one event"
    messages = {(order, request.message_id) for (_, order), (request, *_) in customers.arrivals.items()}
    assert len(messages) == EVENTS, "an event became more than one message"
    for request, *_ in customers.arrivals.values():
        body = orjson.loads(request.body)
        assert (body["id"], body["type"]) == (request.message_id, EVENT_TYPE)


async def check_rows(connection: asyncpg.Connection[asyncpg.Record], customers: Customers) -> None:
    assert await connection.fetchval("SELECT count(*) FROM inbox") == EVENTS
    assert await connection.fetchval("SELECT count(*) FROM messages") == EVENTS
    rows = await connection.fetch("SELECT id, state, last_result, attempts FROM delivery_log")
    assert {row["id"] for row in rows} == {each[0].delivery_id for each in customers.arrivals.values()}
    assert {(row["state"], row["last_result"]) for row in rows} == {("delivered", "2xx")}
    recorded = await connection.fetchval("SELECT count(*) FROM attempts WHERE result = '2xx'")
    assert recorded == len(rows) == len(EXPECTED)
