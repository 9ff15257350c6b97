"""A dead letter must be enough to find and replay a record; the limit must tell a slip from a bad deploy."""

from __future__ import annotations

import pytest

from consumers.deadletters import DeadLetterLimit, DeadLetters, Rejected, TooManyDeadLettersError, dead_letter
from consumers.decode import InvalidRecordError, Reason
from runtime.logs import JsonFormatter
from tests.support.fake_broker import FakeBroker, Stored, UnavailableError
from tests.support.time import FakeClock

DEAD = "dead"


def rejected(
    value: bytes | None = b"v",
    *,
    key: bytes | None = b"k",
    headers: tuple[tuple[str, bytes | None], ...] = (),
    detail: str = "why",
) -> Rejected:
    stored = Stored("events", 3, 2**40, -1, key, value, headers)
    return Rejected(stored, InvalidRecordError(Reason.SCHEMA, detail))


def test_a_dead_letter_is_the_record_and_where_it_came_from_and_why() -> None:
    theirs = (("content-type", b"text/\xff"), ("twice", b"1"), ("twice", None), ("heliograph-reason", b"of a replay"))
    letter = dead_letter(DEAD, rejected(b"\x00\xff", key=None, headers=theirs))
    assert (letter.topic, letter.key, letter.value) == (DEAD, None, b"\x00\xff")
    assert list(letter.headers) == [
        *theirs,
        ("heliograph-reason", b"schema"),
        ("heliograph-detail", b"why"),
        ("heliograph-topic", b"events"),
        ("heliograph-partition", b"3"),
        ("heliograph-offset", b"1099511627776"),
        ("heliograph-timestamp", b"-1"),
    ]


def test_a_record_without_a_value_stays_without() -> None:
    assert dead_letter(DEAD, rejected(None)).value is None
    assert dead_letter(DEAD, rejected(None, key=None), limit=1)[1:3] == (None, None)


def test_a_detail_is_cut_and_never_unwritable() -> None:
    for detail, expected in (("é" * 2000, "é".encode() * 1000), ("half \ud800 pair", b"half ? pair")):
        assert dict(dead_letter(DEAD, rejected(detail=detail)).headers)["heliograph-detail"] == expected


HEADERS = (("abc", b"d"), ("e", None))  # five bytes


@pytest.mark.parametrize(
    ("key", "value", "limit", "expected", "told"),
    [
        (b"k", b"12345", 5, (b"k", b"12345", HEADERS), {}),
        (b"k", b"123456", 5, (b"k", b"12345", HEADERS), {"original-bytes": b"6"}),
        (b"123456", None, 5, (b"12345", None, HEADERS), {"original-key-bytes": b"6"}),
        (b"", b"", 5, (b"", b"", HEADERS), {}),
        (
            b"123",
            b"123",
            2,
            (b"12", b"12", ()),
            {"original-bytes": b"3", "original-key-bytes": b"3", "original-headers-bytes": b"5"},
        ),
    ],
)
def test_what_is_cut_is_told(
    key: bytes,
    value: bytes | None,
    limit: int,
    expected: tuple[bytes, bytes | None, tuple[tuple[str, bytes | None], ...]],
    told: dict[str, bytes],
) -> None:
    letter = dead_letter(DEAD, rejected(value, key=key, headers=HEADERS), limit=limit)
    theirs = tuple(header for header in letter.headers if not header[0].startswith("heliograph-"))
    assert (letter.key, letter.value, theirs) == expected
    ours = {name.removeprefix("heliograph-"): content for name, content in letter.headers}
    assert {name: ours[name] for name in ours if name.startswith("original-")} == told
    assert ours["offset"] == b"1099511627776"


async def test_only_what_is_too_large_is_cut_and_all_are_written() -> None:
    broker = FakeBroker({DEAD: 1}, max_bytes=300_000)
    await DeadLetters(broker.producer(), DEAD).write([rejected(b"a" * size) for size in (10, 400_000, 290_000)])
    letters = broker.records(DEAD)
    assert {len(letter.value or b"") for letter in letters} == {10, 262_144, 290_000}
    told = [dict(letter.headers).get("heliograph-original-bytes") for letter in letters]
    assert [size for size in told if size] == [b"400000"]


