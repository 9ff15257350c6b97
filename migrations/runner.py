"""Brings a database to the newest schema, or says whether it is there; Alembic does the work.

Runs of several processes at once queue up behind an advisory lock, so every one of them may migrate at start.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from runtime.database import TRANSIENT, address_of
from runtime.lifecycle import until_reachable

if TYPE_CHECKING:
    from alembic.config import Config

    from runtime.database import Connection
    from runtime.settings import Settings

HERE = Path(__file__).parent


def _config(dsn: str) -> Config:
    from alembic.config import Config  # noqa: PLC0415 - a quarter of a second that most commands need not spend

    config = Config()
    config.set_main_option("script_location", str(HERE))
    config.set_main_option("path_separator", "os")
    config.attributes["dsn"] = dsn
    return config


def head() -> str:
    """Return the number of the newest migration."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - as above

    newest = ScriptDirectory.from_config(_config("")).get_current_head()
    assert newest is not None  # noqa: S101 - the folder always holds migrations
    return newest


async def current(connection: Connection) -> str | None:
    """Return the number of the last migration applied, None for an empty database."""
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    version: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    return version


def is_behind(found: str | None) -> bool:
    """Say whether a database at `found` lacks a migration of this release; a later one's schema is fit for it too."""
    return found is None or found < head()


async def migrate(settings: Settings) -> tuple[str | None, str]:
    """Apply what is missing; return the numbers before and after.

    Waits up to `startup_timeout` for the server; raises `UnreachableError` naming its address.
    """
    from alembic import command  # noqa: PLC0415 - as above

    dsn = settings.dsn()

    async def connect() -> asyncpg.Connection[asyncpg.Record]:
        return await asyncpg.connect(dsn, timeout=5)

    connection = await until_reachable(
        "database", address_of(dsn), connect, errors=TRANSIENT, timeout=settings.startup_timeout
    )
    try:
        before = await current(connection)
    finally:
        await connection.close()
    if before is not None and before > head():  # a later release was here: there is nothing for this one to do
        return before, before
    await asyncio.to_thread(command.upgrade, _config(dsn), "head")
    return before, head()
