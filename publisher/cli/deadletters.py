"""`heliograph deadletters`: what could not be handled, by the operator's hand: look at it, produce it again."""

from __future__ import annotations

import base64
import contextlib
import heapq
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import orjson
import typer
import uvloop

from consumers import broker
from consumers.broker import RecordTooLargeError
from consumers.decode import MAX_TIMESTAMP_MS, Reason
from consumers.reader import open_reader
from consumers.replay import Letter, NotReplayableError, again, letter
from publisher.cli import context
from publisher.cli.context import CommandError, CommandUsageError, printable, say
from publisher.cli.moments import SINCE_HELP, parse_since
from runtime.clock import SystemClock
from runtime.lifecycle import EXIT_DONE, EXIT_FAILED, reason_of
from runtime.settings import variable

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Sequence

    from consumers.broker import Producer
    from consumers.decode import Record
    from consumers.reader import TopicReader
    from runtime.settings import Settings

group = typer.Typer(help="What could not be handled: look at it, produce it again.", no_args_is_help=True)


class Position(NamedTuple):
    """Where a dead letter stands in its topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        """Return it as it is typed."""
        return f"{self.partition}@{self.offset}"


class Entry(NamedTuple):
    """A dead letter without its bytes, in the order they are listed in."""

    timestamp: int
    position: Position
    size: int
    letter: Letter


class Wanted(NamedTuple):
    """Which dead letters are meant; None leaves it open. `since` is Unix milliseconds."""

    reason: str | None = None
    topic: str | None = None
    since: int | None = None

    def has(self, read: Letter) -> bool:
        """Say whether a letter is among them; its age is the reader's business."""
        topic = read.origin.topic if read.origin else None
        return self.reason in {None, read.reason} and self.topic in {None, topic}


