"""What follows from failure stands in the transaction that records it: announcements, disabled endpoints."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import pytest

from publisher import deliveries, failures
from publisher import queue as queue_module
from publisher.delivery.outcome import Result
from publisher.endpoints import Directory
from publisher.ids import Ids
from publisher.queue import Enqueued, Finished, PostgresQueue
from publisher.secrets import Vault
from tests.support.egress import LOOPBACK
from tests.support.jobs import KEY, a_job, a_message, an_endpoint
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DAY = 86_400.0
UNIX = 1_793_491_200.0


class Bench:
    """An endpoint, a queue that follows up on failures, and what there is to see."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], directory: Directory, endpoint_id: str) -> None:
        self.pool = pool
        self.endpoint_id = endpoint_id
        self.queue = PostgresQueue(pool, directory, lease_seconds=30, follow=failures.follow)
        self._endpoint = an_endpoint(endpoint_id=endpoint_id)
        self._made = 0

    async def add(self, count: int = 1) -> list[str]:
        made = []
        for _ in range(count):
            self._made += 1
            job = a_job(f"dlv_{self._made}", endpoint=self._endpoint, message=a_message(f"msg_{self._made}"))
            async with self.pool.acquire() as connection, connection.transaction():
                await queue_module.enqueue(connection, [job.message], Enqueued((), (job,)), 30)
            made.append(job.id)
        return made

    async def attempt(self, result: Result, state: str, count: int = 1) -> None:
        """Claim and record so many attempts that ended like this."""
        jobs = await self.queue.claim(count, 7)
        assert len(jobs) == count
        status = int(result) if result.isdigit() else None
        finished = [
            Finished(job.endpoint.account, job.id, 7, state, 0.0, job.attempt, result, status, 5, None, UNIX, None)
            for job in jobs
        ]
        assert await self.queue.record(finished) == {job.id for job in jobs}

    async def endpoint(self, *columns: str) -> tuple[Any, ...]:
        row = await self.pool.fetchrow(
            f"SELECT {', '.join(columns)} FROM endpoints WHERE id = $1",  # noqa: S608 - ours
            self.endpoint_id,
        )
        assert row is not None
        return tuple(row)

    async def said(self) -> list[tuple[str, str, dict[str, Any]]]:
        rows = await self.pool.fetch("SELECT type, account_id, key, data FROM announcements ORDER BY id")
        assert all(row["key"] == row["account_id"] for row in rows)
        return [(row["type"], row["account_id"], orjson.loads(row["data"])) for row in rows]

    async def pass_time(self, seconds: float) -> None:
        await self.pool.execute("UPDATE endpoints SET failing_since = failing_since - $1 * interval '1 s'", seconds)


@pytest.fixture
async def bench(dsn: str) -> AsyncIterator[Bench]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4) as pool:
        directory = Directory(Vault({"test": KEY}), Ids(FakeClock()), LOOPBACK)
        async with pool.acquire() as connection:
            endpoint_id, _ = await directory.register(
                connection, account="acct_1", url="http://127.0.0.1:9/hooks", events=["*"]
            )
        yield Bench(pool, directory, endpoint_id)


# --- dropped ---------------------------------------------------------------------------------------------------------


async def test_a_dropped_delivery_is_announced_kept_and_counted(bench: Bench) -> None:
    [delivery_id] = await bench.add()
    await bench.attempt(Result.SERVER_ERROR, "dropped")
    assert await bench.said() == [
        (
            "webhook.delivery.dropped",
            "acct_1",
            {
                "endpoint_id": bench.endpoint_id,
                "delivery_id": delivery_id,
                "message_id": "msg_1",
                "event_type": "server.power.on",
                "attempts": 1,
                "last_result": "5xx",
            },
        )
    ]
    [row] = await bench.pool.fetch("SELECT state, reason, last_result FROM deliveries")
    assert tuple(row) == ("dropped", None, "5xx")
    assert await bench.endpoint("dropped", "last_result", "failing_since IS NOT NULL") == (1, "5xx", True)


async def test_what_is_delivered_or_tried_again_is_not_announced(bench: Bench) -> None:
    await bench.add(2)
    await bench.attempt(Result.TIMEOUT, "retry")
    assert await bench.endpoint("dropped", "last_result") == (0, "timeout")
    await bench.attempt(Result.OK, "delivered", 2)
    assert await bench.said() == []


async def test_a_result_that_cannot_be_recorded_announces_nothing(bench: Bench) -> None:
    await bench.add()
    [job] = await bench.queue.claim(1, 7)
    late = Finished(job.endpoint.account, job.id, 8, "dropped", 0.0, 1, Result.GONE, 410, 5, None, UNIX, None)
    assert await bench.queue.record([late]) == set()
    assert await bench.said() == []
    assert await bench.endpoint("status") == ("active",)


