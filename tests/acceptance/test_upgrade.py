"""A rolling upgrade as docs/upgrading.md has it: the code from before the newest migration runs on, beside the new one.

old migrates, old serves -> new migrates under it -> old goes on, and restarts -> old and new side by side -> new alone.
Events flow at every stage, and in the end every one is with its receiver and stands recorded.
"""

from __future__ import annotations

import shutil
import subprocess
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import pytest
from pydantic import SecretStr

from consumers import broker
from consumers.catalogue import CATALOGUE
from consumers.encode import cloud_event
from migrations import runner
from publisher.delivery.egress import Rules
from publisher.endpoints import Directory
from publisher.ids import Ids
from publisher.secrets import Vault
from runtime.clock import SystemClock
from tests.support import previous, process
from tests.support.customers import Customers
from tests.support.domain_events import TIME
from tests.support.process import environ_of, started, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from runtime.database import Connection
    from runtime.settings import Settings

ACCOUNT, EVENT_TYPE = "acct_1", "server.power.on"
#: Enough for every partition to have some.
EVENTS = 40
STAGES = 5
UNDELIVERED = "SELECT count(*) FROM delivery_log WHERE state <> 'delivered'"


@pytest.fixture(scope="module")
def old() -> Iterator[Path]:
    try:
        with previous.code() as folder:
            yield folder
    except previous.UnknownError as error:
        pytest.skip(f"UPGRADE NOT TESTED: {error}")


@pytest.fixture
async def empty(postgres: str) -> AsyncIterator[str]:
    """DSN of a database with nothing in it."""
    name = f"upgrade_{uuid.uuid4().hex[:12]}"
    server = await asyncpg.connect(postgres)
    await server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield postgres.replace("/postgres?", f"/{name}?")
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


class Upgrade:
    """One run: who takes part, and what was produced so far. What is old runs as processes, for it cannot run here."""

    def __init__(self, settings: Settings, old: Path, customers: Customers) -> None:
        self.settings = settings
        self.customers = customers
        self.environ = environ_of(settings)
        known = previous.settings_known_to(old)
        self.old: dict[str, Any] = {
            "environ": {name: value for name, value in self.environ.items() if name in known},
            "code": old,
        }
        self.names: list[str] = []
        self.expected: set[tuple[str, str]] = set()

    async def subscribe_by_old(self, name: str) -> None:
        finished = await process.run(
            *("webhook", "add", "--account", ACCOUNT, "--url", self.customers.url(name), "--event", EVENT_TYPE),
            **self.old,
        )
        assert finished.code == 0, finished
        self._trust(name, orjson.loads(finished.stdout[-1])["secret"])

    async def subscribe_by_new(self, name: str, connection: Connection) -> None:
        directory = Directory(Vault(self.settings.keys()), Ids(SystemClock()), Rules.of(self.settings))
        url = self.customers.url(name)
        _, secret = await directory.register(connection, account=ACCOUNT, url=url, events=[EVENT_TYPE])
        self._trust(name, secret)

    def _trust(self, name: str, secret: str) -> None:
        self.customers.trust(name, secret)
        self.names.append(name)

    async def flow(self, stage: str) -> None:
        """Produce events, and wait until each is with every endpoint there is by now."""
        orders = [f"{stage}-{number}" for number in range(EVENTS)]
        producer = broker.KafkaProducer(self.settings, linger_ms=5)
        await producer.start()
        try:
            await producer.send(
                cloud_event(
                    self.settings.kafka_topic_events, EVENT_TYPE, time=TIME, source="/test", account=ACCOUNT,
                    event_id=order, data={**CATALOGUE[EVENT_TYPE].EXAMPLE, "order_number": order},
                )
                for order in orders
            )  # fmt: skip
        finally:
            await producer.stop()
        self.expected |= {(name, order) for name in self.names for order in orders}
        await self.customers.until(lambda: self.customers.arrivals.keys() >= self.expected, f"the events of {stage}")


