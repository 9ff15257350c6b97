"""Facts -> the status document: how everything does, and how it did in the last 90 days. Pure.

    reports of components --+
    open incidents ---------+--> each component --> its bastion --> the indicator
    maintenance under way --+

The document changes when one of these does, when a component falls silent, and with the hour: of today only the hours
that are over count, so that a report every few seconds is not a document every few seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from feeds import component_days
from feeds.component_days import CODES, SHOWN, SLOTS_AN_HOUR, Counted
from feeds.models import (
    Component,
    ComponentStatus,
    Day,
    Group,
    Impact,
    IncidentStatus,
    MaintenanceStatus,
    Mention,
    StatusDocument,
)
from feeds.room import MOST_BYTES, first_that_fit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from feeds.component_days import Facts
    from feeds.models import Incident, Maintenance

#: What an open incident says of the components it names.
SAID: Mapping[Impact, ComponentStatus] = {
    Impact.MINOR: ComponentStatus.DEGRADED_PERFORMANCE,
    Impact.MAJOR: ComponentStatus.PARTIAL_OUTAGE,
    Impact.CRITICAL: ComponentStatus.MAJOR_OUTAGE,
}
#: The other way round. Statuspage's indicator knows no maintenance, and its strict readers refuse a word they do not
#: know, so maintenance shows in the description alone.
INDICATED: Mapping[ComponentStatus, Impact] = {
    ComponentStatus.OPERATIONAL: Impact.NONE,
    ComponentStatus.UNDER_MAINTENANCE: Impact.NONE,
    **{status: impact for impact, status in SAID.items()},
}
#: Statuspage's words, by the worst there is.
DESCRIPTIONS: Mapping[ComponentStatus, str] = {
    ComponentStatus.OPERATIONAL: "All Systems Operational",
    ComponentStatus.UNDER_MAINTENANCE: "Service Under Maintenance",
    ComponentStatus.DEGRADED_PERFORMANCE: "Partially Degraded Service",
    ComponentStatus.PARTIAL_OUTAGE: "Partial System Outage",
    ComponentStatus.MAJOR_OUTAGE: "Major Service Outage",
}
#: Bytes of each part of a document; the rest is for groups. Declared components come first and are a few dozen.
MOST_OF_COMPONENTS, MOST_OF_INCIDENTS, MOST_OF_MAINTENANCES = MOST_BYTES // 2, MOST_BYTES // 4, MOST_BYTES // 8
CLOSED = frozenset({IncidentStatus.RESOLVED, IncidentStatus.POSTMORTEM})
UNDER_WAY = frozenset({MaintenanceStatus.IN_PROGRESS, MaintenanceStatus.VERIFYING})


class DeclaredService(NamedTuple):
    """A component by its whole id (`STO/compute`, `panel`) and its name."""

    id: str
    name: str


class DeclaredGroup(NamedTuple):
    """A bastion with its components, in the order they are shown in."""

    id: str
    name: str
    services: Sequence[DeclaredService]


@dataclass(frozen=True, slots=True)
class Declared:
    """What a provider says it has, whether it has reported or not."""

    groups: Sequence[DeclaredGroup] = ()
    shared: Sequence[DeclaredService] = ()


def build(
    facts: Facts,
    incidents: Sequence[Incident],
    maintenances: Sequence[Maintenance],
    declared: Declared,
    *,
    provider: str,
    now: datetime,
) -> StatusDocument:
    """Return the document as of `now`.

    A component's status is the worse of what it last reported and of what open incidents that name it, or its bastion,
    say; while maintenance of it is under way it is that. One that never reported counts as operational, and says that
    it does not report. Components that report without being declared come last. The indicator is the worst of all
    components and of all open incidents, whether or not they name a component.
    """
    now = now.astimezone(UTC)
    open_ones = [each for each in incidents if each.status not in CLOSED]
    planned = [each for each in maintenances if each.status is not MaintenanceStatus.COMPLETED]
    said = _said(open_ones)
    maintained = {name for each in planned if each.status in UNDER_WAY for name in each.components}
    components = [
        _component(place, facts, said, maintained, now) for place in _places(declared, sorted(facts.latest))
    ]  # fmt: skip
    overall = _worst([*(each.status for each in components), *_impacts(open_ones)])
    mentioned = [
        Mention(id=each.id, title=each.title, status=each.status, impact=each.impact, updated_at=each.updated_at)
        for each in sorted(open_ones, key=lambda each: (each.started_at, each.id), reverse=True)
    ]
    announced = [
        Mention(
            id=each.id, title=each.title, status=each.status, impact=Impact.MAINTENANCE, updated_at=each.updated_at
        )
        for each in sorted(planned, key=lambda each: (each.scheduled_for, each.id))
    ]  # fmt: skip
    shown = first_that_fit(components, MOST_OF_COMPONENTS)
    incidents_shown = first_that_fit(mentioned, MOST_OF_INCIDENTS)
    maintenances_shown = first_that_fit(announced, MOST_OF_MAINTENANCES)
    return StatusDocument(
        provider=provider,
        as_of=as_of([*incidents, *maintenances], now),
        is_complete=(shown, incidents_shown, maintenances_shown) == (components, mentioned, announced),
        indicator=INDICATED[overall],
        description=DESCRIPTIONS[overall],
        groups=_groups(declared, components, shown),
        components=shown,
        incidents=incidents_shown,
        maintenances=maintenances_shown,
    )


def since(now: datetime) -> date:
    """Return the first day a document of `now` tells of, in UTC."""
    return now.astimezone(UTC).date() - timedelta(days=SHOWN - 1)


def as_of(known: Iterable[Incident | Maintenance], now: datetime) -> datetime:
    """Return the beginning of the hour, or the moment of the latest update that is not in the future."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    return max([hour, *(each.updated_at for each in known if each.updated_at <= now)])


