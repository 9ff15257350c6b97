"""What keeps the service from starting is said in one line that names it; what may still come is waited for."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import asyncpg
import orjson
import pytest

from tests.support.process import Finished, environ_of, run, started

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runtime.settings import Settings

#: Nobody listens on port 1, and nothing that is not root may.
NOWHERE = "127.0.0.1:1"
PATIENCE = 1.0


@pytest.fixture
def occupied() -> Iterator[str]:
    """Address somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def last_words(finished: Finished, code: int) -> str:
    """Return the one line a refused start ends with."""
    assert (finished.code, finished.stdout) == (code, []), finished
    assert "Traceback" not in str(finished), finished
    *before, last = finished.stderr
    assert all(orjson.loads(line)["level"] in {"info", "warning"} for line in before), finished
    assert last.startswith("heliograph: "), finished
    return last.removeprefix("heliograph: ")


async def test_unreachable_servers_are_waited_for_and_then_named(settings: Settings) -> None:
    database = environ_of(
        settings, database_url=f"postgresql://somebody:hunter2@{NOWHERE}/events", startup_timeout=PATIENCE
    )
    kafka = environ_of(settings, kafka_bootstrap=NOWHERE, startup_timeout=PATIENCE)
    for environ, name in ((database, f"database at {NOWHERE}/events"), (kafka, f"Kafka at {NOWHERE}")):
        finished = await run("serve", environ=environ)
        assert last_words(finished, 1).startswith(f"{name} did not answer within 1 s (")
        messages = [orjson.loads(line)["message"] for line in finished.stderr[:-1]]
        retries = [message for message in messages if "; trying again in " in message]
        assert len(retries) >= 2
        assert all(message.startswith(f"{name} is not reachable (") for message in retries)
        assert "hunter2" not in str(finished)


async def test_a_profile_that_is_missing_or_broken_is_named_before_anything_is_started(tmp_path: Path) -> None:
    broken = tmp_path / "mine.toml"
    broken.write_text('name = "mine"\n')
    for profile, words in {
        "nowhere": "there is no profile 'nowhere' (there is: nordbastion)",
        str(tmp_path / "none.toml"): f"{tmp_path}/none.toml cannot be read (No such file or directory)",
        str(broken): f"{broken}: title: Field required",
    }.items():
        for command in (("serve", "--embedded"), ("openapi",)):
            finished = await run(*command, environ={"HELIOGRAPH_PROFILE": profile})
            assert last_words(finished, 2) == f"HELIOGRAPH_PROFILE: {words}"
            assert len(finished.stderr) == 1


async def test_it_starts_once_the_database_is_there(settings: Settings, tmp_path: Path) -> None:
    sockets = settings.dsn().partition("?host=")[2]
    late = tmp_path / "s"
    environ = environ_of(settings, database_url=settings.dsn().replace(sockets, str(late)))
    async with started("serve", environ=environ) as service:
        await service.says(f"database at {late}/")
        late.symlink_to(sockets)
        assert (await service.ready())["ready"] is True
        assert (await service.terminate()).code == 0


async def test_a_database_that_is_not_there_is_named(settings: Settings) -> None:
    url = settings.dsn().replace("/test_", "/no_test_")
    for command in ("serve", "migrate"):
        words = last_words(await run(command, environ=environ_of(settings, database_url=url)), 1)
        assert words.startswith('HELIOGRAPH_DATABASE_URL: database "no_test_')
        assert words.endswith('" does not exist')


async def test_a_database_without_the_schema_asks_for_migrate(settings: Settings, postgres: str) -> None:
    connection = await asyncpg.connect(postgres)
    name = settings.dsn().partition("?")[0].rpartition("/")[2]
    await connection.execute(f"CREATE DATABASE {name}_empty")
    environ = environ_of(settings, database_url=settings.dsn().replace(f"/{name}?", f"/{name}_empty?"))
    try:
        words = last_words(await run("serve", environ=environ), 1)
        assert words.startswith("the database is at migration none, this release needs ")
        assert words.endswith(": run heliograph migrate")
        words = last_words(await run("webhook", "list", "--account", "acct_1", environ=environ), 1)
        assert words == "the database has no schema yet: run heliograph migrate"
    finally:
        await connection.execute(f"DROP DATABASE {name}_empty WITH (FORCE)")
        await connection.close()


async def test_a_missing_topic_is_named(settings: Settings) -> None:
    words = last_words(await run("serve", environ=environ_of(settings, kafka_topic_events="no.such.topic")), 1)
    assert words.startswith(f"Kafka at {settings.kafka_bootstrap[0]} has no topic no.such.topic ")
    assert "HELIOGRAPH_KAFKA_TOPIC_" in words


@pytest.mark.parametrize("listener", ["api_listen", "admin_listen"])
async def test_a_port_that_is_taken_is_named(settings: Settings, listener: str, occupied: str) -> None:
    words = last_words(await run("serve", environ=environ_of(settings, **{listener: occupied})), 1)
    assert words.startswith(f"HELIOGRAPH_{listener.upper()}: cannot listen on {occupied} (")
    assert "address already in use" in words


async def test_a_setting_that_is_missing_is_a_usage_error(settings: Settings) -> None:
    environ = environ_of(settings)
    del environ["HELIOGRAPH_SECRET_KEYS"]
    assert last_words(await run("serve", environ=environ), 2).startswith("HELIOGRAPH_SECRET_KEYS is not set (")


async def test_an_unfit_key_is_named_and_not_shown(settings: Settings) -> None:
    environ = environ_of(settings) | {"HELIOGRAPH_SECRET_KEYS": "short:c2hvcnQ="}
    words = last_words(await run("serve", environ=environ), 2)
    assert words.startswith("HELIOGRAPH_SECRET_KEYS: key 'short' is not the base64 of 32 bytes")
    assert "c2hvcnQ" not in words
