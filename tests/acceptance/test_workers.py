"""`serve --workers`: processes that consume and deliver, found by Prometheus, kept running, and never left behind."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import pytest

from runtime.embedded import free_port
from tests.support import gpg, misbehaving
from tests.support.commands import add_webhook, descendants, emit, get, running
from tests.support.directories import a_directory, register
from tests.support.process import environ_of, run, started, until
from tests.support.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.settings import Settings

#: Reading pages of a status feed needs a signed document, which needs a signer that the workers reach.
SIGNED = "/v1/transparency/status.json.asc"


@pytest.fixture(scope="module")
def signing() -> Iterator[dict[str, str]]:
    """What a process that signs is told."""
    with gpg.home() as made:
        made.make()
        yield {"HELIOGRAPH_GNUPGHOME": str(made.path), "HELIOGRAPH_FEED_KEY": made.fingerprints()[0]}


async def targets(admin: str) -> list[str]:
    status, content_type, text = await get(f"{admin}/targets")
    assert (status, content_type) == (200, "application/json")
    [group] = orjson.loads(text)
    found: list[str] = group["targets"]
    return found


async def check_of(admin: str) -> dict[str, Any]:
    [check] = orjson.loads((await get(f"{admin}/health")).text)["checks"]["workers:running"]
    found: dict[str, Any] = check
    return found


async def test_workers_work_are_found_come_back_and_drain(settings: Settings, signing: dict[str, str]) -> None:
    """One service for all of it: each start of three processes takes seconds."""
    environ = environ_of(settings) | signing
    connection = await asyncpg.connect(settings.dsn())
    async with Receiver().listening() as receiver, started("serve", "--workers", "2", environ=environ) as service:
        await register(a_directory(**settings.keys()), connection, account="acct_failing")
        await connection.execute("UPDATE endpoints SET failing_since = now() - interval '9 days', dropped = 99")
        ready = await service.ready()
        assert ready.keys() == {"ready", "api", "admin", "workers"}
        first, second = ready["workers"]
        assert first.keys() == second.keys() == {"admin", "pid"}
        assert {first["pid"], second["pid"]} < descendants(service.child.pid)

        listeners = [ready["admin"], first["admin"], second["admin"]]
        assert await targets(ready["admin"]) == [url.removeprefix("http://") for url in listeners]
        assert await targets(first["admin"]) == [first["admin"].removeprefix("http://")]
        for url in listeners:
            assert (await get(f"{url}/metrics")).status == 200
        metrics = [(await get(f"{url}/metrics")).text for url in listeners]
        assert ["heliograph_worker_restarts_total 0.0" in text for text in metrics] == [True, False, False]
        check = await check_of(ready["admin"])
        assert (check["status"], check["observedValue"]) == ("pass", 2)

        async def is_published() -> bool:
            return (await get(ready["api"] + SIGNED)).status == 200

        await until(is_published, "workers reach the signer of their parent")

        os.kill(first["pid"], signal.SIGKILL)
        await service.says("worker 1 ended (signal 9); starting it again")
        assert await targets(ready["admin"]) == [url.removeprefix("http://") for url in listeners]

        async def is_back() -> bool:
            return bool((await check_of(ready["admin"]))["status"] == "pass")

        await until(is_back, "the worker is back")
        assert (await get(f"{first['admin']}/livez")).status == 200
        assert "heliograph_worker_restarts_total 1.0" in (await get(f"{ready['admin']}/metrics")).text

        receiver.trust(await add_webhook(environ, receiver.url))
        await emit(environ, "server.provisioned", "--count", "3")
        await receiver.until(lambda r: len(r.by_message) == 3)
        assert await connection.fetchval("SELECT status FROM endpoints WHERE account_id = 'acct_failing'") == "disabled"

        everybody = descendants(service.child.pid)
        assert (await service.terminate()).code == 0
        assert running(everybody) == set()
    assert len(service.stdout) == 1
    assert len(receiver.by_message) == len(receiver.received) == 3
    await connection.close()


async def test_everybody_told_to_end_at_once_drains_all_the_same(settings: Settings) -> None:
    """As systemd may tell a control group, whose parent tells its workers once more."""
    environ = environ_of(settings)
    gate = misbehaving.Gate()
    async with misbehaving.receiving(gate) as receiver, started("serve", "--workers", "2", environ=environ) as service:
        workers = [each["pid"] for each in (await service.ready())["workers"]]
        await add_webhook(environ, str(receiver.url))
        await emit(environ, "server.provisioned", "--count", "4")
        await receiver.until(lambda r: len(r.requests) == 4)
        for pid in (service.child.pid, *workers):
            os.kill(pid, signal.SIGTERM)

        async def all_drain() -> bool:
            return sum("SIGTERM: draining" in line for line in service.stderr) == 1 + len(workers)

        await until(all_drain, "everybody drains")
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
        gate.is_open.set()
        finished = await service.ended()
    assert finished.code == 0, finished
    assert not [line for line in finished.stderr if "before it had drained" in line], finished
    connection = await asyncpg.connect(settings.dsn())
    states = await connection.fetch("SELECT state, count(*) FROM delivery_log GROUP BY state")
    await connection.close()
    assert [tuple(row) for row in states] == [("delivered", 4)]


async def test_a_parent_that_is_killed_leaves_no_worker_behind(settings: Settings) -> None:
    arguments = ("serve", "--workers", "2", "--role", "consume", "--role", "deliver")
    async with started(*arguments, environ=environ_of(settings)) as service:
        ready = await service.ready()
        assert ready.keys() == {"ready", "admin", "workers"}
        everybody = descendants(service.child.pid)
        assert {each["pid"] for each in ready["workers"]} <= everybody
        await service.kill()

        async def have_ended() -> bool:
            return not running(everybody)

        await until(have_ended, "all workers have drained")


async def test_a_worker_that_cannot_start_ends_its_parent_with_its_words_and_its_exit_code(settings: Settings) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port + 1)), socket.create_server(("127.0.0.1", port + 2)):
        environ = environ_of(settings, admin_listen=f"127.0.0.1:{port}")
        finished = await run("serve", "--workers", "2", environ=environ)
    assert (finished.code, finished.stdout) == (1, []), finished
    said = [line for line in finished.stderr if line.startswith("heliograph: ")]
    assert [line.partition(" (")[0] for line in said] == [
        f"heliograph: HELIOGRAPH_ADMIN_LISTEN: cannot listen on 127.0.0.1:{port + 1}"
    ], finished


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--workers", "2", "--role", "api"), "--workers: needs --role consume or deliver"),
        (("--workers", "0"), "--workers"),
    ],
)
async def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], says: str) -> None:
    finished = await run("serve", *arguments)
    assert finished.code == 2, finished
    assert says in finished.stderr[-1]


async def test_an_embedded_service_may_have_workers() -> None:
    async with Receiver().listening() as receiver, started("serve", "--embedded", "--workers", "1") as service:
        ready = await service.ready()
        assert ready.keys() == {"ready", "api", "admin", "workers", "kafka", "database"}
        only = {"HELIOGRAPH_DATABASE_URL": ready["database"]}
        receiver.trust(await add_webhook(only, receiver.url))
        await emit(only, "server.provisioned")
        await receiver.until(lambda r: len(r.received) == 1)
        everybody = descendants(service.child.pid)
        assert (await service.terminate()).code == 0
        assert running(everybody) == set()
        assert service.left_behind() == []
