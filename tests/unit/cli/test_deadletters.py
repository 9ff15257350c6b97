"""What `heliograph deadletters` takes and how it shows; that it meets a broker is in tests/acceptance."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from consumers.deadletters import Rejected, dead_letter
from consumers.decode import InvalidRecordError, Reason
from publisher.cli import deadletters
from publisher.cli.context import CommandUsageError
from publisher.cli.deadletters import Position, Wanted, json_line, newest, page, table, whole
from tests.support.fake_broker import FakeBroker, Stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tests.unit.cli.conftest import Command

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
#: 2026-11-01T00:00:00Z
MIDNIGHT = 1_793_491_200_000
TOPICS = frozenset({"events"})


def put_aside(
    number: int,
    value: bytes | None = b'{"s3cret":1}',
    *,
    reason: Reason = Reason.SCHEMA,
    detail: str = "why",
    topic: str = "events",
    partition: int = 0,
    headers: tuple[tuple[str, bytes | None], ...] = (),
    limit: int | None = None,
) -> Stored:
    """Return dead letter number `number` of its partition, put aside so many milliseconds after midnight."""
    stored = Stored(topic, 3, 100 + number, MIDNIGHT - 1000, b"acct_1", value, headers)
    made = dead_letter("dead", Rejected(stored, InvalidRecordError(reason, detail)), limit=limit)
    return Stored("dead", partition, number, MIDNIGHT + number, made.key, made.value, made.headers)


async def stream(records: Iterable[Stored]) -> AsyncIterator[Stored]:
    for record in records:
        yield record


@pytest.mark.parametrize(
    ("text", "expected"), [("0@0", (0, 0)), ("12@345678901234567890"[:21], (12, 345678901234567890))]
)
def test_a_position_is_read_as_it_is_printed(text: str, expected: tuple[int, int]) -> None:
    assert deadletters.parse_position(text) == expected
    assert str(Position(*expected)) == text


@pytest.mark.parametrize(
    "text", ["", "1", "@1", "1@", "1@-1", "a@1", "1@1@1", "1@" + "9" * 19, "\N{ARABIC-INDIC DIGIT ONE}@1", "0@1\n"]
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(CommandUsageError, match="is not PARTITION@OFFSET"):
        deadletters.parse_position(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", datetime(2026, 11, 1, 10, 30, tzinfo=UTC)),
        ("24h", datetime(2026, 10, 31, 12, tzinfo=UTC)),
        ("7d", datetime(2026, 10, 25, 12, tzinfo=UTC)),
        ("30s", datetime(2026, 11, 1, 11, 59, 30, tzinfo=UTC)),
        ("2026-10-01T12:00:00Z", datetime(2026, 10, 1, 12, tzinfo=UTC)),
        ("2026-10-01T12:00:00+02:00", datetime(2026, 10, 1, 10, tzinfo=UTC)),
        ("2026-10-01", datetime(2026, 10, 1, tzinfo=UTC)),
    ],
)
def test_since_is_a_time_or_a_time_ago(text: str, expected: datetime) -> None:
    assert deadletters._since(text, NOW) == int(expected.timestamp() * 1000)


@pytest.mark.parametrize("text", ["", "yesterday", "5w", "-1h", "999999999d", "2026-13-01"])
def test_since_anything_else_is_refused(text: str) -> None:
    with pytest.raises(CommandUsageError, match=r"^--since: "):
        deadletters._since(text, NOW)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("replay",), "name either PARTITION@OFFSET..., or --reason, or --all"),
        (("replay", "0@1", "--all"), "name either"),
        (("replay", "0@1", "--reason", "json"), "name either"),
        (("replay", "--all", "--reason", "json"), "name either"),
        (("replay", "--since", "1h"), "name either"),
        (("replay", "0@1", "--since", "1h"), "--since: goes with --reason or --all"),
        (("replay", "0@x"), "'0@x' is not PARTITION@OFFSET"),
        (("show", "17"), "'17' is not PARTITION@OFFSET"),
        (("list", "--since", "never"), "--since: 'never' is neither a time"),
        (("list", "--limit", "0"), "Invalid value for '--limit'"),
        (("list", "--reason", "bad"), "Invalid value for '--reason'"),
        (("list",), "HELIOGRAPH_KAFKA_BOOTSTRAP is not set"),
        (("replay", "--all", "--dry-run"), "HELIOGRAPH_KAFKA_BOOTSTRAP is not set"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_exit_code_2(
    heliograph: Command, arguments: tuple[str, ...], words: str
) -> None:
    said = heliograph("deadletters", *arguments)
    assert (said.code, said.stdout) == (2, "")
    assert said.stderr.startswith(f"heliograph: {words}")
    assert said.stderr.count("\n") == 1


async def test_the_newest_of_all_partitions_are_kept_the_newest_last() -> None:
    records = [put_aside(number, partition=number % 3) for number in (4, 1, 9, 7, 3, 8)]
    entries = await newest(stream(records), Wanted(), 4)
    assert [entry.position.offset for entry in entries] == [4, 7, 8, 9]
    assert await newest(stream([]), Wanted(), 4) == []


async def test_letters_of_the_same_moment_are_ordered_by_position() -> None:
    records = [put_aside(2), put_aside(1), put_aside(0)]
    for record in records:
        record.timestamp = MIDNIGHT
    assert [entry.position.offset for entry in await newest(stream(records), Wanted(), 2)] == [1, 2]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), [0, 1, 2]),
        (Wanted(reason=Reason.JSON), [1]),
        (Wanted(topic="others"), [2]),
        (Wanted(reason=Reason.JSON, topic="others"), []),
        (Wanted(reason=Reason.EMPTY), []),
    ],
)
async def test_only_what_is_wanted_is_listed(wanted: Wanted, expected: list[int]) -> None:
    records = [put_aside(0), put_aside(1, reason=Reason.JSON), put_aside(2, topic="others")]
    assert [entry.position.offset for entry in await newest(stream(records), wanted, 10)] == expected


async def test_the_table_is_aligned_and_shows_no_content() -> None:
    entries = await newest(
        stream([put_aside(7, b"x" * 1234, detail="data.a: no\x1b[2Jumber"), put_aside(10, None, reason=Reason.EMPTY)]),
        Wanted(),
        10,
    )
    assert table(entries) == [
        "0@7   2026-11-01T00:00:00.007Z  schema  events/3@107  1234 bytes  data.a: no\\x1b[2Jumber",
        "0@10  2026-11-01T00:00:00.010Z  empty   events/3@110     0 bytes  why",
    ]


async def test_elsewhere_a_letter_is_one_json_object_and_shows_no_content() -> None:
    (entry,) = await newest(stream([put_aside(7, b"s3cret", limit=5)]), Wanted(), 1)
    line = json_line(entry)
    assert json.loads(line) == {
        "position": "0@7",
        "time": "2026-11-01T00:00:00.007Z",
        "bytes": 5,
        "reason": "schema",
        "detail": "why",
        "origin": {"topic": "events", "partition": 3, "offset": 107, "time": "2026-10-31T23:59:59.000Z"},
        "cut": {"bytes": 6, "key-bytes": 6},
    }
    assert "s3cre" not in line


def test_a_letter_is_shown_whole() -> None:
    record = put_aside(7, "é\n".encode(), headers=(("trace", b"\xff"), ("null", None), ("type", b"text")))
    assert whole(record) == {
        "position": "0@7",
        "time": "2026-11-01T00:00:00.007Z",
        "reason": "schema",
        "detail": "why",
        "origin": {"topic": "events", "partition": 3, "offset": 107, "time": "2026-10-31T23:59:59.000Z"},
        "headers": [
            {"name": "trace", "value_base64": "/w=="},
            {"name": "null", "value": None},
            {"name": "type", "value": "text"},
        ],
        "key": "acct_1",
        "value": "é\n",
    }
    assert whole(put_aside(7, b"\x00\xff"))["value_base64"] == "AP8="
    assert whole(Stored("dead", 0, 1, -1, None, None, ()))["origin"] is None


def test_for_people_a_letter_is_a_page_that_cannot_steer_the_terminal() -> None:
    record = put_aside(7, b'{\n\t"a": "\x1b[2J"\n}', headers=(("trace", b"\xff\x00"),), limit=12)
    assert page(record) == [
        "position  0@7, 2026-11-01T00:00:00.007Z",
        "reason    schema: why",
        "origin    events/3@107, 2026-10-31T23:59:59.000Z",
        "cut       bytes: 16 originally",
        "key       acct_1",
        "header    trace: ff00",
        "value     12 bytes",
        "{",
        '\t"a": "\\x1b[2',
    ]
    nothing = page(Stored("dead", 0, 1, -1, None, None, ()))
    assert nothing[1:] == [
        "reason    unknown",
        "origin    not said",
        "key       (null)",
        "value     0 bytes",
        "(null)",
    ]


async def test_replaying_one_says_what_became_of_it() -> None:
    broker = FakeBroker({"events": 1}, max_bytes=100)
    producer = broker.producer()
    assert await deadletters._produce(None, put_aside(1), TOPICS) == (True, "would be replayed to events")
    assert broker.records("events") == []
    assert await deadletters._produce(producer, put_aside(1), TOPICS) == (True, "replayed to events")
    (record,) = broker.records("events")
    assert (record.key, record.value, list(record.headers)) == (b"acct_1", b'{"s3cret":1}', [])
    refused = [
        (put_aside(1, bytes(200)), "refused: events does not take a record of its size"),
        (put_aside(1, topic="gone"), "refused: its topic gone is not there any more"),
        (None, "refused: there is none"),
    ]
    for letter, words in refused:
        is_done, said = await deadletters._produce(producer, letter, TOPICS)
        assert (is_done, said.startswith(words)) == (False, True), said
    assert len(broker.records("events")) == 1
