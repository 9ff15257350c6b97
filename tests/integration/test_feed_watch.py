"""A watch holds the newest documents: it looks again and again, and what it cannot see or read changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import asyncpg
import pytest

from feeds import documents, feed_watch
from feeds.documents import Feed, Signature
from feeds.feed_watch import MODELS, FeedWatch, read_document
from signer.canonical import canonical
from tests.support import feed_documents
from tests.support.feed_signers import PRIMARY
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pydantic import BaseModel

    from runtime.database import Pool

SECONDS = 20
#: Longer than any test: what happens does so because the watch was woken.
NEVER = 3600.0


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=3) as made:
        yield made


async def publish(pool: Pool, feed: Feed, document: BaseModel | bytes) -> documents.Published:
    content = document if isinstance(document, bytes) else canonical(document.model_dump(mode="json"))
    async with pool.acquire() as connection, connection.transaction():
        number = await documents.last(connection, feed) + 1
        await documents.save(
            connection, feed, number, content, signatures=[Signature(PRIMARY, b"armored")],
            published_at=FakeClock().now(),
        )  # fmt: skip
        stored = await documents.latest(connection, feed)
    assert stored is not None
    return stored


@contextlib.asynccontextmanager
async def running(watch: FeedWatch) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(watch.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, SECONDS)


async def test_it_looks_when_it_is_woken_and_whoever_waits_is_told(pool: Pool) -> None:
    watch = FeedWatch(pool, FakeClock(), interval=NEVER)
    await watch.load()
    assert (watch.status, watch.incidents, watch.peering, watch.position) == (None, None, None, 0)
    async with running(watch), asyncio.timeout(SECONDS):
        for document in (feed_documents.quiet_status(), feed_documents.status()):
            changed = watch.changed()
            stored = await publish(pool, Feed.STATUS, document)
            watch.wake()
            await changed
            assert watch.status is not None
            assert (watch.status.published, watch.status.document) == (stored, document)
            assert (watch.position, watch.of(Feed.STATUS)) == (stored.position, stored)
    assert watch.of(Feed.CANARY) is None


async def test_it_looks_by_itself(pool: Pool) -> None:
    watch = FeedWatch(pool, FakeClock(), interval=0.01)
    await watch.load()
    async with running(watch), asyncio.timeout(SECONDS):
        changed = watch.changed()
        await publish(pool, Feed.PEERING, feed_documents.peering())
        await changed
        assert watch.peering is not None


async def test_what_is_known_is_not_read_again(pool: Pool) -> None:
    watch = FeedWatch(pool, FakeClock())
    await publish(pool, Feed.STATUS, feed_documents.status())
    await watch.look()
    held = watch.status
    await publish(pool, Feed.INCIDENTS, feed_documents.no_incidents())
    await watch.look()
    assert watch.status is held
    changed = asyncio.ensure_future(watch.changed())
    await watch.look()
    await watch.load()
    done, _ = await asyncio.wait([changed], timeout=0)
    assert not done
    changed.cancel()


async def test_while_the_database_is_away_the_last_ones_stay_and_it_is_told_once(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, feed_watch.__name__)
    watch = FeedWatch(pool, FakeClock(), interval=0.001)
    first = await publish(pool, Feed.STATUS, feed_documents.quiet_status())
    await watch.load()
    failed = asyncio.Event()
    look = watch.look
    failures = 0

    async def counting() -> None:
        nonlocal failures
        try:
            await look()
        except asyncpg.PostgresError:
            failures += 1
            if failures == 3:
                failed.set()
            raise

    watch.look = counting  # type: ignore[method-assign]  # counts what it cannot see
    await pool.execute("ALTER TABLE documents RENAME TO away")
    async with running(watch), asyncio.timeout(SECONDS):
        await failed.wait()
        assert watch.of(Feed.STATUS) == first
        changed = watch.changed()
        await pool.execute("ALTER TABLE away RENAME TO documents")
        second = await publish(pool, Feed.STATUS, feed_documents.status())
        watch.wake()
        await changed
    assert watch.of(Feed.STATUS) == second
    told = [(each.levelname, each.getMessage()) for each in caplog.records]
    assert [level for level, _ in told] == ["WARNING", "INFO"]
    assert told[0][1].startswith("feeds are served as last read: they cannot be looked at (")


async def test_a_watch_that_is_told_to_stop_while_the_database_is_away_stops(pool: Pool) -> None:
    watch = FeedWatch(pool, FakeClock(), interval=0.001)
    await pool.execute("ALTER TABLE documents RENAME TO away")
    async with running(watch):
        await asyncio.sleep(0)


@pytest.mark.parametrize("content", [b"no JSON", b"[]", b"{}", b'{"type":"status/2"}', b'{"components":[{}]}'])
async def test_what_this_version_cannot_read_leaves_the_one_before(
    content: bytes, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    watch = FeedWatch(pool, FakeClock())
    first = await publish(pool, Feed.STATUS, feed_documents.status())
    await watch.look()
    await publish(pool, Feed.STATUS, content)
    await watch.look()
    await watch.load()
    assert watch.of(Feed.STATUS) == first
    assert caplog.text.count("status 2 cannot be read by this version") == 1
    third = await publish(pool, Feed.STATUS, feed_documents.quiet_status())
    await watch.look()
    assert watch.of(Feed.STATUS) == third


# --- the stream's side ------------------------------------------------------------------------------------------------


async def test_it_tells_what_came_after_a_position_it_knows(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_watch, "MOST_ENTRIES", 3)
    before = await publish(pool, Feed.CANARY, b"{}")
    watch = FeedWatch(pool, FakeClock())
    watch._entries = type(watch._entries)(maxlen=3)
    await watch.load()
    assert watch.after(before.position - 1) is None
    assert watch.after(before.position) == []
    stored = []
    for _ in range(4):
        stored.append((await publish(pool, Feed.CANARY, b"{}")).position)
        await watch.look()
    assert watch.after(before.position) is None
    assert [each.position for each in watch.after(stored[0]) or ()] == stored[1:]
    assert [each.position for each in watch.after(stored[2]) or ()] == stored[3:]
    for _ in range(4):  # more at once than are held
        await publish(pool, Feed.CANARY, b"{}")
    await watch.look()
    assert watch.after(stored[3]) is None
    assert watch.after(watch.position) == []


async def test_a_database_that_was_put_back_begins_the_stream_anew(pool: Pool) -> None:
    for _ in range(4):
        await publish(pool, Feed.STATUS, feed_documents.status())
    watch = FeedWatch(pool, FakeClock())
    await watch.load()
    furthest = watch.position
    await pool.execute("ALTER TABLE document_signatures DISABLE TRIGGER USER; DELETE FROM documents WHERE number > 1")
    await pool.execute("SELECT setval(pg_get_serial_sequence('documents', 'position'), max(position)) FROM documents")
    await watch.look()
    assert watch.position == furthest - 3
    assert watch.of(Feed.STATUS) is not None
    assert watch.after(watch.position) == []
    for ahead in range(watch.position + 1, furthest + 1):  # who stood there has to come back
        assert watch.after(ahead) is None
    assert watch.after(furthest + 1) == []  # read from the database, before this watch has seen it
    again = await publish(pool, Feed.STATUS, feed_documents.quiet_status())
    await watch.look()
    assert (watch.position, watch.of(Feed.STATUS)) == (furthest - 2, again)
    assert watch.after(furthest - 1) is None
    assert [each.number for each in watch.after(furthest - 3) or ()] == [2]


@pytest.mark.parametrize(
    ("feed", "document"),
    [
        (Feed.STATUS, feed_documents.status()),
        (Feed.INCIDENTS, feed_documents.incidents()),
        (Feed.INCIDENTS, feed_documents.no_incidents()),
        (Feed.PEERING, feed_documents.peering()),
    ],
)
def test_a_document_is_read_part_by_part_as_it_would_be_as_a_whole(feed: Feed, document: BaseModel) -> None:
    content = canonical(document.model_dump(mode="json"))
    assert read_document(MODELS[feed], content) == MODELS[feed].model_validate_json(content) == document
