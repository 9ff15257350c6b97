"""The fault table, the service as a whole: its database goes away and comes back, an event comes again and again.

One process with all its roles, on the broker of this run; where the database is restarted it is one of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg
import pytest
from pydantic import SecretStr

from consumers import broker
from consumers.catalogue import CATALOGUE
from consumers.encode import cloud_event
from migrations import runner
from publisher.app import Service
from publisher.delivery.egress import Rules
from publisher.endpoints import Directory
from publisher.ids import Ids
from publisher.secrets import Vault
from runtime.clock import SystemClock
from tests.conftest import PARTITIONS
from tests.support.customers import Customers
from tests.support.offsets import acknowledged
from tests.support.own_postgres import own_postgres
from tests.support.process import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable

    from runtime.settings import Settings
    from tests.support.own_postgres import OwnPostgres

    Connection = asyncpg.Connection[asyncpg.Record]

EVENT_TYPE = "server.power.on"
ACCOUNTS = {"acct_1": ["one", "two"], "acct_2": ["three"]}


@contextlib.asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


class Outage:
    """A service under test, its customers, and what a test wants to know of both."""

    def __init__(self, settings: Settings, customers: Customers) -> None:
        self.settings = settings
        self.customers = customers

    async def produce(self, numbers: Iterable[int]) -> None:
        """Produce an event for each number, even ones for the first account."""
        producer = broker.KafkaProducer(self.settings)
        await producer.start()
        try:
            await producer.send(
                [
                    cloud_event(
                        self.settings.kafka_topic_events,
                        EVENT_TYPE,
                        time=datetime(2026, 11, 1, tzinfo=UTC),
                        source="/test",
                        account=account_of(number),
                        event_id=f"event-{number}",
                        data={**CATALOGUE[EVENT_TYPE].EXAMPLE, "order_number": f"ORD-{number}"},
                    )
                    for number in numbers
                ]
            )
        finally:
            await producer.stop()

    async def acknowledged(self) -> int:
        """Return how many records the group has committed."""
        return await acknowledged(self.settings, PARTITIONS)

    async def all_acknowledged(self, count: int) -> None:
        """Wait until the group has committed so many records."""

        async def are_acknowledged() -> bool:
            return await self.acknowledged() == count

        await until(are_acknowledged, f"{count} records acknowledged")


def account_of(number: int) -> str:
    return sorted(ACCOUNTS)[number % 2]


def expected(numbers: Collection[int]) -> set[tuple[str, str]]:
    return {(name, f"ORD-{number}") for number in numbers for name in ACCOUNTS[account_of(number)]}


@contextlib.asynccontextmanager
async def serving(settings: Settings, connection: Connection) -> AsyncIterator[Outage]:
    """Run the service with its endpoints registered; stop it at the end, and see that it ended well."""
    # Short leases: what a lost result left behind is taken up again soon.
    short = settings.model_copy(update={"attempt_timeout": 2.0, "lease_margin": 1.0})
    directory = Directory(Vault(settings.keys()), Ids(SystemClock()), Rules.of(settings))
    async with Customers().listening() as customers:
        for account, names in ACCOUNTS.items():
            for name in names:
                _, secret = await directory.register(
                    connection, account=account, url=customers.url(name), events=["server.*"]
                )
                customers.trust(name, secret)
        stop = asyncio.Event()
        async with Service(short) as service:
            task = asyncio.create_task(service.run(stop))
            try:
                yield Outage(short, customers)
            finally:
                stop.set()
                assert await task == 0


def complaints(caplog: pytest.LogCaptureFixture, what: str) -> int:
    """Return how often this was said of a database that is away: by whoever reads, claims, records."""
    return sum(what in record.getMessage() for record in caplog.records)


async def until_complained(caplog: pytest.LogCaptureFixture, what: str) -> None:
    """Wait until this has been said once more than so far."""
    before = complaints(caplog, what)

    async def has_complained() -> bool:
        return complaints(caplog, what) > before

    await until(has_complained, f"the service says {what!r}")


async def all_delivered(connection: Connection, outage: Outage, numbers: Collection[int]) -> None:
    """Wait until every event is everywhere and recorded; what came twice came as the same message."""
    customers = outage.customers
    await customers.until(lambda: customers.arrivals.keys() >= expected(numbers), "every event everywhere", 60)

    async def is_recorded() -> bool:
        left = await connection.fetchval("SELECT count(*) FROM delivery_log WHERE state <> 'delivered'")
        return bool(left == 0)

    await until(is_recorded, "every delivery recorded")
    assert customers.refused == []
    assert customers.arrivals.keys() == expected(numbers)
    assert all(len(set(requests)) == 1 for requests in customers.arrivals.values())
    assert await connection.fetchval("SELECT count(*) FROM inbox") == len(numbers)
    assert await connection.fetchval("SELECT count(*) FROM deliveries") == len(expected(numbers))


# --- DB restart, DB unreachable, disk full: pools recover; nothing acknowledged meanwhile -----------------------------


@pytest.fixture
async def own() -> AsyncIterator[OwnPostgres]:
    async with own_postgres() as server:
        yield server


async def test_db_restart_while_delivering_and_db_unreachable(
    settings: Settings, own: OwnPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    """Crashed in the middle of it and away for a while: nothing is acknowledged meanwhile, and nothing is lost."""
    caplog.set_level(logging.WARNING)
    with_own = settings.model_copy(update={"database_url": SecretStr(own.dsn)})
    await runner.migrate(with_own)
    async with connected(own.dsn) as connection, serving(with_own, connection) as outage:
        await outage.produce(range(200))
        await outage.customers.until(lambda: outage.customers.count >= 50, "deliveries under way")
        await own.crash()
        await until_complained(caplog, "nothing claimed")
        before = await outage.acknowledged()
        assert before <= 200
        await outage.produce(range(200, 250))
        await until_complained(caplog, "records not handled")
        await until_complained(caplog, "nothing claimed")
        assert await outage.acknowledged() == before
        await own.start()
        async with connected(own.dsn) as again:
            await all_delivered(again, outage, range(250))
        await outage.all_acknowledged(250)


FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
END $$;
"""
TRIGGER = "CREATE TRIGGER full_disk BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION full_disk()"


