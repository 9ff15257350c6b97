"""The public events: what concerns everyone, carries no account, and goes to whoever asked.

Their twins with an account stand in `events.py`, with the base class of all.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    field_validator,
    model_validator,
)

from consumers.events import EventData, Impact, Key, Sha256, Text, Url


class CanaryUpdated(EventData):
    """`canary.updated`."""

    TYPE = "canary.updated"
    MEANING = (
        "A warrant canary was published (due on the first of every month). All three dates of one that ended for good "
        "are the moment it was published at, so its deadline has passed."
    )
    IS_PUBLIC = True
    RESOURCE = ("canary", "")
    EXAMPLE = {
        "sequence": 31,
        "issued_at": "2026-11-01T00:00:00Z",
        "next_due": "2026-12-01T00:00:00Z",
        "expires_at": "2026-12-08T00:00:00Z",
        "sha256": "5f2c0f7d9fd0c7c4d8a0e3c1b9b7a6d5e4f3c2b1a09f8e7d6c5b4a3928170605",
        "url": "https://nordbastion.com/v1/transparency/canary/history/31.json",
        "signature_url": "https://nordbastion.com/v1/transparency/canary/history/31.json.asc",
    }
    sequence: Annotated[int, Field(ge=1)]
    issued_at: AwareDatetime
    next_due: Annotated[AwareDatetime, Field(description="Be alarmed when no other has come by then.")]
    expires_at: AwareDatetime
    sha256: Sha256
    url: Url
    signature_url: Url
    state: Annotated[
        Literal["current", "changed", "revoked"] | None,
        Field(description="What it is from now on; `changed`: a statement is gone, `revoked`: the canary has ended."),
    ] = None


class _Incident(EventData):
    IS_PUBLIC = True
    RESOURCE = ("incident", "incident_id")
    incident_id: Key
    body: Text


class IncidentOpened(_Incident):
    """`incident.opened`."""

    TYPE = "incident.opened"
    MEANING = "An operational incident was opened on a bastion or a shared service."
    EXAMPLE = {
        "incident_id": "inc_2026_1107",
        "title": "Packet loss towards Helsinki",
        "impact": "minor",
        "components": ["HEL/network"],
        "body": "We see 3 % packet loss on one upstream and are moving traffic away from it.",
        "started_at": "2026-11-07T04:12:00Z",
    }
    title: Text
    impact: Impact
    components: list[Key]
    started_at: AwareDatetime


class IncidentUpdated(_Incident):
    """`incident.updated`."""

    TYPE = "incident.updated"
    MEANING = "An open incident was updated."
    EXAMPLE = {
        "incident_id": "inc_2026_1107",
        "status": "monitoring",
        "body": "Traffic is off the faulty upstream; loss is back to zero. We keep watching.",
        "updated_at": "2026-11-07T04:40:00Z",
    }
    status: Literal["investigating", "identified", "monitoring", "postmortem"]
    updated_at: AwareDatetime


class IncidentResolved(_Incident):
    """`incident.resolved`."""

    TYPE = "incident.resolved"
    MEANING = "An operational incident was closed."
    EXAMPLE = {
        "incident_id": "inc_2026_1107",
        "body": "The upstream replaced a line card. No loss for two hours.",
        "resolved_at": "2026-11-07T06:55:00Z",
    }
    resolved_at: AwareDatetime


class _Maintenance(EventData):
    IS_PUBLIC = True
    RESOURCE = ("maintenance", "maintenance_id")
    maintenance_id: Key
    body: Text


class MaintenanceScheduled(_Maintenance):
    """`maintenance.scheduled`."""

    TYPE = "maintenance.scheduled"
    MEANING = "Maintenance was planned."
    EXAMPLE = {
        "maintenance_id": "mnt_2026_0031",
        "title": "Core router upgrade in Oslo",
        "components": ["OSL/network"],
        "body": "Expect two interruptions of under a minute.",
        "scheduled_for": "2026-11-20T01:00:00Z",
        "scheduled_until": "2026-11-20T03:00:00Z",
    }
    title: Text
    components: list[Key]
    scheduled_for: AwareDatetime
    scheduled_until: AwareDatetime


class MaintenanceStarted(_Maintenance):
    """`maintenance.started`."""

    TYPE = "maintenance.started"
    MEANING = "Planned maintenance began."
    EXAMPLE = {
        "maintenance_id": "mnt_2026_0031",
        "body": "Work has begun.",
        "started_at": "2026-11-20T01:02:00Z",
    }
    started_at: AwareDatetime


class MaintenanceCompleted(_Maintenance):
    """`maintenance.completed`."""

    TYPE = "maintenance.completed"
    MEANING = "Planned maintenance ended."
    EXAMPLE = {
        "maintenance_id": "mnt_2026_0031",
        "body": "Both routers run the new release.",
        "completed_at": "2026-11-20T02:21:00Z",
    }
    completed_at: AwareDatetime


class PeeringChange(BaseModel):
    """One change: what happened, to a prefix or to a session."""

    model_config = ConfigDict(
        extra="allow",
        strict=True,
        frozen=True,
        json_schema_extra={"anyOf": [{"required": ["prefix"]}, {"required": ["session"]}]},
    )
    op: Annotated[
        Key,
        Field(
            description="`announce` or `withdraw` for a prefix, `session_up` or `session_down` for a session, or "
            "`announced`, `withdrawn`, `up`, `down`. Any other word is kept in the history and changes no state."
        ),
    ]
    prefix: Annotated[IPvAnyNetwork | None, Field(description="Of it `origin_asn` is published as well.")] = None
    session: Annotated[
        Key | dict[str, Any] | None,
        Field(
            description="Its name, or an object with `name`, or else with `ix`, `peer_asn`, `ipaddr4`, `ipaddr6`. "
            "Published are the name, or what stands for it, and `peer_asn`: of the change, or else of the object."
        ),
    ] = None

    @field_validator("prefix", mode="before")
    @classmethod
    def _prefix_is_text(cls, value: object) -> object:
        if value is not None and not isinstance(value, str):  # `ipaddress` takes a number for an address
            raise ValueError("not a string")
        return value

    @model_validator(mode="after")
    def _names_what_changed(self) -> Self:
        if self.prefix is None and self.session is None:
            raise ValueError("`prefix` or `session` is required")
        return self


class PeeringChanged(EventData):
    """`peering.changed`."""

    TYPE = "peering.changed"
    MEANING = "A peering session or a prefix announcement changed."
    IS_PUBLIC = True
    RESOURCE = ("peering", "asn")
    EXAMPLE = {
        "asn": 213232,
        "changes": [
            {"op": "announce", "prefix": "185.243.217.0/24", "origin_asn": 213232},
            {"op": "session_up", "session": "Netnod Stockholm GREEN", "peer_asn": 6939},
        ],
    }
    asn: Annotated[int, Field(ge=1, le=4_294_967_295)]
    changes: Annotated[list[PeeringChange], Field(min_length=1)]
    record: Annotated[
        dict[str, Any] | None,
        Field(
            description="The full record, in PeeringDB's words: fields of `net`, with `netixlan_set`, `netfac_set` and "
            "`poc_set`. Other fields, and contacts whose `visible` is not `Public`, are not published with it."
        ),
    ] = None
