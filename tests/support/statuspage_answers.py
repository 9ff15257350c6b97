"""Answers of Statuspage's public API as a client with a strict decoder has them: every field, no other, their words."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

Indicator = Literal["none", "minor", "major", "critical"]
ComponentWord = Literal["operational", "degraded_performance", "partial_outage", "major_outage", "under_maintenance"]
IncidentWord = Literal["investigating", "identified", "monitoring", "resolved", "postmortem"]
MaintenanceWord = Literal["scheduled", "in_progress", "verifying", "completed"]
ImpactWord = Literal["none", "minor", "major", "critical", "maintenance"]
Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{12}$")]
UpdateId = Annotated[str, StringConstraints(min_length=1)]
Name = Annotated[str, StringConstraints(min_length=1)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$")]


def _moment(text: str) -> str:
    parsed = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert f"{parsed:%Y-%m-%dT%H:%M:%S}.000Z" == text
    return text


def _day(text: str) -> str:
    assert date.fromisoformat(text).isoformat() == text
    return text


Moment = Annotated[str, AfterValidator(_moment)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Page(_Answer):
    id: Id
    name: Name
    url: Url
    time_zone: Literal["Etc/UTC"]
    updated_at: Moment


class Overall(_Answer):
    indicator: Indicator
    description: Name


class _Row(_Answer):
    id: Id
    name: Name
    status: ComponentWord
    created_at: Moment
    updated_at: Moment
    position: int
    description: Name
    showcase: bool
    start_date: Annotated[str, AfterValidator(_day)] | None
    group_id: Id | None
    page_id: Id
    only_show_if_degraded: bool


class Group(_Row):
    group: Literal[True]
    components: list[Id]


class Component(_Row):
    group: Literal[False]


class Affected(_Answer):
    code: Id
    name: Name
    old_status: ComponentWord
    new_status: ComponentWord


class _Update(_Answer):
    id: UpdateId
    body: Name
    incident_id: Id
    created_at: Moment
    updated_at: Moment
    display_at: Moment
    affected_components: list[Affected] | None
    deliver_notifications: bool
    custom_tweet: None
    tweet_id: None


class IncidentUpdate(_Update):
    status: IncidentWord


class MaintenanceUpdate(_Update):
    status: MaintenanceWord


class _Entry(_Answer):
    id: Id
    name: Name
    created_at: Moment
    updated_at: Moment
    monitoring_at: Moment | None
    resolved_at: Moment | None
    shortlink: Url
    started_at: Moment
    page_id: Id
    components: list[Component]


class Incident(_Entry):
    status: IncidentWord
    impact: ImpactWord
    incident_updates: list[IncidentUpdate]


class Maintenance(_Entry):
    status: MaintenanceWord
    impact: Literal["maintenance"]
    incident_updates: list[MaintenanceUpdate]
    scheduled_for: Moment
    scheduled_until: Moment


class _Paged(_Answer):
    page: Page


class StatusAnswer(_Paged):
    status: Overall


class ComponentsAnswer(_Paged):
    components: list[Group | Component]


class IncidentsAnswer(_Paged):
    incidents: list[Incident]


class MaintenancesAnswer(_Paged):
    scheduled_maintenances: list[Maintenance]


class Summary(_Paged):
    components: list[Group | Component]
    incidents: list[Incident]
    scheduled_maintenances: list[Maintenance]
    status: Overall


#: What each path below /api/v2/ answers.
SHAPES: dict[str, type[_Paged]] = {
    "summary.json": Summary,
    "status.json": StatusAnswer,
    "components.json": ComponentsAnswer,
    "incidents.json": IncidentsAnswer,
    "incidents/unresolved.json": IncidentsAnswer,
    "scheduled-maintenances.json": MaintenancesAnswer,
    "scheduled-maintenances/upcoming.json": MaintenancesAnswer,
    "scheduled-maintenances/active.json": MaintenancesAnswer,
}
