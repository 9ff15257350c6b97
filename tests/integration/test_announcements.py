"""What was announced is sent if and only if it is committed, at least once and in order, whatever goes away meanwhile.

On a real PostgreSQL; with the broker in memory where it has to fail at a certain step, with the real one at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from datetime import UTC
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import pytest

from consumers import announcements, broker
from consumers.announcements import Announcement, Backlog, Relay, announce, backlog
from consumers.reader import open_reader
from runtime.embedded import free_port
from tests.support.fake_broker import FakeBroker, FakeProducer, UnavailableError
from tests.support.process import until

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator, Callable, Iterable

    from consumers.broker import Outgoing
    from consumers.decode import Record
    from runtime.database import Pool
    from runtime.settings import Settings
    from tests.support.fake_broker import Stored

TOPIC = "announcements"
SOURCE = "https://hooks.example.com"
PATIENCE = 20.0


class Client(FakeProducer):
    """The fake producer with a connection that may be refused."""

    def __init__(self, fake: FakeBroker) -> None:
        super().__init__(fake)
        self.broker = fake
        self.failing_starts: float = 0

    async def start(self) -> None:
        self.broker.happened("start")
        if self.failing_starts:
            self.failing_starts -= 1
            raise UnavailableError("nobody listens")

    async def stop(self) -> None:
        self.broker.happened("stop")


class Hanging(Client):
    """Takes records and never acknowledges."""

    async def send(self, records: Iterable[Outgoing]) -> None:
        del records
        self.broker.happened("hang")
        await asyncio.Event().wait()


class Outbox:
    """A database, a broker and what a test says about them."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.broker = FakeBroker({TOPIC: 1})
        self.client = Client(self.broker)

    def relay(self, client: Client | None = None, **changes: Any) -> Relay:
        given = {"topic": TOPIC, "source": SOURCE, "interval": 0.01, **changes}
        return Relay(pool=self.pool, producer=lambda: client or self.client, **given)

    async def announce(self, *keys: str) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            await announce(connection, [announcement(key) for key in keys])

    async def waiting(self) -> int:
        async with self.pool.acquire() as connection:
            return (await backlog(connection)).waiting

    def sent(self) -> list[str]:
        return [(each.key or b"").decode() for each in self.broker.records(TOPIC)]

    def ids(self) -> list[str]:
        return [event_of(each)["id"] for each in self.broker.records(TOPIC)]


@pytest.fixture
async def outbox(dsn: str) -> AsyncIterator[Outbox]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4) as pool:
        yield Outbox(pool)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcements, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(announcements, "LONGEST_PAUSE", 0.05)


def announcement(key: str, account: str | None = "acct_1", **data: Any) -> Announcement:
    return Announcement("webhook.disabled", account, key, data)


def event_of(record: Stored) -> dict[str, Any]:
    event: dict[str, Any] = orjson.loads(record.value or b"")
    return event


def on_failure(caplog: pytest.LogCaptureFixture, act: Callable[[], None]) -> None:
    """Call `act` whenever a relay says that it could not send."""

    def hear(record: logging.LogRecord) -> bool:
        if record.getMessage().startswith("announcements wait"):
            act()
        return True

    caplog.handler.addFilter(hear)


@contextlib.asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[None]:
    """Run beside the test; on exit it is stopped and must have ended without an error."""
    stop = asyncio.Event()
    task = asyncio.create_task(relay.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, PATIENCE)


async def test_an_announcement_is_a_cloud_event_with_the_rows_time_and_id(outbox: Outbox) -> None:
    data = {"url": "é\x00", "count": 3, "nested": {"a": [None, 1.5]}}
    async with outbox.pool.acquire() as connection:
        await announce(
            connection,
            [Announcement("webhook.disabled", "acct_1", "ep_1", data), Announcement("canary.due", None, "canary", {})],
        )
    rows = await outbox.pool.fetch("SELECT event_id, created_at FROM announcements ORDER BY id")
    assert await outbox.relay().relay() == 2
    private, public = outbox.broker.records(TOPIC)
    assert event_of(private) == {
        "specversion": "1.0",
        "id": str(rows[0][0]),
        "source": SOURCE,
        "type": "webhook.disabled",
        "time": rows[0][1].astimezone(UTC).isoformat(),
        "datacontenttype": "application/json",
        "account": "acct_1",
        "data": data,
    }
    assert (private.key, list(private.headers)) == (b"ep_1", [("content-type", b"application/cloudevents+json")])
    assert (public.key, event_of(public)["type"], event_of(public).get("account")) == (b"canary", "canary.due", None)
    assert event_of(public)["id"] == str(rows[1][0])
    assert await outbox.waiting() == 0


