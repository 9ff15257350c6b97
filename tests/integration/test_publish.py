"""Feeds are published: built from real rows, signed once for each change, stored once, whoever else publishes."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import orjson
import pytest

from feeds import documents, marks
from feeds.documents import Feed, Signature
from feeds.models import Impact, StatusDocument
from feeds.publish import KEPT, Publisher, Source, forget
from signer.canonical import canonical
from signer.client import SignerRefusedError
from signer.protocol import Refusal
from tests.support import feed_documents, gpg
from tests.support.feed_signers import PRIMARY, Counting, a_signer, unavailable
from tests.support.process import until
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from feeds.models import Document
    from runtime.database import Connection, Pool

    Sign = Callable[[bytes], Awaitable[bytes]]

LOUD = logging.WARNING
STORED = "SELECT count(*) FROM documents"


@dataclass
class Facts:
    """A table of facts of the test's own, and the document made of it."""

    builds: int = 0
    broken: Exception | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def build(self, connection: Connection, now: datetime) -> Document:
        self.builds += 1
        if self.broken is not None:
            raise self.broken
        said = await connection.fetchval("SELECT coalesce(max(description), '') FROM facts")
        return StatusDocument(
            provider=said, as_of=now.replace(minute=0, second=0), indicator=Impact.NONE, description="Well",
            groups=[], components=[], incidents=[], maintenances=[],
        )  # fmt: skip


@dataclass
class Desk:
    """A publisher of one feed, and what it works with."""

    pool: Pool
    clock: FakeClock
    facts: Facts
    signer: Counting
    publisher: Publisher
    told: list[int]

    async def change(self, said: str) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute("INSERT INTO facts VALUES ($1)", said)
            await marks.mark(connection, Feed.STATUS)

    async def published(self) -> documents.Published | None:
        async with self.pool.acquire() as connection:
            return await documents.latest(connection, Feed.STATUS)

    async def said(self) -> str | None:
        found = await self.published()
        return orjson.loads(found.content)["provider"] if found else None

    async def look(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        await self.publisher.look()


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4) as made:
        await made.execute("CREATE TABLE facts (description text)")
        yield made


def a_desk(pool: Pool, clock: FakeClock | None = None) -> Desk:
    facts, signer, clock, told = Facts(), Counting(), clock or FakeClock(), list[int]()
    publisher = Publisher(pool, signer, clock, [Source(Feed.STATUS, facts.build)], on_published=lambda: told.append(1))
    return Desk(pool, clock, facts, signer, publisher, told)


@pytest.fixture
def desk(pool: Pool) -> Desk:
    return a_desk(pool)


async def test_a_document_is_its_canonical_bytes_and_verifies(pool: Pool) -> None:
    document = feed_documents.status()

    async def build(_: Connection, __: datetime) -> Document:
        return document

    with gpg.home() as home:
        fingerprint = home.make()
        async with a_signer(home, fingerprint) as signer:
            await Publisher(pool, signer, FakeClock(), [Source(Feed.STATUS, build)]).look()
        async with pool.acquire() as connection:
            found = await documents.latest(connection, Feed.STATUS)
        assert found is not None
        assert found.content == canonical(document.model_dump(mode="json"))
        assert found.sha256 == hashlib.sha256(found.content).hexdigest()
        assert StatusDocument.model_validate_json(found.content) == document
        [(signed_by, armored)] = found.signatures
        assert signed_by == fingerprint
        assert gpg.sequoia_detached(found.content, armored, home.public(fingerprint))[0] == fingerprint


async def test_the_same_facts_are_published_once(desk: Desk) -> None:
    await desk.look()
    for _ in range(3):
        await desk.look(61)
    assert (desk.facts.builds, len(desk.signer.signed), desk.told) == (4, 1, [1])
    await desk.look(3600)
    found = await desk.published()
    assert found is not None
    assert (found.number, len(desk.signer.signed)) == (2, 2)  # another hour, another document


