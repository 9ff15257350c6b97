"""Ranges of time as partitions: made ahead, dropped when all they hold is past; no table is named here.

A `Layout` says how a table's key is a time. `plan` decides, the rest carries it out: one partition a transaction,
each with a short `lock_timeout`, so that whoever is in the way is asked for a moment and left alone until the next
time. What each step locks, on PostgreSQL 15 to 18, with a default partition present:

- Making: SHARE UPDATE EXCLUSIVE on the table, which readers and writers do not notice, and ACCESS EXCLUSIVE on the
  default partition, which must be seen to hold no row of the new range. (`CREATE TABLE … PARTITION OF` would lock the
  table itself.) Rows of the new range that the default partition holds move in the same transaction.
- Dropping: ACCESS EXCLUSIVE on the table, for the instant of a catalogue change. `DETACH … CONCURRENTLY`, which
  would not, is refused to a table with a default partition.
- Emptying the default partition: ACCESS EXCLUSIVE on it alone.

Rows are in the default partition because a clock is far off, or because partitions were not made in time. What
their keys say of their age is then worth nothing, so these rows go by the time at which they were written.
"""

from __future__ import annotations

import contextlib
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from runtime.advisory_locks import AdvisoryLock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator

    from runtime.database import Connection, Pool

logger = logging.getLogger(__name__)

#: Milliseconds a step waits for a lock; those who queue up behind it wait no longer either.
LOCK_TIMEOUT = 200
#: Seconds a step may take once it has its locks: rows to move can be many, and hold up who writes more of their kind.
STEP_TIMEOUT = 600.0
#: Held by whoever changes partitions: several processes do it at any time, one after the other.
ADVISORY_LOCK = AdvisoryLock.PARTITIONS
#: Rows in the default partition are counted up to here.
COUNTED = 10_000
#: Somebody else has the table; the next time will do.
BUSY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)

SURVEY = """
SELECT format('%I.%I', space.nspname, parent.relname) AS parent, format('%I', attribute.attname) AS key,
       (extract(epoch FROM now()) * 1000)::bigint AS now, child.relname AS name,
       format('%I.%I', child_space.nspname, child.relname) AS child,
       pg_get_expr(child.relpartbound, child.oid) AS bounds
FROM pg_partitioned_table partitioned
JOIN pg_class parent ON parent.oid = partitioned.partrelid
JOIN pg_namespace space ON space.oid = parent.relnamespace
JOIN pg_attribute attribute ON attribute.attrelid = parent.oid AND attribute.attnum = partitioned.partattrs[0]
LEFT JOIN (pg_inherits JOIN pg_class child ON child.oid = inhrelid
           JOIN pg_namespace child_space ON child_space.oid = child.relnamespace) ON inhparent = parent.oid
WHERE parent.oid = to_regclass($1)
"""
RANGE = re.compile(r"FOR VALUES FROM \((.+)\) TO \((.+)\)")
DEFAULT = "DEFAULT"
EARLIEST, LATEST = -(2**63), 2**63


class PartitionsError(Exception):
    """A table's partitions are not what this program makes; the text names them."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table is cut. Times are milliseconds since the epoch; a range begins at a multiple of `width`.

    `key_at` gives the least key of a time, as text, and `time_of` is its inverse. `stamp` is the column that says
    when a row was written. `label` ends the name of the partition that begins at a time.
    """

    table: str
    width: int
    ahead: int
    keep: int
    stamp: str
    key_at: Callable[[int], str]
    time_of: Callable[[str], int]
    label: Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition and its times: from `start` up to, not including, `end`."""

    name: str
    start: int
    end: int

    def overlaps(self, other: Partition) -> bool:
        """Say whether a time belongs to both."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, each in order of time."""

    make: tuple[Partition, ...]
    drop: tuple[Partition, ...]


def plan(layout: Layout, now: int, existing: Collection[Partition]) -> Plan:
    """Decide which partitions are missing and which are past.

    Wanted are the current range, `ahead` more, and the one before, because clocks differ and a key made just
    before midnight is written after it. A partition is past when the last key of its range is older than `keep`.
    """
    horizon = now - layout.keep
    current = now // layout.width * layout.width
    wanted = (
        Partition(f"{layout.table}_{layout.label(start)}", start, start + layout.width)
        for start in range(current - layout.width, current + (layout.ahead + 1) * layout.width, layout.width)
    )
    return Plan(
        make=tuple(each for each in wanted if each.end > horizon and not any(map(each.overlaps, existing))),
        drop=tuple(sorted((each for each in existing if each.end <= horizon), key=lambda each: each.start)),
    )


def parse_bounds(layout: Layout, name: str, bounds: str) -> Partition:
    """Read what PostgreSQL says of a partition's range; raises `PartitionsError` for what no layout makes."""
    match = RANGE.fullmatch(bounds)
    if match is None:
        raise PartitionsError(f"partition {name} is {bounds}, not a range of one key: detach it")
    try:
        start, end = (_time_of(layout, part) for part in match.groups())
    except ValueError:
        raise PartitionsError(f"partition {name} is {bounds}, no times of {layout.table}: detach it") from None
    return Partition(name, start, end)


def _time_of(layout: Layout, literal: str) -> int:
    if literal in {"MINVALUE", "MAXVALUE"}:
        return EARLIEST if literal == "MINVALUE" else LATEST
    return layout.time_of(literal.removeprefix("'").removesuffix("'"))


# --- carrying it out --------------------------------------------------------------------------------------------------


