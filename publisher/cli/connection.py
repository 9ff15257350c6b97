"""One connection for the length of a command, and what it means when the tables are not this release's."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import asyncpg

from publisher.cli.context import CommandError
from runtime.database import open_pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from runtime.database import Connection
    from runtime.settings import Settings

T = TypeVar("T")


async def with_connection(settings: Settings, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Do `work` on a connection; raises `CommandError` where a table or column is missing."""
    pool = await open_pool(settings, size=1)
    try:
        async with pool.acquire() as connection:
            return await work(connection)
    except asyncpg.UndefinedTableError:
        raise CommandError("the database has no schema yet: run heliograph migrate") from None
    except asyncpg.UndefinedColumnError:
        raise CommandError("the database's schema is older than this release: run heliograph migrate") from None
    finally:
        await pool.close()
