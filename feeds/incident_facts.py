"""The facts of incidents and maintenance: every event as it came, once. Owns `incident_events`.

What they amount to is a pure function of these rows (incidents.py), so nothing here depends on their order. All of them
are read when one has come, in one query; what they amounted to is kept until then.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from consumers.decode import InvalidRecordError, Reason
from feeds import marks
from feeds.documents import Feed
from feeds.incidents import COMPLETED, OPENED, RESOLVED, SCHEDULED, STARTED, UPDATED, Row, fold
from signer.statement import EARLIEST_YEAR, LATEST_YEAR

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from asyncpg import Record

    from consumers.events import Event
    from consumers.loop import AfterCommit
    from feeds.marks import Mark
    from feeds.models import Incident, Maintenance
    from runtime.database import Connection

#: The field that says when it was so; None where the data has none, and the event's own time is taken.
MOMENTS: Mapping[str, str | None] = {
    OPENED: "started_at",
    UPDATED: "updated_at",
    RESOLVED: "resolved_at",
    SCHEDULED: None,
    STARTED: "started_at",
    COMPLETED: "completed_at",
}
WRITE = """
INSERT INTO incident_events (incident_id, type, happened_at, source, event_id, data)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::jsonb[])
ON CONFLICT (source, event_id) DO NOTHING
RETURNING event_id
"""
READ = "SELECT incident_id, type, happened_at, source, event_id, data FROM incident_events"


class IncidentFacts:
    """The handler that keeps what is said of incidents and maintenance."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` tells whoever publishes that there is something to look at."""
        self._wake = wake

    async def __call__(self, connection: Connection, events: Sequence[Event]) -> AfterCommit | None:
        """Store what is new of `events`; raises `InvalidRecordError` for a date that cannot be written."""
        rows = sorted((row_of(event) for event in events if event.type in MOMENTS), key=_key)
        if not rows or not await _write(connection, rows):
            return None
        await marks.mark(connection, Feed.INCIDENTS, Feed.STATUS)
        return self._wake


class Folded(NamedTuple):
    """What the events amount to, each the newest first."""

    incidents: Sequence[Incident]
    maintenances: Sequence[Maintenance]


class IncidentLedger:
    """Reads what the events amount to, for all who need it: their rows only when the mark says that one has come."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._known: tuple[Mark | None, Folded] | None = None
        self._turn = asyncio.Lock()

    async def read(self, connection: Connection) -> Folded:
        """Return it as of the caller's transaction, which has to see one moment."""
        mark = (await marks.read(connection)).get(Feed.INCIDENTS)
        async with self._turn:
            if self._known is None or self._known[0] != mark:
                records = await connection.fetch(READ)
                self._known = mark, await asyncio.to_thread(lambda: Folded(*fold(map(_row, records))))
            return self._known[1]


async def read(connection: Connection) -> list[Row]:
    """Return every event, in no order."""
    return [_row(record) for record in await connection.fetch(READ)]


def row_of(event: Event) -> Row:
    """Return an event as it is stored: the fields the catalogue names, for what else is in it is not for a page. Pure.

    Raises `InvalidRecordError` if a date is of no year that every format can write.
    """
    named: dict[str, Any] = {name: getattr(event.data, name) for name in type(event.data).model_fields}
    moment_field = MOMENTS[event.type]
    happened_at: datetime = event.time if moment_field is None else named[moment_field]
    for moment in (happened_at, *named.values()):
        if isinstance(moment, datetime) and not EARLIEST_YEAR <= moment.year <= LATEST_YEAR:
            raise InvalidRecordError(
                Reason.HANDLER, f"a date is not of the years {EARLIEST_YEAR} to {LATEST_YEAR}", event.type
            )
    data = {name: _storable(value) for name, value in named.items()}
    return Row(named[type(event.data).RESOURCE[1]], event.type, happened_at, event.source, event.id, data)


def _row(record: Record) -> Row:
    return Row(**{**dict(record), "data": orjson.loads(record["data"])})


def _storable(value: object) -> object:
    """Return a JSON value PostgreSQL takes: it knows no NUL."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value.replace("\x00", "\ufffd") if isinstance(value, str) else value


def _key(row: Row) -> tuple[str, str]:
    """Return what rows are written in the order of, so that no two transactions wait for each other."""
    return row.source, row.event_id


async def _write(connection: Connection, rows: Sequence[Row]) -> int:
    """Return how many of them were new."""
    columns = zip(*((*row[:-1], orjson.dumps(row.data).decode()) for row in rows), strict=True)
    return len(await connection.fetch(WRITE, *map(list, columns)))
