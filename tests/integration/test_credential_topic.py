"""The topic of credentials followed on a real broker: loaded, gone on with, made anew, and never without news."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from consumers import broker, credentials
from consumers.broker import Outgoing
from consumers.credential_topic import Follower
from consumers.reader import open_reader
from runtime.clock import SystemClock
from runtime.embedded import EmbeddedBroker, free_port
from runtime.lifecycle import UnreachableError
from tests.support.api import a_record, publish_credentials
from tests.support.credentials import found, written
from tests.support.process import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection
    from pathlib import Path

    from runtime.database import Pool
    from runtime.settings import Settings

PATIENCE = 60.0
CLOCK = SystemClock()
OLD, NEW = a_record("acct_old"), a_record("acct_new")
#: The embedded broker forgets everything with its process; a real one would need its data folder taken away.
forgets = pytest.mark.skipif(
    os.environ.get("HELIOGRAPH_TEST_BROKER") == "apache", reason="a broker that forgets is the embedded one"
)


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=8) as opened:
        yield opened


class Heard:
    """What a follower told of changes."""

    def __init__(self) -> None:
        self.changes: list[frozenset[str] | None] = []
        self._news = asyncio.Event()

    def __call__(self, ids: Collection[str] | None) -> None:
        self.changes.append(None if ids is None else frozenset(ids))
        self._news.set()

    async def until(self, credential_id: str, times: int = 1) -> None:
        """Wait until a change of this credential has been told so often."""
        await self._until(lambda: sum(ids is not None and credential_id in ids for ids in self.changes) >= times)

    async def more(self) -> None:
        """Wait for one more change of any kind."""
        count = len(self.changes)
        await self._until(lambda: len(self.changes) > count)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._news.clear()
                await self._news.wait()


def a_follower(settings: Settings, pool: Pool, heard: Heard, **options: Any) -> Follower:
    topic = settings.kafka_topic_credentials
    return Follower(
        pool=pool,
        topic=topic,
        reader=lambda: open_reader(settings, topic, begins_again=False),
        clock=CLOCK,
        on_change=heard,
        **options,
    )


@contextlib.asynccontextmanager
async def following(
    settings: Settings, pool: Pool, *, is_reachable: bool = True, **options: Any
) -> AsyncIterator[Heard]:
    """Load the topic, follow it for the length of the context, and see that following ends when it is told to."""
    heard, stop = Heard(), asyncio.Event()
    follower = a_follower(settings, pool, heard, **options)
    async with asyncio.timeout(PATIENCE):
        await follower.load()
    assert follower.is_loaded
    running = asyncio.create_task(follower.run(stop))
    try:
        if is_reachable:
            await heard.more()
        yield heard
        stop.set()
        async with asyncio.timeout(PATIENCE):
            await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def account_of(pool: Pool, credential_id: str = "k1") -> str | None:
    known = await found(pool, CLOCK, credential_id)
    return None if known is None else "revoked" if known.is_revoked else known.account


async def said(words: str, caplog: pytest.LogCaptureFixture) -> None:
    async def is_said() -> bool:
        return words in caplog.text

    await until(is_said, f"the log says {words!r}")


async def load(settings: Settings, pool: Pool) -> None:
    """Read the topic to its end, and stop."""
    async with asyncio.timeout(PATIENCE):
        await a_follower(settings, pool, Heard()).load()


async def test_what_is_in_the_topic_is_known_when_it_is_loaded(settings: Settings, pool: Pool) -> None:
    many = {f"k{number}": a_record(f"acct_{number}") for number in range(250)}
    await publish_credentials(settings, {"gone": OLD, "k7": OLD, **many})
    await publish_credentials(settings, {"gone": None, "session": None})
    await load(settings, pool)
    assert [await account_of(pool, f"k{number}") for number in (0, 7, 249)] == ["acct_0", "acct_7", "acct_249"]
    assert [await account_of(pool, name) for name in ("gone", "session", "nobody")] == ["revoked", "revoked", None]


async def test_an_empty_topic_is_loaded_too(settings: Settings, pool: Pool) -> None:
    await load(settings, pool)
    assert await pool.fetchval("SELECT is_current FROM credential_readings")


async def test_changes_are_written_before_they_are_told(settings: Settings, pool: Pool) -> None:
    async with following(settings, pool) as heard:
        await publish_credentials(settings, {"k1": OLD, "k2": OLD})
        await heard.until("k1")
        assert await account_of(pool) == "acct_old"
        await publish_credentials(settings, {"k1": NEW})
        await heard.until("k1", 2)
        assert await account_of(pool) == "acct_new"
        await publish_credentials(settings, {"k1": None})
        await heard.until("k1", 3)
        assert await account_of(pool) == "revoked"
        assert await account_of(pool, "k2") == "acct_old"


async def test_every_process_hears_of_every_change(settings: Settings, pool: Pool) -> None:
    async with following(settings, pool) as one, following(settings, pool) as other:
        for number in range(20):
            await publish_credentials(settings, {"k1": [OLD, NEW, None][number % 3], f"only-{number}": OLD})
        for heard in (one, other):
            await heard.until("only-19")
            assert {name for ids in heard.changes if ids for name in ids} == {
                "k1",
                *(f"only-{number}" for number in range(20)),
            }
        assert await account_of(pool) == "acct_new"
    assert await pool.fetchval("SELECT count(*) FROM credential_readings") == 1


async def test_a_restart_goes_on_where_it_stopped_and_does_not_wait_for_kafka(settings: Settings, pool: Pool) -> None:
    await publish_credentials(settings, {"k1": OLD, "k2": OLD})
    await load(settings, pool)
    away = settings.model_copy(update={"kafka_bootstrap": (f"127.0.0.1:{free_port()}",), "startup_timeout": 0.2})
    async with following(away, pool, is_reachable=False):
        assert await account_of(pool) == "acct_old"
    await publish_credentials(settings, {"k2": None})
    async with following(settings, pool) as heard:
        await heard.until("k2")
        assert {name for ids in heard.changes if ids for name in ids} == {"k2"}
    assert [await account_of(pool, name) for name in ("k1", "k2")] == ["acct_old", "revoked"]


async def test_loading_without_a_broker_says_so(settings: Settings, pool: Pool) -> None:
    away = settings.model_copy(update={"kafka_bootstrap": (f"127.0.0.1:{free_port()}",), "startup_timeout": 0.2})
    with pytest.raises(UnreachableError, match=r"^Kafka at 127\.0\.0\.1:\d+ did not answer within 0.2 s"):
        await a_follower(away, pool, Heard()).load()


async def test_a_record_that_is_not_understood_revokes_and_the_log_says_where_it_stands(
    settings: Settings, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    await publish_credentials(settings, {"k1": OLD, "k2": OLD})
    async with following(settings, pool) as heard:
        topic = settings.kafka_topic_credentials
        producer = broker.KafkaProducer(settings)
        await producer.start()
        await producer.send([Outgoing(topic, None, OLD, ()), Outgoing(topic, b"sp ace", OLD, ())])
        await producer.stop()
        await publish_credentials(
            settings, {"k1": b'{"kind": "hush-hush"}', "k2": a_record("acct_new", cidrs=["hush"])}
        )
        await publish_credentials(settings, {"k3": OLD})
        await heard.until("k3")
        await heard.until("k2")
    assert [await account_of(pool, name) for name in ("k1", "k2", "k3")] == ["revoked", "revoked", "acct_old"]
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == 4
    for offset, message in enumerate(said, 2):
        assert message.startswith(f"credential record {topic}/0@{offset} ")
        assert ("is passed over" if offset < 4 else "revokes what it names") in message
        assert "hush" not in message


@pytest.mark.parametrize("renew", [0.0, 0.3])
async def test_a_client_is_replaced_now_and_then_and_nothing_is_missed(
    settings: Settings, pool: Pool, renew: float
) -> None:
    async with following(settings, pool, renew=renew) as heard:
        for number in range(30):
            await publish_credentials(settings, {f"k{number}": OLD})
        await heard.until("k29")
        told = [name for ids in heard.changes if ids for name in ids]
        assert sorted(told) == sorted(f"k{number}" for number in range(30))
        assert heard.changes.count(None) > 2  # what another process read meanwhile is told to this one by nobody


async def test_a_database_that_is_away_is_waited_for(
    settings: Settings, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(settings, pool) as heard:
        await pool.execute("ALTER TABLE credentials RENAME TO elsewhere")
        await publish_credentials(settings, {"k1": OLD})
        await said("credentials are not followed", caplog)
        assert not any(heard.changes)
        await pool.execute("ALTER TABLE elsewhere RENAME TO credentials")
        await heard.until("k1")
        assert await account_of(pool) == "acct_old"


async def test_after_a_long_absence_what_is_not_in_the_topic_is_not_granted(settings: Settings, pool: Pool) -> None:
    """As when a tombstone was compacted away before anybody had read it."""
    await publish_credentials(settings, {"k1": OLD, "revoked": None})
    await load(settings, pool)
    async with pool.acquire() as connection:
        reading = await credentials.take_up(connection, settings.kafka_topic_credentials)
        ghost = written("ghost", OLD, 0)
        await credentials.put(connection, reading.number, [ghost[0]], [ghost])
        await connection.execute("UPDATE credential_readings SET at_end_at = now() - interval '13 hours'")
    async with following(settings, pool) as heard:
        assert await account_of(pool, "ghost") is None  # a start waits rather than believe what is so old
        await publish_credentials(settings, {"k2": OLD})
        await heard.until("k2")
    assert [await account_of(pool, name) for name in ("k1", "ghost", "revoked")] == ["acct_old", None, "revoked"]


# --- a broker that forgets -------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def forgetful(settings: Settings, folder: Path) -> AsyncIterator[tuple[Settings, EmbeddedBroker]]:
    """Run a broker of our own, which can be started anew at the same address."""
    server = EmbeddedBroker(folder / "broker.log")
    await server.start()
    mine = settings.model_copy(update={"kafka_bootstrap": (server.bootstrap,), "startup_timeout": 2.0})
    try:
        await broker.create_topics(mine, {mine.kafka_topic_credentials: 1})
        yield mine, server
    finally:
        await server.stop()


async def start_anew(settings: Settings, server: EmbeddedBroker) -> None:
    await server.stop()
    await server.start()
    await broker.create_topics(settings, {settings.kafka_topic_credentials: 1})


@forgets
async def test_following_survives_a_restart_of_the_broker_and_notices_that_the_topic_is_another(
    settings: Settings, pool: Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with forgetful(settings, tmp_path) as (mine, server):
        await publish_credentials(mine, {"k1": OLD, "k2": OLD, "gone": None})
        async with following(mine, pool) as heard:
            await start_anew(mine, server)
            await publish_credentials(mine, {"k1": NEW})
            await heard.until("k1")
            await publish_credentials(mine, {"k3": NEW})
            await heard.until("k3")
    names = ("k1", "k2", "k3", "gone")
    assert [await account_of(pool, name) for name in names] == ["acct_new", None, "acct_new", "revoked"]
    assert "is not the one that was read before" in caplog.text


@forgets
async def test_an_empty_topic_in_its_place_takes_nothing_away_until_it_is_filled(
    settings: Settings, pool: Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with forgetful(settings, tmp_path) as (mine, server):
        await publish_credentials(mine, {"k1": OLD})
        await load(mine, pool)
        await start_anew(mine, server)
        async with following(mine, pool) as heard:
            await said("is empty", caplog)
            assert await account_of(pool) == "acct_old"
            await publish_credentials(mine, {"k2": NEW})
            await heard.until("k2")
            await publish_credentials(mine, {"k2": OLD})
            await heard.until("k2", 2)
    assert [await account_of(pool, name) for name in ("k1", "k2")] == [None, "acct_old"]


@forgets
async def test_a_topic_that_has_grown_past_the_bookmark_is_told_from_the_one_before(
    settings: Settings, pool: Pool, tmp_path: Path
) -> None:
    """Offsets alone would not tell: what stands before the bookmark would never be read."""
    async with forgetful(settings, tmp_path) as (mine, server):
        await publish_credentials(mine, {"k1": OLD, "k2": OLD})
        await load(mine, pool)
        await start_anew(mine, server)
        await publish_credentials(mine, {"k1": None, "k2": NEW, "k3": NEW, "k4": NEW})
        async with following(mine, pool) as heard:
            await heard.until("k1")
            await publish_credentials(mine, {"k5": NEW})
            await heard.until("k5")
    names = ("k1", "k2", "k3", "k5")
    assert [await account_of(pool, name) for name in names] == ["revoked", "acct_new", "acct_new", "acct_new"]
