"""What changed in which feed: a counter for each, moved in the transaction of the fact. Owns `feed_marks`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from feeds.documents import Feed
    from runtime.database import Connection

MARK = "UPDATE feed_marks SET changes = changes + 1, changed_at = now() WHERE feed = $1"
READ = "SELECT feed, changes, changed_at FROM feed_marks"


class Mark(NamedTuple):
    """How often a feed's facts have changed, and when they last did."""

    changes: int
    changed_at: datetime


async def mark(connection: Connection, *feeds: Feed) -> None:
    """Say in the caller's transaction that facts of `feeds` changed; in one order, so that no two deadlock."""
    for feed in sorted(feeds):
        await connection.execute(MARK, feed)


async def read(connection: Connection) -> Mapping[str, Mark]:
    """Return the mark of each feed."""
    return {row["feed"]: Mark(row["changes"], row["changed_at"]) for row in await connection.fetch(READ)}
