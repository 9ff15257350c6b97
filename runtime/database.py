"""The PostgreSQL pool and the named-query file format; no table is named here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import asyncpg

from runtime.lifecycle import close_within, until_reachable

if TYPE_CHECKING:
    from pathlib import Path

    from asyncpg.pool import PoolConnectionProxy

    from runtime.settings import Settings

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]

COMMAND_TIMEOUT = 60.0

#: What a server that is down, starting or out of connections raises: worth another try.
TRANSIENT: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,  # a deadlock's victim
    asyncpg.LockNotAvailableError,  # where the operator set lock_timeout
    asyncpg.IdleInTransactionSessionTimeoutError,  # or that
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that ended while it was being used
    asyncpg.ReadOnlySQLTransactionError,  # what was the primary is a standby now
)


def address_of(dsn: str) -> str:
    """Return where a DSN points, without user or password: `host:port/database`, several hosts comma-separated."""
    parts = urlsplit(dsn)
    hosts = parse_qs(parts.query).get("host", [""])[0] or parts.netloc.rpartition("@")[2] or "localhost"
    port = "" if hosts.startswith("/") or re.search(r":\d+$", hosts) else ":5432"
    return f"{hosts}{port}{parts.path or '/'}"


async def open_pool(settings: Settings, *, size: int | None = None) -> Pool:
    """Connect, waiting up to `startup_timeout` for a server that is not up yet.

    Raises `UnreachableError` naming the address; a refused login is not worth waiting for and raises at once.
    """
    dsn = settings.dsn()

    async def connect() -> Pool:
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=size or settings.database_pool,
            command_timeout=COMMAND_TIMEOUT,
            timeout=5,
            max_inactive_connection_lifetime=0,
            reset=_as_it_is,
            server_settings={"application_name": "heliograph"},
        )

    return await until_reachable(
        "database", address_of(dsn), connect, errors=TRANSIENT, timeout=settings.startup_timeout
    )


async def close_pool(pool: Pool, seconds: float) -> None:
    """Close a pool in `seconds` at the most: one whose server is frozen would wait for it."""
    await close_within(seconds, pool.close)
    pool.terminate()


async def _as_it_is(_: Connection) -> None:
    """Give a connection back as it is: whatever is set in this code base is set for a transaction, which has ended.

    asyncpg has rolled back what was left open by then. By itself it would have the server reset everything at every
    release, which is one more way there and back for each use of a connection.
    """


def load_queries(path: Path) -> dict[str, str]:
    """Read a file of statements, each headed by a `-- name: …` line, into name -> SQL."""
    parts = re.split(r"^-- name: (\w+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: sql.strip() for name, sql in zip(parts[1::2], parts[2::2], strict=True)}
