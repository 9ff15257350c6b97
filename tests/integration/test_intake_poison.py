"""Records that cannot be handled: each is put aside with where it came from and why, and nothing else suffers.

The counterpart of test_intake.py, whose harness it uses: a real PostgreSQL, a broker in memory that fails on demand.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import asyncpg
import pytest

from consumers import loop
from consumers.broker import Outgoing, Partition
from consumers.deadletters import TRUNCATED_BYTES, DeadLetterLimit, TooManyDeadLettersError
from consumers.decode import InvalidRecordError, Reason
from tests.integration.test_intake import DEAD, EVENTS, PATIENCE, event, intake_on
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.events import Event
    from runtime.database import Connection
    from tests.support.fake_broker import Stored

CLOUD_EVENT = ("content-type", b"application/cloudevents+json")
POISON = {
    "bad JSON": (Outgoing(EVENTS, b"k", b'{"specversion":', [CLOUD_EVENT, ("trace", b"\xff")]), "json"),
    "null": (Outgoing(EVENTS, b"k", None, [CLOUD_EVENT]), "empty"),
    "10 MB": (Outgoing(EVENTS, b"k", bytes(10_000_000), [CLOUD_EVENT]), "too_large"),
    "unknown type": (
        event(
            "u", "server.exploded", data={"order_number": "x"}, traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01"
        ),
        "unknown_type",
    ),
    "not an event": (Outgoing(EVENTS, None, b"[]", []), "envelope"),
    "not JSON at all": (Outgoing(EVENTS, b"", b"<xml/>", [("content-type", b"text/xml"), ("null", None)]), "encoding"),
    "a field missing": (event("f", data={"balance_usd": 1.5}), "schema"),
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(loop, "FIRST_PAUSE", 0.001)


def reasons(letters: Sequence[Stored]) -> list[str]:
    """Return why each dead letter is one."""
    return [(dict(letter.headers)["heliograph-reason"] or b"").decode() for letter in letters]


@pytest.mark.parametrize("name", POISON)
async def test_poison_record(dsn: str, name: str) -> None:
    poison, reason = POISON[name]
    async with intake_on(dsn) as intake:
        intake.broker.append(event("before"), partition=1)
        intake.broker.append(poison, partition=1, timestamp=1_700_000_000_123)
        intake.broker.append(event("after"), partition=1)
        await intake.until_drained()
        assert intake.calls == [["before", "after"]]
        assert await intake.handled() == ["after", "before"]
        (letter,) = intake.broker.records(DEAD)
        assert (letter.key, letter.value) == (poison.key, poison.value)
        headers = list(letter.headers)
        assert headers[: len(poison.headers)] == list(poison.headers)
        ours = dict(headers[len(poison.headers) :])
        assert ours.pop("heliograph-detail")
        assert ours == {
            "heliograph-reason": reason.encode(),
            "heliograph-topic": EVENTS.encode(),
            "heliograph-partition": b"1",
            "heliograph-offset": b"1",
            "heliograph-timestamp": b"1700000000123",
        }


async def test_each_reason_is_counted_once_per_record(dsn: str) -> None:
    async with intake_on(dsn) as intake:
        for record, _ in POISON.values():
            intake.broker.append(record)
        intake.broker.append(event("good"))
        await intake.until_drained()
        expected = dict.fromkeys(Reason, 0.0) | {Reason(reason): 1.0 for _, reason in POISON.values()}
        assert {each: intake.counted("dead_letters_total", reason=each) for each in Reason} == expected
        assert intake.ingested("unknown") == (0, 0, len(POISON) - 1)
        assert intake.ingested() == (1, 0, 1)


async def test_a_record_without_key_and_value_reaches_the_dead_letters(dsn: str) -> None:
    async with intake_on(dsn) as intake:
        intake.broker.append(Outgoing(EVENTS, None, None, []))
        await intake.until_drained()
        assert reasons(intake.broker.records(DEAD)) == ["empty"]


async def test_a_dead_letter_nobody_takes_whole_is_cut(dsn: str) -> None:
    async with intake_on(dsn) as intake:
        intake.broker.max_bytes = 1_048_588
        for value in (b"x" * 10_000_000, b"y" * 500_000):
            intake.broker.append(Outgoing(EVENTS, b"k", value, []), partition=0)
        intake.broker.append(Outgoing(EVENTS, b"k", b"z", [("huge", bytes(1_048_500))]), partition=0)
        await intake.until_drained()
        cut, whole, headless = intake.broker.records(DEAD)
        assert cut.value == b"x" * TRUNCATED_BYTES
        assert dict(cut.headers)["heliograph-original-bytes"] == b"10000000"
        assert whole.value == b"y" * 500_000
        assert (headless.value, dict(headless.headers).get("huge")) == (b"z", None)
        assert dict(headless.headers)["heliograph-original-headers-bytes"] == b"1048504"


async def test_dead_letter_topic_unavailable(dsn: str) -> None:
    """However long it takes: a batch that is tried again is not a burst of bad records."""
    async with intake_on(dsn) as intake:
        intake.broker.failing_sends = math.inf
        intake.limit = DeadLetterLimit(FakeClock(), share=0.1, window=60, minimum=3)
        for record in (event("e0"), POISON["bad JSON"][0], event("e1"), POISON["null"][0]):
            intake.broker.append(record, partition=0)
        async with intake.running():
            await intake.broker.until(lambda: intake.broker.seen["send failed"] == 5, PATIENCE)
            assert intake.broker.committed == {}
            assert await intake.handled() == ["e0", "e1"]
            assert intake.ingested() == (2, 0, 0)
            assert intake.counted("dead_letters_total", reason="json") == 0
            intake.broker.failing_sends = 0
            await intake.broker.until(lambda: intake.broker.is_drained(EVENTS), PATIENCE)
        assert reasons(intake.broker.records(DEAD)) == ["json", "empty"]
        assert await intake.handled() == ["e0", "e1"]
        assert intake.counted("dead_letters_total", reason="json") == 1


async def test_dead_letters_are_written_again_rather_than_lost(dsn: str) -> None:
    async with intake_on(dsn) as intake:
        intake.broker.failing_sends = 1
        intake.broker.failing_commits = 1
        intake.broker.append(POISON["null"][0])
        await intake.until_drained()
        assert reasons(intake.broker.records(DEAD)) == ["empty", "empty"]
        assert intake.counted("dead_letters_total", reason="empty") == 1


async def bad_number(connection: Connection, events: Sequence[Event]) -> None:
    """Break the statement as a bad value does."""
    for each in events:
        await connection.fetchval("SELECT $1::text::int", "7" if each.id != "bad" else "s3cret")


async def bad_argument(connection: Connection, events: Sequence[Event]) -> None:
    """Break it before it is sent."""
    for each in events:
        await connection.fetchval("SELECT $1::int", 7 if each.id != "bad" else "s3cret")


async def refusal(_: Connection, events: Sequence[Event]) -> None:
    """Refuse one event as a handler may."""
    if any(each.id == "bad" for each in events):
        raise InvalidRecordError(Reason.SCHEMA, "not this one")


@pytest.mark.parametrize(
    ("handler", "detail"),
    [
        (bad_number, asyncpg.InvalidTextRepresentationError.__name__),
        (bad_argument, asyncpg.DataError.__name__),
        (refusal, "not this one"),
    ],
)
async def test_a_record_that_breaks_its_batch_is_found_and_alone_put_aside(
    dsn: str, caplog: pytest.LogCaptureFixture, handler: loop.Handler, detail: str
) -> None:
    async with intake_on(dsn) as intake:
        intake.handlers.append(handler)
        for event_id in ("e0", "e1", "e0", "bad", "e2"):
            intake.broker.append(event(event_id), partition=0)
        intake.broker.append(POISON["null"][0], partition=0)
        await intake.until_drained()
        assert await intake.handled() == ["e0", "e1", "e2"]
        empty, broken = intake.broker.records(DEAD)
        assert reasons([empty, broken]) == ["empty", "handler"]
        headers = dict(broken.headers)
        assert (headers["heliograph-offset"], headers["heliograph-detail"]) == (b"3", detail.encode())
        assert intake.ingested() == (3, 1, 1)
        assert intake.counted("dead_letters_total", reason="handler") == 1
        assert detail in caplog.text
        assert "s3cret" not in caplog.text


async def test_replaying_a_dead_letter_is_producing_it_again(dsn: str) -> None:
    async with intake_on(dsn) as intake:
        intake.handlers.append(refusal)
        intake.broker.append(event("bad"))
        await intake.until_drained()
        (letter,) = intake.broker.records(DEAD)
        assert await intake.handled() == []

        intake.stop.clear()
        intake.handlers.remove(refusal)
        intake.consumer = intake.broker.consumer(EVENTS)
        intake.broker.append(Outgoing(EVENTS, letter.key, letter.value, letter.headers))
        await intake.until_drained()
        assert await intake.handled() == ["bad"]


@pytest.mark.parametrize("by_handler", [False, True], ids=["by decoding", "by a handler"])
async def test_a_burst_of_poison(dsn: str, *, by_handler: bool) -> None:
    async def refuse(_: Connection, events: Sequence[Event]) -> None:
        if any(each.id.startswith("bad") for each in events):
            raise InvalidRecordError(Reason.SCHEMA, "a bad deploy")

    async with intake_on(dsn) as intake:
        intake.handlers.append(refuse)
        for number in range(30):
            bad = event(f"bad{number}")
            intake.broker.append(bad if by_handler else bad._replace(value=b"{"), partition=0)
        intake.broker.append(event("good"), partition=0)
        with pytest.raises(TooManyDeadLettersError) as raised:
            await asyncio.wait_for(intake.run(), PATIENCE)
        for told in ("30 of the last 31 records", "restart", "HELIOGRAPH_DEAD_LETTER_SHARE=1"):
            assert told in str(raised.value)
        assert intake.broker.committed == {}
        assert intake.broker.records(DEAD) == []
        assert await intake.handled() == (["good"] if by_handler else [])


async def test_a_burst_over_several_batches_stops_at_the_batch_that_passes_the_limit(dsn: str) -> None:
    async with intake_on(dsn) as intake:
        intake.batch = 4
        for number in range(40):
            good = event(f"e{number}")
            intake.broker.append(good._replace(value=b"{") if number % 4 else good, partition=0)
        with pytest.raises(TooManyDeadLettersError, match="21 of the last 28 records"):
            await asyncio.wait_for(intake.run(), PATIENCE)
        assert intake.broker.committed == {Partition(EVENTS, 0): 24}
        assert len(intake.broker.records(DEAD)) == 18


async def test_share_1_lets_a_burst_through(dsn: str) -> None:
    async with intake_on(dsn) as intake:
        intake.limit = DeadLetterLimit(FakeClock(), share=1, window=60, minimum=20)
        for _ in range(30):
            intake.broker.append(POISON["null"][0])
        await intake.until_drained()
        assert len(intake.broker.records(DEAD)) == 30
