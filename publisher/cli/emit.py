"""`heliograph emit`: produce a domain event, as the control plane would."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, cast

import orjson
import typer
import uvloop
from rich.progress import Progress

from consumers import broker
from consumers.catalogue import CATALOGUE
from consumers.decode import InvalidRecordError, Reason, Record, decode
from consumers.encode import cloud_event
from publisher.cli import context
from publisher.cli.context import CommandError, CommandUsageError
from runtime.lifecycle import EXIT_DONE, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumers.broker import Outgoing
    from runtime.settings import Settings

SOURCE = "/heliograph/emit"
#: Whose events these are when --account is not given.
EXAMPLE_ACCOUNT = "acct_example"
CHUNK = 500


def emit(
    ctx: typer.Context,
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="Event type, such as server.provisioned.")],
    account: Annotated[str | None, typer.Option(help="Whose event it is; private types only.")] = None,
    data: Annotated[str | None, typer.Option(help="JSON, or @FILE; the type's example when left out.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many, each with an id of its own.")] = 1,
) -> int:
    """Produce domain events to Kafka. Invalid ones are refused here, with what is wrong, and nothing is produced."""
    settings = context.of(ctx).settings()
    model = CATALOGUE.get(event_type)
    if model is None:
        raise CommandUsageError(f"TYPE: {event_type!r} is not an event type; there are {', '.join(CATALOGUE)}")
    if not model.IS_PUBLIC and account is None:
        account = EXAMPLE_ACCOUNT
    content = _read(data)

    def make() -> Outgoing:
        topic = settings.kafka_topic_events
        return cloud_event(topic, event_type, time=datetime.now(UTC), source=SOURCE, account=account, data=content)

    _check(make())
    settings.require("kafka_bootstrap")
    try:
        uvloop.run(_produce(settings, make, count))
    except broker.TRANSIENT as error:
        address, topic = ",".join(settings.kafka_bootstrap), settings.kafka_topic_events
        raise CommandError(
            f"Kafka at {address} has not taken it for {topic} ({reason_of(error)}): is there such a topic? "
            f"`heliograph doctor` looks"
        ) from None
    typer.echo(
        f"{count} {event_type} produced to {settings.kafka_topic_events}" + (f" for {account}" if account else "")
    )
    return EXIT_DONE


def _read(data: str | None) -> dict[str, Any] | None:
    if data is None:
        return None
    if data.startswith("@"):
        try:
            text = Path(data[1:]).read_bytes()
        except OSError as error:
            raise CommandUsageError(f"--data: {data[1:]} cannot be read ({error.strerror})") from None
    else:
        text = os.fsencode(data)
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise CommandUsageError(f"--data: is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise CommandUsageError("--data: must be a JSON object")
    return content


def _check(outgoing: Outgoing) -> None:
    """Refuse what the consumer would refuse, by asking the very code that decides there."""
    record = SimpleNamespace(
        topic=outgoing.topic,
        partition=0,
        offset=0,
        timestamp=0,
        key=outgoing.key,
        value=outgoing.value,
        headers=outgoing.headers,
    )
    try:
        decode(cast("Record", record))
    except InvalidRecordError as error:
        option = "--account" if error.reason is Reason.ENVELOPE else "--data"
        raise CommandUsageError(f"{option}: {error.detail.removeprefix('`account` ')}") from None


async def _produce(settings: Settings, make: Callable[[], Outgoing], count: int) -> None:
    producer = broker.KafkaProducer(settings, linger_ms=5 if count > 1 else 0)
    try:
        await broker.start_patiently(producer, settings)
        with Progress(disable=not sys.stderr.isatty() or count <= CHUNK, transient=True) as progress:
            task = progress.add_task("producing", total=count)
            for start in range(0, count, CHUNK):
                size = min(CHUNK, count - start)
                await producer.send(make() for _ in range(size))
                progress.advance(task, size)
    finally:
        await producer.stop()
