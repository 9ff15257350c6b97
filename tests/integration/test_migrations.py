"""The schema: how it comes to be, step by step or at once, alone or in a race, and which rows it does not take.

The state machine of a delivery is held by constraints, so that a bug in a statement is an error and not a delivery
that nobody ever claims again.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from alembic import command
from alembic.script import Script, ScriptDirectory

from migrations import runner
from publisher.delivery.outcome import Result
from publisher.queue import ENDED_STATES, LIVE_STATES
from publisher.retention import Retention
from runtime import settings as runtime_settings
from runtime.advisory_locks import AdvisoryLock
from runtime.lifecycle import UnreachableError
from tests.support import process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Connection = asyncpg.Connection[asyncpg.Record]

SCRIPTS = ScriptDirectory.from_config(runner._config(""))
REVISIONS = [script.revision for script in reversed(list(SCRIPTS.walk_revisions()))]
#: The lock migrations take.
LOCK = AdvisoryLock.SCHEMA
WAITING = """
SELECT count(*) = 2 FROM pg_locks
WHERE locktype = 'advisory' AND NOT granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
#: All that makes up a schema, as text; of partitions how many there are of each table, for their names are days.
SCHEMA = """
SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || coalesce(column_default, '')
FROM information_schema.columns JOIN pg_class ON oid = format('public.%I', table_name)::regclass
WHERE table_schema = 'public' AND NOT relispartition
UNION ALL SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(pg_constraint.oid)
FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
WHERE connamespace = 'public'::regnamespace AND NOT relispartition
UNION ALL SELECT indexdef FROM pg_indexes JOIN pg_class ON oid = format('public.%I', tablename)::regclass
WHERE schemaname = 'public' AND NOT relispartition
UNION ALL SELECT relname || ' ' || reloptions::text
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND reloptions IS NOT NULL
UNION ALL SELECT inhparent::regclass || ' has ' || count(*) || ' partitions' FROM pg_inherits
WHERE inhparent::regclass::text !~ '_pkey|_undelivered' GROUP BY inhparent
UNION ALL SELECT viewname || ' ' || definition FROM pg_views WHERE schemaname = 'public'
"""


@pytest.fixture
async def empty(postgres: str) -> AsyncIterator[str]:
    """DSN of a database with nothing in it."""
    name = f"empty_{uuid.uuid4().hex[:12]}"
    server = await asyncpg.connect(postgres)
    await server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield postgres.replace("/postgres?", f"/{name}?")
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


async def _ask(dsn: str, query: str) -> list[tuple[Any, ...]]:
    opened = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await opened.fetch(query)]
    finally:
        await opened.close()


async def _schema(dsn: str) -> set[str]:
    return {line for (line,) in await _ask(dsn, SCHEMA)}


async def _migrate(dsn: str, **settings: Any) -> tuple[str | None, str]:
    return await runner.migrate(runtime_settings.load(environ={}, database_url=dsn, **settings))


# --- how it comes to be ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_migration_says_what_it_does_and_why(revision: str) -> None:
    what, _, why = (SCRIPTS.get_revision(revision).module.__doc__ or "").strip().partition("\n\n")
    assert re.fullmatch(r"[A-Z][^\n]{10,}\.", what)
    assert len(why.split()) > 10


def test_they_are_one_line_from_the_first_to_the_newest() -> None:
    assert SCRIPTS.get_bases() == [REVISIONS[0]]
    assert SCRIPTS.get_heads() == [REVISIONS[-1]] == [runner.head()]
    assert [f"{number:04}" for number in range(1, len(REVISIONS) + 1)] == REVISIONS


async def test_an_empty_database_is_brought_to_the_newest_schema(empty: str, dsn: str) -> None:
    assert await _migrate(empty) == (None, runner.head())
    assert await _schema(empty) == await _schema(dsn)
    assert len(await _schema(dsn)) > 50


async def test_step_by_step_leads_to_the_same_schema(empty: str, dsn: str) -> None:
    connection = await asyncpg.connect(empty)
    assert await runner.current(connection) is None
    for revision in REVISIONS:
        await asyncio.to_thread(command.upgrade, runner._config(empty), revision)
        assert await runner.current(connection) == revision
    await connection.close()
    assert await _schema(empty) == await _schema(dsn)


