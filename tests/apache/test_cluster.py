"""A cluster of three loses one broker, then the one that leads it, then its majority: no event is lost; lag ends."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from consumers import broker
from consumers.broker import TRANSIENT
from runtime import settings as runtime_settings
from tests.support.apache_kafka.cluster import Cluster
from tests.support.apache_kafka.skipping import or_skipped
from tests.support.commands import get
from tests.support.customers import Customers
from tests.support.ledger import event, subscribe, until_admitted, until_delivered
from tests.support.process import environ_of, started, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from runtime.settings import Settings

PARTITIONS = 4
AT_ONCE = 20
#: Seconds between two groups of events while a fault passes.
BREATH = 0.1


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with or_skipped(Cluster()) as started_cluster:
        yield started_cluster


@pytest.fixture(scope="module")
def bootstrap(cluster: Cluster) -> str:
    return cluster.bootstrap


@pytest.fixture
async def replicated(cluster: Cluster, settings: Settings) -> Settings:
    """Settings of topics whose records stand on three brokers."""
    name = uuid.uuid4().hex[:12]
    named: dict[str, Any] = {
        f"kafka_topic_{each}": f"{each}-{name}"
        for each in ("events", "dead_letters", "announcements", "credentials", "telemetry")
    }
    topics = dict.fromkeys(named.values(), 1) | {named["kafka_topic_events"]: PARTITIONS}
    await cluster.create(topics, compacted=named["kafka_topic_credentials"])
    return runtime_settings.load(environ=environ_of(settings), **named)


class Stream:
    """Events that are produced for as long as the context lasts, and again when nobody took them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.count = 0

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[Stream]:
        producer = broker.KafkaProducer(self._settings, linger_ms=5)
        await producer.start()
        stop = asyncio.Event()
        task = asyncio.create_task(self._produce(producer, stop))
        try:
            yield self
            stop.set()
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await producer.stop()

    async def until(self, count: int) -> None:
        """Wait until so many have been acknowledged."""

        async def is_far() -> bool:
            return self.count >= count

        await until(is_far, f"{count} events acknowledged; {self.count} are", 90)

    async def _produce(self, producer: broker.KafkaProducer, stop: asyncio.Event) -> None:
        while not stop.is_set():
            numbers = range(self.count, self.count + AT_ONCE)
            try:
                await producer.send([event(self._settings.kafka_topic_events, number) for number in numbers])
            except TRANSIENT:  # some of them may have been taken: the inbox knows those
                continue
            self.count += AT_ONCE
            await asyncio.sleep(BREATH)


@pytest.mark.timeout(300)
async def test_brokers_are_killed_while_events_flow_and_none_is_lost(cluster: Cluster, replicated: Settings) -> None:
    """SIGKILL for a partition's leader, then for the controller's, then for two of three at once."""
    async with (
        Customers().listening() as customers,
        started("serve", "--role", "consume", "--role", "deliver", environ=environ_of(replicated)) as service,
    ):
        await subscribe(replicated, customers)
        admin = (await service.ready())["admin"]

        async def is_ready() -> bool:
            return (await get(f"{admin}/readyz")).status == 200

        async def is_not_ready() -> bool:
            return not await is_ready()

        async with Stream(replicated).flowing() as stream:
            await stream.until(100)
            for victim in (await cluster.leader_of(replicated.kafka_topic_events), cluster.controller()):
                victim.kill()
                await stream.until(stream.count + 200)
                await until(is_ready, "two of three are enough", 60)
                await asyncio.to_thread(victim.start)
                await stream.until(stream.count + 100)
            leader = await cluster.leader_of(replicated.kafka_topic_events)
            for victim in (leader, next(node for node in cluster.nodes if node is not leader)):
                victim.kill()
            await until(is_not_ready, "one of three is not enough, and readiness tells", 60)
            await asyncio.to_thread(cluster.start_all)
            await until(is_ready, "all is well again", 90)
            await stream.until(stream.count + 100)

        await until_admitted(replicated, range(stream.count), service)
        await until_delivered(customers, stream.count)

        async def has_no_lag() -> bool:
            lines = (await get(f"{admin}/metrics")).text.splitlines()
            lags = [line.split()[-1] for line in lines if line.startswith("heliograph_kafka_lag_records{")]
            return len(lags) >= PARTITIONS and {float(lag) for lag in lags} == {0}

        await until(has_no_lag, "no lag is left")
        assert (await service.terminate()).code == 0