async def test_what_the_operator_gives_up_is_announced_in_the_same_transaction(bench: Bench) -> None:
    made = await bench.add(2)

    async def give_up(connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record]) -> None:
        await failures.announce_dropped(connection, await deliveries.drop(connection, made))

    async with bench.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await give_up(connection)
        await transaction.rollback()
        assert await bench.said() == []
        async with connection.transaction():
            await give_up(connection)
    assert [data["delivery_id"] for _, _, data in await bench.said()] == made
    assert {tuple(row) for row in await bench.pool.fetch("SELECT state, reason FROM deliveries")} == {
        ("dropped", "operator")
    }


# --- disabled --------------------------------------------------------------------------------------------------------


async def test_410_disables_the_endpoint_in_the_transaction_that_records_it(bench: Bench) -> None:
    await bench.add(2)
    await bench.attempt(Result.GONE, "dropped")
    assert await bench.endpoint("status", "disabled_reason") == ("disabled", "gone")
    (first, _, _), (second, account, data) = await bench.said()
    assert (first, second, account) == ("webhook.delivery.dropped", "webhook.disabled", "acct_1")
    assert data["failing_since"]
    assert {name: data[name] for name in ("endpoint_id", "reason", "dropped", "last_result")} == {
        "endpoint_id": bench.endpoint_id,
        "reason": "gone",
        "dropped": 1,
        "last_result": "410",
    }
    assert await bench.queue.claim(10, 7) == []
    rows = await bench.pool.fetch("SELECT state, reason FROM deliveries ORDER BY id")
    assert [tuple(row) for row in rows] == [("dropped", None), ("cancelled", "endpoint")]


async def test_a_failing_follow_up_takes_the_record_back_with_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("the announcements cannot be written")

    monkeypatch.setattr(failures, "announce", fails)
    await bench.add()
    with contextlib.suppress(RuntimeError):
        await bench.attempt(Result.GONE, "dropped")
    assert await bench.endpoint("status") == ("active",)
    assert await bench.pool.fetchval("SELECT state FROM delivery_log") == "leased"


@pytest.mark.parametrize(
    ("days", "dropped", "is_disabled"), [(5.1, 20, True), (5.1, 19, False), (4.9, 20, False), (30, 200, True)]
)
async def test_sustained_failure_takes_both_time_and_density(
    bench: Bench,
    days: float,
    dropped: int,
    is_disabled: bool,  # noqa: FBT001 - a column of the table
) -> None:
    await bench.add(dropped)
    await bench.attempt(Result.TIMEOUT, "dropped", dropped)
    await bench.pass_time(days * DAY)
    await failures.disable_failing(bench.pool, after=5 * DAY, dropped=20)
    status = "disabled" if is_disabled else "active"
    assert await bench.endpoint("status", "disabled_reason") == (status, "failing" if is_disabled else None)
    said = [data for kind, _, data in await bench.said() if kind == "webhook.disabled"]
    assert [(data["reason"], data["dropped"], data["last_result"]) for data in said] == (
        [("failing", dropped, "timeout")] if is_disabled else []
    )
    await failures.disable_failing(bench.pool, after=5 * DAY, dropped=20)
    assert len([kind for kind, _, _ in await bench.said() if kind == "webhook.disabled"]) == len(said)


async def test_one_success_is_a_new_beginning(bench: Bench) -> None:
    await bench.add(26)
    await bench.attempt(Result.TIMEOUT, "dropped", 25)
    await bench.pass_time(6 * DAY)
    await bench.attempt(Result.OK, "delivered")
    assert await bench.endpoint("failing_since", "dropped", "last_result") == (None, 0, None)
    await failures.disable_failing(bench.pool, after=5 * DAY, dropped=20)
    assert await bench.endpoint("status") == ("active",)


async def test_a_success_of_an_endpoint_that_works_writes_nothing_there(bench: Bench) -> None:
    await bench.add()
    before = await bench.endpoint("xmin::text")
    await bench.attempt(Result.OK, "delivered")
    assert await bench.endpoint("xmin::text") == before


async def test_a_fault_of_ours_is_not_held_against_the_endpoint(bench: Bench) -> None:
    await bench.add()
    await bench.attempt(Result.INTERNAL, "dropped")
    assert await bench.endpoint("failing_since", "dropped") == (None, 0)
    assert [kind for kind, _, _ in await bench.said()] == ["webhook.delivery.dropped"]
