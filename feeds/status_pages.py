"""The status page, an incident's own page, and the history: made of what was published of the status and the incidents.

    FeedWatch -> documents -> values (pure) -> template -> kept until another document is there

What stands here says only what the signed documents say; words are the templates'.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import hdrs, web

from feeds.models import ComponentStatus, Impact, Incident, Maintenance, MaintenanceStatus
from feeds.pages import HTML, LIVE_AGE, LIVE_POLICY, segment, slashed
from feeds.pages.kept import Kept
from feeds.pages.numbered import page_number, page_of, pages
from feeds.plain_text import cut, weight
from feeds.plain_text import lines as in_lines
from feeds.routes import NothingHereError, Route
from feeds.syndication import INCIDENT_PAGES, MAINTENANCE_PAGES, STATUS_PAGE
from feeds.uptime_bars import Bars, bars

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from feeds.feed_watch import Documents
    from feeds.models import Component, Group, IncidentsDocument, StatusDocument, Update
    from feeds.pages import Site
    from feeds.routes import Handler
    from runtime.clock import Clock

PAGE, HISTORY = STATUS_PAGE, f"{STATUS_PAGE}history/"
#: The status is published anew at least every hour; what is older by this has not been.
STALE = timedelta(hours=2)
#: Days of which the status page shows what is over, and how many incidents, and maintenances, it shows at most.
RECENT, MOST = 14, 5
#: Components on the status page; of a component's days with trouble, how many are told.
COMPONENTS, TROUBLES = 60, 6
#: Bytes of all drawings of days: components there is no room for are shown without, and what each part of one takes.
DRAWN, FRAME, RUN, TROUBLE = 30_000, 700, 9, 170
#: Lines of the history on a page, and updates on an incident's own.
LINES, UPDATES = 50, 100
#: Bytes of what was said at a time: on the status page; on an incident's own, where all of it has `ROOM`.
SHORT, LONGEST, ROOM = 250, 20_000, 40_000
UNDER_WAY = frozenset({MaintenanceStatus.IN_PROGRESS, MaintenanceStatus.VERIFYING})


class Row(NamedTuple):
    """A component and its last days, None where there is no room; `place` tells it from all others of the page."""

    component: Component
    bars: Bars | None
    place: int


class Line(NamedTuple):
    """An incident or a maintenance in the history; `ended_at` is None for an open one."""

    item: Incident | Maintenance
    begun_at: datetime
    ended_at: datetime | None

    @property
    def is_maintenance(self) -> bool:
        """Say which of the two it is."""
        return isinstance(self.item, Maintenance)


def routes(watch: Documents, site: Site, clock: Clock) -> list[Route]:
    """Return the routes; below a provider's base path stands none of them. The service's root leads to the status."""
    served = _Pages(watch, site, clock)
    return [
        _route("/", _to_status, "root", "To the status page."),
        _route(PAGE, served.status, "status-page", "How everything does, as a page."),
        slashed(PAGE),
        _route(HISTORY, served.history, "status-history-page", "Incidents and maintenance by month, as a page."),
        slashed(HISTORY),
        _route(f"{INCIDENT_PAGES}{{id}}", served.incident, "incident-page", "An incident, as a page."),
        _route(f"{MAINTENANCE_PAGES}{{id}}", served.maintenance, "maintenance-page", "A maintenance, as a page."),
    ]


class _Pages:
    def __init__(self, watch: Documents, site: Site, clock: Clock) -> None:
        self._watch = watch
        self._clock = clock
        self._status = Kept(site, "status.html", policy=LIVE_POLICY, age=LIVE_AGE)
        self._one = Kept(site, "incident.html", policy=LIVE_POLICY, age=LIVE_AGE)
        self._history = Kept(site, "history.html")

    async def status(self, request: web.Request) -> web.Response:
        latest, incidents, now = self._watch.status, self._watch.incidents, self._clock.now()
        status = latest.document if latest else None
        return self._status.answer(
            request,
            PAGE,
            lambda: overview(status, incidents.document if incidents else None, now),
            of=(latest, incidents),
            at=(now.date(), is_stale(status, now)),
        )

    async def incident(self, request: web.Request) -> web.Response:
        return self._page_of(request, INCIDENT_PAGES)

    async def maintenance(self, request: web.Request) -> web.Response:
        return self._page_of(request, MAINTENANCE_PAGES)

    async def history(self, request: web.Request) -> web.Response:
        incidents = self._watch.incidents
        made = lines(incidents.document) if incidents else []
        number = page_number(request.query.get("page"), len(made), LINES)
        return self._history.answer(
            request,
            HISTORY,
            lambda: {
                "is_published": incidents is not None,
                "is_complete": incidents is None or incidents.document.is_complete,
                "months": months(page_of(made, number, LINES)),
                "page": number,
                "pages": pages(len(made), LINES),
            },
            of=(incidents,),
            asked=number,
        )

    def _page_of(self, request: web.Request, folder: str) -> web.Response:
        status, incidents = self._watch.status, self._watch.incidents
        found = incidents and find(
            incidents.document, request.match_info["id"], is_maintenance=folder == MAINTENANCE_PAGES
        )
        if not found:
            raise NothingHereError
        path = f"{folder}{segment(found.id)}"
        values = {
            "item": found,
            "is_maintenance": isinstance(found, Maintenance),
            "names": full_names(status.document if status else None),
            "most": fitting(found.updates),
            "room": LONGEST,
        }
        return self._one.answer(request, path, lambda: values, of=(status, incidents))


# --- what is shown ----------------------------------------------------------------------------------------------------


def overview(status: StatusDocument | None, incidents: IncidentsDocument | None, now: datetime) -> dict[str, Any]:
    """Return what the status page shows at `now`."""
    known = incidents.incidents if incidents else []
    planned = [each for each in incidents.maintenances if each.completed_at is None] if incidents else []
    since = now - timedelta(days=RECENT)
    over = [each for each in known if each.resolved_at is not None and each.resolved_at >= since]
    return {
        "status": status,
        "is_stale": is_stale(status, now),
        "is_maintained": status is not None
        and status.indicator is Impact.NONE
        and any(each.status is ComponentStatus.UNDER_MAINTENANCE for each in status.components),
        "groups": grouped(status) if status else [],
        "unshown": max(0, len(status.components) - COMPONENTS) if status else 0,
        "troubles": TROUBLES,
        "has_incidents": incidents is not None,
        "open": [each for each in known if each.resolved_at is None],
        "past": sorted(over, key=lambda each: each.started_at, reverse=True),
        "running": [each for each in planned if each.status in UNDER_WAY],
        "planned": sorted(
            (each for each in planned if each.status not in UNDER_WAY), key=lambda each: each.scheduled_for
        ),
        "names": full_names(status),
        "most": MOST,
        "room": SHORT,
        "recent": RECENT,
    }


def is_stale(status: StatusDocument | None, now: datetime) -> bool:
    """Say whether a newer document should have been published by `now`."""
    return status is not None and now - status.as_of > STALE


def grouped(status: StatusDocument) -> list[tuple[Group | None, list[Row]]]:
    """Return each group with its components, and at the end, without a group, what all share."""
    rows = list(_rows(status.components[:COMPONENTS]))
    found: list[tuple[Group | None, list[Row]]] = [
        (group, [row for row in rows if row.component.group == group.id]) for group in status.groups
    ]
    known = {group.id for group in status.groups}
    found.append((None, [row for row in rows if row.component.group not in known]))
    return [(group, held) for group, held in found if held]


def _rows(components: Iterable[Component]) -> Iterator[Row]:
    left = DRAWN
    for place, each in enumerate(components):
        drawn = bars(each.days)
        left -= FRAME + RUN * len(drawn.runs) + TROUBLE * len(drawn.troubles[:TROUBLES])
        yield Row(each, drawn if left >= 0 else None, place)


def full_names(status: StatusDocument | None) -> Mapping[str, str]:
    """Return what readers call each component: `Stockholm Compute`."""
    if status is None:
        return {}
    groups = {group.id: group.name for group in status.groups}
    return {each.id: f"{groups.get(each.group or '', '')} {each.name}".strip() for each in status.components}


def fitting(updates: Sequence[Update]) -> int:
    """Return how many updates, the newest first, there is room for on a page of their own: one at least."""
    left = ROOM
    for number, update in enumerate(updates[:UPDATES]):
        left -= weight(cut(in_lines(update.body), LONGEST))
        if left < 0:
            return number
    return min(len(updates), UPDATES)


def find(incidents: IncidentsDocument, identifier: str, *, is_maintenance: bool) -> Incident | Maintenance | None:
    """Return the incident, or the maintenance, of this id."""
    held: Sequence[Incident | Maintenance] = incidents.maintenances if is_maintenance else incidents.incidents
    return next((each for each in held if each.id == identifier), None)


def lines(incidents: IncidentsDocument) -> list[Line]:
    """Return incidents, and maintenance that has begun, the newest first."""
    made = [Line(each, each.started_at, each.resolved_at) for each in incidents.incidents]
    made += [
        Line(each, each.started_at or each.scheduled_for, each.completed_at)
        for each in incidents.maintenances
        if each.status is not MaintenanceStatus.SCHEDULED
    ]
    return sorted(made, key=lambda line: (line.begun_at, line.item.id), reverse=True)


def months(shown: Sequence[Line]) -> list[tuple[datetime, list[Line]]]:
    """Return lines by the month they began in, each with the first moment of it."""

    def month(line: Line) -> datetime:
        return line.begun_at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)

    return [(first, list(held)) for first, held in groupby(shown, month)]


def _route(path: str, handler: Handler, name: str, summary: str) -> Route:
    return Route(path, handler, name, summary, HTML, is_api=False)


async def _to_status(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={hdrs.LOCATION: PAGE.removeprefix("/")})
