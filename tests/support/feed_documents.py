"""Documents of the feeds as a provider of some size would have them: what is served of them can be looked at."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from feeds.documents import Published, Signature
from feeds.feed_watch import Latest
from feeds.models import (
    Component,
    ComponentStatus,
    Day,
    Group,
    Impact,
    Incident,
    IncidentsDocument,
    IncidentStatus,
    Maintenance,
    MaintenanceStatus,
    Mention,
    PeeringDocument,
    Prefix,
    Session,
    StatusDocument,
    Update,
)
from signer.canonical import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

D = TypeVar("D", bound=BaseModel)

PROVIDER = "NordBastion"
NOW = datetime(2026, 11, 20, 1, 30, tzinfo=UTC)
HOUR = NOW.replace(minute=0)
BASTIONS = {"STO": "Stockholm", "HEL": "Helsinki", "OSL": "Oslo", "REK": "Reykjavik"}
SERVICES = {"compute": "Compute", "network": "Network", "storage": "Storage"}
SHARED = {"panel": "Control panel", "api": "API", "billing": "Billing and top-ups", "dns": "DNS"}
WINDOW = 90
UP, AWAY = ComponentStatus.OPERATIONAL, None
#: Days ago -> the worst that was reported, and the uptime.
Troubles = dict[int, tuple[ComponentStatus | None, float | None]]
TROUBLES: Mapping[str, Troubles] = {
    "HEL/network": {
        0: (ComponentStatus.DEGRADED_PERFORMANCE, 97.22),
        13: (ComponentStatus.PARTIAL_OUTAGE, 88.54),
        47: (ComponentStatus.DEGRADED_PERFORMANCE, 99.3),
    },
    "STO/compute": {62: (ComponentStatus.MAJOR_OUTAGE, 92.36)},
    "STO/storage": {62: (ComponentStatus.MAJOR_OUTAGE, 91.66), 61: (ComponentStatus.DEGRADED_PERFORMANCE, 99.65)},
    "OSL/network": {0: (ComponentStatus.UNDER_MAINTENANCE, 100.0), 30: (ComponentStatus.UNDER_MAINTENANCE, 100.0)},
    "REK/compute": dict.fromkeys(range(70, WINDOW), (AWAY, None)),
    "billing": {20: (ComponentStatus.PARTIAL_OUTAGE, 95.13)},
}


def days(troubles: Troubles) -> list[Day]:
    """Return the last days, the oldest first."""
    made = []
    for ago in reversed(range(WINDOW)):
        worst, uptime = troubles.get(ago, (UP, 100.0))
        made.append(Day(date=str(NOW.date() - timedelta(days=ago)), uptime=uptime, worst=worst))
    return made


def component(
    identifier: str, name: str, group: str | None = None, *, status: ComponentStatus = UP, is_reporting: bool = True
) -> Component:
    """Return a component with the troubles it had."""
    shown = days(TROUBLES.get(identifier, {}))
    known = [each.uptime for each in shown if each.uptime is not None]
    return Component(
        id=identifier,
        name=name,
        group=group,
        status=status,
        is_reporting=is_reporting,
        uptime=int(sum(known) / len(known) * 100) / 100 if known else None,
        days=shown,
    )


def update(number: int, status: IncidentStatus | MaintenanceStatus, body: str, at: datetime) -> Update:
    """Return something that was said."""
    return Update(id=f"upd_{number}_{at:%m%d%H%M}", status=status, body=body, created_at=at)


def incident(
    identifier: str,
    title: str,
    components: Sequence[str],
    started_at: datetime,
    said: Sequence[tuple[int, IncidentStatus, str]],
    *,
    impact: Impact = Impact.MINOR,
) -> Incident:
    """Return an incident; `said` are minutes after it began, where it stood, and the words, the oldest first."""
    updates = [update(n, status, body, started_at + timedelta(minutes=at)) for n, (at, status, body) in enumerate(said)]
    ended = next((each.created_at for each in updates if each.status is IncidentStatus.RESOLVED), None)
    return Incident(
        id=identifier,
        title=title,
        status=updates[-1].status,
        impact=impact,
        components=list(components),
        started_at=started_at,
        created_at=updates[0].created_at,
        updated_at=updates[-1].created_at,
        monitoring_at=next((each.created_at for each in updates if each.status is IncidentStatus.MONITORING), None),
        resolved_at=ended,
        updates=updates[::-1],
    )


OPEN = incident(
    "inc_2026_1120",
    "Packet loss towards Helsinki",
    ["HEL/network"],
    NOW - timedelta(minutes=78),
    [
        (0, IncidentStatus.INVESTIGATING, "We see packet loss of 3 % on one upstream and are looking for its cause."),
        (
            24,
            IncidentStatus.IDENTIFIED,
            (
                "A line card of the upstream drops packets. We are moving traffic away from it.\n\n"
                "Servers keep running; connections may be slow."
            ),
        ),
        (61, IncidentStatus.MONITORING, "Traffic is off the faulty upstream; loss is back to zero. We keep watching."),
    ],
)
PAST = [
    incident(
        "inc_2026_1107",
        "Partial loss of connectivity in Helsinki",
        ["HEL/network"],
        datetime(2026, 11, 7, 4, 12, tzinfo=UTC),
        [
            (0, IncidentStatus.INVESTIGATING, "Some prefixes are unreachable from one transit provider."),
            (28, IncidentStatus.MONITORING, "The sessions are back."),
            (163, IncidentStatus.RESOLVED, "The upstream replaced a line card. No loss for two hours."),
        ],
        impact=Impact.MAJOR,
    ),
    incident(
        "inc_2026_1031",
        "Top-ups are confirmed late",
        ["billing"],
        datetime(2026, 10, 31, 17, 5, tzinfo=UTC),
        [
            (0, IncidentStatus.IDENTIFIED, "A wallet node fell behind. No payment is lost."),
            (170, IncidentStatus.RESOLVED, "The node has caught up and every payment has been booked."),
        ],
    ),
    incident(
        "inc_2026_0919",
        "Power failure in one hall in Stockholm",
        ["STO/compute", "STO/storage"],
        datetime(2026, 9, 19, 21, 40, tzinfo=UTC),
        [
            (0, IncidentStatus.INVESTIGATING, "Servers in hall B are down."),
            (12, IncidentStatus.IDENTIFIED, "A breaker tripped during a generator test."),
            (110, IncidentStatus.RESOLVED, "All servers run again. We will publish what went wrong."),
            (4_000, IncidentStatus.POSTMORTEM, "The test was started on the wrong bus. Both now need two people."),
        ],
        impact=Impact.CRITICAL,
    ),
]


def maintenance(  # noqa: PLR0917 - in the order of what it makes
    identifier: str,
    title: str,
    components: Sequence[str],
    scheduled_for: datetime,
    hours: int,
    said: Sequence[tuple[datetime, MaintenanceStatus, str]],
) -> Maintenance:
    """Return a maintenance; `said` are the oldest first."""
    updates = [update(n, status, body, at) for n, (at, status, body) in enumerate(said)]
    moments = {each.status: each.created_at for each in updates}
    return Maintenance(
        id=identifier,
        title=title,
        status=updates[-1].status,
        components=list(components),
        scheduled_for=scheduled_for,
        scheduled_until=scheduled_for + timedelta(hours=hours),
        started_at=moments.get(MaintenanceStatus.IN_PROGRESS),
        completed_at=moments.get(MaintenanceStatus.COMPLETED),
        created_at=updates[0].created_at,
        updated_at=updates[-1].created_at,
        updates=updates[::-1],
    )


RUNNING = maintenance(
    "mnt_2026_0031",
    "Core router upgrade in Oslo",
    ["OSL/network"],
    datetime(2026, 11, 20, 1, tzinfo=UTC),
    2,
    [
        (
            datetime(2026, 11, 13, 9, tzinfo=UTC),
            MaintenanceStatus.SCHEDULED,
            "Expect two interruptions of under a minute.",
        ),
        (datetime(2026, 11, 20, 1, 2, tzinfo=UTC), MaintenanceStatus.IN_PROGRESS, "Work has begun."),
    ],
)
PLANNED = maintenance(
    "mnt_2026_0032",
    "Storage firmware in Reykjavik",
    ["REK/storage"],
    datetime(2026, 11, 27, 2, tzinfo=UTC),
    3,
    [
        (
            datetime(2026, 11, 18, 12, tzinfo=UTC),
            MaintenanceStatus.SCHEDULED,
            "Volumes stay attached; reads may be slower.",
        )
    ],
)
DONE = maintenance(
    "mnt_2026_0029",
    "Router replacement in Oslo",
    ["OSL/network"],
    datetime(2026, 10, 21, 1, tzinfo=UTC),
    2,
    [
        (datetime(2026, 10, 14, 9, tzinfo=UTC), MaintenanceStatus.SCHEDULED, "One interruption of a minute."),
        (datetime(2026, 10, 21, 2, 10, tzinfo=UTC), MaintenanceStatus.COMPLETED, "The new router carries all traffic."),
    ],
)


def quiet_status() -> StatusDocument:
    """Return how everything does on a good day."""
    components = [
        component(f"{code}/{service}", name, code) for code in BASTIONS for service, name in SERVICES.items()
    ] + [component(identifier, name) for identifier, name in SHARED.items()]
    return StatusDocument(
        provider=PROVIDER,
        as_of=HOUR,
        indicator=Impact.NONE,
        description="All Systems Operational",
        groups=[Group(id=code, name=name, status=UP) for code, name in BASTIONS.items()],
        components=components,
        incidents=[],
        maintenances=[],
    )


def status() -> StatusDocument:
    """Return how everything does while Helsinki has trouble and Oslo maintenance; one component is silent."""
    now = {"HEL/network": ComponentStatus.DEGRADED_PERFORMANCE, "OSL/network": ComponentStatus.UNDER_MAINTENANCE}
    quiet = quiet_status()
    components = [
        each.model_copy(update={"status": now.get(each.id, UP), "is_reporting": each.id != "dns"})
        for each in quiet.components
    ]
    groups = [
        each.model_copy(
            update={"status": max((now.get(f"{each.id}/network", UP), UP), key=list(ComponentStatus).index)}
        )
        for each in quiet.groups
    ]
    mention = Mention(id=OPEN.id, title=OPEN.title, status=OPEN.status, impact=OPEN.impact, updated_at=OPEN.updated_at)
    planned = [
        Mention(id=each.id, title=each.title, status=each.status, impact=Impact.MAINTENANCE, updated_at=each.updated_at)
        for each in (RUNNING, PLANNED)
    ]
    return quiet.model_copy(
        update={
            "indicator": Impact.MINOR,
            "description": "Partially Degraded Service",
            "groups": groups,
            "components": components,
            "incidents": [mention],
            "maintenances": planned,
        }
    )


def incidents() -> IncidentsDocument:
    """Return one that is open and what has been; maintenance under way, to come, and over."""
    return IncidentsDocument(
        provider=PROVIDER,
        as_of=OPEN.updated_at,
        incidents=[OPEN, *PAST],
        maintenances=[PLANNED, RUNNING, DONE],
        is_complete=True,
    )


def no_incidents() -> IncidentsDocument:
    """Return that nothing ever happened."""
    return IncidentsDocument(provider=PROVIDER, as_of=HOUR, incidents=[], maintenances=[], is_complete=True)


def many_incidents(count: int = 1_000, *, words: int = 40) -> IncidentsDocument:
    """Return as many incidents as a document has at most, three updates each; ten are open."""
    body = "We are looking into it. " * (words // 5)
    statuses = (IncidentStatus.INVESTIGATING, IncidentStatus.MONITORING, IncidentStatus.RESOLVED)
    said = [(number * 30, status, body) for number, status in enumerate(statuses)]
    made = [
        incident(
            f"inc_{number}",
            f"Incident number {number}",
            ["STO/compute"],
            NOW - timedelta(hours=1 + 7 * number),
            said[:2] if number < 10 else said,
        )
        for number in range(count)
    ]
    return IncidentsDocument(provider=PROVIDER, as_of=NOW, incidents=made, maintenances=[], is_complete=False)


NET: dict[str, object] = {
    "id": 1, "org_id": 1, "name": PROVIDER, "aka": "NB", "name_long": "NordBastion AB",
    "website": "https://nordbastion.com/", "asn": 213232, "looking_glass": "", "route_server": "",
    "irr_as_set": "RIPE::AS-NORDBASTION", "info_type": "Content", "info_types": ["Content", "Enterprise"],
    "info_prefixes4": 24, "info_prefixes6": 48, "info_traffic": "20-50Gbps", "info_ratio": "Mostly Outbound",
    "info_scope": "Europe", "info_unicast": True, "info_multicast": False, "info_ipv6": True,
    "info_never_via_route_servers": False, "ix_count": 2, "fac_count": 2, "notes": "",
    "policy_url": "https://nordbastion.com/peering/policy/", "policy_general": "Open",
    "policy_locations": "Not Required", "policy_ratio": False, "policy_contracts": "Not Required",
    "netixlan_set": [
        {"id": 1, "ix_id": 70, "name": "Netnod Stockholm GREEN", "speed": 100_000, "asn": 213232,
         "ipaddr4": "194.68.123.77", "ipaddr6": "2001:7f8:d:ff::77", "is_rs_peer": True, "operational": True},
        {"id": 2, "ix_id": 119, "name": "FICIX 2 (Helsinki)", "speed": 10_000, "asn": 213232,
         "ipaddr4": "193.110.224.77", "ipaddr6": "2001:7f8:7:b::77", "is_rs_peer": False, "operational": False},
    ],
    "netfac_set": [
        {"id": 1, "name": "Equinix SK1", "city": "Stockholm", "country": "SE", "local_asn": 213232},
        {"id": 2, "name": "Verne Global", "city": "Keflavik", "country": "IS", "local_asn": 213232},
    ],
    "poc_set": [
        {"id": 1, "role": "NOC", "visible": "Public", "name": "NOC", "phone": "", "email": "noc@nordbastion.com",
         "url": ""},
        {"id": 2, "role": "Policy", "visible": "Users", "name": "A person", "phone": "", "email": "p@nordbastion.com",
         "url": ""},
    ],
    "status_dashboard": "https://nordbastion.com/status/", "created": "2021-03-01T00:00:00Z",
    "updated": "2026-11-02T10:00:00Z", "status": "ok",
}  # fmt: skip


def peering(count: int = 12) -> PeeringDocument:
    """Return a record with this many prefixes, half of them of IPv6; the third is withdrawn."""
    four = islice(IPv4Network("185.240.0.0/12").subnets(new_prefix=24), (count + 1) // 2)
    six = islice(IPv6Network("2a0e:b100::/29").subnets(new_prefix=48), count // 2)
    prefixes = [
        Prefix(
            prefix=str(each),
            origin_asn=213232,
            status="withdrawn" if number == 2 else "announced",
            since=datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=number),
        )
        for number, each in enumerate([*four, *six])
    ]
    sessions = [
        Session(session="Netnod Stockholm GREEN / AS6939", peer_asn=6939, status="up", since=NOW - timedelta(days=200)),
        Session(session="FICIX 2 / AS1257", peer_asn=1257, status="down", since=NOW - timedelta(hours=1)),
    ]
    return PeeringDocument(provider=PROVIDER, as_of=HOUR, net=NET, prefixes=prefixes, sessions=sessions)


def latest(document: D, *, number: int = 1, published_at: datetime = NOW) -> Latest[D]:
    """Return a document as if it had been signed."""
    content = canonical(document.model_dump(mode="json"))
    digest = hashlib.sha256(content).hexdigest()
    return Latest(Published(number, content, digest, published_at, (Signature("F" * 40, b"signature"),)), document)


@dataclass(slots=True)
class Shelf:
    """Knows the newest documents because it was told: what reads a `FeedWatch` reads this."""

    status: Latest[StatusDocument] | None = None
    incidents: Latest[IncidentsDocument] | None = None
    peering: Latest[PeeringDocument] | None = None


def shelf() -> Shelf:
    """Return one with something on it."""
    return Shelf(latest(status()), latest(incidents()), latest(peering()))
