"""Health reports into facts: how each component was when last heard of, and its days. Owns `component_*`.

Reports have no ids; they come late, twice and in any order. The latest of a component holds, the worse of two of the
same moment; in a slot of a day the worst does. Both are written as comparisons with what is there, so it does not
matter who writes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from consumers.telemetry import HealthReport
from feeds import component_days, marks
from feeds.component_days import CODES, SLOTS, STATUSES, Facts, Reported, is_silent
from feeds.documents import Feed
from feeds.models import ComponentStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import date, datetime

    from asyncpg import Record

    from consumers.loop import AfterCommit
    from consumers.telemetry import Telemetry
    from runtime.clock import Clock
    from runtime.database import Connection

HELD = """
SELECT component, status, reported_at FROM component_status WHERE component = ANY($1::text[])
ORDER BY component FOR UPDATE
"""
SAVE = """
INSERT INTO component_status AS held (component, status, checks, reported_at)
SELECT component, status, checks::jsonb, reported_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS given (component, status, checks, reported_at)
ORDER BY component
ON CONFLICT (component) DO UPDATE
SET status = excluded.status, checks = excluded.checks, reported_at = excluded.reported_at
WHERE (excluded.reported_at, array_position($5::text[], excluded.status))
    > (held.reported_at, array_position($5::text[], held.status))
"""
#: A report every few seconds says nothing new of its slot: then nothing is written.
MERGE = f"""
INSERT INTO component_days AS held (component, day, slots)
SELECT component, day, slots FROM unnest($1::text[], $2::date[], $3::bytea[]) AS given (component, day, slots)
ORDER BY component, day
ON CONFLICT (component, day) DO UPDATE
SET slots = (
    SELECT string_agg(
        set_byte('\\x00'::bytea, 0, greatest(get_byte(held.slots, n), get_byte(excluded.slots, n))),
        ''::bytea ORDER BY n
    )
    FROM generate_series(0, {SLOTS - 1}) AS n
)
WHERE EXISTS (
    SELECT FROM generate_series(0, {SLOTS - 1}) AS n WHERE get_byte(excluded.slots, n) > get_byte(held.slots, n)
)
"""  # noqa: S608 - put together from the constant above
READ_STATUS = "SELECT component, status, reported_at FROM component_status"
READ_DAYS = "SELECT component, day, slots FROM component_days WHERE day >= $1"
FORGET_DAYS = "DELETE FROM component_days WHERE day < $1"
FORGET_SILENT = "DELETE FROM component_status WHERE reported_at < $1::date::timestamp AT TIME ZONE 'UTC'"


class ComponentFacts:
    """A handler of telemetry; it may see a report twice."""

    def __init__(self, clock: Clock, *, wake: Callable[[], None] = lambda: None) -> None:
        """`wake` is called after the commit when something changed that readers should see at once."""
        self._clock = clock
        self._wake = wake

    async def __call__(self, connection: Connection, telemetry: Sequence[Telemetry]) -> AfterCommit | None:
        """Write the reports among `telemetry`, and the mark of the status feed if one changed how a component is.

        What only moves a figure of the day is seen when the feed is next built anyway.
        """
        now = self._clock.now()
        oldest = component_days.oldest_kept(now)
        reports = [
            each
            for each in telemetry
            if isinstance(each, HealthReport) and component_days.slot_of(each.time)[0] >= oldest
        ]
        if not reports:
            return None
        newest = latest(reports)
        held = {row["component"]: _reported(row) for row in await connection.fetch(HELD, list(newest))}
        await connection.execute(
            SAVE,
            list(newest),
            [each.status for each in newest.values()],
            [orjson.dumps([check.model_dump() for check in each.checks]).decode() for each in newest.values()],
            [each.time for each in newest.values()],
            list(map(str, STATUSES)),
        )
        days = component_days.of_reports((each.component, ComponentStatus(each.status), each.time) for each in reports)
        await connection.execute(
            MERGE, [component for component, _ in days], [day for _, day in days], list(days.values())
        )
        if not any(shows(held.get(component), report, now) for component, report in newest.items()):
            return None
        await marks.mark(connection, Feed.STATUS)
        return self._wake


async def read(connection: Connection, since: date) -> Facts:
    """Return all facts, of the days those from `since` on."""
    latest_ones = {row["component"]: _reported(row) for row in await connection.fetch(READ_STATUS)}
    days: dict[str, dict[date, bytes]] = {}
    for row in await connection.fetch(READ_DAYS, since):
        days.setdefault(row["component"], {})[row["day"]] = row["slots"]
    return Facts(latest_ones, days)


async def forget(connection: Connection, now: datetime) -> None:
    """Delete days that no document tells of any more, and components that have not been heard of since."""
    oldest = component_days.oldest_kept(now)
    await connection.execute(FORGET_DAYS, oldest)
    await connection.execute(FORGET_SILENT, oldest)


def latest(reports: Iterable[HealthReport]) -> dict[str, HealthReport]:
    """Return the report of each component that holds: the latest, the worse of two of the same moment. Pure."""
    found: dict[str, HealthReport] = {}
    for report in reports:
        known = found.get(report.component)
        if known is None or _rank(report) > _rank(known):
            found[report.component] = report
    return found


def shows(held: Reported | None, report: HealthReport, now: datetime) -> bool:
    """Say whether a report changes what readers see of how its component is, after `held`. Pure."""
    if held is None:
        return True
    status = ComponentStatus(report.status)
    if _rank(report) <= (held.reported_at, CODES[held.status]):
        return False
    return status is not held.status or (is_silent(held.reported_at, now) and not is_silent(report.time, now))


def _rank(report: HealthReport) -> tuple[datetime, int]:
    return report.time, CODES[ComponentStatus(report.status)]


def _reported(row: Record) -> Reported:
    return Reported(ComponentStatus(row["status"]), row["reported_at"])
