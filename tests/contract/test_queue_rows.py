"""What the queue in PostgreSQL leaves in its tables: rows where they belong, and claims that read few of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from publisher import queue as queue_module
from publisher.queue import LOOK_UP, SQL, STEPS, Finished, Turn
from tests.support.queues import AGENT, SIGNATURE, UNIX, PostgresBench, a_result, postgres_bench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.database import Connection

MINE = 1001


@pytest.fixture
async def bench(dsn: str) -> AsyncIterator[PostgresBench]:
    async with postgres_bench(dsn) as made:
        yield made


async def _rows(bench: PostgresBench, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await bench.pool.fetch(query)]


# --- where rows are --------------------------------------------------------------------------------------------------


async def test_what_ends_moves_to_the_log_and_what_is_tried_again_stays_in_the_queue(bench: PostgresBench) -> None:
    for name in ("again", "ok", "over"):
        await bench.add(name)
    jobs = {job.id.removeprefix("dlv_"): job for job in await bench.queue.claim(10, MINE)}
    await bench.pass_time(40)
    finished = [
        a_result(jobs["again"], "retry", delay=60),
        a_result(jobs["ok"], "delivered"),
        a_result(jobs["over"], "dropped"),
    ]
    assert len(await bench.queue.record(finished)) == 3
    live = "SELECT id, state, lease, attempts, tried, last_result, due_at > now() + interval '50 s' FROM queue"
    assert await _rows(bench, live) == [("dlv_again", "retry", None, 1, 1, "5xx", True)]
    ended = """SELECT id, state, reason, attempts, last_result, account_id, message_id, type, first_try_at < ended_at,
                      created_at < now() - interval '35 s' FROM deliveries ORDER BY id"""
    assert await _rows(bench, ended) == [
        ("dlv_ok", "delivered", None, 1, "2xx", "acct_1", "msg_ok", "server.power.on", True, True),
        ("dlv_over", "dropped", None, 1, "5xx", "acct_1", "msg_over", "server.power.on", True, True),
    ]


async def test_an_attempt_keeps_what_cannot_be_computed_again(bench: PostgresBench) -> None:
    await bench.add("a")
    [job] = await bench.queue.claim(10, MINE)
    await bench.queue.record([a_result(job, "retry")])
    kept = "SELECT account_id, delivery_id, signature, agent, extract(epoch FROM attempted_at)::float8 FROM attempts"
    assert await _rows(bench, kept) == [("acct_1", "dlv_a", SIGNATURE, AGENT, UNIX)]


async def test_an_attempt_that_was_never_signed_has_no_signature(bench: PostgresBench) -> None:
    await bench.add("a")
    [job] = await bench.queue.claim(10, MINE)
    await bench.queue.record([a_result(job, "retry")._replace(signature=None)])
    assert await _rows(bench, "SELECT signature FROM attempts") == [(None,)]


async def test_a_stale_result_leaves_no_row_anywhere(bench: PostgresBench) -> None:
    await bench.add("a")
    [job] = await bench.queue.claim(10, MINE)
    assert await bench.queue.record([a_result(job, "delivered")._replace(lease=MINE + 1)]) == set()
    counts = "SELECT (SELECT count(*) FROM attempts), (SELECT count(*) FROM deliveries), (SELECT count(*) FROM queue)"
    assert await _rows(bench, counts) == [(0, 0, 1)]


async def test_a_pile_of_an_inactive_endpoint_is_cancelled_in_transactions_of_a_bounded_size(
    bench: PostgresBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "CANCELLED_AT_ONCE", 40)
    monkeypatch.setattr(queue_module, "ROUNDS", 1)
    for number in range(100):
        await bench.add(str(number))
    await bench.remove_endpoint()
    left = []
    for _ in range(4):
        assert await bench.queue.claim(10, MINE) == []
        left.append(await bench.pool.fetchval("SELECT count(*) FROM queue"))
    assert left == [60, 20, 0, 0]
    said = "SELECT state, reason, attempts, count(*) FROM deliveries GROUP BY 1, 2, 3"
    assert await _rows(bench, said) == [("cancelled", "endpoint", 0, 100)]


# --- how much is read ------------------------------------------------------------------------------------------------

PILE, HEALTHY, LIMIT = 200_000, 500, 64
#: Pages: four for an endpoint on the way; thirty for a row taken, while keys of the previous release stand beside. The
#: pile alone has 4000.
TURNS_PAGES, CLAIM_PAGES = 4000, 2000

FILL = """
INSERT INTO queue (account_id, id, endpoint_id, message_id, type, state, attempts, tried, due_at)
SELECT 'acct_1', $1 || n, $2 || CASE WHEN $4 THEN lpad(n::text, 4, '0') ELSE '' END, 'msg_' || n, 'server.power.on',
       'retry', 1, 1, now() - make_interval(secs => n % 3600)
