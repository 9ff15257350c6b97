"""Everything an endpoint was not delivered is put back, each once, whatever crashes, runs beside it or follows."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from publisher import recovery
from publisher.deliveries import MOST_ATTEMPTS
from publisher.endpoints import NoSuchEndpointError
from publisher.queue import PostgresQueue
from publisher.recovery import EndpointInactiveError, InvalidRecoveryError, Recoverer, RecoveryRunningError, State
from runtime.database import TRANSIENT
from tests.support.histories import HOUR_AGO, NOW, Histories, histories

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from publisher.recovery import Recovery

SINCE = NOW - timedelta(days=30)
FULL = "INSERT INTO full_accounts (account_id, queued) VALUES ('acct_1', 100)"
#: A backend that dies in the statement that moves the cursor: the batch is put back, nothing is committed.
KILL = """
CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
CREATE TRIGGER die BEFORE UPDATE ON recoveries FOR EACH ROW EXECUTE FUNCTION die()
"""


@pytest.fixture
async def past(dsn: str) -> AsyncIterator[Histories]:
    async with histories(dsn) as made:
        yield made


async def start(past: Histories, endpoint_id: str, *, account: str = "acct_1", **asked: Any) -> str:
    async with past.pool.acquire() as connection:
        return await recovery.start(connection, past.ids, account, endpoint_id, **{"since": SINCE, **asked})


async def read(past: Histories, endpoint_id: str, recovery_id: str) -> Recovery:
    async with past.pool.acquire() as connection:
        found = await recovery.read(connection, "acct_1", endpoint_id, recovery_id)
    assert found is not None
    return found


async def some(past: Histories, endpoint_id: str, count: int, state: str = "dropped") -> list[str]:
    return [
        await past.add(endpoint_id, state, at=HOUR_AGO - timedelta(hours=count - number)) for number in range(count)
    ]


async def taken(past: Histories) -> None:
    """Have everything that is due claimed, so that there is room for more."""
    await PostgresQueue(past.pool, past.directory, lease_seconds=30).claim(1000, 7)


# --- what is put back -------------------------------------------------------------------------------------------------


async def test_all_that_was_dropped_or_cancelled_is_put_back_and_counted(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    dropped = await some(past, endpoint_id, 3)
    cancelled = await some(past, endpoint_id, 2, "cancelled")
    delivered = await some(past, endpoint_id, 2, "delivered")
    expired = await past.add(endpoint_id, has_payload=False)
    others = await past.add(await past.endpoint())
    recovery_id = await start(past, endpoint_id)
    assert (await read(past, endpoint_id, recovery_id)).state is State.RUNNING
    await Recoverer(past.pool).work()
    assert await past.queued() == sorted(dropped + cancelled)
    done = await read(past, endpoint_id, recovery_id)
    assert (done.state, done.queued, done.expired) == (State.DONE, 5, 1)
    assert done.ended_at is not None
    assert {await past.state(each) for each in delivered} == {"delivered"}
    assert [await past.state(each) for each in (expired, others)] == ["dropped", "dropped"]


async def test_what_was_attempted_too_often_stays_and_is_counted_with_the_expired(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    last = await past.add(endpoint_id, attempts=MOST_ATTEMPTS - 1)
    await past.add(endpoint_id, attempts=MOST_ATTEMPTS)
    recovery_id = await start(past, endpoint_id)
    await Recoverer(past.pool).work()
    assert await past.queued() == [last]
    done = await read(past, endpoint_id, recovery_id)
    assert (done.state, done.queued, done.expired) == (State.DONE, 1, 1)


@pytest.mark.parametrize(("states", "expected"), [(["dropped"], [0, 2]), (["cancelled"], [1, 3])])
async def test_only_the_states_that_were_asked_for(past: Histories, states: list[str], expected: list[int]) -> None:
    endpoint_id = await past.endpoint()
    made = [await past.add(endpoint_id, state) for state in ("dropped", "cancelled") * 2]
    recovery_id = await start(past, endpoint_id, states=states)
    await Recoverer(past.pool, batch=3).work()
    assert await past.queued() == [made[number] for number in expected]
    done = await read(past, endpoint_id, recovery_id)
    assert (done.state, done.queued, done.expired, done.states) == (State.DONE, 2, 0, states)


async def test_both_ends_of_the_time_are_in_it(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    millisecond = timedelta(milliseconds=1)
    ends = (HOUR_AGO, HOUR_AGO + timedelta(minutes=10))
    made = [
        await past.add(endpoint_id, at=at)
        for at in (ends[0] - millisecond, ends[0], ends[0] + millisecond, ends[1], ends[1] + millisecond)
    ]
    await start(past, endpoint_id, since=ends[0], until=ends[1])
    await Recoverer(past.pool).work()
    assert await past.queued() == made[1:4]


async def test_it_goes_over_days_in_batches(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    made = await some(past, endpoint_id, 60)
    recovery_id = await start(past, endpoint_id)
    recoverer = Recoverer(past.pool, batch=7, batches=2)
    rounds = 0
    while (await read(past, endpoint_id, recovery_id)).state is State.RUNNING:
        await recoverer.work()
        await taken(past)
        rounds += 1
    assert await past.queued() == made
    assert rounds >= 60 // 14
    assert (await read(past, endpoint_id, recovery_id)).queued == 60


# --- once each --------------------------------------------------------------------------------------------------------


async def test_a_batch_whose_connection_dies_is_not_begun(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    made = await some(past, endpoint_id, 5)
    recovery_id = await start(past, endpoint_id)
    await Recoverer(past.pool, batch=2, batches=1).work()
    await taken(past)
    await past.execute(KILL)
    with pytest.raises(TRANSIENT):
        await Recoverer(past.pool, batch=2).work()
    assert await past.queued() == made[:2]
    assert (await read(past, endpoint_id, recovery_id)).queued == 2
    await past.execute("DROP TRIGGER die ON recoveries")
    await Recoverer(past.pool, batch=10).work()
    assert await past.queued() == made
    assert (await read(past, endpoint_id, recovery_id)).queued == 5


async def test_two_recoverers_share_the_work_and_do_none_of_it_twice(past: Histories) -> None:
    endpoint_ids = [await past.endpoint() for _ in range(4)]
    for endpoint_id in endpoint_ids:
        await some(past, endpoint_id, 12)
    started = [(endpoint_id, await start(past, endpoint_id)) for endpoint_id in endpoint_ids]
    recoverers = [Recoverer(past.pool, batch=3, batches=5) for _ in range(3)]
    for _ in range(40):
        await asyncio.gather(*(recoverer.work() for recoverer in recoverers))
        await taken(past)
    done = [await read(past, *each) for each in started]
    assert [(each.state, each.queued) for each in done] == [(State.DONE, 12)] * 4
    assert len(await past.queued()) == 48


async def test_a_recovery_another_process_is_at_is_passed_over(past: Histories) -> None:
    first, second = await past.endpoint(), await past.endpoint()
    await some(past, first, 2)
    expected = await some(past, second, 2)
    held, _ = await start(past, first), await start(past, second)
    async with past.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM recoveries WHERE id = $1 FOR UPDATE", held)
        async with asyncio.timeout(10):
            await Recoverer(past.pool).work()
        assert await past.queued() == expected


async def test_what_is_dropped_again_is_not_taken_up_again(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    made = await some(past, endpoint_id, 4)
    recovery_id = await start(past, endpoint_id)
    recoverer = Recoverer(past.pool, batch=2, batches=1)
    await recoverer.work()
    assert await past.end() == made[:2]
    for _ in range(3):
        await recoverer.work()
    assert await past.queued() == made[2:]
    assert (await read(past, endpoint_id, recovery_id)).queued == 4


async def test_a_delivery_somebody_redelivers_meanwhile_is_queued_once(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    made = await some(past, endpoint_id, 3)
    recovery_id = await start(past, endpoint_id)
    async with past.pool.acquire() as connection, connection.transaction():
        await connection.execute("DELETE FROM deliveries WHERE id = $1", made[1])
        await connection.execute(
            """INSERT INTO queue (account_id, id, endpoint_id, message_id, type, state, due_at)
               VALUES ('acct_1', $1, $2, 'msg', 'server.power.on', 'pending', now())""",
            made[1], endpoint_id,
        )  # fmt: skip
        working = asyncio.create_task(Recoverer(past.pool).work())
        async with asyncio.timeout(10):
            while not await past.pool.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                assert not working.done()
    await working
    assert await past.queued() == made
    done = await read(past, endpoint_id, recovery_id)
    assert (done.queued, done.expired) == (2, 0)


async def test_an_endpoint_has_one_running_recovery(past: Histories) -> None:
    endpoint_id, other = await past.endpoint(), await past.endpoint()
    results = await asyncio.gather(*(start(past, endpoint_id) for _ in range(5)), return_exceptions=True)
    [running] = [each for each in results if isinstance(each, str)]
    refused = [each.recovery_id for each in results if isinstance(each, RecoveryRunningError)]
    assert refused == [running] * 4
    await start(past, other)
    await Recoverer(past.pool).work()
    assert await start(past, endpoint_id) != running


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_each_is_put_back_once(past: Histories, seed: int) -> None:
    """Random histories: batches of several recoverers, drops, deaths and new recoveries in any order."""
    rng = Random(seed)
    endpoint_id = await past.endpoint()
    states = ("dropped", "cancelled", "delivered")
    made = {
        await past.add(endpoint_id, state, at=HOUR_AGO - timedelta(minutes=rng.randrange(4000)), has_payload=payload): (
            state != "delivered" and payload
        )
        for state, payload in ((rng.choice(states), rng.random() < 0.8) for _ in range(rng.randrange(1, 40)))
    }
    await past.execute("CREATE TABLE entered (id text)")
    await past.execute("""
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO entered VALUES (NEW.id); RETURN NEW; END $$;
        CREATE TRIGGER note AFTER INSERT ON queue FOR EACH ROW EXECUTE FUNCTION note()
    """)
    recovery_id = await start(past, endpoint_id)
    while (await read(past, endpoint_id, recovery_id)).state is State.RUNNING:
        step = rng.randrange(4)
        if step == 0:
            await past.end()
        elif step == 1:
            await past.execute(KILL)
            with contextlib.suppress(*TRANSIENT):  # or it waits, and moves nothing
                await Recoverer(past.pool, batch=100).work()
            await past.execute("DROP TRIGGER die ON recoveries")
            await past.execute("DROP FUNCTION die")
        else:
            both = [Recoverer(past.pool, batch=rng.randrange(1, 8), batches=rng.randrange(1, 4)) for _ in range(step)]
            await asyncio.gather(*(each.work() for each in both))
    entered = sorted(row[0] for row in await past.pool.fetch("SELECT id FROM entered"))
    assert entered == sorted(each for each, is_wanted in made.items() if is_wanted)
    done = await read(past, endpoint_id, recovery_id)
    assert (done.state, done.queued) == (State.DONE, len(entered))


# --- how much at once -------------------------------------------------------------------------------------------------


async def test_no_more_is_put_back_than_the_endpoint_works_off(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    made = await some(past, endpoint_id, 9)
    await start(past, endpoint_id)
    recoverer = Recoverer(past.pool, batch=4)
    for _ in range(3):
        await recoverer.work()
        assert await past.queued() == made[:4]
    await past.execute("UPDATE queue SET state = 'leased', lease = 1, due_at = now() + interval '1 h'")
    await recoverer.work()
    assert await past.queued() == made[:8]


async def test_a_full_account_waits_and_goes_on(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    made = await some(past, endpoint_id, 2)
    recovery_id = await start(past, endpoint_id)
    await past.execute(FULL)
    await Recoverer(past.pool).work()
    assert await past.queued() == []
    assert (await read(past, endpoint_id, recovery_id)).state is State.RUNNING
    await past.execute("DELETE FROM full_accounts")
    await Recoverer(past.pool).work()
    assert await past.queued() == made


async def test_one_that_waits_does_not_hold_up_the_others(past: Histories) -> None:
    full, free = await past.endpoint("acct_1"), await past.endpoint("acct_2")
    await some(past, full, 2)
    expected = [await past.add(free, account="acct_2") for _ in range(5)]
    await start(past, full)
    await start(past, free, account="acct_2")
    await past.execute(FULL)
    await Recoverer(past.pool, batch=2, batches=3).work()
    assert await past.queued() == expected[:2]


async def test_a_call_ends_and_the_next_goes_on_with_the_others(past: Histories) -> None:
    endpoint_ids = [await past.endpoint() for _ in range(5)]
    for endpoint_id in endpoint_ids:
        await past.add(endpoint_id)
        await start(past, endpoint_id)
    recoverer = Recoverer(past.pool, batches=2)
    counts = []
    for _ in range(3):
        await recoverer.work()
        counts.append(len(await past.queued()))
    assert counts == [2, 4, 5]


async def test_what_must_be_passed_over_takes_no_turns_of_the_clock(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    await some(past, endpoint_id, 9, "cancelled")
    last = await past.add(endpoint_id)
    recovery_id = await start(past, endpoint_id, states=["dropped"])
    await Recoverer(past.pool, batch=2, batches=20).work()
    assert await past.queued() == [last]
    assert (await read(past, endpoint_id, recovery_id)).state is State.DONE


@pytest.mark.parametrize("change", ["UPDATE endpoints SET status = 'paused'", "DELETE FROM endpoints"])
async def test_an_endpoint_that_becomes_inactive_stops_it_for_good(past: Histories, change: str) -> None:
    endpoint_id = await past.endpoint()
    made = await some(past, endpoint_id, 4)
    recovery_id = await start(past, endpoint_id)
    await Recoverer(past.pool, batch=2, batches=1).work()
    await past.execute(change)
    await Recoverer(past.pool).work()
    stopped = await read(past, endpoint_id, recovery_id)
    assert (stopped.state, stopped.queued) == (State.STOPPED, 2)
    await past.execute("UPDATE endpoints SET status = 'active'")
    await Recoverer(past.pool).work()
    assert await past.queued() == made[:2]


# --- asking -----------------------------------------------------------------------------------------------------------


async def test_an_inactive_endpoint_gets_none(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    await past.execute("UPDATE endpoints SET status = 'paused'")
    with pytest.raises(EndpointInactiveError, match=f"endpoint {endpoint_id} is paused: enable it first"):
        await start(past, endpoint_id)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"states": []}, "states: "),
        ({"states": ["delivered"]}, "states: "),
        ({"states": ["dropped", "pending"]}, "states: "),
        ({"since": NOW, "until": NOW - timedelta(seconds=1)}, "since: "),
        ({"since": NOW + timedelta(days=1)}, "since: "),
    ],
)
async def test_what_cannot_be_a_recovery_is_refused(past: Histories, asked: dict[str, Any], words: str) -> None:
    endpoint_id = await past.endpoint()
    with pytest.raises(InvalidRecoveryError, match=words):
        await start(past, endpoint_id, **asked)


async def test_recoveries_are_their_accounts_alone(past: Histories) -> None:
    mine, theirs = await past.endpoint(), await past.endpoint("acct_2")
    first = await start(past, mine)
    await Recoverer(past.pool).work()
    second = await start(past, mine)
    other = await start(past, theirs, account="acct_2")
    async with past.pool.acquire() as connection:
        assert [each.id for each in await recovery.list_of(connection, "acct_1", mine)] == [second, first]
        assert await recovery.list_of(connection, "acct_1", theirs) == []
        assert await recovery.list_of(connection, "acct_1", "we_\x00") == []
        for endpoint_id, recovery_id in ((theirs, other), (mine, other), (theirs, first), (mine, "rcv_\x00")):
            assert await recovery.read(connection, "acct_1", endpoint_id, recovery_id) is None
    for endpoint_id in (theirs, "we_no_such", "we_\x00"):
        with pytest.raises(NoSuchEndpointError):
            await start(past, endpoint_id)


async def test_what_ended_long_ago_is_forgotten(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    old = await start(past, endpoint_id)
    await Recoverer(past.pool).work()
    await past.execute("UPDATE recoveries SET ended_at = ended_at - interval '2 days'")
    fresh = await start(past, endpoint_id)
    await Recoverer(past.pool).work()
    running = await start(past, endpoint_id)
    await past.execute("UPDATE recoveries SET created_at = created_at - interval '2 days' WHERE id = $1", running)
    async with past.pool.acquire() as connection:
        await recovery.forget(connection, after=86_400)
        kept = {each.id for each in await recovery.list_of(connection, "acct_1", endpoint_id)}
    assert kept == {fresh, running}
    assert old not in kept
