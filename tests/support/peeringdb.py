"""PeeringDB's `net` and its envelope as a strict client reads them: every field there, of its type, nothing else."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Id = Annotated[int, Field(ge=0)]
Text = str


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class NetIxLan(_Strict):
    id: Id | None
    net_id: Id | None
    ix_id: Id | None
    name: Text
    ixlan_id: Id | None
    notes: Text
    speed: Id | None
    asn: Id | None
    ipaddr4: str | None
    ipaddr6: str | None
    is_rs_peer: bool | None
    bfd_support: bool | None
    operational: bool | None
    created: str | None
    updated: str | None
    status: str | None


class NetFac(_Strict):
    id: Id | None
    name: Text
    city: Text
    country: Text
    local_asn: Id | None


class Contact(_Strict):
    id: Id | None
    role: Text
    visible: Literal["Public"]
    name: Text
    phone: Text
    email: Text
    url: Text


class Net(_Strict):
    id: Id | None
    org_id: Id | None
    name: Annotated[str, Field(min_length=1)]
    aka: Text
    name_long: Text
    website: Text
    asn: Annotated[int, Field(ge=1)]
    looking_glass: Text
    route_server: Text
    irr_as_set: Text
    info_type: Text
    info_types: list[str]
    info_prefixes4: Id | None
    info_prefixes6: Id | None
    info_traffic: Text
    info_ratio: Text
    info_scope: Text
    info_unicast: bool | None
    info_multicast: bool | None
    info_ipv6: bool | None
    info_never_via_route_servers: bool | None
    ix_count: Id | None
    fac_count: Id | None
    notes: Text
    policy_url: Text
    policy_general: Literal["", "Open", "Selective", "Restrictive", "No"]
    policy_locations: Literal[
        "", "Not Required", "Preferred", "Required - US", "Required - EU", "Required - International"
    ]
    policy_ratio: bool | None
    policy_contracts: Literal["", "Not Required", "Private Only", "Required"]
    netixlan_set: list[NetIxLan]
    netfac_set: list[NetFac]
    poc_set: list[Contact]
    status_dashboard: Text
    created: str | None
    updated: str | None
    status: str | None


class Meta(_Strict):
    error: str | None = None


class Answer(_Strict):
    """What PeeringDB answers a list with."""

    data: list[Net]
    meta: Meta
