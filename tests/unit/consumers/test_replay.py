"""A dead letter read back is the record it was, and says what the intake said of it."""

from __future__ import annotations

import pytest

from consumers.broker import Outgoing
from consumers.deadletters import Rejected, dead_letter
from consumers.decode import InvalidRecordError, Reason
from consumers.replay import UNKNOWN, NotReplayableError, Origin, again, letter
from tests.support.fake_broker import Stored

DEAD = "dead"
TOPICS = frozenset({"events", DEAD})


def put_aside(
    value: bytes | None = b"v",
    *,
    key: bytes | None = b"k",
    headers: tuple[tuple[str, bytes | None], ...] = (),
    limit: int | None = None,
) -> Stored:
    """Return the dead letter of a record, as it comes back from its topic."""
    rejected = Rejected(
        Stored("events", 3, 17, 1_700_000_000_123, key, value, headers), InvalidRecordError(Reason.SCHEMA, "data.x: é")
    )
    made = dead_letter(DEAD, rejected, limit=limit)
    return Stored(DEAD, 0, 5, 1_800_000_000_000, made.key, made.value, made.headers)


def test_a_letter_says_what_was_wrong_and_where_it_came_from() -> None:
    read = letter(put_aside(headers=(("trace", b"\xff"),)))
    assert (read.reason, read.detail, read.cut) == ("schema", "data.x: é", {})
    assert read.origin == Origin("events", 3, 17, 1_700_000_000_123)
    assert str(read.origin) == "events/3@17"
    assert read.headers == [("trace", b"\xff")]


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"k", b"v", ()),
        (None, b"\x00\xff", (("content-type", b"text/\xff"), ("twice", b"1"), ("twice", None))),
        (b"", None, ()),
        (b"k", b"", (("late", b"heliograph-"),)),
    ],
)
def test_what_is_produced_again_is_what_was_put_aside(
    key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes | None], ...]
) -> None:
    assert again(put_aside(value, key=key, headers=headers), TOPICS) == Outgoing("events", key, value, list(headers))


def test_headers_of_an_earlier_dead_letter_are_neither_believed_nor_sent_on() -> None:
    theirs = (
        ("heliograph-reason", b"json"),
        ("heliograph-topic", b"elsewhere"),
        ("heliograph-original-bytes", b"99"),
        ("kept", b"1"),
    )
    record = put_aside(headers=theirs)
    assert (letter(record).reason, letter(record).cut) == ("schema", {})
    assert again(record, TOPICS) == Outgoing("events", b"k", b"v", [("kept", b"1")])


@pytest.mark.parametrize(
    ("parts", "cut"),
    [
        ({"value": b"123456"}, {"bytes": 6}),
        ({"key": b"123456"}, {"key-bytes": 6}),
        ({"headers": (("abcdef", b"1"),)}, {"headers-bytes": 7}),
    ],
)
def test_what_was_cut_is_refused_and_the_whole_one_is_named(parts: dict[str, bytes], cut: dict[str, int]) -> None:
    record = put_aside(**parts, limit=5)  # type: ignore[arg-type]  # one part of each kind
    assert letter(record).cut == cut
    with pytest.raises(NotReplayableError, match=r"cut to fit .*: \d\); the whole record stands at events/3@17 until"):
        again(record, TOPICS)


def test_a_topic_that_is_gone_is_refused() -> None:
    with pytest.raises(NotReplayableError, match="its topic events is not there any more"):
        again(put_aside(), frozenset({DEAD}))


@pytest.mark.parametrize("missing", ["reason", "topic", "partition", "offset", "timestamp"])
def test_what_does_not_say_where_it_came_from_is_shown_and_refused(missing: str) -> None:
    record = put_aside()
    record.headers = [each for each in record.headers if each[0] != f"heliograph-{missing}"]
    assert letter(record).reason == (UNKNOWN if missing == "reason" else "schema")
    assert letter(record).origin is None
    with pytest.raises(NotReplayableError, match="do not say where it came from"):
        again(record, TOPICS)


@pytest.mark.parametrize("content", [b"", b"x", b"1.5", None, b"\xff"])
def test_coordinates_that_are_no_numbers_are_none(content: bytes | None) -> None:
    record = put_aside()
    record.headers = [(name, content if name == "heliograph-offset" else value) for name, value in record.headers]
    assert letter(record).origin is None
