"""The schema: how it comes to be, step by step or at once, alone or in a race, and which rows it does not take.

The state machine of a delivery is held by constraints, so that a bug in a statement is an error and not a delivery
that nobody ever claims again.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from alembic import command
from alembic.script import ScriptDirectory

from migrations import runner
from publisher.delivery.outcome import Result
from publisher.queue import STATES
from runtime import settings as runtime_settings
from runtime.lifecycle import UnreachableError
from tests.support import process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Connection = asyncpg.Connection[asyncpg.Record]

SCRIPTS = ScriptDirectory.from_config(runner._config(""))
REVISIONS = [script.revision for script in reversed(list(SCRIPTS.walk_revisions()))]
#: The lock migrations take; env.py cannot be imported, for it runs.
LOCK = int(re.findall(r"^ADVISORY_LOCK = ([\d_]+)$", Path(runner.HERE, "env.py").read_text(), re.MULTILINE)[0])
WAITING = """
SELECT count(*) = 2 FROM pg_locks
WHERE locktype = 'advisory' AND NOT granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
#: All that makes up a schema, as text.
SCHEMA = """
SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || coalesce(column_default, '')
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT relname || ' ' || reloptions::text
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND reloptions IS NOT NULL
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


async def test_running_again_changes_nothing(dsn: str, connection: Connection) -> None:
    await connection.execute("INSERT INTO inbox (source, event_id) VALUES ('/test', 'e1')")
    before = (await _schema(dsn), await _ask(dsn, "SELECT version_num, xmin::text FROM alembic_version"))
    assert await _migrate(dsn) == (runner.head(), runner.head())
    assert (await _schema(dsn), await _ask(dsn, "SELECT version_num, xmin::text FROM alembic_version")) == before
    assert await connection.fetchval("SELECT count(*) FROM inbox") == 1


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


def _is_legal(state: str, *, attempts: int, is_due: bool, has_lease: bool, has_ended: bool) -> bool:
    """Say whether the state machine of publisher/delivery/__init__.py knows such a delivery."""
    lives = state in {"pending", "leased", "retry"}
    was_tried = attempts > 0 or state not in {"retry", "delivered"}
    return is_due == lives and has_ended == (not lives) and has_lease == (state == "leased") and was_tried


async def test_a_delivery_is_in_a_state_of_the_machine_or_refused(connection: Connection) -> None:
    for number, (state, attempts, *flags) in enumerate(
        itertools.product(STATES, (0, 1), (False, True), (False, True), (False, True))
    ):
        is_due, has_lease, has_ended = flags
        try:
            await connection.execute(
                """INSERT INTO deliveries
                       (account_id, endpoint_id, message_id, id, state, attempts, due_at, lease, ended_at)
                   VALUES ('a', 'we_1', 'msg_1', $1, $2, $3, CASE WHEN $4 THEN now() END, CASE WHEN $5 THEN 1 END,
                           CASE WHEN $6 THEN now() END)""",
                f"dlv_{number}", state, attempts, is_due, has_lease, has_ended,
            )  # fmt: skip
            is_taken = True
        except asyncpg.CheckViolationError:
            is_taken = False
        legal = _is_legal(state, attempts=attempts, is_due=is_due, has_lease=has_lease, has_ended=has_ended)
        assert is_taken is legal, (state, attempts, is_due, has_lease, has_ended)


async def _refuses(
    connection: Connection, statement: str, error: type[Exception] = asyncpg.CheckViolationError
) -> None:
    with pytest.raises(error):
        await connection.execute(statement)


async def test_the_states_are_the_queue_s(connection: Connection) -> None:
    assert set(STATES) == {"pending", "leased", "retry", "delivered", "dropped", "cancelled"}
    columns = "account_id, id, endpoint_id, message_id, state, due_at, ended_at"
    for due_at, ended_at in (("now()", "NULL"), ("NULL", "now()"), ("NULL", "NULL")):
        values = f"'a', 'd', 'e', 'm', 'lost', {due_at}, {ended_at}"
        await _refuses(connection, f"INSERT INTO deliveries ({columns}) VALUES ({values})")  # noqa: S608 - ours


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
    insert = "INSERT INTO endpoint_secrets VALUES ('a', 'we_1', 1, 'k1', '\\x00')"
    await _refuses(connection, insert, asyncpg.ForeignKeyViolationError)
    await connection.execute("INSERT INTO endpoints (account_id, id, url, events) VALUES ('a', 'we_1', 'u', '{*}')")
    await connection.execute(insert)
    await _refuses(connection, insert, asyncpg.UniqueViolationError)
    await connection.execute("DELETE FROM endpoints")
    assert await connection.fetchval("SELECT count(*) FROM endpoint_secrets") == 0


async def test_an_event_is_remembered_once_by_source_and_id(connection: Connection) -> None:
    insert = "INSERT INTO inbox (source, event_id) VALUES ('{}', '{}')"
    for source, event_id in (("/a", "1"), ("/b", "1"), ("/a", "2")):
        await connection.execute(insert.format(source, event_id))
    await _refuses(connection, insert.format("/a", "1"), asyncpg.UniqueViolationError)


async def test_the_queue_s_index_holds_live_rows_only(dsn: str) -> None:
    [(definition,)] = await _ask(dsn, "SELECT indexdef FROM pg_indexes WHERE indexname = 'deliveries_due'")
    assert definition.endswith("(due_at) WHERE (due_at IS NOT NULL)")
