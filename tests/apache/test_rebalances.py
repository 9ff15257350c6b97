"""Members of the group come and go, and partitions are added, while events flow: each is published, and once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from consumers import broker
from publisher.app import Service
from tests.conftest import PARTITIONS
from tests.support.customers import Customers
from tests.support.ledger import produce, subscribe, until_admitted, until_delivered
from tests.support.process import environ_of, started, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.settings import Settings
    from tests.support.apache_kafka.secured import SecuredKafka

#: Members beside the one that stays; each second one of them comes or goes.
MEMBERS, SECONDS = 3, 60
#: Events of each of those seconds; and in which of them a process is killed.
AT_ONCE, KILLED_IN = 50, 15
GROWN = PARTITIONS * 2


@pytest.fixture(scope="module")
def bootstrap(secured: SecuredKafka) -> str:
    return secured.bootstrap


@contextlib.asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[Service]:
    """Run an intake in this process, which leaves its group at the end."""
    stop = asyncio.Event()
    async with Service(settings, {"consume"}) as service:
        task = asyncio.create_task(service.run(stop))
        try:
            yield service
        finally:
            stop.set()
            assert await task == 0


class Member:
    """One that comes, and goes when it is asked to."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._leave = asyncio.Event()
        self._task = asyncio.create_task(self._stay())

    async def leave(self) -> None:
        self._leave.set()
        await self._task

    async def _stay(self) -> None:
        async with working(self._settings):
            await self._leave.wait()


@pytest.mark.timeout(300)
async def test_members_come_and_go_every_second_for_a_minute(settings: Settings) -> None:
    """One process stays, one is killed, others join and leave; each rebalance takes all partitions from all of them."""
    members: list[Member | None] = [None] * MEMBERS
    clock = asyncio.get_running_loop()
    async with (
        Customers().listening() as customers,
        started("serve", "--role", "consume", "--role", "deliver", environ=environ_of(settings)) as staying,
        started("serve", "--role", "consume", environ=environ_of(settings)) as victim,
    ):
        await subscribe(settings, customers)
        await asyncio.gather(staying.ready(), victim.ready())
        began, leaving = clock.time(), []
        for second, slot in zip(range(SECONDS), itertools.cycle(range(MEMBERS)), strict=False):
            if second == KILLED_IN:
                await victim.kill()
            if member := members[slot]:
                leaving.append(asyncio.create_task(member.leave()))
                members[slot] = None
            else:
                members[slot] = Member(settings)
            await produce(settings, range(second * AT_ONCE, (second + 1) * AT_ONCE))
            await asyncio.sleep(max(0.0, began + second + 1 - clock.time()))
        leaving += [asyncio.create_task(member.leave()) for member in members if member]
        await asyncio.gather(*leaving)
        await until_admitted(settings, range(SECONDS * AT_ONCE), staying)
        await until_delivered(customers, SECONDS * AT_ONCE)
        assert sum("assigned" in line for line in staying.stderr) > MEMBERS, staying.explain("there was no rebalance")
        assert (await staying.terminate()).code == 0


async def test_partitions_that_are_added_while_running_are_read_from_their_beginning(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "METADATA_MAX_AGE_MS", 3000)
    async with working(settings) as service:
        await produce(settings, range(100))
        await until_admitted(settings, range(100))
        admin = AIOKafkaAdminClient(bootstrap_servers=list(settings.kafka_bootstrap))
        await admin.start()
        await admin.create_partitions({settings.kafka_topic_events: NewPartitions(GROWN)})
        await admin.close()
        await produce(settings, range(100, 400))  # before the members know

        async def is_read(partition: int) -> bool:
            labels = {"topic": settings.kafka_topic_events, "partition": str(partition)}
            return service.registry.get_sample_value("heliograph_kafka_lag_records", labels) == 0

        await until_admitted(settings, range(400))
        for partition in range(GROWN):
            await until(lambda: is_read(partition), f"partition {partition} is read")  # noqa: B023 - called within this round
        read = {
            sample.labels["partition"]
            for metric in service.registry.collect()
            for sample in metric.samples
            if sample.name == "heliograph_kafka_last_record_timestamp_seconds"
        }
        assert read & {str(each) for each in range(PARTITIONS, GROWN)}, "no event went to a new partition"
