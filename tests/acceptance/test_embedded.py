"""`heliograph serve --embedded`: everything from one command, nothing needed before and nothing left after."""

from __future__ import annotations

import signal
from dataclasses import fields
from typing import TYPE_CHECKING

import orjson
import pytest

from publisher.endpoints import Details
from runtime.settings import variable
from tests.support.commands import ACCOUNT, add_webhook, descendants, emit, get, running
from tests.support.process import Heliograph, run, started, until
from tests.support.receiver import Receiver

if TYPE_CHECKING:
    from pathlib import Path

DATABASE_URL, DATA_DIR, ENV = variable("database_url"), variable("data_dir"), variable("env")
#: An empty variable is one that is not set: this takes away even the free ports every child is given.
NO_SETTINGS = {variable("api_listen"): "", variable("admin_listen"): ""}
LISTED = {field.name for field in fields(Details)}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


async def test_without_any_setting_an_event_becomes_a_verified_webhook() -> None:
    async with started("serve", "--embedded", environ=NO_SETTINGS) as service, Receiver().listening() as receiver:
        ready = await service.ready()
        assert ready.keys() == {"ready", "api", "admin", "kafka", "database"}
        assert ready["ready"] is True
        for url in ("/health", "/health/live", "/health/ready"):
            assert (await get(ready["api"] + url)).status == 200
        for url in ("/health", "/livez", "/readyz", "/startupz", "/metrics"):
            assert (await get(ready["admin"] + url)).status == 200

        only = {**NO_SETTINGS, DATABASE_URL: ready["database"]}
        receiver.trust(await add_webhook(only, receiver.url, "--event", "server.*"))
        await emit(only, "topup.created")
        await emit(only, "server.provisioned", "--count", "3")
        await receiver.until(lambda r: len(r.received) == 3)
        assert receiver.refused == []
        assert {each.headers["x-nb-event"] for each in receiver.received} == {"server.provisioned"}

        async def is_counted() -> bool:
            metric = 'heliograph_deliveries_total{outcome="delivered",type="server.provisioned"} 3.0'
            return metric in (await get(ready["admin"] + "/metrics")).text

        await until(is_counted, "three deliveries counted")
        listed = await run("webhook", "list", "--account", ACCOUNT, environ=only)
        assert [orjson.loads(line).keys() for line in listed.stdout] == [LISTED]
        doctor = await run("doctor", environ=only)
        assert doctor.code == 0, doctor

        servers = descendants(service.child.pid)
        finished = await service.terminate()
        assert finished.code == 0, finished
        assert len(finished.stdout) == 1
        assert service.left_behind() == []
        assert running(servers) == set()


async def test_two_live_side_by_side_on_the_default_ports() -> None:
    async with (
        started("serve", "--embedded", environ=NO_SETTINGS) as first,
        Receiver().listening() as receiver,
    ):
        one = await first.ready()
        async with started("serve", "--embedded", environ=NO_SETTINGS) as second:
            other = await second.ready()
            assert not set(one.values()) & set(other.values()) - {True}
            assert "is taken" in await second.says(variable("api_listen"))
            only = {DATABASE_URL: other["database"]}
            receiver.trust(await add_webhook(only, receiver.url))
            await emit({DATABASE_URL: one["database"]}, "server.deleted")
            await emit(only, "server.provisioned")
            await receiver.until(lambda r: bool(r.received))
            second.send(signal.SIGINT)
            assert (await second.ended()).code == 0
        assert (await get(one["api"] + "/health")).status == 200
        first.send(signal.SIGINT)
        assert (await first.ended()).code == 0
    assert [each.headers["x-nb-event"] for each in receiver.received] == ["server.provisioned"]


async def test_production_calls_no_loopback_receiver_not_even_one_it_knows(data_dir: Path) -> None:
    environ = {DATA_DIR: str(data_dir)}
    async with Receiver().listening() as receiver:
        async with started("serve", "--embedded", environ=environ) as service:
            only = {DATABASE_URL: (await service.ready())["database"]}
            await add_webhook(only, receiver.url)
            assert (await service.terminate()).code == 0
        async with started("serve", "--embedded", environ={**environ, ENV: "production"}) as service:
            ready = await service.ready()
            only = {DATABASE_URL: ready["database"]}
            finished = await run("webhook", "add", "--account", ACCOUNT, "--url", receiver.url, environ=only)
            assert (finished.code, finished.stdout) == (2, [])
            assert [line.partition("--url: ")[0] for line in finished.stderr] == ["heliograph: "]
            await emit(only, "server.provisioned")

            async def is_blocked() -> bool:
                metrics = await get(ready["admin"] + "/metrics")
                return 'heliograph_attempts_total{result="blocked"} 1.0' in metrics.text

            await until(is_blocked, "the attempt is blocked")
    assert (receiver.received, receiver.refused) == ([], [])


async def test_data_outlives_a_stop_and_a_kill(data_dir: Path) -> None:
    environ = {DATA_DIR: str(data_dir)}
    async with Receiver().listening() as receiver:
        async with started("serve", "--embedded", environ=environ) as service:
            only = {DATABASE_URL: (await service.ready())["database"]}
            receiver.trust(await add_webhook(only, receiver.url))
            assert (await service.terminate()).code == 0
        for number in (1, 2):
            async with started("serve", "--embedded", environ=environ) as service:
                only = {DATABASE_URL: (await service.ready())["database"]}
                await emit(only, "server.provisioned")
                await receiver.until(lambda r: len(r.received) == number)  # noqa: B023 - called right here
                servers = descendants(service.child.pid)
                assert len(servers) > 2
                await service.kill()

                async def is_gone(servers: set[int] = servers) -> bool:
                    return not running(servers)

                await until(is_gone, "PostgreSQL and the broker die with their parent", 10)
    assert receiver.refused == []
    assert (data_dir / "secret_keys").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("sign", "number"),
    [
        ("*", signal.SIGTERM),
        ("*/postgres/base", signal.SIGINT),
        ("*/postgres/postmaster.pid", signal.SIGTERM),
        ("*/broker.log", signal.SIGINT),
    ],
)
async def test_it_stops_at_any_point_of_its_start(sign: str, number: signal.Signals) -> None:
    """Each `sign` is the trace of a step; the last one may be met before or after the ready line."""
    async with started("serve", "--embedded") as service:

        async def is_there() -> bool:
            return any(service.folder.glob(sign))

        await until(is_there, f"{sign} exists")
        servers = descendants(service.child.pid)
        service.send(number)
        finished = await service.ended()
        assert finished.code == 0, finished
        assert service.left_behind() == []
        assert running(servers) == set()


async def test_two_cannot_share_their_data(data_dir: Path) -> None:
    environ = {DATA_DIR: str(data_dir)}
    async with started("serve", "--embedded", environ=environ) as first:
        ready = await first.ready()
        async with started("serve", "--embedded", environ=environ) as second:
            finished = await second.ended(30)
            assert (finished.code, finished.stdout) == (1, [])
            assert_one_line(finished.stderr[-1], second)
            assert "postmaster.pid" in finished.stderr[-1]
            assert second.left_behind() == []
        assert (await get(ready["admin"] + "/readyz")).status == 200


def assert_one_line(line: str, service: Heliograph) -> None:
    assert line.startswith("heliograph: "), service.explain("no clear line")
    assert "Traceback" not in service.explain(""), service.explain("a traceback")