@group.command("list")
def list_(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, the newest.")] = 50,
    reason: Annotated[Reason | None, typer.Option(help="Only those with this reason.")] = None,
    topic: Annotated[str | None, typer.Option(help="Only those that came from this topic.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help=SINCE_HELP)] = None,
) -> int:
    """Print the newest dead letters, the newest last, without their content; JSON lines where it is no terminal."""
    wanted = Wanted(reason, topic, _since(since, SystemClock().now()))
    settings = context.of(ctx).settings()

    async def read() -> list[Entry]:
        last = limit if wanted == Wanted() else None
        async with _reader(settings) as (reader, _):
            return await newest(reader.records(since_ms=wanted.since, last=last), wanted, limit)

    entries = uvloop.run(read())
    if not entries:
        typer.echo("no dead letters" if wanted == Wanted() else "no dead letters like that", err=True)
    for line in table(entries) if sys.stdout.isatty() else map(json_line, entries):
        typer.echo(line)
    return EXIT_DONE


@group.command()
def show(
    ctx: typer.Context,
    position: Annotated[str, typer.Argument(metavar="PARTITION@OFFSET", help="As `deadletters list` prints it.")],
) -> int:
    """Print one dead letter whole: why it is one, where it came from, headers, key and value."""
    where = parse_position(position)
    settings = context.of(ctx).settings()

    async def read() -> Record | None:
        async with _reader(settings) as (reader, _):
            return await reader.record(*where)

    record = uvloop.run(read())
    if record is None:
        raise CommandError(
            f"no dead letter at {where} in {settings.kafka_topic_dead_letters}: never was, or retention took it"
        )
    if sys.stdout.isatty():
        typer.echo("\n".join(page(record)))
    else:
        typer.echo(orjson.dumps(whole(record)).decode())
    return EXIT_DONE


@group.command()
def replay(
    ctx: typer.Context,
    positions: Annotated[
        list[str] | None, typer.Argument(metavar="PARTITION@OFFSET", help="As `deadletters list` prints them.")
    ] = None,
    reason: Annotated[Reason | None, typer.Option(help="All with this reason.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help=SINCE_HELP)] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All, whatever the reason.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, produce nothing.")] = False,
) -> int:
    """Produce dead letters again, to the topic each came from, with the key, value and headers they had.

    First correct what was wrong: a record that is still bad becomes a new dead letter. What has been handled in the
    meantime is not handled twice. An event that names no time of its own gets the time of the replay. Dead letters
    stay where they are: with --reason or --all, --since leaves out those an earlier replay took.
    """
    chosen = [parse_position(each) for each in positions or ()]
    if bool(chosen) + (reason is not None) + everything != 1:
        raise CommandUsageError("name either PARTITION@OFFSET..., or --reason, or --all")
    if chosen and since is not None:
        raise CommandUsageError("--since: goes with --reason or --all, not with PARTITION@OFFSET")
    wanted = Wanted(reason, None, _since(since, SystemClock().now()))
    settings = context.of(ctx).settings()
    return uvloop.run(_replay(settings, chosen, wanted, dry_run=dry_run))


def parse_position(text: str) -> Position:
    """Return the position; raises `CommandUsageError`."""
    match = re.fullmatch(r"(\d{1,9})@(\d{1,18})", text, re.ASCII)
    if match is None:
        raise CommandUsageError(f"{text!r} is not PARTITION@OFFSET, as `heliograph deadletters list` prints it")
    return Position(int(match[1]), int(match[2]))


def _since(text: str | None, now: datetime) -> int | None:
    """Return `--since` as Unix milliseconds, which is what a record's timestamp is."""
    return None if text is None else int(parse_since(text, now).timestamp() * 1000)


@contextlib.asynccontextmanager
async def _reader(settings: Settings) -> AsyncIterator[tuple[TopicReader, frozenset[str]]]:
    """Open the dead-letter topic; yield its reader and the topics there are."""
    settings.require("kafka_bootstrap")
    topic = settings.kafka_topic_dead_letters
    topics = await broker.list_topics(settings)
    if topic not in topics:
        raise CommandError(
            f"Kafka at {','.join(settings.kafka_bootstrap)} has no topic {topic} that this user may see: create it, or "
            f"name yours in {variable('kafka_topic_dead_letters')}"
        )
    async with open_reader(settings, topic) as reader:
        yield reader, topics


# --- looking ------------------------------------------------------------------------------------------------------


async def newest(records: AsyncIterable[Record], wanted: Wanted, limit: int) -> list[Entry]:
    """Return the newest of what is wanted, the newest last; keeps no more than `limit`, and no bytes."""
    heap: list[tuple[int, Position, Entry]] = []
    async for record in records:
        read = letter(record)
        if wanted.has(read):
            position = Position(record.partition, record.offset)
            entry = Entry(record.timestamp, position, len(record.value or b""), read)
            heapq.heappush(heap, (record.timestamp, position, entry))
            if len(heap) > limit:
                heapq.heappop(heap)
    return [entry for _, _, entry in sorted(heap)]


def table(entries: Sequence[Entry]) -> list[str]:
    """Return a line for each, aligned: position, time, reason, where it came from, size, what was wrong."""
    rows = [
        (str(each.position), _time(each.timestamp), each.letter.reason, str(each.letter.origin or "-"), str(each.size))
        for each in entries
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for (position, time, reason, origin, size), each in zip(rows, entries, strict=True):
        left = (position, time, reason, origin)
        cells = [f"{cell:{width}}" for cell, width in zip(left, widths[:-1], strict=True)]
        lines.append(printable("  ".join([*cells, f"{size:>{widths[-1]}} bytes", each.letter.detail])).rstrip())
    return lines


def json_line(entry: Entry) -> str:
    """Return the same as one JSON object."""
    shown = {"position": str(entry.position), "time": _time(entry.timestamp), "bytes": entry.size}
    return orjson.dumps(shown | _why(entry.letter)).decode()


def whole(record: Record) -> dict[str, Any]:
    """Return everything about a dead letter; bytes that are no UTF-8 as `…_base64`."""
    read = letter(record)
    return {
        "position": str(Position(record.partition, record.offset)),
        "time": _time(record.timestamp),
        **_why(read),
        "headers": [{"name": name, **_json_bytes("value", content)} for name, content in read.headers],
        **_json_bytes("key", record.key),
        **_json_bytes("value", record.value),
    }


def page(record: Record) -> list[str]:
    """Return the same as lines for people; bytes that are no UTF-8 in hexadecimal."""
    read = letter(record)
    origin = f"{read.origin}, {_time(read.origin.timestamp)}" if read.origin else "not said"
    lines = [
        f"position  {Position(record.partition, record.offset)}, {_time(record.timestamp)}",
        f"reason    {': '.join(filter(None, (read.reason, read.detail)))}",
        f"origin    {origin}",
        *(f"cut       {name.replace('-', ' ')}: {size} originally" for name, size in read.cut.items()),
        f"key       {_text_bytes(record.key)}",
        *(f"header    {name}: {_text_bytes(content)}" for name, content in read.headers),
        f"value     {len(record.value or b'')} bytes",
    ]
    return [printable(line, keeps="\t") for line in [*lines, *_text_bytes(record.value).split("\n")]]


def _why(read: Letter) -> dict[str, Any]:
    origin = read.origin
    return {
        "reason": read.reason,
        "detail": read.detail,
        "origin": origin
        and {
            "topic": origin.topic,
            "partition": origin.partition,
            "offset": origin.offset,
            "time": _time(origin.timestamp),
        },
        **({"cut": read.cut} if read.cut else {}),
    }


def _time(timestamp_ms: int) -> str:
    """Return RFC 3339; whatever number a producer stamped its record with."""
    moment = datetime.fromtimestamp(min(max(timestamp_ms, 0), MAX_TIMESTAMP_MS) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json_bytes(name: str, content: bytes | None) -> dict[str, str | None]:
    try:
        return {name: None if content is None else content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(content or b"").decode()}


def _text_bytes(content: bytes | None) -> str:
    if content is None:
        return "(null)"
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.hex(" ", -4)


# --- producing again ----------------------------------------------------------------------------------------------


async def _replay(settings: Settings, chosen: Sequence[Position], wanted: Wanted, *, dry_run: bool) -> int:
    async with contextlib.AsyncExitStack() as stack:
        reader, topics = await stack.enter_async_context(_reader(settings))
        producer: Producer | None = None
        if not dry_run:
            client = broker.KafkaProducer(settings)
            stack.push_async_callback(client.stop)
            await broker.start_patiently(client, settings)
            producer = client
        done = refused = 0
        async for where, record in _chosen(reader, chosen) if chosen else _matching(reader, wanted):
            try:
                is_done, line = await _produce(producer, record, topics)
            except broker.TRANSIENT as error:
                raise CommandError(
                    f"{where}: the broker has not acknowledged it ({reason_of(error)}); {done} before it are replayed. "
                    f"Replay it again: what arrived all the same is not handled twice"
                ) from None
            done += is_done
            refused += not is_done
            say(f"{where}  {line}")
    typer.echo(f"{done} {'would be replayed' if dry_run else 'replayed'}, {refused} refused")
    return EXIT_FAILED if refused else EXIT_DONE


async def _chosen(reader: TopicReader, chosen: Sequence[Position]) -> AsyncIterator[tuple[Position, Record | None]]:
    for where in dict.fromkeys(chosen):
        yield where, await reader.record(*where)


async def _matching(reader: TopicReader, wanted: Wanted) -> AsyncIterator[tuple[Position, Record | None]]:
    async for record in reader.records(since_ms=wanted.since):
        if wanted.has(letter(record)):
            yield Position(record.partition, record.offset), record


async def _produce(producer: Producer | None, record: Record | None, topics: frozenset[str]) -> tuple[bool, str]:
    """Produce a record again, without a producer only see whether that can be; return that and what to say."""
    if record is None:
        return False, "refused: there is none, never was or retention took it"
    try:
        outgoing = again(record, topics)
        if producer is None:
            return True, f"would be replayed to {outgoing.topic}"
        await producer.send([outgoing])
    except NotReplayableError as error:
        return False, f"refused: {error}"
    except RecordTooLargeError:
        return False, f"refused: {outgoing.topic} does not take a record of its size"
    return True, f"replayed to {outgoing.topic}"