# --- components -------------------------------------------------------------------------------------------------------


class _Place(NamedTuple):
    id: str
    name: str
    group: str | None


def _places(declared: Declared, reporting: Iterable[str]) -> Iterable[_Place]:
    places = {
        each.id: _Place(each.id, each.name, group.id) for group in declared.groups for each in group.services
    } | {each.id: _Place(each.id, each.name, None) for each in declared.shared}  # fmt: skip
    for component in reporting:
        if component not in places:
            code, slash, service = component.partition("/")
            places[component] = _Place(component, service if slash else component, code if slash else None)
    return places.values()


def _component(
    place: _Place, facts: Facts, said: Mapping[str, ComponentStatus], maintained: set[str], now: datetime
) -> Component:
    latest = facts.latest.get(place.id)
    names = [name for name in (place.id, place.group) if name is not None]
    status = _worst([*([latest.status] if latest else []), *(said[name] for name in names if name in said)])
    if not maintained.isdisjoint(names):
        status = ComponentStatus.UNDER_MAINTENANCE
    days, total = _days(facts.days.get(place.id, {}), now)
    return Component(
        id=place.id,
        name=place.name,
        group=place.group,
        status=status,
        is_reporting=latest is not None and not component_days.is_silent(latest.reported_at, now),
        uptime=total.uptime,
        days=days,
    )


def _days(reported: Mapping[date, bytes], now: datetime) -> tuple[list[Day], Counted]:
    """Return the days that are shown, and all of their slots together: a day with gaps weighs less than a full one."""
    shown = {day: reported.get(day, b"") for day in (since(now) + timedelta(days=number) for number in range(SHOWN))}
    shown[now.date()] = shown[now.date()][: now.hour * SLOTS_AN_HOUR]
    days = [
        Day(date=day.isoformat(), uptime=component_days.counted(slots).uptime, worst=component_days.worst(slots))
        for day, slots in shown.items()
    ]
    return days, component_days.counted(b"".join(shown.values()))


def _groups(declared: Declared, components: Sequence[Component], shown: Sequence[Component]) -> list[Group]:
    """Return the bastions that are declared or have a component that is shown; all of theirs count."""
    names = {group.id: group.name for group in declared.groups}
    for each in shown:
        if each.group is not None:
            names.setdefault(each.group, each.group)
    statuses: dict[str | None, list[ComponentStatus]] = {}
    for each in components:
        statuses.setdefault(each.group, []).append(each.status)
    return [Group(id=code, name=name, status=_worst(statuses.get(code, ()))) for code, name in names.items()]


def _said(open_ones: Iterable[Incident]) -> dict[str, ComponentStatus]:
    said: dict[str, ComponentStatus] = {}
    for incident in open_ones:
        for status in _impacts([incident]):
            for name in incident.components:
                said[name] = _worst([status, *([said[name]] if name in said else [])])
    return said


def _impacts(incidents: Iterable[Incident]) -> list[ComponentStatus]:
    return [SAID[each.impact] for each in incidents if each.impact in SAID]


def _worst(statuses: Iterable[ComponentStatus]) -> ComponentStatus:
    return max(statuses, key=CODES.__getitem__, default=ComponentStatus.OPERATIONAL)