async def test_from_any_step_the_rest_is_applied(empty: str, dsn: str) -> None:
    await asyncio.to_thread(command.upgrade, runner._config(empty), REVISIONS[0])
    assert await _migrate(empty) == (REVISIONS[0], runner.head())
    assert await _schema(empty) == await _schema(dsn)


async def test_what_stood_in_the_old_tables_is_found_in_the_new_ones(empty: str) -> None:
    await asyncio.to_thread(command.upgrade, runner._config(empty), "0003")
    connection = await asyncpg.connect(empty)
    await connection.execute("""
        INSERT INTO inbox VALUES ('/test', 'e1', now() - interval '60 days'), ('/test', 'e2', now());
        INSERT INTO messages (account_id, id, type, body, created_at)
            VALUES ('a', 'msg_1', 'server.power.on', '{}', now() - interval '3 days');
        INSERT INTO deliveries (account_id, id, endpoint_id, message_id, state, attempts, due_at, lease, ended_at)
        VALUES ('a', 'dlv_pending', 'we', 'msg_1', 'pending', 0, now(), NULL, NULL),
               ('a', 'dlv_retry', 'we', 'msg_1', 'retry', 2, now(), NULL, NULL),
               ('a', 'dlv_leased', 'we', 'msg_1', 'leased', 1, now(), 7, NULL),
               ('a', 'dlv_delivered', 'we', 'msg_1', 'delivered', 1, NULL, NULL, now()),
               ('a', 'dlv_dropped', 'we', 'msg_1', 'dropped', 4, NULL, NULL, now()),
               ('a', 'dlv_cancelled', 'we', 'msg_1', 'cancelled', 0, NULL, NULL, now());
        INSERT INTO attempts VALUES ('a', 'dlv_delivered', 1, '2xx', 204, 5, NULL, now());
    """)
    await connection.close()
    await _migrate(empty)
    assert await _ask(empty, "SELECT id, state, type, attempts, tried, lease FROM queue ORDER BY id") == [
        ("dlv_leased", "leased", "server.power.on", 1, 1, 7),
        ("dlv_pending", "pending", "server.power.on", 0, 0, None),
        ("dlv_retry", "retry", "server.power.on", 2, 2, None),
    ]
    assert await _ask(empty, "SELECT id, state, reason, attempts FROM deliveries ORDER BY id") == [
        ("dlv_cancelled", "cancelled", "endpoint", 0),
        ("dlv_delivered", "delivered", None, 1),
        ("dlv_dropped", "dropped", None, 4),
    ]
    assert await _ask(empty, "SELECT count(*) FROM attempts") == [(1,)]
    assert await _ask(empty, "SELECT id, body FROM messages") == [("msg_1", b"{}")]
    assert await _ask(empty, "SELECT event_id FROM inbox ORDER BY period") == [("e1",), ("e2",)]


#: Twenty megabytes in one partition of yesterday, too much to be indexed while everybody waits.
LARGE = """
INSERT INTO messages (account_id, id, type, body)
SELECT 'acct_1', 'msg_' || lpad(to_hex(midnight - 1), 12, '0') || lpad(n::text, 20, '0'), 't',
       convert_to(repeat('x', 1900), 'UTF8')
FROM generate_series(1, 10000) AS n,
     (SELECT (extract(epoch FROM date_trunc('day', now(), 'UTC')) * 1000)::bigint) AS today (midnight)
"""
WITHOUT_KEY = """
SELECT inhrelid::regclass::text FROM pg_inherits
WHERE inhparent = 'messages'::regclass AND NOT EXISTS (
    SELECT FROM pg_index JOIN pg_inherits i ON i.inhrelid = indexrelid
    WHERE indrelid = pg_inherits.inhrelid AND i.inhparent = 'messages_by_account'::regclass AND indisvalid)
"""
IS_WHOLE = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'messages_by_account'::regclass"


