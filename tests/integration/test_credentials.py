"""Credentials in the database: which record counts, which reading, what is kept in mind and for how long."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers import credentials
from consumers.credential_records import Credential
from consumers.credentials import KNOWN_FOR, Credentials, Reading, SupersededError
from consumers.reader import Bookmark
from tests.support.api import a_record
from tests.support.credentials import TOPIC, Watched, found, publish, put, written
from tests.support.fake_broker import FIRST_TIMESTAMP
from tests.support.process import until
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.database import Pool

CLOCK = FakeClock()
OLD, NEW = a_record("acct_old"), a_record("acct_new")


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=8) as opened:
        yield opened


async def account_of(pool: Pool, credential_id: str = "k1") -> str | None:
    """Return whose a credential is, `revoked`, or None where it is unknown."""
    known = await found(pool, CLOCK, credential_id)
    return None if known is None else "revoked" if known.is_revoked else known.account


# --- which record counts ---------------------------------------------------------------------------------------------


async def test_what_a_record_says_comes_back_as_it_was(pool: Pool) -> None:
    value = a_record(
        cidrs=["192.0.2.0/24", "2001:db8::/32"], expires_at="2026-12-01T00:00:00Z", tier="developer", audit=True,
        scopes=["read-only", "billing-read"], client_cert_sha256=["ab" * 32],
    )  # fmt: skip
    _, expected = written("k1", value, 0)
    await publish(pool, k1=value, gone=None, s1=a_record(kind="session"))
    assert await found(pool, CLOCK, "k1") == expected
    assert await found(pool, CLOCK, "gone") == Credential("gone", is_revoked=True)
    session = await found(pool, CLOCK, "s1")
    assert session is not None
    assert (session.kind, session.secret_sha256) == ("session", None)
    assert await found(pool, CLOCK, "nobody") is None


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"offset": 5}, {"offset": 6}, "acct_new"),
        ({"offset": 5}, {"offset": 5}, "acct_old"),
        ({"offset": 5}, {"offset": 4}, "acct_old"),
        ({"offset": 5, "timestamp": 9}, {"offset": 6, "timestamp": 1}, "acct_new"),
        ({"offset": 5, "timestamp": 9}, {"offset": 6, "partition": 1, "timestamp": 8}, "acct_old"),
        ({"offset": 5, "timestamp": 9}, {"offset": 1, "partition": 1, "timestamp": 9}, "acct_new"),
        ({"offset": 5, "timestamp": 9}, {"offset": 1, "partition": 1, "timestamp": 10}, "acct_new"),
    ],
)
async def test_an_older_record_never_takes_the_place_of_a_newer_one(
    pool: Pool, first: dict[str, int], second: dict[str, int], expected: str
) -> None:
    await publish(pool, other=a_record())
    async with pool.acquire() as connection:
        reading = (await credentials.take_up(connection, TOPIC)).number
        await put(connection, reading, written("k1", OLD, **first))
        await put(connection, reading, written("k1", NEW, **second))
    assert await account_of(pool) == expected


async def test_a_bookmark_never_goes_back(pool: Pool) -> None:
    await publish(pool, other=a_record())
    async with pool.acquire() as connection:
        reading = (await credentials.take_up(connection, TOPIC)).number
        for offset in (5, 3):
            await put(connection, reading, written("k1", OLD, offset))
        expected = {0: Bookmark(6, FIRST_TIMESTAMP + 5)}
        assert (await credentials.take_up(connection, TOPIC)).bookmarks == expected


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_several_processes_write_the_same_whatever_each_has_read(dsn: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.sampled_from([OLD, NEW, None]), min_size=1, max_size=6))
    names = data.draw(st.lists(st.sampled_from(["k1", "k2"]), min_size=len(values), max_size=len(values)))
    records = [written(name, value, offset) for offset, (name, value) in enumerate(zip(names, values, strict=True))]
    starts = data.draw(st.lists(st.integers(0, len(records) - 1), min_size=1, max_size=4))

    async def check() -> None:
        async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
            await pool.execute("TRUNCATE credential_readings CASCADE")
            async with pool.acquire() as connection:
                reading = (await credentials.take_up(connection, TOPIC)).number
                for start in [0, *starts]:
                    await put(connection, reading, *records[start:])
                await credentials.make_current(connection, reading)
                assert (await credentials.take_up(connection, TOPIC)).bookmarks == {
                    0: Bookmark(len(records), records[-1][0].timestamp)
                }
            last = dict(zip(names, values, strict=True))
            for name, value in last.items():
                expected = {OLD: "acct_old", NEW: "acct_new", None: "revoked"}[value]
                assert await account_of(pool, name) == expected

    asyncio.run(check())


async def test_of_what_is_revoked_nothing_is_kept_but_its_id(pool: Pool) -> None:
    await publish(pool, k1=a_record(cidrs=["192.0.2.0/24"], tier="developer", expires_at="2026-12-01T00:00:00Z"))
    await publish(pool, k1=None)
    row = await pool.fetchrow("SELECT * FROM credentials")
    assert row is not None
    kept = {name for name, value in row.items() if value is not None}
    assert kept == {"reading", "id", "partition", "offset", "timestamp", "revoked_at"}


async def test_what_was_revoked_may_be_granted_again(pool: Pool) -> None:
    await publish(pool, k1=None)
    await publish(pool, k1=NEW)
    assert await account_of(pool) == "acct_new"


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ("kind, account_id, scopes, cidrs, certificates, is_audited", "'api_key', 'a', '{}', '{}', '{}', false"),
        ("kind, account_id, scopes, cidrs, certificates, is_audited", "'cookie', 'a', '{}', '{}', '{}', false"),
        ("kind, account_id, scopes, cidrs, is_audited", "'session', 'a', '{}', '{}', false"),
        ("account_id", "'a'"),
        ("account_id, revoked_at", "'a', now()"),
        ("tier, revoked_at", "'a', now()"),
    ],
)
async def test_the_schema_takes_no_half_of_a_credential(pool: Pool, columns: str, values: str) -> None:
    await publish(pool, k1=OLD)
    statement = (
        f'INSERT INTO credentials (reading, id, partition, "offset", timestamp, {columns}) '  # noqa: S608 - ours
        f"SELECT number, 'k2', 0, 0, 0, {values} FROM credential_readings"
    )
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute(statement)


# --- which reading counts --------------------------------------------------------------------------------------------


async def test_a_reading_is_looked_up_only_when_it_is_at_the_end(pool: Pool) -> None:
    async with pool.acquire() as connection:
        reading = await credentials.take_up(connection, TOPIC)
        assert reading == Reading(reading.number, is_current=False, bookmarks={})
        await put(connection, reading.number, written("k1", OLD, 3))
        assert not await credentials.is_fresh(connection, TOPIC)
        assert await account_of(pool) is None
        again = await credentials.take_up(connection, TOPIC)
        assert again == reading._replace(bookmarks={0: Bookmark(4, FIRST_TIMESTAMP + 3)})
        assert await credentials.make_current(connection, reading.number)
        assert await credentials.make_current(connection, reading.number)
        assert await credentials.is_fresh(connection, TOPIC)
        assert not await credentials.is_fresh(connection, "another")
    assert await account_of(pool) == "acct_old"


async def test_a_new_reading_takes_over_whole_and_forgets_no_revocation(pool: Pool) -> None:
    await publish(pool, kept=OLD, left_out=OLD, revoked=None, granted_again=None, revoked_later=OLD)
    async with pool.acquire() as connection:
        old = await credentials.take_up(connection, TOPIC)
        new = await credentials.take_up(connection, TOPIC, instead_of=old.number)
        assert new == Reading(old.number + 1, is_current=False, bookmarks={})
        found = [("kept", NEW), ("granted_again", NEW), ("revoked_later", None)]
        await put(connection, new.number, *(written(name, value, offset) for offset, (name, value) in enumerate(found)))
        assert await account_of(pool, "kept") == "acct_old"
        assert await account_of(pool, "left_out") == "acct_old"
        assert await credentials.make_current(connection, new.number)
    names = ("kept", "left_out", "revoked", "granted_again", "revoked_later")
    expected = ["acct_new", None, "revoked", "acct_new", "revoked"]
    assert [await account_of(pool, name) for name in names] == expected
    assert await pool.fetchval("SELECT count(*) FROM credential_readings") == 1
    assert await pool.fetchval("SELECT count(*) FROM credential_offsets") == 1
    await publish(pool, revoked=NEW)
    assert await account_of(pool, "revoked") == "acct_new"


async def test_a_topic_that_says_nothing_takes_nothing_away(pool: Pool) -> None:
    await publish(pool, k1=OLD)
    async with pool.acquire() as connection:
        new = (await credentials.take_up(connection, TOPIC, instead_of=10)).number
        assert not await credentials.make_current(connection, new)
        assert await account_of(pool) == "acct_old"
        await put(connection, new, written("k2", NEW, 0))
        assert await credentials.make_current(connection, new)
    assert await account_of(pool) is None


async def test_the_first_reading_may_find_nothing(pool: Pool) -> None:
    async with pool.acquire() as connection:
        reading = (await credentials.take_up(connection, TOPIC)).number
        assert await credentials.make_current(connection, reading)


async def test_two_processes_that_begin_anew_share_one_reading(pool: Pool) -> None:
    await publish(pool, k1=OLD)
    first = int(await pool.fetchval("SELECT number FROM credential_readings"))

    async def begin() -> int:
        async with pool.acquire() as connection:
            return (await credentials.take_up(connection, TOPIC, instead_of=first)).number

    async def is_waiting() -> bool:
        return bool(await pool.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))

    async with pool.acquire() as connection, connection.transaction():
        one = (await credentials.take_up(connection, TOPIC, instead_of=first)).number
        other = asyncio.create_task(begin())
        await until(is_waiting, "the other one waits for what this one decides")
    assert one == await other == first + 1


async def test_a_reading_nobody_followed_for_long_is_not_gone_on_with(pool: Pool) -> None:
    """Tombstones may have been compacted away meanwhile: what is not in the topic any more is not granted any more."""
    await publish(pool, k1=OLD)
    async with pool.acquire() as connection:
        number = (await credentials.take_up(connection, TOPIC, longest_absence=60)).number
        await connection.execute("UPDATE credential_readings SET at_end_at = now() - interval '61 s'")
        assert (await credentials.take_up(connection, TOPIC, longest_absence=62)).number == number
        await credentials.touch(connection, number)
        assert (await credentials.take_up(connection, TOPIC, longest_absence=60)).number == number
        await connection.execute("UPDATE credential_readings SET at_end_at = now() - interval '61 s'")
        assert (await credentials.take_up(connection, TOPIC, longest_absence=60)).number == number + 1


async def test_another_topic_is_read_from_its_beginning(pool: Pool) -> None:
    await publish(pool, k1=OLD)
    async with pool.acquire() as connection:
        assert (await credentials.take_up(connection, "another")).bookmarks == {}


async def test_who_writes_into_a_reading_that_is_gone_is_told(pool: Pool) -> None:
    await publish(pool, k1=OLD)
    async with pool.acquire() as connection:
        old = (await credentials.take_up(connection, TOPIC)).number
        new = (await credentials.take_up(connection, TOPIC, instead_of=old)).number
        await put(connection, new, written("k1", NEW, 0))
        await credentials.make_current(connection, new)
        for work in (
            put(connection, old, written("k1", OLD, 99)),
            credentials.touch(connection, old),
            credentials.make_current(connection, old),
        ):
            with pytest.raises(SupersededError):
                await work
    assert await account_of(pool) == "acct_new"


async def test_what_ended_long_ago_is_forgotten(pool: Pool) -> None:
    past, future = (datetime.now(UTC) + timedelta(seconds=seconds) for seconds in (-100, 100))
    expired, valid = (a_record(expires_at=moment.isoformat()) for moment in (past, future))
    await publish(pool, k1=OLD, expired=expired, valid=valid, revoked=None)
    async with pool.acquire() as connection:
        assert await credentials.forget(connection, after=101) == 0
        assert await credentials.forget(connection, after=99) == 1
        await connection.execute("UPDATE credentials SET revoked_at = revoked_at - interval '100 s' WHERE id='revoked'")
        assert await credentials.forget(connection, after=99) == 1
    rows = await pool.fetch("SELECT id FROM credentials ORDER BY id")
    assert [row["id"] for row in rows] == ["k1", "valid"]


async def test_a_revocation_read_again_is_as_old_as_it_was(pool: Pool) -> None:
    """Or one that is repeated would never be forgotten."""
    await publish(pool, k1=None)
    first = await pool.fetchval("SELECT revoked_at FROM credentials")
    await publish(pool, k1=None)
    assert await pool.fetchval("SELECT revoked_at FROM credentials") == first


# --- what is kept in mind --------------------------------------------------------------------------------------------


async def test_a_credential_is_asked_for_once_and_so_is_one_that_is_not_there(pool: Pool) -> None:
    await publish(pool, k1=OLD)
    watched = Watched(pool)
    known = Credentials(watched.acquire, CLOCK)
    for _ in range(3):
        assert (await known.get("k1") or Credential("")).account == "acct_old"
        assert await known.get("nobody") is None
    assert watched.asked == 2


async def test_without_a_follower_nothing_is_kept(pool: Pool) -> None:
    await publish(pool, k1=OLD)
    watched = Watched(pool)
    known = Credentials(watched.acquire, CLOCK, keeps=False)
    for _ in range(3):
        await known.get("k1")
        await known.get("nobody")
    assert watched.asked == 6


@pytest.mark.parametrize("ids", [{"k1", "k2"}, None])
async def test_a_change_is_seen_at_once(pool: Pool, ids: set[str] | None) -> None:
    await publish(pool, k1=OLD)
    known = Credentials(pool.acquire, CLOCK)
    assert [await known.get("k1"), await known.get("k2")] != [None, None]
    await publish(pool, k1=None, k2=NEW)
    known.changed(ids)
    assert await known.get("k1") == Credential("k1", is_revoked=True)
    assert (await known.get("k2") or Credential("")).account == "acct_new"


async def test_a_change_of_one_leaves_the_others_in_mind(pool: Pool) -> None:
    await publish(pool, k1=OLD, k2=OLD)
    watched = Watched(pool)
    known = Credentials(watched.acquire, CLOCK)
    for name in ("k1", "k2", "k1", "k2"):
        await known.get(name)
        known.changed({"k1"})
    assert watched.asked == 3


async def test_nothing_is_kept_for_ever(pool: Pool) -> None:
    await publish(pool, k1=OLD)
    clock = FakeClock()
    known = Credentials(pool.acquire, clock)
    await known.get("k1")
    await known.get("k2")
    await publish(pool, k1=None, k2=NEW)
    clock.advance(KNOWN_FOR - 1)
    assert [(await known.get("k1") or Credential("")).account, await known.get("k2")] == ["acct_old", None]
    clock.advance(1)
    assert await known.get("k1") == Credential("k1", is_revoked=True)
    assert await known.get("k2") is not None


async def test_many_at_once_make_one_question(pool: Pool) -> None:
    await publish(pool, k1=OLD)
    watched = Watched(pool)
    known = Credentials(watched.acquire, CLOCK)
    answers = await asyncio.gather(*(known.get("k1") for _ in range(50)))
    assert {answer and answer.account for answer in answers} == {"acct_old"}
    assert watched.asked == 1


async def test_one_that_leaves_does_not_take_the_answer_with_it(pool: Pool) -> None:
    await publish(pool, k1=OLD)
    watched = Watched(pool)
    watched.gate.clear()
    known = Credentials(watched.acquire, CLOCK)
    leaving, staying = asyncio.create_task(known.get("k1")), asyncio.create_task(known.get("k1"))
    await watched.has_read.wait()
    leaving.cancel()
    watched.gate.set()
    answer = await staying
    assert leaving.cancelled()
    assert answer is not None
    assert watched.asked == 1


async def test_what_was_read_before_a_change_is_not_kept_after_it(pool: Pool) -> None:
    """The row is read, the change is committed and told, and only then does the look-up come to its end."""
    await publish(pool, k1=OLD)
    for ids in ({"k1"}, None):
        watched = Watched(pool)
        watched.gate.clear()
        known = Credentials(watched.acquire, CLOCK)
        before = asyncio.create_task(known.get("k1"))
        await watched.has_read.wait()
        await publish(pool, k1=NEW)
        known.changed(ids)
        shut, watched.gate = watched.gate, asyncio.Event()
        watched.gate.set()
        assert (await known.get("k1") or Credential("")).account == "acct_new"
        shut.set()
        await before
        assert (await known.get("k1") or Credential("")).account == "acct_new"
        assert watched.asked == 2
        await publish(pool, k1=OLD)


async def test_ids_that_nobody_has_evict_no_credential(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "MOST_KNOWN", 3)
    monkeypatch.setattr(credentials, "MOST_UNKNOWN", 5)
    await publish(pool, k1=OLD, k2=OLD, k3=OLD, k4=OLD)
    watched = Watched(pool)
    known = Credentials(watched.acquire, CLOCK)
    for name in ("k1", "k2", "k3", *(f"nobody-{number}" for number in range(20))):
        await known.get(name)
    asked = watched.asked
    for name in ("k2", "k3", "k1", "nobody-19", "nobody-15"):
        await known.get(name)
    assert watched.asked == asked
    await known.get("nobody-14")
    assert watched.asked == asked + 1
    await known.get("k4")  # k2 was used the longest ago
    asked = watched.asked
    for name in ("k3", "k1", "k4"):
        await known.get(name)
    assert watched.asked == asked
    await known.get("k2")
    assert watched.asked == asked + 1


async def test_a_database_that_is_away_is_an_error_for_all_who_ask_and_not_remembered(pool: Pool) -> None:
    await publish(pool, k1=OLD)
    await pool.execute("ALTER TABLE credentials RENAME TO elsewhere")
    known = Credentials(pool.acquire, CLOCK)
    answers = await asyncio.gather(*(known.get("k1") for _ in range(3)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {asyncpg.UndefinedTableError}
    await pool.execute("ALTER TABLE elsewhere RENAME TO credentials")
    assert await known.get("k1") is not None
