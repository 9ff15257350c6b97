"""Examples of the feeds' documents, and of the stream that tells of them: the same story as the other examples."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from feeds import stream
from feeds.documents import Entry, Feed
from feeds.models import (
    Component,
    ComponentStatus,
    Day,
    Group,
    Impact,
    Incident,
    IncidentsDocument,
    IncidentStatus,
    PeeringDocument,
    Prefix,
    Session,
    StatusDocument,
    Update,
)
from feeds.stream import Beginning
from publisher.api import incidents

if TYPE_CHECKING:
    from pydantic import BaseModel

PROVIDER = "Example Hosting"
AS_OF = datetime(2026, 11, 1, 10, tzinfo=UTC)
UP = ComponentStatus.OPERATIONAL

_told = incidents.EXAMPLE
_MODELS: tuple[BaseModel, ...] = (
    StatusDocument(
        provider=PROVIDER,
        as_of=AS_OF,
        indicator=Impact.NONE,
        description="All systems operational",
        groups=[Group(id="STO", name="Stockholm", status=UP)],
        components=[
            Component(
                id="STO/network",
                name="Network",
                group="STO",
                status=UP,
                is_reporting=True,
                uptime=99.31,
                days=[
                    Day(date="2026-10-31", uptime=100.0, worst=UP),
                    Day(date="2026-11-01", uptime=98.61, worst=ComponentStatus.PARTIAL_OUTAGE),
                ],
            )
        ],
        incidents=[],
        maintenances=[],
    ),
    IncidentsDocument(
        provider=PROVIDER,
        as_of=AS_OF,
        incidents=[
            Incident(
                id=_told["id"],
                title=_told["title"],
                status=IncidentStatus.RESOLVED,
                impact=Impact.MINOR,
                components=_told["components"],
                started_at=_told["started_at"],
                created_at=_told["created_at"],
                updated_at=_told["updated_at"],
                monitoring_at=_told["monitoring_at"],
                resolved_at=_told["resolved_at"],
                updates=[Update(**each) for each in _told["updates"]],
            )
        ],
        maintenances=[],
        is_complete=True,
    ),
    PeeringDocument(
        provider=PROVIDER,
        as_of=AS_OF,
        net={"asn": 213232, "name": PROVIDER, "policy_general": "Open", "irr_as_set": "AS-EXAMPLE"},
        prefixes=[
            Prefix(prefix="185.243.217.0/24", origin_asn=213232, status="announced", since=AS_OF.replace(month=3))
        ],
        sessions=[Session(session="STO-IX-1", peer_asn=64500, status="up", since=AS_OF.replace(month=4))],
    ),
)
#: By model.
DOCUMENTS: dict[type[BaseModel], Any] = {type(each): each.model_dump(mode="json") for each in _MODELS}
STREAM = (
    stream.start(Beginning(41))
    + stream.event(
        Entry(42, Feed.STATUS, 17, "9f" * 32, datetime(2026, 11, 1, 10, 0, 2, tzinfo=UTC)), "https://api.example.com/v1"
    )
).decode()
