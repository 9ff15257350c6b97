"""The newest canary is known as it was last judged: real rows, real signatures, and what happens when gpg is away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from feeds.canary_standing import Standing
from feeds.canary_watch import UNJUDGED_FOR, CanaryWatch
from signer.canary_check import Reason
from signer.canary_dates import State
from signer.faults import PgpError
from tests.support.canaries import FIRST
from tests.support.process import until
from tests.support.published_canaries import Council, council, tamper
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from runtime.database import Pool

TOMORROW = FIRST + timedelta(days=1)


@pytest.fixture(scope="module")
def signers() -> Iterator[Council]:
    with council() as made:
        yield made


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=3) as made:
        yield made


def a_watch(pool: Pool, signers: Council, **changes: Any) -> tuple[CanaryWatch, FakeClock]:
    clock = FakeClock(TOMORROW)
    return CanaryWatch(pool, signers.pins(), clock, **changes), clock


async def test_nothing_published_is_missing(pool: Pool, signers: Council) -> None:
    watch, _ = a_watch(pool, signers)
    await watch.load()
    assert watch.standing == Standing()


async def test_what_is_published_is_judged_and_the_same_as_long_as_nothing_changes(
    pool: Pool, signers: Council
) -> None:
    watch, clock = a_watch(pool, signers)
    await watch.load()
    first = signers.first()
    async with pool.acquire() as connection:
        await signers.publish(connection, first)
        await watch.look()
        known = watch.standing
        assert known.state(clock.now()) is State.CURRENT
        assert known.statement == first.statement
        clock.advance(1000)
        await watch.look()
        assert watch.standing is known
        await signers.publish(connection, signers.successor(first, FIRST + timedelta(days=25)))
    clock.advance(26 * 86400)
    await watch.look()
    assert watch.standing.published is not None
    assert watch.standing.published.number == 2
    assert watch.standing.state(clock.now()) is State.CURRENT


async def test_too_few_signatures_are_never_good(pool: Pool, signers: Council) -> None:
    watch, clock = a_watch(pool, signers)
    async with pool.acquire() as connection:
        await signers.publish(connection, signers.first(), keys=signers.keys[:1])
    await watch.load()
    assert watch.standing.state(clock.now()) is State.INVALID
    assert [fault.reason for fault in watch.standing.faults] == [Reason.TOO_FEW_SIGNATURES]


async def test_where_no_key_is_pinned_nothing_is_believed(pool: Pool, signers: Council) -> None:
    async with pool.acquire() as connection:
        await signers.publish(connection, signers.first())
    watch = CanaryWatch(pool, None, FakeClock(TOMORROW))
    await watch.load()
    assert watch.standing.state(TOMORROW) is State.INVALID


async def test_a_changed_row_is_found_at_the_next_judgement(
    pool: Pool, signers: Council, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Standing] = []
    clock = FakeClock(TOMORROW)
    watch = CanaryWatch(pool, signers.pins(), clock, on_change=lambda: told.append(watch.standing))
    first = signers.first()
    async with pool.acquire() as connection:
        await signers.publish(connection, first)
        await watch.load()
        await tamper(connection, 1, first.content.replace(b"no warrants", b"ten warrants"))
    clock.advance(299)
    await watch.look()
    assert watch.standing.state(clock.now()) is State.CURRENT
    clock.advance(1)
    with caplog.at_level(logging.ERROR):
        await watch.look()
    assert watch.standing.state(clock.now()) is State.INVALID
    assert [each.state(clock.now()) for each in told] == [State.CURRENT, State.INVALID]
    assert "canary 1 is not to be believed (too_few_signatures)" in caplog.text


async def test_a_key_that_is_revoked_in_the_folder_counts_as_revoked(pool: Pool, tmp_path: Path) -> None:
    with council() as signers:
        folder = tmp_path / "keys"
        shutil.copytree(signers.folder, folder)
        clock = FakeClock(TOMORROW)
        watch = CanaryWatch(pool, signers.pins(folder=folder), clock)
        async with pool.acquire() as connection:
            await signers.publish(connection, signers.first())
        await watch.load()
        assert watch.standing.state(clock.now()) is State.CURRENT
        signers.home.revoke(signers.keys[0])
        (folder / f"{signers.keys[0]}.asc").write_bytes(signers.home.public(signers.keys[0]))
        clock.advance(300)
        await watch.look()
        assert watch.standing.state(clock.now()) is State.REVOKED


async def test_without_its_keys_the_last_standing_stands_and_the_log_says_so_once_for_each_outage(
    pool: Pool, signers: Council, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, away = tmp_path / "keys", tmp_path / "away"
    shutil.copytree(signers.folder, folder)
    changed, stop = asyncio.Event(), asyncio.Event()
    clock = FakeClock(TOMORROW)
    watch = CanaryWatch(pool, signers.pins(folder=folder), clock, interval=0.001, on_change=changed.set)
    newest = signers.first()
    async with pool.acquire() as connection:
        await signers.publish(connection, newest)
    await watch.load()
    with caplog.at_level(logging.DEBUG, "feeds.canary_watch"), told_of_failures() as failing:
        running = asyncio.create_task(watch.run(stop))
        try:
            async with asyncio.timeout(20):
                for number in (2, 3):
                    known = watch.standing
                    folder.rename(away)
                    with pytest.raises(PgpError):
                        await watch.load()
                    newest = signers.successor(newest, FIRST + timedelta(hours=number))
                    async with pool.acquire() as connection:
                        await signers.publish(connection, newest)
                    await failing.times(3)
                    assert watch.standing is known
                    changed.clear()
                    away.rename(folder)
                    await changed.wait()
                    assert watch.standing.statement == newest.statement
        finally:
            stop.set()
            await running
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert ["as last judged" in each for each in said].count(True) == 2
    assert said.count("the canary can be looked at again") == 2
    assert "canary 3 is the newest" in said


async def test_a_database_that_is_away_changes_nothing(pool: Pool, signers: Council) -> None:
    watch, clock = a_watch(pool, signers)
    async with pool.acquire() as connection:
        await signers.publish(connection, signers.first())
    await watch.load()
    known = watch.standing
    await pool.close()
    clock.advance(60 * 86400)
    with pytest.raises(asyncpg.InterfaceError):
        await watch.look()
    assert watch.standing is known
    assert known.state(clock.now()) is State.EXPIRED


async def test_it_stops_when_told(pool: Pool, signers: Council) -> None:
    watch, _ = a_watch(pool, signers, interval=3600)
    stop = asyncio.Event()
    running = asyncio.create_task(watch.run(stop))
    stop.set()
    async with asyncio.timeout(5):
        await running


class Failures(logging.Handler):
    """Counts how often looking has failed."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._failed = asyncio.Semaphore(0)

    def emit(self, record: logging.LogRecord) -> None:
        if "why it cannot" in record.getMessage():
            self._failed.release()

    async def times(self, count: int) -> None:
        """Wait until it has failed so often again."""
        for _ in range(count):
            await self._failed.acquire()


