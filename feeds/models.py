"""The documents of the feeds as models: what is signed, what the API describes, what every other format is made from.

Words are Statuspage's and PeeringDB's. Moments are UTC. Identifiers of components are those the control plane and the
telemetry use: `STO/compute`, or `panel` for what bastions share.
"""

from __future__ import annotations

import enum
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer

from signer.statement import moment_text


class Impact(enum.StrEnum):
    """How bad an incident is; maintenance is its own."""

    NONE = "none"
    MINOR = "minor"
    MAJOR = "major"
    CRITICAL = "critical"
    MAINTENANCE = "maintenance"


class ComponentStatus(enum.StrEnum):
    """How a component does, the best first."""

    OPERATIONAL = "operational"
    UNDER_MAINTENANCE = "under_maintenance"
    DEGRADED_PERFORMANCE = "degraded_performance"
    PARTIAL_OUTAGE = "partial_outage"
    MAJOR_OUTAGE = "major_outage"


class IncidentStatus(enum.StrEnum):
    """Where an incident stands."""

    INVESTIGATING = "investigating"
    IDENTIFIED = "identified"
    MONITORING = "monitoring"
    RESOLVED = "resolved"
    POSTMORTEM = "postmortem"


class MaintenanceStatus(enum.StrEnum):
    """Where a maintenance stands."""

    SCHEDULED = "scheduled"
    IN_PROGRESS = "in_progress"
    VERIFYING = "verifying"
    COMPLETED = "completed"


Moment = Annotated[
    AwareDatetime,
    AfterValidator(lambda moment: moment.replace(microsecond=0)),
    PlainSerializer(moment_text, when_used="json"),
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Update(_Part):
    """Something said of an incident or a maintenance; `id` stays the same for the same event."""

    id: str
    status: IncidentStatus | MaintenanceStatus
    body: str
    created_at: Moment


class Incident(_Part):
    """An incident with everything said of it, the newest first.

    `created_at` is the moment of the first that was said, `updated_at` of the last. Without its opening event (it came
    late, or never) `title` is empty and `impact` none.
    """

    id: str
    title: str
    status: IncidentStatus
    impact: Impact
    components: list[str]
    started_at: Moment
    created_at: Moment
    updated_at: Moment
    monitoring_at: Moment | None
    resolved_at: Moment | None
    updates: list[Update]


class Maintenance(_Part):
    """A planned interruption with everything said of it, the newest first."""

    id: str
    title: str
    status: MaintenanceStatus
    components: list[str]
    scheduled_for: Moment
    scheduled_until: Moment
    started_at: Moment | None
    completed_at: Moment | None
    created_at: Moment
    updated_at: Moment
    updates: list[Update]


class Document(_Part):
    """What every document says of itself."""

    provider: str
    #: Facts up to then are in it; at least the beginning of the current period, so that age shows.
    as_of: Moment
    is_complete: bool = Field(
        default=True, description="Whether everything is in it; false where there is more than can be signed at once."
    )


class IncidentsDocument(Document):
    """Incidents and maintenance, the newest first: all that are open, and of the others as many as fit."""

    type: Literal["incidents/1"] = "incidents/1"
    incidents: list[Incident]
    maintenances: list[Maintenance]


class Day(_Part):
    """A component's day: `uptime` in per cent, None where nothing was reported; `worst` status reported in it."""

    date: str
    uptime: float | None
    worst: ComponentStatus | None


class Component(_Part):
    """A component: how it does and how it did in the last 90 days, the oldest first.

    `status` is the worse of what was reported and of what open incidents say, or `under_maintenance`. `is_reporting` is
    False when nothing was reported for a while: then the status is the last one known.
    """

    id: str
    name: str
    #: The code of the bastion, None for what bastions share.
    group: str | None
    status: ComponentStatus
    is_reporting: bool
    uptime: float | None
    days: list[Day]


class Group(_Part):
    """A bastion; `status` is the worst of its components."""

    id: str
    name: str
    status: ComponentStatus


class Mention(_Part):
    """An open incident, or maintenance under way or to come, by its id: the rest stands in the incidents' document."""

    id: str
    title: str
    status: IncidentStatus | MaintenanceStatus
    impact: Impact
    updated_at: Moment


class StatusDocument(Document):
    """How everything does. `indicator` and `description` as on a status page: `none`, "All systems operational"."""

    type: Literal["status/1"] = "status/1"
    indicator: Impact
    description: str
    groups: list[Group]
    components: list[Component]
    incidents: list[Mention]
    maintenances: list[Mention]


class Prefix(_Part):
    """An announced prefix, or one that no longer is; `since` is when that came to be."""

    prefix: str
    origin_asn: int | None
    status: Literal["announced", "withdrawn"]
    since: Moment


class Session(_Part):
    """A BGP session by the name the control plane has for it; its secrets are never published."""

    session: str
    peer_asn: int | None
    status: Literal["up", "down"]
    since: Moment


class PeeringDocument(Document):
    """PeeringDB's `net` record, as the control plane gave it, with what is announced. Prefixes by address.

    It is complete when all that is announced and every session that is up is in it: of what is gone it has the newest.
    """

    type: Literal["peering/1"] = "peering/1"
    net: dict[str, object] = Field(
        description="Fields of PeeringDB's `net`, with `netixlan_set`, `netfac_set`, `poc_set`."
    )
    prefixes: list[Prefix]
    sessions: list[Session]
