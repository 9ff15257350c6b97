"""The commands around the service, as processes: what they do, what they say, and what they must never say."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import pytest

from consumers import broker
from consumers.decode import decode
from migrations import runner
from publisher import VERSION
from runtime.settings import MASK, Settings, variable
from tests.support.commands import ACCOUNT, add_webhook, emit
from tests.support.process import Finished, environ_of, run, started
from tests.support.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from consumers.events import Event

NOWHERE = "127.0.0.1:1"
DATABASE_URL, KAFKA_BOOTSTRAP, SECRET_KEYS = map(variable, ("database_url", "kafka_bootstrap", "secret_keys"))


@pytest.fixture
async def empty(settings: Settings, postgres: str) -> AsyncIterator[dict[str, str]]:
    """The environment of a test whose database has no schema yet."""
    name = settings.dsn().partition("?")[0].rpartition("/")[2]
    connection = await asyncpg.connect(postgres)
    await connection.execute(f"CREATE DATABASE {name}_empty")
    yield environ_of(settings, database_url=settings.dsn().replace(f"/{name}?", f"/{name}_empty?"))
    await connection.execute(f"DROP DATABASE {name}_empty WITH (FORCE)")
    await connection.close()


def one_line(finished: Finished, code: int) -> str:
    """Return what a refused command said: one line on stderr, nothing on stdout."""
    assert (finished.code, finished.stdout) == (code, []), finished
    assert len(finished.stderr) == 1, finished
    assert finished.stderr[0].startswith("heliograph: "), finished
    return finished.stderr[0].removeprefix("heliograph: ")


# --- the command line itself ------------------------------------------------------------------------------------


async def test_the_console_script_tells_its_version() -> None:
    script = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("heliograph"), "--version", stdout=asyncio.subprocess.PIPE
    )
    stdout, _ = await script.communicate()
    assert (script.returncode, stdout) == (0, f"heliograph {VERSION}\n".encode())


async def test_what_is_not_understood_is_one_line_and_exit_code_2() -> None:
    assert one_line(await run("serve", "--embeded"), 2).startswith("No such option: --embeded")


async def test_debug_shows_the_traceback_and_still_the_line(settings: Settings) -> None:
    environ = environ_of(settings, kafka_topic_events="no.such.topic")
    finished = await run("serve", "--debug", environ=environ)
    assert finished.code == 1
    assert "Traceback (most recent call last):" in finished.stderr
    assert finished.stderr[-1].startswith("heliograph: Kafka at ")


# --- migrate ----------------------------------------------------------------------------------------------------


async def test_migrate_works_twice_and_by_two_at_once(empty: dict[str, str]) -> None:
    both = await asyncio.gather(run("migrate", environ=empty), run("migrate", environ=empty))
    assert [each.code for each in both] == [0, 0], both
    assert f"migrated from nothing to {runner.head()}" in {each.stdout[0] for each in both}
    again = await run("migrate", environ=empty)
    assert (again.code, again.stdout, again.stderr) == (0, [f"at {runner.head()} already"], [])


# --- config -----------------------------------------------------------------------------------------------------


async def test_config_lists_every_setting_with_where_it_stands(tmp_path: Path) -> None:
    toml = tmp_path / "heliograph.toml"
    toml.write_text('retries = 5\nkafka_group = "from-the-file"\nkafka_bootstrap = ["a:1", "b:2"]\n')
    environ = {variable("kafka_group"): "from-the-environment", variable("config"): str(toml)}
    by_variable = await run("config", environ=environ)
    by_option = await run("config", "--config", str(toml), environ={variable("kafka_group"): "from-the-environment"})
    assert by_variable == by_option
    assert (by_option.code, by_option.stderr) == (0, [])
    shown = dict(line.split("  # ", 1)[0].split("=", 1) for line in by_option.stdout)
    assert list(shown) == [variable(name) for name in Settings.model_fields]
    assert shown[variable("retries")] == "5"
    assert shown[variable("kafka_group")] == "from-the-environment"
    assert shown[variable("kafka_bootstrap")] == "a:1,b:2"
    for line, (name, field) in zip(by_option.stdout, Settings.model_fields.items(), strict=True):
        assert field.description
        assert line.endswith(f"; {field.description}"), f"{name} is not explained"
    assert "# default: 3; " in next(line for line in by_option.stdout if line.startswith(variable("retries")))


# --- doctor -----------------------------------------------------------------------------------------------------


CHECKS = [
    *("settings", "database", "schema", "rights", "secrets", "clock"),
    *("broker", "topics", "credentials", "tokens", "limits", "gpg", "signing", "canary"),
]


async def test_doctor_finds_nothing_where_all_is_well(settings: Settings) -> None:
    finished = await run("doctor", environ=environ_of(settings))
    assert finished.code == 0, finished
    checks = [line.split()[:2] for line in finished.stdout[:-1]]
    assert checks == [["ok", name] for name in CHECKS]
    assert finished.stdout[-1] == f"all {len(CHECKS)} checks passed"
    assert finished.stderr == []


async def test_doctor_names_each_failure_and_what_to_do(
    settings: Settings, empty: dict[str, str], tmp_path: Path
) -> None:
    environ = environ_of(settings)
    no_database = environ[DATABASE_URL].replace("/test_", "/no_test_")
    nowhere = {**environ, DATABASE_URL: f"postgresql://{NOWHERE}/x", KAFKA_BOOTSTRAP: NOWHERE}
    unprepared = {**empty, variable("kafka_topic_events"): "none.such", "PATH": str(tmp_path)}
    cases: list[tuple[dict[str, str], list[tuple[str, str, str]]]] = [
        (
            nowhere,
            [
                ("database", f"database at {NOWHERE}/x did not answer within 3 s (", "start PostgreSQL there"),
                ("broker", f"Kafka at {NOWHERE} did not answer within 3 s (", "start Kafka there"),
            ],
        ),
        (
            unprepared,
            [
                ("schema", f"at migration none, this release needs {runner.head()}", "run heliograph migrate"),
                ("topics", "missing: none.such", "create them"),
                ("gpg", "gpg cannot be run (", "install GnuPG"),
            ],
        ),
        ({**environ, DATABASE_URL: no_database}, [("database", "does not exist", "correct HELIOGRAPH_DATABASE_URL")]),
    ]
    all_finished = await asyncio.gather(*(run("doctor", environ=given) for given, _ in cases))
    for (_, expected), finished in zip(cases, all_finished, strict=True):
        assert (finished.code, finished.stderr) == (1, []), finished
        failures = [number for number, line in enumerate(finished.stdout) if line.startswith("FAIL")]
        assert len(failures) == len(expected), finished
        for number, (name, detail, advice) in zip(failures, expected, strict=True):
            failed, remedy = finished.stdout[number : number + 2]
            assert failed.split()[1] == name, finished
            assert detail in failed
            assert remedy.lstrip().startswith("-> ")
            assert advice in remedy
        assert re.fullmatch(rf"{len(expected)} of \d+ checks failed", finished.stdout[-1])


async def test_doctor_sees_a_key_that_opens_nothing_and_a_session_that_may_not_write(settings: Settings) -> None:
    environ = environ_of(settings)
    added = await run("webhook", "add", "--account", ACCOUNT, "--url", "https://example.com/", environ=environ)
    assert added.code == 0, added
    known = environ[variable("secret_keys")].partition(":")[0]
    other = base64.b64encode(bytes(32)).decode()
    for keys, said in (
        (f"none:{other}", "which is not in HELIOGRAPH_SECRET_KEYS"),
        (f"{known}:{other}", "does not open"),
    ):
        finished = await run("doctor", environ={**environ, variable("secret_keys"): keys})
        assert finished.code == 1, finished
        assert any(line.startswith("FAIL  secrets") and said in line for line in finished.stdout), finished
    read_only = dict(environ)
    separator = "&" if "?" in environ[DATABASE_URL] else "?"
    read_only[DATABASE_URL] += f"{separator}default_transaction_read_only=on"
    finished = await run("doctor", environ=read_only)
    assert any(line.startswith("FAIL  rights") for line in finished.stdout), finished
    refused = await run("webhook", "add", "--account", ACCOUNT, "--url", "https://example.com/", environ=read_only)
    assert refused.stderr == [
        "heliograph: HELIOGRAPH_DATABASE_URL: cannot execute INSERT in a read-only transaction"
    ], refused


# --- webhook ----------------------------------------------------------------------------------------------------


async def test_webhook_add_shows_the_secret_once_and_list_never(settings: Settings) -> None:
    environ = environ_of(settings)
    options = ("--event", "server.*", "--event", "topup.created", "--description", "the panel")
    added = await run(
        *("webhook", "add", "--account", ACCOUNT, "--url", "https://example.com/hooks", *options), environ=environ
    )
    shown = orjson.loads(added.stdout[0])
    assert shown.keys() == {"id", "account", "url", "events", "secret"}
    assert len(base64.b64decode(shown["secret"].removeprefix("whsec_"))) == 32
    own, others = await asyncio.gather(
        run("webhook", "list", "--account", ACCOUNT, environ=environ),
        run("webhook", "list", "--account", "acct_2", environ=environ),
    )
    (listed,) = map(orjson.loads, own.stdout)
    assert (listed["id"], listed["url"], listed["status"]) == (shown["id"], shown["url"], "active")
    assert (listed["events"], listed["description"]) == (["server.*", "topup.created"], "the panel")
    assert "whsec_" not in str(own)
    assert others == Finished(0, [], [])


async def test_webhook_add_refuses_what_cannot_be_an_endpoint(settings: Settings) -> None:
    environ = environ_of(settings, env="production", egress_allow="")
    good = {"--account": ACCOUNT, "--url": "https://example.com/"}
    wrong = [
        ({"--url": "http://example.com/"}, "--url: must begin with https://"),
        ({"--url": "https://127.0.0.1:9/"}, "--url: "),
        ({"--event": "server.explode"}, "--event: 'server.explode' is no event type"),
    ]
    all_finished = await asyncio.gather(
        *(
            run("webhook", "add", *(part for pair in (good | given).items() for part in pair), environ=environ)
            for given, _ in wrong
        )
    )
    for (_, words), finished in zip(wrong, all_finished, strict=True):
        assert one_line(finished, 2).startswith(words)
    assert (await run("webhook", "list", "--account", ACCOUNT, environ=environ)).stdout == []


async def test_webhook_add_takes_a_schedule_and_an_algorithm(settings: Settings) -> None:
    environ = environ_of(settings)
    url = ("--url", "https://example.com/hooks")
    chosen = ("--retries", "5", "--window", "7200", "--algorithm", "ed25519")
    added = await run("webhook", "add", "--account", ACCOUNT, *url, *chosen, environ=environ)
    shown = orjson.loads(added.stdout[0])
    assert shown.keys() == {"id", "account", "url", "events", "secret", "public_keys"}
    assert [len(base64.b64decode(each.removeprefix("whpk_"))) for each in shown["public_keys"]] == [32]
    (listed,) = map(orjson.loads, (await run("webhook", "list", "--account", ACCOUNT, environ=environ)).stdout)
    assert (listed["retries"], listed["window"], listed["algorithm"]) == (5, 7200, "ed25519")


async def test_webhook_add_refuses_before_it_looks_for_the_database(settings: Settings) -> None:
    nowhere = environ_of(settings, database_url=f"postgresql://{NOWHERE}/x")
    finished = await run("webhook", "add", "--account", ACCOUNT, "--url", "http://example.com/", environ=nowhere)
    assert one_line(finished, 2) == "--url: must begin with https://"


async def test_a_webhook_is_rotated_paused_enabled_and_removed(settings: Settings) -> None:
    environ = environ_of(settings, secret_overlap=1000)
    options = ("--url", "https://example.com/hooks", "--algorithm", "ed25519")
    added = orjson.loads((await run("webhook", "add", "--account", ACCOUNT, *options, environ=environ)).stdout[0])

    async def on_it(command: str, *given: str) -> dict[str, Any]:
        finished = await run("webhook", command, added["id"], "--account", ACCOUNT, *given, environ=environ)
        assert (finished.code, finished.stderr, len(finished.stdout)) == (0, [], 1), finished
        shown: dict[str, Any] = orjson.loads(finished.stdout[0])
        assert shown["id"] == added["id"]
        return shown

    rotated = await on_it("rotate")
    assert rotated["overlap"] == 1000
    assert rotated["secret"].startswith("whsec_")
    assert rotated["secret"] != added["secret"]
    assert len(rotated["public_keys"]) == 2
    assert rotated["public_keys"][1:] == added["public_keys"]
    assert len((await on_it("rotate", "--overlap", "0"))["public_keys"]) == 1
    assert (await on_it("pause"))["status"] == "paused"
    assert (await on_it("enable"))["status"] == "active"
    assert await on_it("remove") == {"id": added["id"], "account": ACCOUNT, "removed": True}
    assert (await run("webhook", "list", "--account", ACCOUNT, environ=environ)).stdout == []


async def test_an_endpoint_of_nobody_and_of_another_account_are_the_same_line(settings: Settings) -> None:
    environ = environ_of(settings)
    added = await run("webhook", "add", "--account", "acct_2", "--url", "https://example.com/", environ=environ)
    anothers = orjson.loads(added.stdout[0])["id"]
    commands = [(name, each) for name in ("rotate", "pause", "enable", "remove") for each in (anothers, "we_absent")]
    all_finished = await asyncio.gather(
        *(run("webhook", name, each, "--account", ACCOUNT, environ=environ) for name, each in commands)
    )
    for (_, each), finished in zip(commands, all_finished, strict=True):
        assert one_line(finished, 1) == f"the account has no endpoint '{each}'"


async def test_webhook_commands_say_what_to_do_about_an_old_schema(empty: dict[str, str]) -> None:
    finished = await run("webhook", "list", "--account", ACCOUNT, environ=empty)
    assert one_line(finished, 1) == "the database has no schema yet: run heliograph migrate"
    finished = await run("keys", "rotate-secrets", environ=empty)
    assert one_line(finished, 1) == "the database has no schema yet: run heliograph migrate"


# --- keys -------------------------------------------------------------------------------------------------------


async def test_secrets_are_re_encrypted_once_and_those_that_do_not_open_are_named(settings: Settings) -> None:
    old, new = (f"{name}:{base64.b64encode(bytes([name == 'new']) * 32).decode()}" for name in ("old", "new"))
    before = environ_of(settings, secret_keys=old)
    both = environ_of(settings, secret_keys=f"{new},{old}")
    url = ("--url", "https://example.com/")
    for algorithm in ("hmac-sha256", "ed25519"):
        await run("webhook", "add", "--account", ACCOUNT, *url, "--algorithm", algorithm, environ=before)
    words = "re-encrypted with key 'new',"
    first = await run("keys", "rotate-secrets", environ=both)
    assert first == Finished(0, [f"3 secrets {words} 0 already were, 0 could not be opened"], [])
    again = await run("keys", "rotate-secrets", environ=both)
    assert again == Finished(0, [f"0 secrets {words} 3 already were, 0 could not be opened"], [])

    lost = orjson.loads((await run("webhook", "add", "--account", ACCOUNT, *url, environ=before)).stdout[0])["id"]
    failed = await run("keys", "rotate-secrets", environ=environ_of(settings, secret_keys=new))
    assert (failed.code, failed.stdout) == (1, [f"0 secrets {words} 3 already were, 1 could not be opened"])
    reason = "was sealed with key 'old', which is not in HELIOGRAPH_SECRET_KEYS"
    assert failed.stderr == [f"the secret of endpoint {lost} {reason}; it is left as it is"]


async def test_another_key_under_the_same_name_is_not_taken_for_the_one_that_sealed(settings: Settings) -> None:
    await run("webhook", "add", "--account", ACCOUNT, "--url", "https://example.com/", environ=environ_of(settings))
    other = f"test:{base64.b64encode(bytes(32)).decode()}"
    finished = await run("keys", "rotate-secrets", environ=environ_of(settings, secret_keys=other))
    summary = "0 secrets re-encrypted with key 'test', 1 already were, 1 could not be opened"
    assert (finished.code, finished.stdout) == (1, [summary])
    assert "does not open with key 'test'" in finished.stderr[0]


# --- emit -------------------------------------------------------------------------------------------------------


async def produced(settings: Settings, count: int) -> list[Event]:
    """Return the first `count` events of the topic; fail when there are fewer, or more."""
    consumer = broker.KafkaConsumer(settings, [settings.kafka_topic_events], lambda: None)
    await consumer.start()
    try:
        events: list[Event] = []
        async with asyncio.timeout(30):
            while len(events) < count:
                events += map(decode, await consumer.poll(100, 1))
        events += map(decode, await consumer.poll(100, 1))
    finally:
        await consumer.stop()
    assert len(events) == count
    return events


async def test_emit_produces_what_is_right_and_nothing_else(settings: Settings, tmp_path: Path) -> None:
    environ = environ_of(settings)
    data = {"service_code": "vm.s", "bastion": "STO", "initiated_by": "customer", "order_number": "ORD-1", "more": 1.50}
    good, short = tmp_path / "good.json", tmp_path / "short.json"
    good.write_text(json.dumps(data))
    short.write_text(json.dumps(data | {"bastion": "MARS"}))
    power = ("emit", "server.power.on", "--account", ACCOUNT)
    wrong = [
        ((*power, "--data", f"@{short}", "--count", "2"), "--data: data.bastion: "),
        (("emit", "server.explode"), "TYPE: 'server.explode' is not an event type"),
        (("emit", "canary.updated", "--account", ACCOUNT), "--account: "),
    ]
    all_finished = await asyncio.gather(*(run(*arguments, environ=environ) for arguments, _ in wrong))
    for (_, words), finished in zip(wrong, all_finished, strict=True):
        assert one_line(finished, 2).startswith(words)

    finished = await run(*power, "--data", f"@{good}", "--count", "3", environ=environ)
    assert finished == Finished(0, [f"3 server.power.on produced to {settings.kafka_topic_events} for {ACCOUNT}"], [])
    await emit(environ, "topup.created")
    finished = await run("emit", "canary.updated", environ=environ)
    assert finished == Finished(0, [f"1 canary.updated produced to {settings.kafka_topic_events}"], [])

    events = await produced(settings, 5)
    powered = [event for event in events if event.type == "server.power.on"]
    assert len({event.id for event in powered}) == 3
    assert {event.account for event in powered} == {ACCOUNT}
    assert all(orjson.loads(event.raw) == data for event in powered)
    assert sorted(event.type for event in events if event.type != "server.power.on") == [
        "canary.updated",
        "topup.created",
    ]


# --- what no command may say ------------------------------------------------------------------------------------


async def test_no_output_holds_a_secret(settings: Settings) -> None:
    """A password and a key with known text go in; the words of every command, at their loudest, are searched."""
    key = base64.b64encode(b"canary-of-thirty-two-bytes-long!").decode()
    word = "canary-password"
    url = settings.dsn().replace("postgres@", f"postgres:{word}@")
    assert word in url
    environ = environ_of(settings) | {
        DATABASE_URL: url,
        SECRET_KEYS: f"canary:{key}",
        variable("kafka_sasl_username"): "heliograph",
        variable("kafka_sasl_password"): word,
    }
    nowhere = {**environ, DATABASE_URL: f"postgresql://u:{word}@{NOWHERE}/x", variable("startup_timeout"): "0.5"}
    torn = {**environ, DATABASE_URL: f"postgresql://u:{word}#@{NOWHERE}/x"}
    unfit = {**environ, SECRET_KEYS: f"canary:{key}x"}
    heard: list[str] = []
    async with Receiver().listening() as receiver, started("serve", "--debug", environ=environ) as service:
        await service.ready()
        secret = await add_webhook(environ, receiver.url)
        receiver.trust(secret)
        await emit(environ, "server.provisioned")
        await receiver.until(lambda r: bool(r.received))
        heard.append(str(await service.terminate()))
    assert "SIGTERM: draining" in heard[0]
    all_finished = await asyncio.gather(
        run("serve", "--debug", environ=nowhere),
        run("doctor", "--debug", environ=nowhere),
        run("migrate", "--debug", environ=torn),
        run("doctor", "--debug", environ=unfit),
        run("config", environ=environ),
        run("doctor", "--debug", environ=environ),
        run("migrate", "--debug", environ=environ),
        run("webhook", "list", "--account", ACCOUNT, "--debug", environ=environ),
        run("emit", "server.deleted", "--debug", environ=environ),
    )
    heard += map(str, all_finished)
    assert f"{SECRET_KEYS}={MASK}" in heard[-5]
    for text in heard:
        for canary in (key, word, secret, secret.removeprefix("whsec_")):
            assert canary not in text