async def test_within_its_period_what_stands_is_not_built_again(pool: Pool) -> None:
    clock, facts, signer = FakeClock(), Facts(), Counting()
    publisher = Publisher(pool, signer, clock, [Source(Feed.STATUS, facts.build, lambda moment: moment.hour)])
    other = Publisher(pool, signer, clock, [Source(Feed.STATUS, facts.build, lambda moment: moment.hour)])

    async def look(who: Publisher, seconds: float) -> tuple[int, int]:
        clock.advance(seconds)
        await who.look()
        return facts.builds, len(signer.signed)

    assert await look(publisher, 0) == (1, 1)
    assert await look(publisher, 61) == (1, 1)
    assert await look(publisher, 61) == (1, 1)
    assert await look(other, 0) == (2, 1)
    assert await look(other, 3600) == (3, 2)
    assert await look(publisher, 0) == (4, 2)  # somebody else's is the newest: it is looked at once
    assert await look(publisher, 61) == (4, 2)
    async with pool.acquire() as connection, connection.transaction():
        await marks.mark(connection, Feed.STATUS)
    assert await look(publisher, 1) == (5, 2)


async def test_that_not_everything_fits_is_told_when_it_begins_and_when_it_ends(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "feeds.publish")
    clock, wholes = FakeClock(), [True, False, False, True]

    async def build(_: Connection, now: datetime) -> Document:
        return feed_documents.quiet_status().model_copy(update={"as_of": now, "is_complete": wholes.pop(0)})

    publisher = Publisher(pool, Counting(), clock, [Source(Feed.STATUS, build)])
    told = []
    while wholes:
        await publisher.look()
        clock.advance(61)
        told.append([(each.levelname, each.getMessage()) for each in caplog.records])
        caplog.clear()
    warning = "status: there is more than can be signed at once; the document says that it is not complete"
    assert told == [[], [("WARNING", warning)], [], [("INFO", "status: the document is complete again")]]


async def test_a_try_that_takes_long_is_not_followed_by_the_next_at_once(desk: Desk) -> None:
    async def slow(content: bytes) -> bytes:  # noqa: ARG001 - it is a signer's
        desk.clock.advance(10)  # until the signer's deadline
        raise unavailable()

    desk.signer.sign_document = slow  # type: ignore[method-assign]  # a signer that hangs
    await desk.look()
    builds = desk.facts.builds
    await desk.look(0.9)
    assert desk.facts.builds == builds
    await desk.look(0.1)
    assert desk.facts.builds == builds + 1


async def test_a_new_process_does_not_sign_again_what_is_published(desk: Desk) -> None:
    await desk.look()
    another = a_desk(desk.pool, desk.clock)
    await another.look()
    assert (another.facts.builds, another.signer.signed) == (1, [])


async def test_many_changes_in_a_second_are_one_signature(desk: Desk) -> None:
    await desk.look()
    for number in range(50):
        await desk.change(f"{number:02}")
        await desk.look(0.01)
    assert len(desk.signer.signed) == 1
    assert desk.publisher.pending_since(Feed.STATUS) == FakeClock().now() + timedelta(seconds=0.01)
    await desk.look(0.6)
    assert await desk.said() == "49"
    assert len(desk.signer.signed) == 2
    assert desk.publisher.pending_since(Feed.STATUS) is None


async def test_what_changes_while_it_is_signed_is_published_after_it(desk: Desk) -> None:
    await desk.change("before")
    signing, go_on = asyncio.Event(), asyncio.Event()
    sign = desk.signer.sign_document

    async def slowly(content: bytes) -> bytes:
        signing.set()
        await go_on.wait()
        return await sign(content)

    desk.signer.sign_document = slowly  # type: ignore[method-assign]  # a signer that waits to be told
    looking = asyncio.create_task(desk.look())
    await signing.wait()
    await desk.change("meanwhile")
    go_on.set()
    await looking
    assert await desk.said() == "before"
    await desk.look(1)
    assert await desk.said() == "meanwhile"


