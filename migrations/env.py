"""Alembic's entry point: connects with asyncpg, takes the lock, runs what is missing in one transaction."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
from alembic import context
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from runtime.advisory_locks import AdvisoryLock

if TYPE_CHECKING:
    from sqlalchemy import Connection


async def _migrate(dsn: str) -> None:
    # The DSN goes to asyncpg as it is: SQLAlchemy's URL type would have to be taught its host and ssl options.
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda *_, **__: asyncpg.connect(dsn), poolclass=NullPool
    )
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": AdvisoryLock.SCHEMA})
        await connection.run_sync(_run)
    await engine.dispose()


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=None, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


asyncio.run(_migrate(context.config.attributes["dsn"]))