async def test_disk_full_is_nothing_acknowledged_and_nothing_lost(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither what comes in nor what came of an attempt can be written; both are once there is space."""
    caplog.set_level(logging.WARNING)
    async with connected(settings.dsn()) as connection, serving(settings, connection) as outage:
        await outage.produce(range(4))
        await all_delivered(connection, outage, range(4))
        await connection.execute(FULL)
        await connection.execute(TRIGGER.format(table="attempts"))
        await outage.produce(range(4, 8))
        await until_complained(caplog, "results not recorded")
        await connection.execute(TRIGGER.format(table="inbox"))
        await outage.all_acknowledged(8)
        await outage.produce(range(8, 12))
        await until_complained(caplog, "records not handled")
        await until_complained(caplog, "records not handled")
        assert await outage.acknowledged() == 8
        assert {order for _, order in outage.customers.arrivals} <= {f"ORD-{number}" for number in range(8)}
        for table in ("attempts", "inbox"):
            await connection.execute(f"DROP TRIGGER full_disk ON {table}")
        await all_delivered(connection, outage, range(12))


# --- the same event 100 times: one delivery per endpoint -------------------------------------------------------------


async def test_the_same_event_100_times_is_one_delivery_per_endpoint(settings: Settings) -> None:
    async with connected(settings.dsn()) as connection, serving(settings, connection) as outage:
        for _ in range(10):  # some in one batch, some in a later one
            await outage.produce([0] * 10)
        await outage.all_acknowledged(100)
        await outage.produce([0, 2])
        await outage.all_acknowledged(102)
        await all_delivered(connection, outage, {0, 2})
        assert outage.customers.count == 4
        assert await connection.fetchval("SELECT count(*) FROM messages") == 2
        assert await connection.fetchval("SELECT count(*) FROM attempts") == 4