async def test_a_large_partition_is_left_as_it_is_and_those_to_come_get_the_new_key(empty: str) -> None:
    await asyncio.to_thread(command.upgrade, runner._config(empty), "0014")
    async with asyncpg.create_pool(empty, min_size=1, max_size=1) as pool:
        await pool.execute(LARGE)
        await pool.execute("INSERT INTO queue (account_id, id, endpoint_id, message_id, type, state, due_at)"
                           " VALUES ('acct_1', 'dlv_1', 'we_1', 'msg_1', 't', 'pending', now())")  # fmt: skip
        await asyncio.to_thread(command.upgrade, runner._config(empty), "0015")
        [(large,)] = await pool.fetch(WITHOUT_KEY)
        assert await pool.fetchval(f"SELECT count(*) FROM {large}") == 10_000  # noqa: S608 - of the catalogue
        assert await pool.fetchval("SELECT state FROM delivery_log") == "pending"
        newest = await pool.fetchval("SELECT max(relname) FROM pg_class WHERE relname ~ '^messages_[0-9]{8}$'")
        await pool.execute(f"DROP TABLE {newest}")
        await Retention(pool, runtime_settings.load(environ={}, database_url=empty)).ensure()
        assert await pool.fetchval("SELECT to_regclass($1) IS NOT NULL", newest)
        assert [row[0] for row in await pool.fetch(WITHOUT_KEY)] == [large]
        assert await pool.fetchval(IS_WHOLE) is False
        with pytest.raises(Exception, match=f"the partition {large} has no key by account yet") as refused:
            await _migrate(empty)
        hint = re.search(r"(CREATE UNIQUE INDEX .*?;) (ALTER INDEX .*?;) and migrate again", str(refused.value))
        assert hint is not None
        for statement in hint.groups():
            await pool.execute(statement)
        assert await pool.fetchval(IS_WHOLE) is True
        assert await _migrate(empty) == ("0015", runner.head())


LOCKING = [each for each in SCRIPTS.walk_revisions() if hasattr(each.module, "LOCK")]
#: What those who deliver and those who record hold while they wait for the other.
WRITERS = {"intake": ("messages", "queue"), "a claim": ("queue", "messages")}


@pytest.mark.parametrize("script", LOCKING, ids=lambda script: script.revision)
@pytest.mark.parametrize("writer", WRITERS)
async def test_whoever_is_at_work_is_waited_for_and_not_sent_away(writer: str, script: Script, empty: str) -> None:
    await asyncio.to_thread(command.upgrade, runner._config(empty), str(script.down_revision))
    first, second = WRITERS[writer]
    async with asyncio.timeout(60):
        connection = await asyncpg.connect(empty)
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(f"LOCK TABLE {first} IN ROW EXCLUSIVE MODE")
        migrating = asyncio.create_task(_migrate(empty))

        async def waits() -> bool:
            return bool(await connection.fetchval("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"))

        await process.until(waits, "the migration waits for a table")
        await connection.execute(f"LOCK TABLE {second} IN ROW EXCLUSIVE MODE")
        await transaction.commit()
        await connection.close()
        assert (await migrating)[1] == runner.head()


@pytest.mark.parametrize("script", LOCKING, ids=lambda script: script.revision)
async def test_who_never_lets_go_is_named(script: Script, empty: str) -> None:
    lock: str = script.module.LOCK
    assert "1..240" in lock
    await asyncio.to_thread(command.upgrade, runner._config(empty), str(script.down_revision))
    connection = await asyncpg.connect(empty)
    async with connection.transaction():
        await connection.execute("LOCK TABLE attempts IN ACCESS SHARE MODE")
        other = await asyncpg.connect(empty)
        with pytest.raises(asyncpg.RaiseError, match="somebody holds a long transaction"):
            await other.execute(lock.replace("1..240", "1..2"))
        await other.close()
    await connection.close()


async def test_running_again_changes_nothing(dsn: str, connection: Connection) -> None:
    await connection.execute("INSERT INTO inbox (period, source, event_id) VALUES (0, '/test', 'e1')")
    before = (await _schema(dsn), await _ask(dsn, "SELECT version_num, xmin::text FROM alembic_version"))
    assert await _migrate(dsn) == (runner.head(), runner.head())
    assert (await _schema(dsn), await _ask(dsn, "SELECT version_num, xmin::text FROM alembic_version")) == before
    assert await connection.fetchval("SELECT count(*) FROM inbox") == 1