async def test_two_processes_publish_a_change_once(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    other = a_desk(desk.pool, desk.clock)
    await desk.change("the change")
    both, at_once = asyncio.Event(), []
    for each in (desk, other):
        sign = each.signer.sign_document

        async def together(content: bytes, sign: Sign = sign) -> bytes:
            at_once.append(content)
            if len(at_once) == 2:
                both.set()
            await both.wait()
            return await sign(content)

        each.signer.sign_document = together  # type: ignore[method-assign]  # signers that wait for each other
    await asyncio.gather(desk.look(), other.look())
    assert at_once[0] == at_once[1]
    assert await desk.pool.fetchval(STORED) == 1
    assert sorted(len(each.told) for each in (desk, other)) == [0, 1]
    assert not [each for each in caplog.records if each.levelno >= LOUD]  # to give way is no failure
    loser = desk if not desk.told else other
    assert loser.publisher.pending_since(Feed.STATUS) is not None
    await loser.look(1)
    assert loser.publisher.pending_since(Feed.STATUS) is None
    assert await desk.pool.fetchval(STORED) == 1


async def test_while_the_signer_is_away_the_last_document_stays_and_it_shows(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    await desk.change("first")
    await desk.look()
    desk.signer.away = unavailable()
    await desk.change("second")
    since = desk.clock.now() + timedelta(seconds=5)
    for seconds in (5, 1, 2, 4, 8, 15):
        await desk.look(seconds)
    assert await desk.said() == "first"
    assert desk.publisher.pending_since(Feed.STATUS) == since
    assert [(each.levelno, each.getMessage()) for each in caplog.records if each.levelno >= LOUD] == [
        (LOUD, "status: is not published, the last document stays (the signer did not answer)")
    ]
    desk.signer.away = None
    await desk.look(14)
    assert await desk.said() == "first"  # it is not time yet
    await desk.look(1)
    assert await desk.said() == "second"
    assert desk.publisher.pending_since(Feed.STATUS) is None


async def test_too_large_a_document_is_an_error_and_the_last_one_stays(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    await desk.change("first")
    await desk.look()
    desk.signer.away = SignerRefusedError(Refusal.TOO_LARGE, "9 bytes are more than a signer signs at once")
    await desk.change("second")
    await desk.look(2)
    assert await desk.said() == "first"
    [told] = [each for each in caplog.records if each.levelno >= LOUD]
    assert (told.levelno, "more than a signer signs" in told.getMessage()) == (logging.ERROR, True)


async def test_a_builder_that_fails_keeps_no_other_feed_back(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    bad, good, signer = Facts(broken=ValueError("odd facts")), Facts(), Counting()

    async def incidents(_: Connection, __: datetime) -> Document:
        return feed_documents.no_incidents()

    publisher = Publisher(
        pool, signer, FakeClock(),
        [Source(Feed.PEERING, bad.build), Source(Feed.STATUS, good.build), Source(Feed.INCIDENTS, incidents)],
    )  # fmt: skip
    await publisher.look()
    assert await pool.fetchval("SELECT array_agg(feed ORDER BY feed) FROM documents") == ["incidents", "status"]
    assert "peering: is not published, the last document stays (odd facts)" in caplog.text
    assert publisher.pending_since(Feed.PEERING) is not None


async def test_it_runs_until_told_to_stop_and_a_wake_is_enough(desk: Desk) -> None:
    stop, told = asyncio.Event(), asyncio.Event()
    publisher = Publisher(
        desk.pool, desk.signer, desk.clock, [Source(Feed.STATUS, desk.facts.build)], on_published=told.set
    )
    running = asyncio.create_task(publisher.run(stop))
    await asyncio.wait_for(told.wait(), 10)
    told.clear()
    await desk.change("woken")
    desk.clock.advance(2)
    publisher.wake()
    await asyncio.wait_for(told.wait(), 10)
    assert await desk.said() == "woken"
    stop.set()
    await asyncio.wait_for(running, 10)


async def test_a_database_that_is_away_is_told_once_and_missed_no_longer_than_that(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    stop, told = asyncio.Event(), asyncio.Event()
    await desk.pool.execute("ALTER TABLE feed_marks RENAME TO away")
    publisher = Publisher(
        desk.pool, desk.signer, desk.clock, [Source(Feed.STATUS, desk.facts.build)], on_published=told.set
    )
    running = asyncio.create_task(publisher.run(stop))
    async with asyncio.timeout(10):
        while "cannot be looked at" not in caplog.text:
            publisher.wake()
            await asyncio.sleep(0)
    await desk.pool.execute("ALTER TABLE away RENAME TO feed_marks")
    async with asyncio.timeout(10):
        while not told.is_set():
            publisher.wake()
            await asyncio.sleep(0)
    assert caplog.text.count("cannot be looked at") == 1
    stop.set()
    await asyncio.wait_for(running, 10)


async def test_without_a_signer_nothing_is_published_and_that_is_said_once(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    stop, facts = asyncio.Event(), Facts()
    publisher = Publisher(pool, None, FakeClock(), [Source(Feed.STATUS, facts.build)])
    running = asyncio.create_task(publisher.run(stop))

    async def is_said() -> bool:
        return bool(caplog.records)

    await until(is_said, "it is said")
    stop.set()
    await running
    assert await pool.fetchval(STORED) == 0
    assert publisher.pending_since(Feed.STATUS) is None
    [said] = caplog.records
    assert "FEED_KEY" in said.getMessage()


# --- what is stored ---------------------------------------------------------------------------------------------------


async def store(connection: Connection, feed: Feed, number: int, at: datetime) -> None:
    await documents.save(
        connection, feed, number, b"%d" % number, signatures=[Signature(PRIMARY, b"armored")], published_at=at
    )


async def test_what_is_old_is_forgotten_but_never_the_newest_nor_a_canary(pool: Pool) -> None:
    clock = FakeClock()
    old, edge = clock.now() - KEPT - timedelta(seconds=1), clock.now() - KEPT
    async with pool.acquire() as connection:
        for feed in Feed:
            await store(connection, feed, 1, old)
            await store(connection, feed, 2, old)
        await store(connection, Feed.STATUS, 3, edge)
        await store(connection, Feed.STATUS, 4, clock.now())
    await forget(pool, clock)
    rows = await pool.fetch("SELECT feed, array_agg(number ORDER BY number) FROM documents GROUP BY feed")
    assert {row[0]: row[1] for row in rows} == {"canary": [1, 2], "peering": [2], "incidents": [2], "status": [3, 4]}
    assert await pool.fetchval("SELECT count(*) FROM document_signatures") == 6


async def test_positions_are_in_the_order_of_commits(pool: Pool) -> None:
    clock = FakeClock()
    async with pool.acquire() as one, pool.acquire() as other:
        holding = one.transaction()
        await holding.start()
        await store(one, Feed.CANARY, 1, clock.now())
        waiting = asyncio.create_task(store(other, Feed.STATUS, 1, clock.now()))
        async with asyncio.timeout(10):
            while not await pool.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
                pass
        assert await pool.fetchval(STORED) == 0
        await holding.commit()
        await waiting
    async with pool.acquire() as connection:
        found = await documents.since(connection, 0, 10)
        assert [(each.feed, each.number) for each in found] == [(Feed.CANARY, 1), (Feed.STATUS, 1)]
        assert [each.position for each in await documents.since(connection, found[0].position, 10)] == [
            found[1].position
        ]
        assert await documents.position(connection) == found[1].position
        latest = await documents.latest(connection, Feed.STATUS)
        assert latest is not None
        assert latest.position == found[1].position
