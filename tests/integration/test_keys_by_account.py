"""Tables can be spread by account: each is small, or its keys and every statement on it begin with the account.

What the statements on the large tables read is asked of PostgreSQL itself.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg
import orjson
import pytest

from publisher import deliveries, gauges, log, queue, quota, stats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from runtime.database import Connection

ROOT = Path(__file__).parents[2]

#: Tables that every machine may have whole, or one machine alone, and what bounds them.
GLOBAL = {
    "alembic_version": "one row",
    "announcements": "what Kafka has not acknowledged yet: rows leave within seconds",
    "canary_reminders": "a few a month",
    "component_days": "a row a component and day",
    "component_status": "a row a component",
    "credential_offsets": "a row a partition of the topic",
    "credential_readings": "one, or two while the topic is read anew",
    "credentials": "a row a key or session in force; asked for by its id, before there is an account",
    "document_signatures": "a few a document",
    "documents": "a row a change of a feed, which operators cause",
    "feed_marks": "a row a feed",
    "full_accounts": "accounts whose queue is full; begins with the account all the same",
    "incident_events": "a few an incident",
    "peering_changes": "a row a change of a prefix or a session",
    "peering_records": "a row an AS",
    "ratelimit_windows": "a row a window, policy and instance, for as long as a record may come again",
}
#: Tables that grow with accounts or events, and what names a row of an account.
BY_ACCOUNT = {
    "attempts": ("account_id", "delivery_id", "number"),
    "deliveries": ("account_id", "endpoint_id", "id"),
    "endpoint_secrets": ("account_id", "endpoint_id", "version"),
    "endpoints": ("account_id", "id"),
    "idempotency_keys": ("account_id", "key_hash"),
    "messages": ("account_id", "id"),
    "queue": ("account_id", "id"),
    "recoveries": ("account_id", "id"),
    "sequences": ("account_id", "resource"),
}
#: What knows the account and has no key by it yet.
LATER = {"inbox": "its key can only change once no process of a release that leaves the account out writes to it"}
#: Indexes that do not begin with the account, and why they are there.
OTHERWISE = {
    "inbox_pkey": "as its table",
    "endpoints_id_key": "an endpoint is looked up by its id alone while claiming and by the operator",
    "idempotency_keys_old": "forgotten by age, on each part by itself",
    "recoveries_running": "of the few that run, on each part by itself",
}

TABLES = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
"""
INDEXES = """
SELECT tab.relname AS table, idx.relname AS name, indisvalid AS is_valid,
       indisunique AND indpred IS NULL AS is_unique,
       ARRAY(SELECT coalesce(attname, '')
             FROM unnest(indkey::smallint[]) WITH ORDINALITY AS k (number, place)
             LEFT JOIN pg_attribute ON attrelid = indrelid AND attnum = k.number AND attnotnull
             ORDER BY place) AS columns
FROM pg_index JOIN pg_class idx ON idx.oid = indexrelid JOIN pg_class tab ON tab.oid = indrelid
WHERE idx.relnamespace = 'public'::regnamespace AND NOT idx.relispartition
"""


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


# --- the schema ------------------------------------------------------------------------------------------------------


async def test_every_table_is_small_or_keyed_by_account_or_on_its_way(connection: Connection) -> None:
    tables = {row[0] for row in await connection.fetch(TABLES)}
    named = [*GLOBAL, *BY_ACCOUNT, *LATER]
    assert len(named) == len(set(named))
    assert tables == set(named)


async def test_a_large_tables_key_begins_with_the_account(connection: Connection) -> None:
    unique = {
        (row["table"], tuple(row["columns"]))
        for row in await connection.fetch(INDEXES)
        if row["is_unique"] and row["is_valid"]
    }
    assert set(BY_ACCOUNT.items()) <= unique


async def test_a_large_tables_indexes_begin_with_the_account_or_say_why_not(connection: Connection) -> None:
    large = {*BY_ACCOUNT, *LATER}
    otherwise = {
        row["name"]
        for row in await connection.fetch(INDEXES)
        if row["table"] in large and row["columns"][0] != "account_id"
    }
    assert otherwise == set(OTHERWISE)


async def test_accounts_are_compared_byte_for_byte_where_tables_are_joined_by_them(connection: Connection) -> None:
    query = """SELECT table_name FROM information_schema.columns
               WHERE table_schema = 'public' AND column_name = 'account_id' AND collation_name = 'C'"""
    assert {row[0] for row in await connection.fetch(query)} >= {
        "queue", "messages", "deliveries", "attempts", "endpoints", "endpoint_secrets"
    }  # fmt: skip