async def test_a_later_releases_schema_is_left_alone_and_fit(empty: str) -> None:
    await _migrate(empty)
    await _ask(empty, "UPDATE alembic_version SET version_num = '9999' RETURNING 1")
    assert await _migrate(empty) == ("9999", "9999")
    assert [runner.is_behind(found) for found in (None, "0001", runner.head(), "9999")] == [True, True, False, False]


async def test_two_processes_at_once_queue_up_and_both_succeed(empty: str, dsn: str) -> None:
    gate = await asyncpg.connect(empty)
    await gate.execute("SELECT pg_advisory_lock($1)", LOCK)
    environ = {"HELIOGRAPH_DATABASE_URL": empty}
    running = [asyncio.create_task(process.run("migrate", environ=environ)) for _ in range(2)]

    async def both_wait() -> bool:
        return bool(await gate.fetchval(WAITING))

    try:
        await process.until(both_wait, "both processes wait for the lock")
        await gate.close()
        async with asyncio.timeout(30):
            ended = await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert [each.code for each in ended] == [0, 0], "\n".join(map(str, ended))
    assert await _schema(empty) == await _schema(dsn)


async def test_a_migration_that_fails_leaves_nothing_of_itself(empty: str) -> None:
    await asyncio.to_thread(command.upgrade, runner._config(empty), REVISIONS[0])
    await _ask(empty, "CREATE TABLE deliveries (in_the_way int)")
    before = await _schema(empty)
    with pytest.raises(Exception, match='relation "deliveries" already exists'):
        await _migrate(empty)
    assert await _schema(empty) == before
    assert await _ask(empty, "SELECT version_num FROM alembic_version") == [(REVISIONS[0],)]


async def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(UnreachableError, match=r"^database at 127\.0\.0\.1:1/x did not answer within 0\.05 s \("):
        await _migrate("postgresql://u:hunter2@127.0.0.1:1/x", startup_timeout=0.05)


# --- which rows it takes ---------------------------------------------------------------------------------------------


def _is_legal_live(state: str, *, attempts: int, tried: int, has_lease: bool) -> bool:
    """Say whether the state machine of publisher/delivery/__init__.py knows such a delivery."""
    fits = {"pending": tried == 0, "retry": tried > 0, "leased": True}[state]
    return fits and tried <= attempts and has_lease == (state == "leased")


async def test_a_live_delivery_is_in_a_state_of_the_machine_or_refused(connection: Connection) -> None:
    for number, (state, attempts, tried, has_lease) in enumerate(
        itertools.product(LIVE_STATES, (0, 1, 5), (0, 1, 5), (False, True))
    ):
        is_taken = await _is_taken(
            connection,
            """INSERT INTO queue (account_id, endpoint_id, message_id, type, id, state, attempts, tried, due_at, lease)
               VALUES ('a', 'we_1', 'msg_1', 't', $1, $2, $3, $4, now(), CASE WHEN $5 THEN 1 END)""",
            f"dlv_{number}", state, attempts, tried, has_lease,
        )  # fmt: skip
        legal = _is_legal_live(state, attempts=attempts, tried=tried, has_lease=has_lease)
        assert is_taken is legal, (state, attempts, tried, has_lease)


def _is_legal_end(state: str, *, attempts: int, reason: str | None) -> bool:
    return {
        "delivered": attempts > 0 and reason is None,
        "dropped": reason == "operator" or (reason is None and attempts > 0),
        "cancelled": reason is not None,
    }[state]


async def test_an_ended_delivery_says_how_it_ended_or_is_refused(connection: Connection) -> None:
    reasons = (None, "endpoint", "quota", "expired", "operator")
    for number, (state, attempts, reason) in enumerate(itertools.product(ENDED_STATES, (0, 1), reasons)):
        is_taken = await _is_taken(
            connection,
            """INSERT INTO deliveries
                   (account_id, endpoint_id, message_id, type, id, state, attempts, reason, created_at)
               VALUES ('a', 'we_1', 'msg_1', 't', $1, $2, $3, $4, now())""",
            f"dlv_{number}", state, attempts, reason,
        )  # fmt: skip
        assert is_taken is _is_legal_end(state, attempts=attempts, reason=reason), (state, attempts, reason)


