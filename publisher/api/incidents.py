"""Incidents and maintenance as a list that can be asked, and one by one, as the newest signed document has them.

Both kinds stand in one list, for a reader asks what is wrong, not what it is called.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from feeds.models import Impact, IncidentStatus, Maintenance, MaintenanceStatus
from publisher.api.call import Items, Reply
from publisher.api.errors import not_found
from publisher.api.models import In, Out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feeds.models import Incident, IncidentsDocument, Update
    from publisher.api.call import Call

Kind = Literal["incident", "maintenance"]
INCIDENT: Kind = "incident"
MAINTENANCE: Kind = "maintenance"
AnyStatus = IncidentStatus | MaintenanceStatus
#: Any of them, by its name.
StatusName = Literal[
    "investigating", "identified", "monitoring", "resolved", "postmortem",
    "scheduled", "in_progress", "verifying", "completed",
]  # fmt: skip
#: Longer names are nobody's.
ComponentId = Annotated[str, Field(max_length=128, examples=["STO/network"])]


class ReportedUpdate(Out):
    """Something said of it."""

    id: Annotated[str, Field(description="The same for the same update, in every format.")]
    status: Annotated[AnyStatus, Field(description="Where it stood then.")]
    body: str
    created_at: datetime


class Reported(Out):
    """An incident or a maintenance, with everything said of it."""

    id: str
    kind: Kind
    title: str
    status: AnyStatus
    impact: Annotated[Impact, Field(description="`maintenance` for a maintenance.")]
    components: Annotated[list[str], Field(description="Ids of the components it is about.")]
    started_at: Annotated[
        datetime, Field(description="When it began; of a maintenance that has not begun, when it is to.")
    ]
    monitoring_at: Annotated[datetime | None, Field(description="Since when the remedy is watched.")]
    resolved_at: Annotated[datetime | None, Field(description="When it ended; null while it goes on.")]
    scheduled_for: Annotated[datetime | None, Field(description="When a maintenance is to begin.")]
    scheduled_until: Annotated[datetime | None, Field(description="When a maintenance is to end.")]
    created_at: Annotated[datetime, Field(description="When something was first said of it.")]
    updated_at: Annotated[datetime, Field(description="When something was last said of it.")]
    updates: Annotated[list[ReportedUpdate], Field(description="The newest first.")]


class IncidentFilters(In):
    """What incidents may be filtered by; `since` and `until` are times of `started_at`, both included."""

    status: StatusName | None = None
    component: Annotated[
        ComponentId | None,
        Field(
            description="Only those about this component, or about all of its bastion; with a bastion's code, about it "
            "or any of its components."
        ),
    ] = None
    impact: Impact | None = None
    kind: Kind | None = None
    since: Annotated[AwareDatetime | None, Field(description="Only those that began at this time or later.")] = None
    until: Annotated[AwareDatetime | None, Field(description="Only those that began at this time or earlier.")] = None


EXAMPLE: dict[str, Any] = {
    "id": "inc_019e2f6a",
    "kind": "incident",
    "title": "Packet loss in Stockholm",
    "status": "resolved",
    "impact": "minor",
    "components": ["STO/network"],
    "started_at": "2026-11-01T08:00:00Z",
    "monitoring_at": "2026-11-01T08:40:00Z",
    "resolved_at": "2026-11-01T09:30:00Z",
    "scheduled_for": None,
    "scheduled_until": None,
    "created_at": "2026-11-01T08:04:00Z",
    "updated_at": "2026-11-01T09:30:00Z",
    "updates": [
        {
            "id": "evt_019e2f9c",
            "status": "resolved",
            "body": "The line card was replaced.",
            "created_at": "2026-11-01T09:30:00Z",
        },
        {
            "id": "evt_019e2f6b",
            "status": "investigating",
            "body": "We are looking into it.",
            "created_at": "2026-11-01T08:04:00Z",
        },
    ],
}


async def list_all(call: Call) -> Reply:
    """List all there are in the newest document; nothing before the first one."""
    document = _document(call)
    asked, filters = call.query, call.query.filters or IncidentFilters()
    assert isinstance(filters, IncidentFilters)  # noqa: S101 - the operation's
    found = [each for each in _all(document) if is_meant(each, filters)]
    by = updated if asked.sort == "updated_at" else started
    found.sort(key=lambda each: (by(each), each.id), reverse=asked.is_descending)
    shown = [reported(each).model_dump() for each in found[asked.offset : asked.offset + asked.size]]
    return Reply(items=Items(shown, len(found), document.is_complete))


async def read(call: Call) -> Reply:
    """Show one."""
    document, wanted = _document(call), call.path["incident_id"]
    for each in _all(document):
        if each.id == wanted:
            return Reply(item=reported(each).model_dump())
    raise not_found()


def is_meant(each: Incident | Maintenance, filters: IncidentFilters) -> bool:
    """Say whether an incident or a maintenance passes the filters. Pure."""
    return all(_passed(each, filters))


def _passed(each: Incident | Maintenance, filters: IncidentFilters) -> Iterator[bool]:
    began = started(each)
    yield filters.status in {None, each.status}
    yield filters.kind in {None, kind(each)}
    yield filters.impact in {None, impact(each)}
    yield filters.component is None or any(_is_about(name, filters.component) for name in each.components)
    yield filters.since is None or began >= filters.since
    yield filters.until is None or began <= filters.until


def _is_about(named: str, component: str) -> bool:
    """Say whether what an incident names is the component, is its bastion, or is on it."""
    return named == component or named.startswith(f"{component}/") or component.startswith(f"{named}/")


def started(each: Incident | Maintenance) -> datetime:
    """Return when it began or is to begin. Pure."""
    if isinstance(each, Maintenance):
        return each.started_at or each.scheduled_for
    return each.started_at


def updated(each: Incident | Maintenance) -> datetime:
    """Return when something was last said of it. Pure."""
    return each.updated_at


def kind(each: Incident | Maintenance) -> Kind:
    """Return which it is. Pure."""
    return MAINTENANCE if isinstance(each, Maintenance) else INCIDENT


def impact(each: Incident | Maintenance) -> Impact:
    """Return how bad it is. Pure."""
    return Impact.MAINTENANCE if isinstance(each, Maintenance) else each.impact


def reported(each: Incident | Maintenance) -> Reported:
    """Return what is shown of an incident or a maintenance. Pure."""
    planned: tuple[datetime | None, datetime | None]
    if isinstance(each, Maintenance):
        ended, watched = each.completed_at, None
        planned = (each.scheduled_for, each.scheduled_until)
    else:
        ended, watched, planned = each.resolved_at, each.monitoring_at, (None, None)
    return Reported(
        id=each.id,
        kind=kind(each),
        title=each.title,
        status=each.status,
        impact=impact(each),
        components=each.components,
        started_at=started(each).astimezone(UTC),
        monitoring_at=_utc(watched),
        resolved_at=_utc(ended),
        scheduled_for=_utc(planned[0]),
        scheduled_until=_utc(planned[1]),
        created_at=each.created_at.astimezone(UTC),
        updated_at=each.updated_at.astimezone(UTC),
        updates=[_update(said) for said in each.updates],
    )


def _update(said: Update) -> ReportedUpdate:
    return ReportedUpdate(id=said.id, status=said.status, body=said.body, created_at=said.created_at.astimezone(UTC))


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)


def _all(document: IncidentsDocument) -> list[Incident | Maintenance]:
    return [*document.incidents, *document.maintenances]


def _document(call: Call) -> IncidentsDocument:
    latest = call.services.feeds.incidents if call.services.feeds else None
    if latest is None:
        raise not_found()
    return latest.document
