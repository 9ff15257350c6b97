"""Incidents and maintenance as they stand, made from everything that was ever said of them. Pure.

    rows, one for each event, in any order -> by incident, sorted -> Incident, Maintenance -> the newest that fit

Nothing is remembered but the events, so late ones, repeated ones and those before their time end in the same document:

- Events are sorted by the moment their data names, then as they follow each other in a life (opened, updated,
  resolved, postmortem), then by id. Only `maintenance.scheduled` names no moment it was said at: there it is the
  event's own time.
- Events of one type, moment and wording are one update, whatever their ids.
- Each `opened` begins an incident's course, and only a later one ends its being resolved. Updates after its end are
  told and change nothing, except that a postmortem makes it `postmortem`. Nobody writes one of an incident that goes
  on: where the end itself is missing, the postmortem is taken for it.
- A maintenance only goes on: scheduled, in progress, completed. It begins anew if it is planned again, afterwards, for
  a later moment than it was begun or ended at.
- An incident and a maintenance may have the same id, and have nothing to do with each other.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import orjson

from feeds.models import (
    Impact,
    Incident,
    IncidentsDocument,
    IncidentStatus,
    Maintenance,
    MaintenanceStatus,
    Update,
)
from feeds.room import MOST_BYTES, first_that_fit, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    T = TypeVar("T", Incident, Maintenance)

OPENED, UPDATED, RESOLVED = "incident.opened", "incident.updated", "incident.resolved"
SCHEDULED, STARTED, COMPLETED = "maintenance.scheduled", "maintenance.started", "maintenance.completed"
#: What each type says the state is; an update says so itself.
STATES: Mapping[str, IncidentStatus | MaintenanceStatus | None] = {
    OPENED: IncidentStatus.INVESTIGATING,
    UPDATED: None,
    RESOLVED: IncidentStatus.RESOLVED,
    SCHEDULED: MaintenanceStatus.SCHEDULED,
    STARTED: MaintenanceStatus.IN_PROGRESS,
    COMPLETED: MaintenanceStatus.COMPLETED,
}
#: As they follow each other at one moment.
RANKS = {state: rank for states in (IncidentStatus, MaintenanceStatus) for rank, state in enumerate(states)}

#: Entries of a document: it is read by phones.
MOST_ENTRIES = 1_000
#: How many updates are kept of what is too large: the first number that fits.
UPDATES_KEPT = (1_000, 100, 10, 1)
#: Of what is over, a story of more than this part of a document loses its oldest updates, rather than push out others.
LONGEST_SHARE = 8


class Row(NamedTuple):
    """An event as it is stored; `happened_at` is the moment its data names, `data` JSON values of its model."""

    incident_id: str
    type: str
    happened_at: datetime
    source: str
    event_id: str
    data: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """What it is about: `incident` or `maintenance`."""
        return self.type.partition(".")[0]

    @property
    def status(self) -> IncidentStatus | MaintenanceStatus:
        """What it says the state is."""
        return STATES[self.type] or IncidentStatus(self.data["status"])


def fold(rows: Iterable[Row]) -> tuple[list[Incident], list[Maintenance]]:
    """Return incidents and maintenance as they stand, each the newest first: by `started_at`, by `scheduled_for`."""
    about: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        about.setdefault((row.kind, row.incident_id), []).append(row)
    incidents = [_incident(_ordered(said)) for (kind, _), said in about.items() if kind == "incident"]
    maintenances = [_maintenance(_ordered(said)) for (kind, _), said in about.items() if kind == "maintenance"]
    return _newest_first(incidents), _newest_first(maintenances)


def build(
    incidents: Sequence[Incident], maintenances: Sequence[Maintenance], *, provider: str, now: datetime
) -> IncidentsDocument:
    """Return the document of a provider from what `fold` returned; the same for the same on one day (UTC).

    It has all that is open, and of the rest the newest, up to `MOST_ENTRIES` in all and `MOST_BYTES` in canonical JSON.
    If the open ones alone are larger they lose their oldest updates, and at worst the oldest of them are left out: a
    document that cannot be signed would help nobody while everything is down. `is_complete` is False where anything is
    missing. Moments ahead of `now` have no part in `as_of`.
    """
    known: list[Incident | Maintenance] = [*incidents, *maintenances]
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    moments = (said.created_at for each in known for said in each.updates)
    as_of = max((moment for moment in moments if midnight < moment <= now), default=midnight)
    frame = IncidentsDocument(provider=provider, as_of=as_of, incidents=[], maintenances=[], is_complete=False)
    chosen, is_complete = _fitting(known, MOST_BYTES - size(frame) + 1)
    return frame.model_copy(
        update={
            "incidents": _newest_first([each for each in chosen if isinstance(each, Incident)]),
            "maintenances": _newest_first([each for each in chosen if isinstance(each, Maintenance)]),
            "is_complete": is_complete,
        }
    )


def is_open(entry: Incident | Maintenance) -> bool:
    """Say whether it goes on, or is still to come."""
    return (entry.resolved_at if isinstance(entry, Incident) else entry.completed_at) is None


# --- one incident, one maintenance ------------------------------------------------------------------------------------


def _ordered(said: Iterable[Row]) -> list[Row]:
    """Return what was said of one thing, the oldest first, each once."""
    ordered = sorted(said, key=lambda row: (row.happened_at, RANKS[row.status], row.event_id, row.source))
    return list({(row.type, row.status, row.happened_at, row.data["body"]): row for row in ordered}.values())


def _incident(said: Sequence[Row]) -> Incident:
    openings = [row for row in said if row.type == OPENED]
    opening = openings[-1].data if openings else {}
    course = said[said.index(openings[-1]) :] if openings else said
    postmortem = _first(course, IncidentStatus.POSTMORTEM)
    end = _first(course, IncidentStatus.RESOLVED) or postmortem
    if postmortem:
        status = IncidentStatus.POSTMORTEM
    else:
        status = IncidentStatus.RESOLVED if end else IncidentStatus(course[-1].status)
    return Incident(
        id=said[0].incident_id,
        title=opening.get("title", ""),
        status=status,
        impact=Impact(opening.get("impact", Impact.NONE)),
        components=list(dict.fromkeys(opening.get("components", ()))),
        started_at=(openings or said)[0].happened_at,
        created_at=said[0].happened_at,
        updated_at=said[-1].happened_at,
        monitoring_at=_monitored_since(course[: course.index(end)] if end else course),
        resolved_at=end and end.happened_at,
        updates=_updates(said),
    )


def _monitored_since(course: Sequence[Row]) -> datetime | None:
    """Return when it last came to be monitored."""
    since = before = None
    for row in course:
        if row.status is IncidentStatus.MONITORING and before is not IncidentStatus.MONITORING:
            since = row.happened_at
        before = row.status
    return since


def _maintenance(said: Sequence[Row]) -> Maintenance:
    plans = [row for row in said if row.type == SCHEDULED]
    plan = plans[-1].data if plans else {}
    planned_for = datetime.fromisoformat(plan["scheduled_for"]) if plan else None
    work = said
    if planned_for is not None:
        place = said.index(plans[-1])
        work = [*(row for row in said[:place] if row.happened_at >= planned_for), *said[place:]]
    started, completed = _first(work, MaintenanceStatus.IN_PROGRESS), _first(work, MaintenanceStatus.COMPLETED)
    if completed:
        status = MaintenanceStatus.COMPLETED
    else:
        status = MaintenanceStatus.IN_PROGRESS if started else MaintenanceStatus.SCHEDULED
    begins = planned_for or said[0].happened_at
    ends = datetime.fromisoformat(plan["scheduled_until"]) if plan else said[-1].happened_at
    return Maintenance(
        id=said[0].incident_id,
        title=plan.get("title", ""),
        status=status,
        components=list(dict.fromkeys(plan.get("components", ()))),
        scheduled_for=begins,
        scheduled_until=max(begins, ends),
        started_at=started and started.happened_at,
        completed_at=completed and completed.happened_at,
        created_at=said[0].happened_at,
        updated_at=said[-1].happened_at,
        updates=_updates(said),
    )


def _first(said: Iterable[Row], status: IncidentStatus | MaintenanceStatus) -> Row | None:
    return next((row for row in said if row.status is status), None)


def _updates(said: Sequence[Row]) -> list[Update]:
    return [
        Update(id=_identifier(row), status=row.status, body=row.data["body"], created_at=row.happened_at)
        for row in reversed(said)
    ]


def _identifier(row: Row) -> str:
    """Return the id of an update: of what it says, so that it is the same whichever repetition came first."""
    moment = row.happened_at.astimezone(UTC).isoformat()
    said = [row.type, row.incident_id, row.status, moment, row.data["body"]]
    return hashlib.sha256(orjson.dumps(said)).hexdigest()[:16]


# --- which of them ----------------------------------------------------------------------------------------------------


def _began(entry: Incident | Maintenance) -> tuple[datetime, str]:
    return entry.started_at if isinstance(entry, Incident) else entry.scheduled_for, entry.id


def _newest_first(entries: Iterable[T]) -> list[T]:
    return sorted(entries, key=_began, reverse=True)


def _fitting(entries: Sequence[Incident | Maintenance], most_bytes: int) -> tuple[list[Incident | Maintenance], bool]:
    """Return the entries that fit, and whether they are all."""
    ordered = sorted(entries, key=lambda each: (is_open(each), *_began(each)), reverse=True)
    running = [each for each in ordered if is_open(each)]
    over = ordered[len(running) : max(MOST_ENTRIES, len(running))]
    fitting = first_that_fit(
        [*_shortened(running, most_bytes), *(_shortened([each], most_bytes // LONGEST_SHARE)[0] for each in over)],
        most_bytes,
    )
    return fitting, fitting == ordered


def _shortened(entries: list[Incident | Maintenance], most_bytes: int) -> list[Incident | Maintenance]:
    """Return the entries with as many of their newest updates as fit."""
    shorter = entries
    for most in UPDATES_KEPT:
        if sum(map(size, shorter)) <= most_bytes:
            break
        shorter = [each.model_copy(update={"updates": each.updates[:most]}) for each in entries]
    return shorter
