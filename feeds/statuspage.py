"""The status page in the words of Statuspage's public API, version 2, which many programs read. Pure.

    IncidentsDocument + StatusDocument -> one answer for each path below /api/v2/

Clients decode strictly: every field is there, words are Statuspage's alone, null is only what it may be there. What is
not known here is said so that it misleads nobody:

- Ids are twelve letters and digits, made from ours and what they are of, so no two things share one. Ours stand in
  `shortlink`, and in a component's `description`.
- A component's name has its bastion's behind it: flat clients tell components apart by name alone, and an outage of
  `Compute` in one place must not be hidden by another.
- When a component was made is not known; `created_at` is the beginning of the first day there is.
- `affected_components` is what an update meant for the components of its incident, by its impact.
- There is no indicator for maintenance: it is `none`, and the description says the rest.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC
from typing import TYPE_CHECKING, Any

from feeds.incidents import is_open
from feeds.models import ComponentStatus, Impact, Incident, IncidentStatus, Maintenance, MaintenanceStatus
from feeds.plain_text import line, lines
from feeds.status import CLOSED, SAID, UNDER_WAY
from feeds.syndication import STATUS_PAGE, page_of, title_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from feeds.models import Component, Group, IncidentsDocument, StatusDocument, Update
    from feeds.pages import Site

    Json = dict[str, Any]

#: How many incidents, and how many maintenances, a list of all of them has: the newest.
LISTED = 50
TIME_ZONE = "Etc/UTC"


class Statuspage:
    """Both documents, and every answer there is of them: JSON values."""

    def __init__(self, incidents: IncidentsDocument, status: StatusDocument, site: Site) -> None:
        """`site` says whose page it is, and where."""
        self._incidents = incidents
        self._status = status
        self._site = site
        self._page_id = identifier("page", status.provider)
        self._as_of = max(incidents.as_of, status.as_of)
        #: The components of each group by its id; under None those that are in none of them.
        self._within: dict[str | None, list[Component]] = {group.id: [] for group in status.groups}
        for component in status.components:
            group_id = component.group if component.group in self._within else None
            self._within.setdefault(group_id, []).append(component)
        self._rows = {row["id"]: row for row in self._component_rows()}

    def summary(self) -> Json:
        """Return how everything does, with what is open, under way or to come."""
        open_maintenances = [each for each in self._incidents.maintenances if is_open(each)]
        return {
            **self.components(),
            "incidents": self.unresolved()["incidents"],
            "scheduled_maintenances": [self._maintenance(each) for each in open_maintenances],
            "status": self._overall(),
        }

    def status(self) -> Json:
        """Return how everything does, in a word."""
        return {"page": self._page(), "status": self._overall()}

    def components(self) -> Json:
        """Return components, the groups they are in among them: a group stands before its own."""
        return {"page": self._page(), "components": list(self._rows.values())}

    def incidents(self) -> Json:
        """Return the newest incidents."""
        return self._with_incidents(self._incidents.incidents[:LISTED])

    def unresolved(self) -> Json:
        """Return the open incidents."""
        return self._with_incidents(each for each in self._incidents.incidents if is_open(each))

    def maintenances(self) -> Json:
        """Return the newest maintenance."""
        return self._with_maintenances(self._incidents.maintenances[:LISTED])

    def upcoming(self) -> Json:
        """Return the maintenance that is to come."""
        return self._with_maintenances(
            each for each in self._incidents.maintenances if each.status is MaintenanceStatus.SCHEDULED
        )

    def active(self) -> Json:
        """Return the maintenance that is under way."""
        return self._with_maintenances(each for each in self._incidents.maintenances if each.status in UNDER_WAY)

    # --- parts --------------------------------------------------------------------------------------------------------

    def _page(self) -> Json:
        return {
            "id": self._page_id,
            "name": self._site.name,
            "url": f"{self._site.public_url}{STATUS_PAGE}",
            "time_zone": TIME_ZONE,
            "updated_at": moment(self._as_of),
        }

    def _overall(self) -> Json:
        indicator = self._status.indicator
        return {
            "indicator": Impact.NONE if indicator is Impact.MAINTENANCE else indicator,
            "description": self._status.description,
        }

    def _component_rows(self) -> Iterator[Json]:
        for position, group in enumerate(self._status.groups, 1):
            within = self._within[group.id]
            yield self._group_row(group, within, position)
            for place, component in enumerate(within, 1):
                yield self._component_row(component, group, place)
        for place, component in enumerate(self._within.get(None, ()), len(self._status.groups) + 1):
            yield self._component_row(component, None, place)

    def _group_row(self, group: Group, within: Iterable[Component], position: int) -> Json:
        return {
            **self._row("group", group.id, line(group.name), group.status, position),
            "created_at": min((self._first_day(each) for each in within), default=moment(self._as_of)),
            "showcase": False,
            "start_date": None,
            "group_id": None,
            "group": True,
            "components": [identifier("component", each.id) for each in within],
        }

    def _component_row(self, component: Component, group: Group | None, position: int) -> Json:
        return {
            **self._row("component", component.id, name_of(component, group), component.status, position),
            "created_at": self._first_day(component),
            "showcase": True,
            "start_date": next((day.date for day in component.days if day.uptime is not None), None),
            "group_id": group and identifier("group", group.id),
            "group": False,
        }

    def _row(self, kind: str, own_id: str, name: str, status: ComponentStatus, position: int) -> Json:
        return {
            "id": identifier(kind, own_id),
            "name": name,
            "status": status,
            "updated_at": moment(self._status.as_of),
            "position": position,
            "description": line(own_id),
            "page_id": self._page_id,
            "only_show_if_degraded": False,
        }

    def _first_day(self, component: Component) -> str:
        return f"{component.days[0].date}T00:00:00.000Z" if component.days else moment(self._status.as_of)

    def _with_incidents(self, incidents: Iterable[Incident]) -> Json:
        return {"page": self._page(), "incidents": [self._incident(each) for each in incidents]}

    def _with_maintenances(self, maintenances: Iterable[Maintenance]) -> Json:
        return {"page": self._page(), "scheduled_maintenances": [self._maintenance(each) for each in maintenances]}

    def _incident(self, incident: Incident) -> Json:
        return {
            **self._entry("incident", incident),
            "monitoring_at": incident.monitoring_at and moment(incident.monitoring_at),
            "resolved_at": incident.resolved_at and moment(incident.resolved_at),
            "impact": incident.impact,
            "started_at": moment(incident.started_at),
        }

    def _maintenance(self, maintenance: Maintenance) -> Json:
        return {
            **self._entry("maintenance", maintenance),
            "monitoring_at": None,
            "resolved_at": maintenance.completed_at and moment(maintenance.completed_at),
            "impact": Impact.MAINTENANCE,
            "started_at": moment(maintenance.started_at or maintenance.scheduled_for),
            "scheduled_for": moment(maintenance.scheduled_for),
            "scheduled_until": moment(maintenance.scheduled_until),
        }

    def _entry(self, kind: str, entry: Incident | Maintenance) -> Json:
        """Return what incidents and maintenance have in common."""
        entry_id = identifier(kind, entry.id)
        concerned = self._concerned(entry.components)
        impact = entry.impact if isinstance(entry, Incident) else Impact.MAINTENANCE
        return {
            "id": entry_id,
            "name": title_of(entry),
            "status": entry.status,
            "created_at": moment(entry.created_at),
            "updated_at": moment(entry.updated_at),
            "shortlink": page_of(entry, self._site),
            "page_id": self._page_id,
            "incident_updates": self._updates(entry_id, entry.updates, impact, concerned),
            "components": [self._rows[code] for code in concerned if code in self._rows],
        }

    def _concerned(self, ids: Iterable[str]) -> dict[str, str]:
        """Return the components an incident names, id -> name: those of a bastion for the bastion, unknown ones too."""
        found: dict[str, str] = {}
        for own_id in ids:
            is_group = identifier("component", own_id) not in self._rows and own_id in self._within
            for component_id in [each.id for each in self._within[own_id]] if is_group else [own_id]:
                code = identifier("component", component_id)
                found[code] = self._rows[code]["name"] if code in self._rows else line(component_id)
        return found

    def _updates(
        self, entry_id: str, updates: Iterable[Update], impact: Impact, concerned: Mapping[str, str]
    ) -> list[Json]:
        made: list[Json] = []
        before = ComponentStatus.OPERATIONAL
        for update in reversed(list(updates)):
            after = consequence(update.status, impact)
            at = moment(update.created_at)
            affected = [
                {"code": code, "name": name, "old_status": before, "new_status": after}
                for code, name in concerned.items()
            ]
            before = after
            made.append({
                "id": update.id,
                "status": update.status,
                "body": lines(update.body),
                "incident_id": entry_id,
                "created_at": at,
                "updated_at": at,
                "display_at": at,
                "affected_components": affected or None,
                "deliver_notifications": True,
                "custom_tweet": None,
                "tweet_id": None,
            })  # fmt: skip
        return made[::-1]


#: Paths below /api/v2/ and what they answer.
ANSWERS: Mapping[str, Callable[[Statuspage], dict[str, Any]]] = {
    "summary.json": Statuspage.summary,
    "status.json": Statuspage.status,
    "components.json": Statuspage.components,
    "incidents.json": Statuspage.incidents,
    "incidents/unresolved.json": Statuspage.unresolved,
    "scheduled-maintenances.json": Statuspage.maintenances,
    "scheduled-maintenances/upcoming.json": Statuspage.upcoming,
    "scheduled-maintenances/active.json": Statuspage.active,
}


def identifier(kind: str, own_id: str) -> str:
    """Return Statuspage's sort of id for one of ours, always the same: twelve lower-case letters and digits."""
    digest = hashlib.sha256(f"{kind}:{own_id}".encode()).digest()
    return base64.b32encode(digest).decode()[:12].lower()


def moment(at: datetime) -> str:
    """Return a moment as Statuspage writes it: UTC, with milliseconds; some clients read no other form."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def name_of(component: Component, group: Group | None) -> str:
    """Return a component's name with where it is."""
    return line(f"{component.name} ({group.name})" if group else component.name)


def consequence(status: IncidentStatus | MaintenanceStatus, impact: Impact) -> ComponentStatus:
    """Return how the components of an incident or a maintenance do once this is said of it."""
    if isinstance(status, MaintenanceStatus):
        return ComponentStatus.UNDER_MAINTENANCE if status in UNDER_WAY else ComponentStatus.OPERATIONAL
    return ComponentStatus.OPERATIONAL if status in CLOSED else SAID.get(impact, ComponentStatus.OPERATIONAL)