async def _is_taken(connection: Connection, statement: str, *values: object) -> bool:
    try:
        await connection.execute(statement, *values)
    except asyncpg.CheckViolationError:
        return False
    return True


async def _refuses(
    connection: Connection, statement: str, error: type[Exception] = asyncpg.CheckViolationError
) -> None:
    with pytest.raises(error):
        await connection.execute(statement)


async def test_no_other_state_is_known(connection: Connection) -> None:
    columns = "account_id, id, endpoint_id, message_id, type, state"
    for table, state, more in (
        ("queue", "lost", "due_at"),
        ("queue", "delivered", "due_at"),
        ("deliveries", "retry", "attempts, reason, created_at"),
    ):
        values = "'a', 'd', 'e', 'm', 't', $1, " + ("now()" if table == "queue" else "1, NULL, now()")
        statement = f"INSERT INTO {table} ({columns}, {more}) VALUES ({values})"  # noqa: S608 - ours
        assert not await _is_taken(connection, statement, state)


async def test_the_results_are_those_of_the_code_and_no_others(connection: Connection) -> None:
    columns = "account_id, delivery_id, number, result, duration_ms, attempted_at"
    insert = f"INSERT INTO attempts ({columns}) VALUES ('a', 'd', {{}}, '{{}}', 1, now())"  # noqa: S608 - ours
    for number, result in enumerate(Result, 1):
        await connection.execute(insert.format(number, result))
    await _refuses(connection, insert.format(99, "2XX"))
    await _refuses(connection, insert.format(1, "2xx"), asyncpg.UniqueViolationError)


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ("status", "'lost'"),
        ("status", "'disabled'"),  # without a reason
        ("disabled_reason", "'gone'"),  # with a reason, but active
        ("status, disabled_reason", "'paused', 'gone'"),
        ("events", "'{}'"),
        ("events", "array_fill('*'::text, ARRAY[101])"),
        ("description", "repeat('x', 257)"),
    ],
)
async def test_an_endpoint_that_cannot_be_is_refused(columns: str, values: str, connection: Connection) -> None:
    row = dict.fromkeys(["account_id", "id", "url"], "'x'") | {"events": "'{*}'"}
    insert = "INSERT INTO endpoints ({}) VALUES ({})"
    await connection.execute(insert.format(",".join(row), ",".join(row.values())))
    row |= {"id": "'y'"} | dict(
        zip(columns.split(", "), [values] if ", " not in columns else values.split(", "), strict=True)
    )
    await _refuses(connection, insert.format(",".join(row), ",".join(row.values())))


async def test_secrets_belong_to_an_endpoint_and_go_with_it(connection: Connection) -> None:
    columns = "account_id, endpoint_id, version, key_id, sealed"
    insert = f"INSERT INTO endpoint_secrets ({columns}) VALUES ('a', 'we_1', 1, 'k1', '\\x00')"  # noqa: S608 - ours
    await _refuses(connection, insert, asyncpg.ForeignKeyViolationError)
    await connection.execute("INSERT INTO endpoints (account_id, id, url, events) VALUES ('a', 'we_1', 'u', '{*}')")
    await connection.execute(insert)
    await _refuses(connection, insert, asyncpg.UniqueViolationError)
    await connection.execute("DELETE FROM endpoints")
    assert await connection.fetchval("SELECT count(*) FROM endpoint_secrets") == 0


async def test_an_event_is_remembered_once_by_source_and_id(connection: Connection) -> None:
    insert = "INSERT INTO inbox (period, source, event_id) VALUES (1, '{}', '{}')"
    for source, event_id in (("/a", "1"), ("/b", "1"), ("/a", "2")):
        await connection.execute(insert.format(source, event_id))
    await _refuses(connection, insert.format("/a", "1"), asyncpg.UniqueViolationError)