# --- the statements --------------------------------------------------------------------------------------------------

SPREAD = ("queue", "messages", "deliveries", "attempts")
REFERENCE = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+(?:ONLY\s+)?(queue|messages|deliveries|attempts|delivery_log)\b")
#: Where statements on the four tables stand.
OWNERS = {
    "publisher/queue.sql",
    "publisher/deliveries.sql",
    "publisher/log.py",
    "publisher/stats.py",
    "publisher/quota.py",
    "publisher/gauges.py",
    "publisher/demo.py",  # reads the whole of a database that is its own
}
#: What reads all there is, or does not know the account, and why it may: each part answers for itself.
WHOLE = {
    "deliveries owned": "the operator has an id alone",
    "deliveries owners": "the operator has ids alone",
    "deliveries states": "counts all, for the operator, where no account is named",
    "deliveries ended": "the same",
    "quota COUNT": "counts every account's",
    "gauges QUEUE": "counts all, for metrics",
}
#: A plan for any arguments; without pruning, or there would be nothing left of it for those that it is shown with.
PLAN_BY_INDEX = """
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
SET plan_cache_mode = force_generic_plan; SET enable_partition_pruning = off
"""
ROOTS = """
SELECT oid::regclass::text AS part, coalesce(pg_partition_root(oid), oid)::regclass::text AS whole FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""


class Read(NamedTuple):
    """A scan of one of the four tables, and by what."""

    table: str
    node: str
    condition: str


def _statements() -> dict[str, str]:
    found = {f"queue {name}": sql for name, sql in queue.SQL.items()}
    found |= {f"deliveries {name}": sql for name, sql in deliveries.SQL.items()}
    halves = log.possible(None, None)
    listed = {"columns": log.COLUMNS, "meets": log.MEETS, "direction": "DESC", "wanted": log.wanted(halves, "DESC")}
    found |= {"log PAGE": log.PAGE.format(**listed), "log COUNT": log.COUNT.format(**listed)}
    found |= {"log READ": log.READ, "log MESSAGE": log.MESSAGE, "log ATTEMPTS": log.ATTEMPTS}
    found |= {"stats ENDED": stats.ENDED, "stats WAITING": stats.WAITING}
    found |= {"quota COUNT": quota.COUNT, "gauges QUEUE": gauges.QUEUE}
    return {name: sql for name, sql in found.items() if REFERENCE.search(sql)}


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


async def _reads(connection: Connection, statement: str) -> list[Read]:
    """Return what a statement reads of the four tables, planned for any arguments, wherever an index can be used."""
    parts = {row["part"]: row["whole"] for row in await connection.fetch(ROOTS)}
    count = max(map(int, re.findall(r"\$(\d+)", statement)), default=0)
    arguments = f"({', '.join(['NULL'] * count)})" if count else ""
    await connection.execute(f"PREPARE asked AS {statement}")
    explained = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked {arguments}")
    await connection.execute("DEALLOCATE asked")
    scans = [node for node in _nodes(orjson.loads(explained)[0]["Plan"]) if "Scan" in node["Node Type"]]
    return [
        Read(parts[node["Relation Name"]], node["Node Type"], node.get("Index Cond", ""))
        for node in scans
        if parts.get(node.get("Relation Name", "")) in SPREAD
        and node["Node Type"] != "Tid Scan"  # of a row that another scan has found
    ]


def test_statements_on_the_large_tables_stand_in_known_places() -> None:
    packages = ("consumers", "publisher", "feeds", "signer", "runtime")
    files = [path for package in packages for path in (ROOT / package).rglob("*") if path.suffix in {".py", ".sql"}]
    found = {str(path.relative_to(ROOT)) for path in files if REFERENCE.search(path.read_text(encoding="utf-8"))}
    assert found == OWNERS


async def test_every_statement_finds_its_rows_by_account(connection: Connection) -> None:
    await connection.execute(PLAN_BY_INDEX)
    reads = {name: await _reads(connection, statement) for name, statement in _statements().items()}
    assert [name for name, found in reads.items() if not found] == ["queue enqueue_public"]  # it only inserts
    unbound = {name: [each for each in found if "account_id" not in each.condition] for name, found in reads.items()}
    assert {name for name, found in unbound.items() if found} == set(WHOLE), unbound