FROM generate_series(1, $3::integer) AS n
"""


async def _touched(connection: Connection, name: str, *arguments: object) -> tuple[int, int]:
    """Return how many pages a statement touches and how many rows it returns; what it did is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(LOOK_UP)
    try:
        explained = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {SQL[name]}", *arguments)
    finally:
        await transaction.rollback()
    plan = orjson.loads(explained)[0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], round(plan["Actual Rows"])


async def test_a_claim_reads_few_pages_whatever_waits_behind_one_endpoint(bench: PostgresBench) -> None:
    """With and without statistics: no pile is ever read."""
    async with bench.pool.acquire() as connection:
        await connection.execute(FILL, "dlv_pile_", "we_0000_dead", PILE, False)  # noqa: FBT003 - arguments of SQL
        await connection.execute(FILL, "dlv_healthy_", "we_", HEALTHY, True)  # noqa: FBT003 - the same
        for analyzed in (False, True):
            if analyzed:
                await connection.execute("ANALYZE queue")
            pages, endpoints = await _touched(connection, "turns", *Turn(), STEPS)
            print(f"turns: {pages} pages, analyzed {analyzed}")  # noqa: T201 - for a failure's report
            assert endpoints == HEALTHY + 1
            assert pages < TURNS_PAGES
            turns = [(row[0], row[1]) for row in await connection.fetch(SQL["turns"], *Turn(), LIMIT)]
            assert ("acct_1", "we_0000_dead") in turns
            accounts, names = zip(*turns, strict=True)
            pages, rows = await _touched(connection, "claim", accounts, names, [1] * LIMIT, MINE, 30.0)
            print(f"claim: {pages} pages, analyzed {analyzed}")  # noqa: T201 - the same
            assert rows == LIMIT
            assert pages < CLAIM_PAGES


#: Pages of a result that is recorded, about four times what is needed; so many endpoints alone have hundreds.
ENDPOINTS, RECORD_PAGES = 20_000, 32


async def test_recording_reads_few_pages_however_many_endpoints_and_deliveries_there_are(bench: PostgresBench) -> None:
    await bench.add("a")
    [job] = await bench.queue.claim(1, MINE)
    columns = queue_module._columns([a_result(job, "delivered")], len(Finished._fields))
    async with bench.pool.acquire() as connection:
        await connection.execute(FILL, "dlv_pile_", "we_0000_dead", PILE // 10, False)  # noqa: FBT003 - arguments of SQL
        await connection.execute(
            "INSERT INTO endpoints (account_id, id, url, events) SELECT 'acct_' || n, 'we_' || n, 'u', '{*}'"
            " FROM generate_series(1, $1::integer) AS n",
            ENDPOINTS,
        )
        await connection.execute("ANALYZE queue, endpoints")
        pages, rows = await _touched(connection, "record", *columns, AGENT)
        print(f"record: {pages} pages")  # noqa: T201 - for a failure's report
        assert rows == 1
        assert pages < RECORD_PAGES