async def test_what_is_rolled_back_is_never_sent(outbox: Outbox) -> None:
    async with outbox.pool.acquire() as connection:
        with contextlib.suppress(ZeroDivisionError):
            async with connection.transaction():
                await announce(connection, [announcement("undone")])
                raise ZeroDivisionError
    async with outbox.pool.acquire() as connection, connection.transaction():
        await announce(connection, [announcement("kept")])
        assert await outbox.relay().relay() == 0
    assert await outbox.relay().relay() == 1
    assert outbox.sent() == ["kept"]


async def test_nothing_to_announce_asks_the_database_nothing(outbox: Outbox) -> None:
    connection = await outbox.pool.acquire()
    await connection.close()
    await announce(connection, [])


async def test_everything_goes_out_in_the_order_it_was_announced_in_batch_after_batch(outbox: Outbox) -> None:
    keys = [f"{number:03}" for number in range(250)]
    await outbox.announce(*keys[:100])
    await outbox.announce(*keys[100:])
    assert await outbox.relay(batch=100).relay() == 250
    assert outbox.sent() == keys
    assert await outbox.waiting() == 0


async def test_the_order_is_that_of_the_announcements_whatever_order_the_database_finds_them_in(dsn: str) -> None:
    plain = {"enable_nestloop": "off", "enable_mergejoin": "off"}  # leaves a plan that returns rows as they lie
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4, server_settings=plain) as pool:
        outbox = Outbox(pool)
        await outbox.announce("a", "b", "c")
        await pool.execute("UPDATE announcements SET key = key WHERE key = 'a'")  # which now lies last
        assert await outbox.relay().relay() == 3
    assert outbox.sent() == ["a", "b", "c"]


async def test_who_announces_nothing_never_connects(outbox: Outbox) -> None:
    relay = outbox.relay()
    async with running(outbox.relay(interval=0.001)):
        assert await relay.relay() == 0
    assert not outbox.broker.seen
    await outbox.announce("first")
    assert await relay.relay() == 1
    await outbox.announce("second")
    assert await relay.relay() == 1
    assert outbox.broker.seen["start"] == 1


async def test_a_broker_that_is_away_delays_and_loses_nothing(outbox: Outbox, caplog: pytest.LogCaptureFixture) -> None:
    outbox.client.failing_starts = 3
    outbox.broker.failing_sends = math.inf
    async with running(outbox.relay()):
        await outbox.announce("a", "b")
        await outbox.broker.until(lambda: outbox.broker.seen["send failed"] >= 3, PATIENCE)
        await outbox.announce("c")
        assert outbox.sent() == []
        outbox.broker.failing_sends = 0
        await outbox.broker.until(lambda: len(outbox.sent()) == 3, PATIENCE)
    assert (outbox.broker.seen["start"], outbox.broker.seen["stop"]) == (4, 4)
    assert outbox.sent() == ["a", "b", "c"]
    assert await outbox.waiting() == 0
    assert "announcements wait (nobody listens); trying again in 0.0 s" in caplog.text
    assert f"announcements wait ({TOPIC} has no leader); trying again in " in caplog.text