@contextlib.contextmanager
def told_of_failures() -> Iterator[Failures]:
    handler, logger = Failures(), logging.getLogger("feeds.canary_watch")
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


async def test_what_was_seen_and_is_gone_leaves_nothing_to_believe(
    pool: Pool, signers: Council, caplog: pytest.LogCaptureFixture
) -> None:
    watch, clock = a_watch(pool, signers)
    first = signers.first()
    async with pool.acquire() as connection:
        await signers.publish(connection, first)
        await signers.publish(connection, signers.successor(first, FIRST + timedelta(hours=2)))
        await watch.load()
        assert watch.standing.state(clock.now()) is State.CURRENT
        await remove(connection, 2)
    for _ in range(2):
        await watch.look()
        assert watch.standing.published is not None
        assert watch.standing.published.number == 2
        assert [fault.reason for fault in watch.standing.faults] == [Reason.ROLLED_BACK]
        assert watch.standing.state(clock.now()) is State.INVALID
    assert "canary 2 was there, and is gone" in caplog.text
    async with pool.acquire() as connection:
        await remove(connection, 1)
    await watch.look()
    assert watch.standing.state(clock.now()) is State.INVALID


async def test_a_retirement_that_was_seen_stays_for_good(pool: Pool, signers: Council) -> None:
    watch, clock = a_watch(pool, signers)
    async with pool.acquire() as connection:
        await signers.publish(connection, signers.first())
        await signers.publish(connection, signers.retirement())
        await watch.load()
        await remove(connection, 2)
    await watch.look()
    assert watch.standing.state(clock.now()) is State.REVOKED


async def test_the_database_itself_keeps_what_was_published(pool: Pool, signers: Council) -> None:
    async with pool.acquire() as connection:
        await signers.publish(connection, signers.first())
        for statement in ("DELETE FROM documents", "TRUNCATE documents CASCADE", "UPDATE documents SET content = ''"):
            with pytest.raises(asyncpg.RestrictViolationError, match="what was published is not changed"):
                await connection.execute(statement)


async def test_what_cannot_be_judged_for_an_hour_is_not_believed_until_it_can(
    pool: Pool, signers: Council, tmp_path: Path
) -> None:
    folder = tmp_path / "keys"
    shutil.copytree(signers.folder, folder)
    clock = FakeClock(TOMORROW)
    watch = CanaryWatch(pool, signers.pins(folder=folder), clock, interval=0.001, judged_for=1)
    async with pool.acquire() as connection:
        await signers.publish(connection, signers.first())
    await watch.load()
    away = folder.rename(tmp_path / "away")
    stop = asyncio.Event()
    running = asyncio.create_task(watch.run(stop))
    clock.advance(UNJUDGED_FOR - 1)
    await until(lambda: holds(watch._is_away), "it cannot be looked at")
    assert watch.standing.state(clock.now()) is State.CURRENT
    clock.advance(1)
    await until(lambda: holds(watch.standing.state(clock.now()) is State.INVALID), "an hour is over")
    assert [fault.reason for fault in watch.standing.faults] == [Reason.NOT_JUDGED]
    away.rename(folder)
    await until(lambda: holds(watch.standing.state(clock.now()) is State.CURRENT), "the keys are back")
    stop.set()
    await running


async def test_a_file_that_is_nobodys_key_keeps_nothing_from_being_judged(
    pool: Pool, signers: Council, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "keys"
    shutil.copytree(signers.folder, folder)
    (folder / "half.asc").write_bytes(b"half a fi")
    os.mkfifo(folder / "pipe.asc")
    watch = CanaryWatch(pool, signers.pins(folder=folder), FakeClock(TOMORROW))
    async with pool.acquire() as connection:
        await signers.publish(connection, signers.first())
    await watch.load()
    assert watch.standing.state(TOMORROW) is State.CURRENT
    assert f"{folder}/half.asc" in caplog.text
    assert f"{folder}/pipe.asc: is not a file" in caplog.text


async def holds(condition: bool) -> bool:  # noqa: FBT001 - what `until` asks
    return condition


async def remove(connection: Any, number: int) -> None:
    """Remove a canary as only the owner of the tables can."""
    for table in ("document_signatures", "documents"):
        await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await connection.execute(f"DELETE FROM {table} WHERE number = $1", number)  # noqa: S608 - two names from above
        await connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
