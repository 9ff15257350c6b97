"""An operator's way with a dead letter: bad record, list, show, correct the cause, replay, and it is handled."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import asyncpg
import orjson
import pytest

from consumers import broker
from consumers.broker import Outgoing
from consumers.reader import open_reader
from runtime.settings import variable
from tests.support.commands import ACCOUNT, emit
from tests.support.process import Finished, environ_of, run, started, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from runtime.settings import Settings

CLOUD_EVENT = ("content-type", b"application/cloudevents+json")
SECRET = "s3cret-of-a-customer"  # noqa: S105 - what a payload may hold


@contextlib.asynccontextmanager
async def intake(environ: Mapping[str, str], **others: object) -> AsyncIterator[None]:
    """Run the intake for the length of the context."""
    changed = {variable(name): str(value) for name, value in others.items()}
    async with started("serve", "--role", "consume", environ={**environ, **changed}) as service:
        await service.ready()
        yield
        await service.terminate()


async def deadletters(environ: Mapping[str, str], *arguments: str) -> Finished:
    return await run("deadletters", *arguments, environ=environ)


async def listed(environ: Mapping[str, str], *options: str) -> list[dict[str, object]]:
    finished = await deadletters(environ, "list", *options)
    assert finished.code == 0, finished
    assert SECRET not in str(finished)
    assert len(finished.stderr) == (0 if finished.stdout else 1), finished
    return [orjson.loads(line) for line in finished.stdout]


async def until_listed(environ: Mapping[str, str], count: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []

    async def are_there() -> bool:
        found[:] = await listed(environ)
        return len(found) >= count

    await until(are_there, f"{count} dead letters")
    assert len(found) == count
    return found


async def handled(settings: Settings) -> list[str]:
    """Return the sources of what was admitted."""
    connection = await asyncpg.connect(settings.dsn())
    try:
        return [row[0] for row in await connection.fetch("SELECT DISTINCT source || ' ' || event_id FROM inbox")]
    finally:
        await connection.close()


async def produce(settings: Settings, *records: Outgoing) -> None:
    producer = broker.KafkaProducer(settings)
    await producer.start()
    try:
        for record in records:  # one by one: the dead letters shall stand in this order
            await producer.send([record])
    finally:
        await producer.stop()


def large(tmp_path: Path) -> str:
    """Return a file with data that is right and takes more than 2 KiB."""
    data = {"service_code": "vm.s", "bastion": "STO", "initiated_by": "customer", "order_number": "ORD-1"}
    path = tmp_path / "large.json"
    path.write_bytes(orjson.dumps(data | {"note": SECRET + "x" * 2048}))
    return f"@{path}"


async def test_what_was_too_large_is_replayed_once_the_limit_is_raised(settings: Settings, tmp_path: Path) -> None:
    environ = environ_of(settings)
    async with intake(environ, kafka_record_bytes=1024):
        await emit(environ, "server.power.on", "--data", large(tmp_path))
        (letter,) = await until_listed(environ, 1)
    assert (letter["position"], letter["reason"]) == ("0@0", "too_large")
    assert "1024 allowed" in str(letter["detail"])
    origin = letter["origin"]
    assert isinstance(origin, dict)
    assert (origin["topic"], origin["offset"]) == (settings.kafka_topic_events, 0)
    assert await handled(settings) == []

    shown = await deadletters(environ, "show", "0@0")
    assert (shown.code, shown.stderr) == (0, [])
    whole = orjson.loads(shown.stdout[0])
    assert (whole["key"], whole["origin"]) == (ACCOUNT, origin)
    event = orjson.loads(whole["value"])
    assert event["data"]["note"].startswith(SECRET)
    assert whole["headers"] == [{"name": CLOUD_EVENT[0], "value": CLOUD_EVENT[1].decode()}]

    async with intake(environ):
        rehearsed = await deadletters(environ, "replay", "0@0", "--dry-run")
        assert rehearsed == Finished(
            0, [f"0@0  would be replayed to {settings.kafka_topic_events}", "1 would be replayed, 0 refused"], []
        )
        assert await handled(settings) == []
        for _ in range(2):  # the second time it is known
            replayed = await deadletters(environ, "replay", "--reason", "too_large", "--since", "1h")
            assert replayed == Finished(
                0, [f"0@0  replayed to {settings.kafka_topic_events}", "1 replayed, 0 refused"], []
            )

        async def is_handled() -> bool:
            return bool(await handled(settings))

        await until(is_handled, "the replayed event in the inbox")
        await emit(environ, "server.power.off")  # all that came before it is through when it is

        async def are_both_handled() -> bool:
            return len(await handled(settings)) == 2

        await until(are_both_handled, "the event after it in the inbox")
    assert f"{event['source']} {event['id']}" in await handled(settings)
    assert len(await listed(environ)) == 1


async def test_what_is_still_bad_becomes_a_dead_letter_again_and_the_bytes_stay_what_they_were(
    settings: Settings,
) -> None:
    environ = environ_of(settings)
    topic = settings.kafka_topic_events
    binary = Outgoing(topic, b"\xff", b"{" + SECRET.encode(), [CLOUD_EVENT, ("raw", b"\xfe"), ("null", None)])
    async with intake(environ):
        await produce(settings, binary, Outgoing(topic, b"k", None, [CLOUD_EVENT]))
        found = await until_listed(environ, 2)
        assert sorted(str(each["reason"]) for each in found) == ["empty", "json"]
        assert await listed(environ, "--reason", "schema") == []
        (json,) = await listed(environ, "--reason", "json")
        assert await listed(environ, "--topic", topic, "--limit", "1") == found[-1:]
        assert await listed(environ, "--topic", "another") == []

        replayed = await deadletters(environ, "replay", str(json["position"]), "0@99")
        assert (replayed.code, replayed.stderr) == (1, [])
        assert replayed.stdout == [
            f"{json['position']}  replayed to {topic}",
            "0@99  refused: there is none, never was or retention took it",
            "1 replayed, 1 refused",
        ]
        await until_listed(environ, 3)
    first, second = [
        orjson.loads((await deadletters(environ, "show", str(each["position"]))).stdout[0])
        for each in await listed(environ, "--reason", "json")
    ]
    for name in ("key_base64", "value", "headers", "detail"):
        assert first[name] == second[name]
    assert first["key_base64"] == "/w=="
    assert first["headers"][1:] == [{"name": "raw", "value_base64": "/g=="}, {"name": "null", "value": None}]
    assert first["origin"] != second["origin"]


async def test_what_cannot_be_replayed_is_refused_each_with_its_reason(settings: Settings) -> None:
    """Written here as the intake writes them: no broker of a test makes it cut a record, nor loses a topic."""
    environ = environ_of(settings)
    dead, gone = settings.kafka_topic_dead_letters, f"{settings.kafka_topic_events}-gone"

    def letter(topic: str, *more: tuple[str, bytes]) -> Outgoing:
        ours = [("reason", b"json"), ("topic", topic.encode()), ("partition", b"0"), ("offset", b"7")]
        named = [(f"heliograph-{name}", value) for name, value in [*ours, ("timestamp", b"1"), *more]]
        return Outgoing(dead, b"k", b"v", named)

    events = settings.kafka_topic_events
    await produce(settings, letter(events, ("original-bytes", b"99")), letter(gone), Outgoing(dead, b"k", b"v", []))
    finished = await deadletters(environ, "replay", "--all")
    assert (finished.code, finished.stderr) == (1, [])
    cut, lost, strange, total = finished.stdout
    assert cut.startswith("0@0  refused: it was cut to fit (originally bytes: 99)")
    assert f"stands at {events}/0@7 " in cut
    assert lost.startswith(f"0@1  refused: its topic {gone} is not there any more")
    assert strange.startswith("0@2  refused: its heliograph-* headers do not say where it came from")
    assert total == "0 replayed, 3 refused"
    assert gone not in await broker.list_topics(settings)
    async with open_reader(settings, events) as reader:
        assert [record async for record in reader.records()] == []


async def test_where_there_is_nothing_that_is_said(settings: Settings) -> None:
    environ = environ_of(settings)
    assert await deadletters(environ, "list") == Finished(0, [], ["no dead letters"])
    assert await deadletters(environ, "list", "--reason", "json") == Finished(0, [], ["no dead letters like that"])
    assert await deadletters(environ, "replay", "--all") == Finished(0, ["0 replayed, 0 refused"], [])
    dead = settings.kafka_topic_dead_letters
    assert await deadletters(environ, "show", "3@7") == Finished(
        1, [], [f"heliograph: no dead letter at 3@7 in {dead}: never was, or retention took it"]
    )


@pytest.mark.parametrize("arguments", [("list",), ("show", "0@0"), ("replay", "--all")], ids=" ".join)
async def test_no_broker_and_no_topic_are_one_line(settings: Settings, arguments: tuple[str, ...]) -> None:
    nowhere = environ_of(settings, kafka_bootstrap="127.0.0.1:1", startup_timeout=0.3)
    finished = await deadletters(nowhere, *arguments)
    assert (finished.code, finished.stdout) == (1, []), finished
    assert finished.stderr[-1].startswith("heliograph: Kafka at 127.0.0.1:1 did not answer within 0.3 s")
    finished = await deadletters(environ_of(settings, kafka_topic_dead_letters="no.such.topic"), *arguments)
    assert (finished.code, finished.stdout, len(finished.stderr)) == (1, [], 1), finished
    assert "has no topic no.such.topic that this user may see" in finished.stderr[0]
    assert "HELIOGRAPH_KAFKA_TOPIC_DEAD_LETTERS" in finished.stderr[0]
    assert "no.such.topic" not in await broker.list_topics(settings)