async def test_pauses_grow_up_to_the_longest(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def pause(stop: asyncio.Event, seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 5:
            stopping.set()
        await asyncio.sleep(0)
        return stop.is_set()

    stopping = asyncio.Event()
    monkeypatch.setattr(announcements, "FIRST_PAUSE", 1.0)
    monkeypatch.setattr(announcements, "LONGEST_PAUSE", 3.0)
    monkeypatch.setattr(announcements, "first_of", pause)
    outbox.client.failing_starts = math.inf
    await outbox.announce("a")
    await asyncio.wait_for(outbox.relay().run(stopping), PATIENCE)
    assert pauses[:5] == [1, 2, 3, 3, 3]


async def test_a_crash_between_the_acknowledgement_and_the_delete_sends_the_same_id_again(outbox: Outbox) -> None:
    class Crashed(Client):
        async def send(self, records: Iterable[Outgoing]) -> None:
            await super().send(records)
            raise UnavailableError("gone before it could say so")

    await outbox.announce("a", "b")
    with pytest.raises(UnavailableError):
        await outbox.relay(Crashed(outbox.broker)).relay()
    assert await outbox.waiting() == 2
    assert await outbox.relay().relay() == 2
    assert outbox.sent() == ["a", "b", "a", "b"]
    assert outbox.ids()[:2] == outbox.ids()[2:]
    assert len(set(outbox.ids())) == 2


async def test_a_relay_that_died_with_rows_in_hand_leaves_them_to_the_next_when_its_lease_ends(outbox: Outbox) -> None:
    """Killed: nothing is given back. The end of the lease is written, not waited for."""
    await outbox.announce("a")
    (taken,) = await outbox.relay(lease=60)._take()
    another = outbox.relay()
    assert await another.relay() == 0
    assert await outbox.waiting() == 1
    left = await outbox.pool.fetchval("SELECT extract(epoch FROM taken_until - now()) FROM announcements")
    assert 0 < left <= 60
    await outbox.pool.execute("UPDATE announcements SET taken_until = now() WHERE id = $1", taken.id)
    assert await another.relay() == 1
    assert outbox.sent() == ["a"]


async def test_what_was_acknowledged_and_could_not_be_deleted_is_deleted_first_and_not_sent_again(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = outbox.relay(lease=0.0)
    await outbox.announce("a")
    with monkeypatch.context() as broken:
        broken.setattr(announcements, "DELETE", "SELECT 1 / 0 WHERE $1::bigint[] IS NOT NULL")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await relay.relay()
    await outbox.announce("b")
    assert await relay.relay() == 1
    assert outbox.sent() == ["a", "b"]


async def test_two_relays_at_once_send_each_row_once(outbox: Outbox) -> None:
    keys = [f"{number:03}" for number in range(200)]
    relays = [outbox.relay(Client(outbox.broker), batch=7) for _ in range(2)]
    async with running(relays[0]), running(relays[1]):
        for start in range(0, len(keys), 20):
            await outbox.announce(*keys[start : start + 20])
        await outbox.broker.until(lambda: len(outbox.sent()) >= len(keys), PATIENCE)
    assert sorted(outbox.sent()) == keys
    assert await outbox.waiting() == 0


async def test_rows_locked_by_an_open_take_are_skipped(outbox: Outbox) -> None:
    await outbox.announce("a", "b")
    async with outbox.pool.acquire() as connection, connection.transaction():
        await connection.fetch("SELECT id FROM announcements ORDER BY id LIMIT 1 FOR UPDATE")
        assert await asyncio.wait_for(outbox.relay().relay(), PATIENCE) == 1
    assert outbox.sent() == ["b"]


async def test_waking_sends_without_waiting_for_the_interval(outbox: Outbox) -> None:
    relay = outbox.relay(interval=3600)
    await outbox.announce("before")
    async with running(relay):
        await outbox.broker.until(lambda: outbox.sent() == ["before"], PATIENCE)
        await outbox.announce("after")
        relay.wake()
        await outbox.broker.until(lambda: outbox.sent() == ["before", "after"], PATIENCE)


async def test_an_event_too_large_for_the_broker_is_put_aside_and_holds_up_nobody(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    outbox.broker.max_bytes = 1000
    async with outbox.pool.acquire() as connection:
        await announce(connection, [announcement("a"), announcement("huge", text="s3cret" * 1000), announcement("c")])
    relay = outbox.relay()
    assert await relay.relay() == 2
    assert await outbox.waiting() == 1
    assert outbox.sent()[-2:] == ["a", "c"]
    assert len(set(outbox.ids())) == 2
    assert await relay.relay() == 0
    left = await outbox.pool.fetchval("SELECT extract(epoch FROM taken_until - now()) FROM announcements")
    assert announcements.ASIDE - 60 < left <= announcements.ASIDE
    assert "(webhook.disabled) has 6" in caplog.text
    assert "put aside for 60 minutes; raise max.message.bytes" in caplog.text
    assert "s3cret" not in caplog.text

    outbox.broker.max_bytes = 10_000
    await outbox.pool.execute("UPDATE announcements SET taken_until = now()")
    assert await relay.relay() == 1
    assert outbox.sent()[-1] == "huge"


async def test_what_is_announced_last_goes_out_before_the_relay_returns(outbox: Outbox) -> None:
    relay = outbox.relay(interval=3600)
    async with running(relay):
        await outbox.announce("first")
        relay.wake()
        await outbox.broker.until(lambda: outbox.sent() == ["first"], PATIENCE)
        await outbox.announce("last")
    assert outbox.sent() == ["first", "last"]
    assert outbox.broker.seen["stop"] == 1


async def test_a_broker_that_hangs_holds_up_no_shutdown_and_its_rows_are_given_back(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcements, "LAST_PASS", 0.05)
    await outbox.announce("a")
    async with running(outbox.relay(Hanging(outbox.broker), lease=3600)):
        await outbox.broker.until(lambda: outbox.broker.seen["hang"] == 1, PATIENCE)
    assert outbox.broker.seen["stop"] == 1
    assert await outbox.relay().relay() == 1
    assert outbox.sent() == ["a"]


async def test_a_database_that_hangs_holds_up_no_shutdown(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcements, "LAST_PASS", 0.05)
    async with outbox.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE announcements IN ACCESS EXCLUSIVE MODE")

        async def is_locked_out() -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        async with running(outbox.relay()):
            await until(is_locked_out, "a relay that waits for the table")
    assert await outbox.relay().relay() == 0


async def test_a_database_that_is_away_is_waited_for(outbox: Outbox, caplog: pytest.LogCaptureFixture) -> None:
    await outbox.pool.execute("ALTER TABLE announcements RENAME TO elsewhere")
    failed = asyncio.Event()
    on_failure(caplog, failed.set)
    async with running(outbox.relay()):
        await asyncio.wait_for(failed.wait(), PATIENCE)
        await outbox.pool.execute("ALTER TABLE elsewhere RENAME TO announcements")
        await outbox.announce("a")
        await outbox.broker.until(lambda: outbox.sent() == ["a"], PATIENCE)


async def test_the_backlog_is_what_is_not_sent_and_since_when(outbox: Outbox) -> None:
    async with outbox.pool.acquire() as connection:
        assert await backlog(connection) == Backlog(0, None)
        await outbox.announce("a")
        await outbox.announce("b")
        oldest = await connection.fetchval("SELECT min(created_at) FROM announcements")
        assert await backlog(connection) == Backlog(2, oldest)


# --- on the real broker -------------------------------------------------------------------------------------------


async def received(settings: Settings) -> list[Record]:
    async with open_reader(settings, settings.kafka_topic_announcements) as reader:
        return [record async for record in reader.records()]


def real(outbox: Outbox, settings: Settings) -> Relay:
    topic = settings.kafka_topic_announcements
    return Relay(
        pool=outbox.pool,
        producer=lambda: broker.KafkaProducer(settings),
        topic=topic,
        source=SOURCE,
        interval=0.05,
    )


async def test_announcements_reach_the_topic_with_two_relays_each_once(outbox: Outbox, settings: Settings) -> None:
    """Which relay takes which is left to chance, and so is the order between what two have taken."""
    keys = [f"{number:03}" for number in range(100)]
    await outbox.announce(*keys)
    async with running(real(outbox, settings)), running(real(outbox, settings)):

        async def are_sent() -> bool:
            return not await outbox.waiting()

        await until(are_sent, "an empty outbox")
    records = await received(settings)
    assert sorted((record.key or b"").decode() for record in records) == keys
    assert {orjson.loads(record.value or b"")["source"] for record in records} == {SOURCE}


async def test_without_a_broker_the_relay_goes_on_trying_and_ends_when_told_to(
    outbox: Outbox, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = settings.model_copy(update={"kafka_bootstrap": (f"127.0.0.1:{free_port()}",)})
    await outbox.announce("a")
    tries = asyncio.Semaphore(0)
    on_failure(caplog, tries.release)
    async with running(real(outbox, nowhere)):
        for _ in range(2):
            await asyncio.wait_for(tries.acquire(), PATIENCE)
    assert await outbox.waiting() == 1
    async with running(real(outbox, settings)):
        pass
    assert await outbox.waiting() == 0
    assert [record.key for record in await received(settings)] == [b"a"]