async def make(pool: Pool, layout: Layout) -> list[str]:
    """Make the partitions that are missing; return their names. A table that is busy is left for the next time."""
    made: list[str] = []
    with _left_when_busy(layout, "partitions are missing"):
        while True:
            async with _step(pool) as connection:
                survey = await _survey(connection, layout)
                missing = plan(layout, survey.now, survey.partitions).make
                if not missing:
                    break
                await _make(connection, layout, survey, missing[0])
            made.append(missing[0].name)
    return made


async def drop(pool: Pool, layout: Layout) -> list[str]:
    """Drop the partitions that are past; return their names. A table that is busy is left for the next time."""
    dropped: list[str] = []
    with _left_when_busy(layout, "partitions that are past are still there"):
        while True:
            async with _step(pool) as connection:
                survey = await _survey(connection, layout)
                past = plan(layout, survey.now, survey.partitions).drop
                if not past:
                    break
                await connection.execute(f"DROP TABLE {survey.partitions[past[0]]}")
            dropped.append(past[0].name)
    return dropped


async def empty_default(pool: Pool, layout: Layout) -> bool:
    """Take from the default partition what is past, and say so; warn of what stays in it.

    It is truncated and what is younger put back, once something has been there as long as a row of any other
    partition can be: the files go, and no row is deleted.
    """
    is_emptied = False
    with _left_when_busy(layout, "rows that are past are still in the default partition"):
        async with _step(pool) as connection:
            survey = await _survey(connection, layout)
            if survey.default is None:
                return False
            if await connection.fetchval(_older(layout, survey.default, layout.keep + layout.width)):
                await connection.execute(f"LOCK TABLE {survey.default} IN ACCESS EXCLUSIVE MODE")
                await connection.execute(_set_aside(layout, survey.default))
                await connection.execute(f"TRUNCATE {survey.default}")
                await connection.execute(f"INSERT INTO {survey.default} TABLE younger_strays", timeout=STEP_TIMEOUT)
                is_emptied = True
            strays = await connection.fetchval(_count(survey.default))
        if strays:
            logger.warning(
                "%s: rows outside the partitions of their time: %s (is a clock far off?)",
                layout.table,
                strays if strays <= COUNTED else f"more than {COUNTED}",
            )
    return is_emptied


@dataclass(frozen=True, slots=True)
class _Survey:
    """A table as it is; names are quoted for SQL. `partitions` goes from a partition to such a name."""

    parent: str
    key: str
    now: int
    default: str | None
    partitions: dict[Partition, str]


async def _survey(connection: Connection, layout: Layout) -> _Survey:
    rows = await connection.fetch(SURVEY, layout.table)
    if not rows:
        raise PartitionsError(f"{layout.table} is not a partitioned table: run heliograph migrate")
    children = [row for row in rows if row["child"] is not None]
    return _Survey(
        parent=rows[0]["parent"],
        key=rows[0]["key"],
        now=rows[0]["now"],
        default=next((row["child"] for row in children if row["bounds"] == DEFAULT), None),
        partitions={
            parse_bounds(layout, row["name"], row["bounds"]): row["child"]
            for row in children
            if row["bounds"] != DEFAULT
        },
    )


async def _make(connection: Connection, layout: Layout, survey: _Survey, wanted: Partition) -> None:
    """Lock in the order of ATTACH; between the move and the ATTACH nobody may add a row to the default partition."""
    first, end = layout.key_at(wanted.start), layout.key_at(wanted.end)
    child = f"{survey.parent.rpartition('.')[0]}.{wanted.name}"
    await connection.execute(f"CREATE TABLE {child} (LIKE {survey.parent} INCLUDING ALL)")
    if survey.default is not None:
        await connection.execute(f"LOCK TABLE ONLY {survey.parent} IN SHARE UPDATE EXCLUSIVE MODE")
        await connection.execute(f"LOCK TABLE {survey.default} IN ACCESS EXCLUSIVE MODE")
        await connection.execute(
            f"WITH strays AS (DELETE FROM {survey.parent} WHERE {survey.key} >= '{first}' AND {survey.key} < '{end}'"  # noqa: S608 - quoted names from the catalogue, keys of a layout
            f" RETURNING *) INSERT INTO {child} TABLE strays",
            timeout=STEP_TIMEOUT,
        )
    await connection.execute(
        f"ALTER TABLE {survey.parent} ATTACH PARTITION {child} FOR VALUES FROM ('{first}') TO ('{end}')",
        timeout=STEP_TIMEOUT,
    )


def _older(layout: Layout, default: str, age: int) -> str:
    return f"SELECT EXISTS (SELECT FROM {default} WHERE {layout.stamp} < now() - interval '{age} milliseconds')"  # noqa: S608 - names of a layout and of the catalogue


def _set_aside(layout: Layout, default: str) -> str:
    return f"""
        CREATE TEMPORARY TABLE younger_strays ON COMMIT DROP AS
        SELECT * FROM {default} WHERE {layout.stamp} >= now() - interval '{layout.keep} milliseconds'
    """  # noqa: S608 - names of a layout and of the catalogue


def _count(default: str) -> str:
    return f"SELECT count(*) FROM (SELECT FROM {default} LIMIT {COUNTED + 1}) AS strays"  # noqa: S608 - a quoted name from the catalogue


@contextlib.asynccontextmanager
async def _step(pool: Pool) -> AsyncIterator[Connection]:
    """Yield a connection in a transaction that waits for nobody long and whose turn it is."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT}")
        await connection.execute(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
        yield connection


@contextlib.contextmanager
def _left_when_busy(layout: Layout, consequence: str) -> Iterator[None]:
    try:
        yield
    except BUSY:
        logger.warning("%s: %s, another session is using the table; next time", layout.table, consequence)