async def test_events_flow_through_the_old_code_the_new_schema_and_both_at_once(
    settings: Settings, empty: str, old: Path
) -> None:
    """Some fifteen seconds: four processes start one after the other, and a group is balanced anew four times."""
    settings = settings.model_copy(update={"database_url": SecretStr(empty)})
    async with Customers().listening() as customers:
        upgrade = Upgrade(settings, old, customers)
        migrated = await process.run("migrate", **upgrade.old)
        assert migrated.code == 0, migrated
        connection = await asyncpg.connect(empty)
        try:
            async with started("serve", **upgrade.old) as service:
                await service.ready()
                await upgrade.subscribe_by_old("of-old")
                await upgrade.flow("before")
                assert await runner.migrate(settings) == (previous.head_of(old), runner.head())
                await upgrade.flow("migrated")
                assert (await service.terminate()).code == 0, service.explain("was to drain")
            async with started("serve", **upgrade.old) as again:  # it crashed, perhaps, before its turn came
                await again.ready()
                await upgrade.subscribe_by_new("of-new", connection)
                await upgrade.flow("restarted")
                async with started("serve", environ=upgrade.environ) as service:
                    await service.ready()
                    await service.says(f"assigned {settings.kafka_topic_events}/")
                    await upgrade.flow("both")
                    assert (await again.terminate()).code == 0, again.explain("was to drain")
                    await upgrade.flow("after")
                    await until(lambda: is_zero(connection, UNDELIVERED), "every delivery recorded")
                    assert (await service.terminate()).code == 0, service.explain("was to drain")
            assert await connection.fetchval("SELECT count(*) FROM messages") == STAGES * EVENTS
            assert await connection.fetchval("SELECT count(*) FROM delivery_log") == len(upgrade.expected)
        finally:
            await connection.close()
    assert customers.refused == []
    assert customers.arrivals.keys() == upgrade.expected
    for where, requests in customers.arrivals.items():
        assert len(set(requests)) == 1, f"{where} got different requests for one event"


def test_what_is_called_the_previous_release_lacks_the_newest_migration(old: Path) -> None:
    assert previous.head_of(old) < runner.head()


def test_it_is_looked_for_on_the_main_line(tmp_path: Path) -> None:
    """The commit before the one that added the newest migration, whatever came after; HEAD while it has not come."""
    history = History(tmp_path)
    first = history.commit("migrations/versions/0001_a.py")
    history.commit("migrations/versions/0002_b.py", "migrations/versions/0003_c.py")
    history.commit("README.md")
    history.commit("migrations/versions/0003_c.py")  # a correction
    assert previous.commit(tmp_path) == first
    newest = history.head()
    (tmp_path / "migrations/versions/0004_d.py").touch()
    assert previous.commit(tmp_path) == newest


def test_a_history_that_does_not_reach_that_far_is_said(tmp_path: Path) -> None:
    history = History(tmp_path / "whole")
    history.commit("migrations/versions/0001_a.py")
    history.commit("migrations/versions/0002_b.py")
    subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{tmp_path}/whole", tmp_path / "cut"], check=True)
    with pytest.raises(previous.UnknownError, match="the clone does not reach that far"):
        previous.commit(tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / ".git")
    with pytest.raises(previous.UnknownError, match="not a git repository"):
        previous.commit(tmp_path / "cut")


class History:
    """A repository of a test's own."""

    def __init__(self, root: Path) -> None:
        self._root = root
        (root / "migrations/versions").mkdir(parents=True)
        self._git("init", "--quiet", "--initial-branch=main")

    def commit(self, *paths: str) -> str:
        for path in paths:
            with (self._root / path).open("a") as file:
                file.write("more\n")
        self._git("add", "--all")
        self._git("-c", "user.name=t", "-c", "user.email=t@test.example", "commit", "--quiet", "--message=more")
        return self.head()

    def head(self) -> str:
        return self._git("rev-parse", "HEAD")

    def _git(self, *arguments: str) -> str:
        ran = subprocess.run(["git", *arguments], cwd=self._root, check=True, capture_output=True, text=True)
        return ran.stdout.strip()


async def is_zero(connection: Connection, query: str) -> bool:
    return bool(await connection.fetchval(query) == 0)