async def test_writing_raises_until_every_letter_is_safe() -> None:
    broker = FakeBroker({DEAD: 1})
    broker.failing_sends = 1
    letters = DeadLetters(broker.producer(), DEAD)
    with pytest.raises(UnavailableError):
        await letters.write([rejected()])
    await letters.write([rejected(), rejected(None)])
    assert [record.value for record in broker.records(DEAD)] == [b"v", None]


async def test_the_log_has_coordinates_and_reason_and_not_the_record(caplog: pytest.LogCaptureFixture) -> None:
    headers = (("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("x", b"s3cret"))
    bad = rejected(b"s3cret", key=b"s3cret", headers=headers)
    await DeadLetters(FakeBroker({DEAD: 1}).producer(), DEAD).write([bad])
    [line] = map(JsonFormatter().format, caplog.records)
    assert "dead letter events/3@1099511627776: schema: why" in line
    assert '"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"' in line
    assert "s3cret" not in line


#: Batches as (seconds since the last, records, bad ones), and which of them trips the limit: half of all, at least 20,
#: within 60 s.
LIMITS: dict[str, tuple[list[tuple[float, int, int]], int | None]] = {
    "nothing": ([(0, 0, 0)], None),
    "good ones only": ([(0, 1000, 0)] * 5, None),
    "bad ones below the minimum": ([(0, 19, 19)], None),
    "bad ones at the minimum": ([(0, 20, 20)], 0),
    "bad ones below the share": ([(0, 401, 200)], None),
    "bad ones at the share": ([(0, 400, 200)], 0),
    "adding up over batches": ([(1, 5, 5)] * 4, 3),
    "until good ones no longer dilute them": ([(0, 100, 0), (1, 50, 50), (1, 49, 49), (1, 2, 2)], 3),
    "good ones never trip it": ([(0, 19, 19), (1, 1, 0)], None),
    "out of the window": ([(0, 19, 19), (60, 19, 19)], None),
    "just within the window": ([(0, 19, 19), (59.9, 19, 19)], 1),
    "good ones out of the window": ([(0, 1000, 0), (60, 20, 20)], 1),
    "a window that slides": ([(0, 10, 10), (30, 9, 9), (30, 10, 10), (29, 1, 1)], 3),
}


@pytest.mark.parametrize("what", LIMITS)
def test_limit(what: str) -> None:
    batches, trips = LIMITS[what]
    clock = FakeClock()
    limit = DeadLetterLimit(clock, share=0.5, window=60, minimum=20)
    for number, (seconds, total, bad) in enumerate(batches):
        clock.advance(seconds)
        if number == trips:
            with pytest.raises(TooManyDeadLettersError):
                limit.check(total=total, bad=bad)
            return
        limit.check(total=total, bad=bad)
        limit.count(total=total, bad=bad)
    assert trips is None


def test_asking_again_about_a_batch_does_not_count_it() -> None:
    limit = DeadLetterLimit(FakeClock(), share=0.5, window=60, minimum=20)
    for _ in range(100):
        limit.check(total=19, bad=19)


def test_a_share_of_1_never_trips_and_a_minimum_of_1_at_once() -> None:
    DeadLetterLimit(FakeClock(), share=1, window=60, minimum=1).check(total=1000, bad=1000)
    with pytest.raises(TooManyDeadLettersError):
        DeadLetterLimit(FakeClock(), share=0.001, window=60, minimum=1).check(total=1000, bad=1)


def test_the_error_says_what_was_seen_and_what_to_do() -> None:
    limit = DeadLetterLimit(FakeClock(), share=0.25, window=90, minimum=20)
    limit.count(total=10, bad=5)
    with pytest.raises(TooManyDeadLettersError) as raised:
        limit.check(total=50, bad=25)
    text = str(raised.value)
    assert "30 of the last 60 records" in text
    assert "25% of at least 20 within 90 s" in text
    assert "find out which deploy changed the events, then restart" in text
    assert "HELIOGRAPH_DEAD_LETTER_SHARE=1" in text
