"""Reminders are sent once, whichever processes see the day and however often they are started."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import pytest

from feeds import documents
from feeds.canary_reminders import remind
from feeds.canary_standing import Standing
from feeds.documents import Feed
from signer.canary_check import Fault, Reason
from tests.support import canaries
from tests.support.published_canaries import Watching, believed
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.database import Pool
    from signer.statement import Document

moment = datetime.fromisoformat
#: Of a leap year.
FIRST = canaries.first(moment("2028-02-01T12:00:00Z"))
DATES = {"sequence": 1, "next_due": "2028-03-01T00:00:00Z", "expires_at": "2028-03-08T00:00:00Z"}
DUE_7 = ("canary.due", None, DATES | {"days_left": 7})
DUE_1 = ("canary.due", None, DATES | {"days_left": 1})
OVERDUE = ("canary.overdue", None, DATES)


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4) as made:
        await store(made, FIRST, 1)
        yield made


async def store(pool: Pool, document: Document, number: int) -> None:
    async with pool.acquire() as connection:
        await documents.save(
            connection, Feed.CANARY, number, document.content, signatures=(), published_at=document.statement.issued_at
        )


async def announced(pool: Pool) -> list[tuple[str, str | None, dict[str, Any]]]:
    rows = await pool.fetch("SELECT type, account_id, data FROM announcements ORDER BY id")
    return [(row[0], row[1], orjson.loads(row[2])) for row in rows]


async def test_each_is_sent_once_in_its_time(pool: Pool) -> None:
    clock, watch = FakeClock(moment("2028-02-01T12:00:00Z")), Watching(believed(FIRST))
    said: list[list[Any]] = []
    for text in ("2028-02-22T23:59:59Z", "2028-02-23T00:00:00Z", "2028-02-28T23:59:59Z", "2028-02-29T00:00:00Z",
                 "2028-02-29T23:59:59Z", "2028-03-01T00:00:00Z", "2028-03-09T00:00:00Z"):  # fmt: skip
        clock.advance((moment(text) - clock.now()).total_seconds())
        for _ in range(2):
            await remind(pool, watch, clock)
        said.append(await announced(pool))
    assert said == [
        [], [DUE_7], [DUE_7], [DUE_7, DUE_1], [DUE_7, DUE_1], [DUE_7, DUE_1, OVERDUE], [DUE_7, DUE_1, OVERDUE],
    ]  # fmt: skip


async def test_two_processes_at_once_send_one(pool: Pool, dsn: str) -> None:
    clock = FakeClock(moment("2028-02-29T00:00:00Z"))
    async with asyncpg.create_pool(dsn, min_size=4, max_size=4) as other:
        await asyncio.gather(*(remind(each, Watching(believed(FIRST)), clock) for each in (pool, other) * 8))
    assert await announced(pool) == [DUE_1]


async def test_who_starts_again_does_not_send_again(dsn: str) -> None:
    clock = FakeClock(moment("2028-02-23T00:00:00Z"))
    for number in range(3):
        async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
            if not number:
                await store(pool, FIRST, 1)
            await remind(pool, Watching(believed(FIRST)), clock)
            assert await announced(pool) == [DUE_7]


async def test_after_a_time_without_anybody_only_the_most_pressing_is_sent(pool: Pool) -> None:
    clock, watch = FakeClock(moment("2028-03-20T00:00:00Z")), Watching(believed(FIRST))
    await remind(pool, watch, clock)
    clock.advance(60)
    await remind(pool, watch, clock)
    assert await announced(pool) == [OVERDUE]


async def test_a_clock_that_was_ahead_keeps_no_true_moment_from_being_told(pool: Pool) -> None:
    clock, watch = FakeClock(moment("2028-03-20T00:00:00Z")), Watching(believed(FIRST))
    await remind(pool, watch, clock)
    clock.advance(-24 * 86400)
    for _ in range(2):
        await remind(pool, watch, clock)
    clock.advance(5 * 86400)
    for _ in range(2):
        await remind(pool, watch, clock)
    assert [kind for kind, *_ in await announced(pool)] == ["canary.overdue", "canary.due", "canary.overdue"]


async def test_the_next_canary_has_reminders_of_its_own(pool: Pool) -> None:
    clock, watch = FakeClock(moment("2028-02-29T00:00:00Z")), Watching(believed(FIRST))
    await remind(pool, watch, clock)
    second = canaries.successor(FIRST, moment("2028-02-29T10:00:00Z"))
    await store(pool, second, 2)
    watch.standing = believed(second)
    clock.advance(86400)
    await remind(pool, watch, clock)
    assert await announced(pool) == [DUE_1]
    clock.advance(24 * 86400)
    await remind(pool, watch, clock)
    assert [(kind, data["sequence"], data["next_due"]) for kind, _, data in await announced(pool)] == [
        ("canary.due", 1, "2028-03-01T00:00:00Z"),
        ("canary.due", 2, "2028-04-01T00:00:00Z"),
    ]


async def test_what_is_not_the_newest_any_more_reminds_of_nothing(pool: Pool) -> None:
    clock = FakeClock(moment("2028-03-01T00:00:00Z"))
    await store(pool, canaries.successor(FIRST, moment("2028-02-29T10:00:00Z")), 2)
    await remind(pool, Watching(believed(FIRST)), clock)
    assert await announced(pool) == []
    assert await pool.fetchval("SELECT count(*) FROM canary_reminders") == 0


NOTHING = [
    Standing(),
    Standing(believed(FIRST).published),
    believed(FIRST, faults=(Fault(Reason.BROKEN_CHAIN, ""),)),
    believed(FIRST, faults=(Fault(Reason.REVOKED_KEY, ""),)),
    believed(canaries.retirement(moment("2028-02-20T00:00:00Z")), number=1),
]


@pytest.mark.parametrize("standing", NOTHING)
async def test_what_is_missing_not_believed_or_over_reminds_of_nothing(pool: Pool, standing: Standing) -> None:
    await remind(pool, Watching(standing), FakeClock(moment("2028-03-01T00:00:00Z") + timedelta(days=1)))
    assert await announced(pool) == []


async def test_a_reminder_that_cannot_be_announced_is_not_marked_as_sent(pool: Pool) -> None:
    clock, watch = FakeClock(moment("2028-03-01T00:00:00Z")), Watching(believed(FIRST))
    await pool.execute("ALTER TABLE announcements RENAME TO away")
    with pytest.raises(asyncpg.UndefinedTableError):
        await remind(pool, watch, clock)
    await pool.execute("ALTER TABLE away RENAME TO announcements")
    await remind(pool, watch, clock)
    assert await announced(pool) == [OVERDUE]
