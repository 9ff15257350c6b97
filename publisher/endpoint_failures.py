"""How endpoints have been doing: failures noted, forgotten with the next success, and disabled when they are enough.

Shares the ownership of `endpoints` with publisher/endpoints.py, which holds what their owners do to them. Nothing here
but disabling raises a version: how an endpoint is doing changes nothing that processes prepare of it. Every statement
stands in endpoint_failures.sql.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runtime.database import load_queries

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from runtime.database import Connection

SQL = load_queries(Path(__file__).with_suffix(".sql"))


class Disabled(NamedTuple):
    """An endpoint that has just been disabled, and how it was doing; columns of `endpoints`."""

    account_id: str
    id: str
    reason: str
    failing_since: datetime | None
    dropped: int
    last_result: str | None


async def note_results(
    connection: Connection, failures: Sequence[tuple[str, int, str]], successes: Iterable[str]
) -> None:
    """Note that active endpoints fail, (id, deliveries dropped, last result) each, and forget it of those that work.

    Who is among both works. Both in one call, not one after the other: two processes that note the same endpoints
    in different roles would wait for each other.
    """
    worked = set(successes)
    failed: dict[str, tuple[int, str]] = {}
    for endpoint_id, dropped, result in failures:
        if endpoint_id not in worked:
            failed[endpoint_id] = (failed.get(endpoint_id, (0, ""))[0] + dropped, result)
    if failed or worked:
        dropped_counts, results = [each[0] for each in failed.values()], [each[1] for each in failed.values()]
        await connection.execute(SQL["note"], list(failed), dropped_counts, results, list(worked))


async def note_failures(connection: Connection, failures: Sequence[tuple[str, int, str]]) -> None:
    """Note failures alone, as `note_results`."""
    await note_results(connection, failures, ())


async def note_successes(connection: Connection, endpoint_ids: Iterable[str]) -> None:
    """Note successes alone, as `note_results`."""
    await note_results(connection, (), endpoint_ids)


async def disable(connection: Connection, endpoint_ids: Iterable[str], reason: str) -> list[Disabled]:
    """Disable endpoints, so that no delivery is made to them; return those that were not disabled before."""
    return [Disabled(*row) for row in await connection.fetch(SQL["disable"], list(endpoint_ids), reason)]


async def disable_failing(connection: Connection, *, after_seconds: float, dropped: int) -> list[Disabled]:
    """Disable active endpoints that failed for `after_seconds` without a success and lost `dropped` deliveries."""
    return [Disabled(*row) for row in await connection.fetch(SQL["disable_failing"], after_seconds, dropped)]
