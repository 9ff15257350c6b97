"""A whole service under faults: real processes with roles apart, and everything they need behind networks that break.

PostgreSQL and the broker are a stage's own. The processes reach both through a proxy; what a test looks at in the
database it sees past the proxy. The broker is the embedded one, or Apache Kafka where HELIOGRAPH_TEST_BROKER says so
or a row needs it, and clients are sent back to the proxy by what it advertises.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import orjson
import pytest
from pydantic import SecretStr

from consumers import broker
from migrations import runner
from runtime import settings as runtime_settings
from runtime.embedded import EmbeddedBroker
from tests.support import crowd
from tests.support.apache_kafka.server import ApacheKafka, Unavailable
from tests.support.books import Balance, Recorded, balance
from tests.support.commands import get
from tests.support.customers import Customers
from tests.support.offsets import acknowledged
from tests.support.own_postgres import own_postgres
from tests.support.process import Heliograph, environ_of, started, until
from tests.support.tcp_proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from consumers.broker import Outgoing
    from runtime.settings import Settings
    from tests.support.own_postgres import OwnPostgres

IS_APACHE = os.environ.get("HELIOGRAPH_TEST_BROKER") == "apache"
PARTITIONS = 4
#: Attempts one process has under way at most: what a fault that hits it may have repeated.
IN_FLIGHT = 64
#: Short leases, so that what a fault left behind is taken up soon, and longer than a busy machine keeps an attempt.
ATTEMPT_TIMEOUT, LEASE_MARGIN = 3, 3
ARRIVE_SECONDS, RECORD_SECONDS = 120.0, 60.0
SECRET_KEYS = f"test:{base64.b64encode(bytes(range(32))).decode()}"


class Stage:
    """What a row of the fault table has to do with."""

    def __init__(
        self,
        settings: Settings,
        *,
        postgres: OwnPostgres,
        database: Proxy,
        kafka: Proxy,
        apache: ApacheKafka | None,
        customers: Customers,
        stack: contextlib.AsyncExitStack,
    ) -> None:
        self.settings = settings
        self.postgres = postgres
        #: The networks between the processes and PostgreSQL, and between them (and the test) and Kafka.
        self.database = database
        self.kafka = kafka
        self._apache = apache
        self.customers = customers
        self.produced = 0
        self._stack = stack
        self._admins: dict[Heliograph, str] = {}
        self._launched: list[Heliograph] = []

    @property
    def apache(self) -> ApacheKafka:
        assert self._apache is not None
        return self._apache

    # --- processes ----------------------------------------------------------------------------------------------------

    async def launch(self, *roles: str) -> Heliograph:
        """Start `heliograph serve` with these roles; it is not ready yet."""
        arguments = [argument for role in roles for argument in ("--role", role)]
        service = await self._stack.enter_async_context(started("serve", *arguments, environ=environ_of(self.settings)))
        self._launched.append(service)
        return service

    async def serve(self, *roles: str) -> Heliograph:
        """Start `heliograph serve` with these roles, and wait until it is ready."""
        service = await self.launch(*roles)
        self._admins[service] = (await service.ready())["admin"]
        return service

    async def end(self, service: Heliograph) -> None:
        """Kill a process, and let go of it."""
        await service.kill()
        await service.close()
        self._launched.remove(service)

    async def health(self, service: Heliograph) -> tuple[int, dict[str, str]]:
        """Return the status of `/readyz`, and of each check that is not well what it says."""
        answer = await get(f"{self._admins[service]}/readyz")
        checks = orjson.loads(answer.text)["checks"]
        return answer.status, {
            name: each.get("output", "") for name, group in checks.items() for each in group if each["status"] != "pass"
        }

    async def becomes(self, status: int, *services: Heliograph, seconds: float = 60) -> None:
        """Wait until readiness of all these is `status`."""
        for service in services:

            async def is_so(service: Heliograph = service) -> bool:
                return (await self.health(service))[0] == status

            try:
                await until(is_so, f"/readyz answers {status}", seconds)
            except AssertionError as error:
                raise AssertionError(service.explain(str(error))) from None

    async def metric(self, service: Heliograph, name: str, label: str = "") -> float:
        """Return the sum over a metric's label sets, those that contain the text `label`."""
        lines = (await get(f"{self._admins[service]}/metrics")).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{") and label in line)

    # --- books --------------------------------------------------------------------------------------------------------

    async def produce(self, count: int, others: Sequence[Outgoing] = ()) -> None:
        """Produce so many more events, and `others` behind them."""
        await crowd.produce(self.settings, range(self.produced, self.produced + count), others)
        self.produced += count

    async def arrived(self, count: int, seconds: float = ARRIVE_SECONDS) -> None:
        """Wait until customers have received so many requests in all."""
        await self.customers.until(lambda: self.customers.count >= count, f"{count} requests", seconds)

    async def everywhere(self, seconds: float = ARRIVE_SECONDS) -> set[tuple[str, str]]:
        """Wait until every event is at every endpoint it is for; return these."""
        expected = crowd.expected(range(self.produced))
        try:
            await self.customers.until(
                lambda: self.customers.arrivals.keys() >= expected, "every event everywhere", seconds
            )
        except AssertionError as error:
            raise AssertionError("\n".join(each.explain(str(error)) for each in self._launched)) from None
        return expected

    async def acknowledged(self) -> int:
        """Return how many records the group has committed."""
        return await acknowledged(self.settings, PARTITIONS)

    @contextlib.asynccontextmanager
    async def looking(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """Yield a connection to the database, past the proxy."""
        connection = await asyncpg.connect(self.postgres.dsn)
        try:
            yield connection
        finally:
            await connection.close()

    async def balanced(self, *, again: int, others: int = 0, seconds: float = ARRIVE_SECONDS) -> Balance:
        """Wait until all is done, and compare the books; `others` records were produced besides the events.

        At the end every event is everywhere, every delivery recorded and every offset committed.
        """
        expected = await self.everywhere(seconds)
        async with self.looking() as connection:

            async def is_recorded() -> bool:
                return not await connection.fetchval("SELECT count(*) FROM queue")

            await until(is_recorded, "every delivery recorded", RECORD_SECONDS)

            async def is_acknowledged() -> bool:
                return await self.acknowledged() == self.produced + others

            await until(is_acknowledged, "every offset committed", RECORD_SECONDS)
            recorded = Recorded(
                inbox=await connection.fetchval("SELECT count(*) FROM inbox"),
                messages=await connection.fetchval("SELECT count(*) FROM messages"),
                states={
                    row["id"]: row["state"] for row in await connection.fetch("SELECT id, state FROM delivery_log")
                },
            )
        assert self.customers.refused == []
        found = balance(self.produced, expected, self.customers.arrivals, recorded, again=again)
        assert not found.faults, found
        return found


@contextlib.asynccontextmanager
async def a_stage(
    *, data: Path | None = None, is_apache: bool = IS_APACHE, in_flight: int = IN_FLIGHT
) -> AsyncIterator[Stage]:
    """Set everything up, the crowd's endpoints registered; nothing of Heliograph runs yet.

    `data` is where PostgreSQL keeps its cluster, if not in a temporary folder; `in_flight` is for each process.
    """
    async with contextlib.AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(own_postgres(data))
        database = await stack.enter_async_context(
            Proxy(lambda: asyncio.open_unix_connection(postgres.socket)).listening()
        )
        behind: list[str] = []
        kafka = await stack.enter_async_context(
            Proxy(lambda: asyncio.open_connection(*behind[0].split(":"))).listening()
        )
        apache = await _apache(stack, kafka) if is_apache else None
        behind.append(apache.bootstrap if apache else await _embedded(stack, kafka))
        customers = await stack.enter_async_context(Customers().listening())
        settings = runtime_settings.load(
            environ={},
            env="development",
            egress_allow=runtime_settings.LOOPBACK,
            secret_keys=SECRET_KEYS,
            database_url=f"postgresql://postgres@{database.address}/postgres",
            kafka_bootstrap=kafka.address,
            kafka_session_timeout=6 if is_apache else 3,
            attempt_timeout=ATTEMPT_TIMEOUT,
            lease_margin=LEASE_MARGIN,
            max_in_flight=in_flight,
        )
        await runner.migrate(settings.model_copy(update={"database_url": SecretStr(postgres.dsn)}))
        await _make_topics(settings)
        stage = Stage(
            settings,
            postgres=postgres,
            database=database,
            kafka=kafka,
            apache=apache,
            customers=customers,
            stack=await stack.enter_async_context(contextlib.AsyncExitStack()),
        )
        async with stage.looking() as connection:
            await crowd.subscribe(settings, connection, customers)
        yield stage


async def _make_topics(settings: Settings) -> None:
    topics = dict.fromkeys(
        (
            settings.kafka_topic_dead_letters,
            settings.kafka_topic_announcements,
            settings.kafka_topic_credentials,
            settings.kafka_topic_telemetry,
        ),
        1,
    )
    await broker.create_topics(
        settings, {settings.kafka_topic_events: PARTITIONS, **topics}, compacted=[settings.kafka_topic_credentials]
    )


async def _embedded(stack: contextlib.AsyncExitStack, proxy: Proxy) -> str:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hgb-"))
    embedded = EmbeddedBroker(Path(folder, "broker.log"), advertised=proxy.address)
    await embedded.start()
    stack.push_async_callback(embedded.stop)
    return embedded.bootstrap


async def _apache(stack: contextlib.AsyncExitStack, proxy: Proxy) -> ApacheKafka:
    kafka = ApacheKafka(settings={"advertised.listeners": f"PLAINTEXT://{proxy.address}"})
    try:
        await asyncio.to_thread(kafka.__enter__)
    except Unavailable as error:
        pytest.skip(f"REAL KAFKA NOT TESTED: {error}")
    stack.push_async_callback(asyncio.to_thread, kafka.__exit__)
    return kafka
