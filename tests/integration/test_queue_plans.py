"""The queue's statements look up what they were given, whatever PostgreSQL believes of the queue's size.

A queue is empty when it is looked at and full a second later: a plan of the first moment, kept for the second, once
compared every waiting delivery with every result that was to be recorded. What a statement touches is counted by
PostgreSQL itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import pytest

from publisher.queue import LOOK_UP, SQL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from runtime.database import Connection

#: Deliveries that wait, and those a statement is about.
WAITING, GIVEN = 4000, 50
LEASE = 7
FILL = """
INSERT INTO queue (account_id, id, endpoint_id, message_id, type, state, lease, due_at)
SELECT 'acct_' || n % $1, 'dlv_' || n, 'we_' || n % $1, 'msg_' || n, 'server.provisioned', 'leased', $2, now()
FROM generate_series(1, $3) AS n
"""
#: A row is read where it is found, and again where it lies.
READS = 2


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(dsn, statement_cache_size=0)
    await opened.execute("ALTER TABLE queue SET (autovacuum_enabled = off)")
    await opened.execute("SET plan_cache_mode = force_generic_plan")  # which PostgreSQL may choose, after some tries
    yield opened
    await opened.close()


async def _never_seen(_: Connection, __: int) -> None:
    return


async def _seen_empty(connection: Connection, _: int) -> None:
    await connection.execute("VACUUM (ANALYZE) queue")


async def _seen_emptied(connection: Connection, accounts: int) -> None:
    await connection.execute(FILL, accounts, LEASE, WAITING)
    await connection.execute("DELETE FROM queue")
    await connection.execute("VACUUM (ANALYZE, TRUNCATE off) queue")


async def _seen_full(connection: Connection, accounts: int) -> None:
    await connection.execute(FILL, accounts, LEASE, WAITING)
    await connection.execute("ANALYZE queue")
    await connection.execute("TRUNCATE queue")
    await connection.execute("VACUUM (ANALYZE) queue")


def _arguments(name: str, accounts: int) -> str:
    numbers = range(1, GIVEN + 1)
    whose = _array("text", [f"acct_{n % accounts}" for n in numbers])
    ids, leases = _array("text", [f"dlv_{n}" for n in numbers]), _array("bigint", [LEASE] * GIVEN)
    if name == "release":
        return f"{whose}, {ids}, {leases}"
    if name == "end":
        return f"{whose}, {ids}, {LEASE}, 'cancelled', 'expired'"
    endpoints = _array("text", [f"we_{n % accounts}" for n in numbers][:accounts])
    whose_endpoints = _array("text", [f"acct_{n % accounts}" for n in numbers][:accounts])
    each = GIVEN // min(accounts, GIVEN)
    if name == "claim":
        return f"{whose_endpoints}, {endpoints}, {_array('integer', [each] * min(accounts, GIVEN))}, 8, 30"
    if name == "cancel_endpoints":
        return f"{whose_endpoints}, {endpoints}, {GIVEN}"
    columns: list[tuple[str, list[Any]]] = [
        ("text", ["delivered", "retry"] * (GIVEN // 2)), ("float8", [5] * GIVEN), ("smallint", [1] * GIVEN),
        ("text", ["2xx", "timeout"] * (GIVEN // 2)), ("smallint", [200, None] * (GIVEN // 2)),
        ("integer", [5] * GIVEN), ("text", [None] * GIVEN), ("float8", [1.7e9] * GIVEN), ("text", ["v1"] * GIVEN),
    ]  # fmt: skip
    return ", ".join([whose, ids, leases, *(_array(kind, values) for kind, values in columns), "'agent'"])


def _array(kind: str, values: Sequence[str | float | None]) -> str:
    return f"ARRAY[{', '.join('NULL' if value is None else repr(value) for value in values)}]::{kind}[]"


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


def _touched(plan: dict[str, Any]) -> int:
    """Return rows of the queue that were looked at: what was found, what was thrown away, and what pairs were tried."""
    counts = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter")
    return sum(
        round(sum(node.get(name, 0) for name in counts) * node["Actual Loops"])
        for node in _nodes(plan)
        if node.get("Relation Name") == "queue" or "Rows Removed by Join Filter" in node
    )


@pytest.mark.parametrize("accounts", [1, 40])
@pytest.mark.parametrize("believe", [_never_seen, _seen_empty, _seen_emptied, _seen_full])
@pytest.mark.parametrize("name", ["claim", "record", "release", "end", "cancel_endpoints"])
async def test_a_statement_touches_what_it_is_about(
    connection: Connection, name: str, believe: Any, accounts: int
) -> None:
    await believe(connection, accounts)
    await connection.execute(f"PREPARE asked AS {SQL[name]}")
    execute = f"EXECUTE asked ({_arguments(name, accounts)})"
    async with connection.transaction():  # with nothing there: a plan that is kept, if one is
        await connection.execute(LOOK_UP)
        await connection.execute(execute)
    await connection.execute(FILL, accounts, LEASE, WAITING)
    async with connection.transaction():
        await connection.execute(LOOK_UP)
        explained = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {execute}")
    plan = orjson.loads(explained)[0]["Plan"]
    assert GIVEN <= _touched(plan) <= READS * GIVEN + GIVEN, explained


async def test_a_walk_takes_a_step_for_each_endpoint(connection: Connection) -> None:
    await connection.execute("VACUUM (ANALYZE) queue")
    await connection.execute(f"PREPARE asked AS {SQL['turns']}")
    async with connection.transaction():
        await connection.execute(LOOK_UP)
        await connection.execute("EXECUTE asked ('', '', 1000)")
    await connection.execute(FILL, GIVEN, LEASE, WAITING)
    async with connection.transaction():
        await connection.execute(LOOK_UP)
        explained = await connection.fetchval("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE asked ('', '', 1000)")
    assert _touched(orjson.loads(explained)[0]["Plan"]) == GIVEN


def test_all_that_finds_rows_of_the_queue_is_tried() -> None:
    finding = {name for name, sql in SQL.items() if re.search(r"(FROM|UPDATE) queue\b", sql)}
    assert finding == {"turns", "claim", "record", "release", "end", "cancel_endpoints"}
