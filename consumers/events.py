"""The domain events a control plane emits: one pydantic model for each type's `data`, and the event around it.

The models say what must be there and of which type; whatever else a producer sends is kept, because the
customer receives `data` exactly as the control plane wrote it (`Event.raw`), not a re-serialised copy.
JSON Schemas and examples in the catalogue come from these same classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
)

if TYPE_CHECKING:
    from datetime import datetime

#: Identifiers end up in keys, logs and SQL text: no control characters (PostgreSQL refuses NUL), a sane length.
Key = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
Usd = Annotated[float, Field(allow_inf_nan=False, description="US dollars")]
Code = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$", max_length=3)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", max_length=64)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s\x00-\x1f]+$", max_length=2_000)]
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
#: As text, checked by one regular expression: parsing addresses in Python would be half of decoding an event.
Address = Annotated[
    str, StringConstraints(pattern=rf"^(?:(?:{_OCTET}\.){{3}}{_OCTET}|[0-9a-fA-F:]*:[0-9a-fA-F:.]*)$", max_length=45)
]
Impact = Literal["none", "minor", "major", "critical", "maintenance"]


@dataclass(frozen=True, slots=True)
class Event:
    """One domain event, decoded and valid.

    `raw` is the JSON text of `data` as it was produced; `data` is the same, typed. `account` is None on public
    events. `resource` names what the event is about (`server:NB-1042`): sequences count per resource.
    """

    source: str
    id: str
    type: str
    time: datetime
    account: str | None
    resource: str
    data: EventData
    raw: bytes
    traceparent: str | None = None


class EventData(BaseModel):
    """What all `data` models share: strict types, unknown fields allowed and kept."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    #: CloudEvents `type`.
    TYPE: ClassVar[str]
    #: One sentence for the catalogue.
    MEANING: ClassVar[str]
    #: Public events carry no account and go to every subscriber.
    IS_PUBLIC: ClassVar[bool] = False
    #: Kind of resource and the field that identifies it; an empty field means there is one per account.
    RESOURCE: ClassVar[tuple[str, str]]
    #: Realistic `data`; the tests validate it against the model, `emit` and the documentation use it.
    EXAMPLE: ClassVar[dict[str, Any]]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        """Put meaning and example where JSON Schema expects them."""
        super().__pydantic_init_subclass__(**kwargs)
        if "TYPE" in vars(cls):
            cls.model_config["json_schema_extra"] = {
                "title": cls.TYPE,
                "description": cls.MEANING,
                "examples": [cls.EXAMPLE],
            }

    def resource(self) -> str:
        """Return `kind:identifier` of what the event is about."""
        kind, field = self.RESOURCE
        return f"{kind}:{getattr(self, field)}" if field else kind


# --- account and billing ---------------------------------------------------------------------------------------------


class BalanceLow(EventData):
    """`account.balance.low`."""

    TYPE = "account.balance.low"
    MEANING = "The balance dropped below the configured threshold."
    RESOURCE = ("account", "")
    EXAMPLE = {"balance_usd": 4.2, "threshold_usd": 10.0}
    balance_usd: Usd
    threshold_usd: Usd


class _Topup(EventData):
    RESOURCE = ("topup", "order_number")
    order_number: Key
    coin: Key
    amount_usd: Usd


class TopupCreated(_Topup):
    """`topup.created`."""

    TYPE = "topup.created"
    MEANING = "A deposit address was generated; the first confirmation is awaited."
    EXAMPLE = {
        "order_number": "NB-TU-20871",
        "coin": "xmr",
        "amount_usd": 50.0,
        "address": "888tNkZrPN6JsEgekjMnABU4TBzc2Dt29EPAvkRxbANsAnjyPbb3iQ1YBRk1UXcdRsiKc9dhwMVgN5S9cQUiyoogDavup3H",
        "expires_at": "2026-11-01T13:00:00Z",
    }
    address: Key
    expires_at: AwareDatetime


class TopupConfirmed(_Topup):
    """`topup.confirmed`."""

    TYPE = "topup.confirmed"
    MEANING = "The top-up settled on chain and the balance was credited."
    EXAMPLE = {
        "order_number": "NB-TU-20871",
        "coin": "xmr",
        "amount_usd": 50.0,
        "txid": "c88ce9783b4f11190d7b9c17a69c1c52200f9faaee8e98dd07e6811175177139",
        "confirmations": 10,
        "balance_usd": 54.2,
    }
    txid: Key
    confirmations: Annotated[int, Field(ge=0)]
    balance_usd: Usd


class TopupFailed(_Topup):
    """`topup.failed`."""

    TYPE = "topup.failed"
    MEANING = "The deposit address expired without a confirmation."
    EXAMPLE = {"order_number": "NB-TU-20872", "coin": "btc", "amount_usd": 120.0, "reason": "expired"}
    reason: Text


class InvoiceIssued(EventData):
    """`invoice.issued`."""

    TYPE = "invoice.issued"
    MEANING = "The monthly invoice was issued, as PDF and as PGP-signed PDF."
    RESOURCE = ("invoice", "invoice_id")
    EXAMPLE = {
        "invoice_id": "NB-INV-2026-10-0417",
        "period": "2026-10",
        "amount_usd": 38.4,
        "pdf_url": "https://nordbastion.com/v1/billing/invoices/NB-INV-2026-10-0417.pdf",
        "signed_pdf_url": "https://nordbastion.com/v1/billing/invoices/NB-INV-2026-10-0417.pdf.asc",
    }
    invoice_id: Key
    period: Key
    amount_usd: Usd
    pdf_url: Url
    signed_pdf_url: Url


# --- servers ---------------------------------------------------------------------------------------------------------

_SERVER = {"order_number": "NB-SRV-10428", "service_code": "NB-V3", "bastion": "STO"}


class _Server(EventData):
    RESOURCE = ("server", "order_number")
    order_number: Key
    service_code: Key
    bastion: Code


class ServerProvisioning(_Server):
    """`server.provisioning`."""

    TYPE = "server.provisioning"
    MEANING = "Provisioning started; the image is being written."
    EXAMPLE = {**_SERVER, "image": "debian-12"}
    image: Key


class ServerProvisioned(_Server):
    """`server.provisioned`."""

    TYPE = "server.provisioned"
    MEANING = "The server is booted and reachable on SSH."
    EXAMPLE = {**_SERVER, "image": "debian-12", "ip_addresses": ["185.243.217.40", "2a0e:8f02:f001::40"]}
    image: Key
    ip_addresses: list[Address]


class ServerPowerOn(_Server):
    """`server.power.on`."""

    TYPE = "server.power.on"
    MEANING = "The server was powered on, by hand or by schedule."
    EXAMPLE = {**_SERVER, "initiated_by": "customer"}
    initiated_by: Key


class ServerPowerOff(_Server):
    """`server.power.off`."""

    TYPE = "server.power.off"
    MEANING = "The server was powered off, by hand or by schedule."
    EXAMPLE = {**_SERVER, "bastion": "HEL", "initiated_by": "schedule"}
    initiated_by: Key


class ServerReinstalled(_Server):
    """`server.reinstalled`."""

    TYPE = "server.reinstalled"
    MEANING = "The operating system was reinstalled and the root password rotated."
    EXAMPLE = {**_SERVER, "bastion": "OSL", "image": "ubuntu-24.04"}
    image: Key


class ServerResized(_Server):
    """`server.resized`."""

    TYPE = "server.resized"
    MEANING = "The tier changed; it applies on the next reboot."
    EXAMPLE = {**_SERVER, "service_code": "NB-V4", "from_code": "NB-V3", "to_code": "NB-V4"}
    from_code: Key
    to_code: Key


class ServerMigrated(_Server):
    """`server.migrated`."""

    TYPE = "server.migrated"
    MEANING = "The server moved to another bastion through a snapshot."
    EXAMPLE = {**_SERVER, "bastion": "REK", "from_bastion": "STO", "to_bastion": "REK"}
    from_bastion: Code
    to_bastion: Code


class ServerDeleted(_Server):
    """`server.deleted`."""

    TYPE = "server.deleted"
    MEANING = "The server was terminated and the rest of its price credited."
    EXAMPLE = {**_SERVER, "credit_usd": 3.17}
    credit_usd: Usd


# --- storage and network ---------------------------------------------------------------------------------------------


class _Snapshot(EventData):
    RESOURCE = ("snapshot", "snapshot_id")
    EXAMPLE = {"snapshot_id": "snap_7d1f0c", "order_number": "NB-SRV-10428"}
    snapshot_id: Key
    order_number: Key


class SnapshotCreated(_Snapshot):
    """`snapshot.created`."""

    TYPE = "snapshot.created"
    MEANING = "The snapshot is complete and can be downloaded."
    EXAMPLE = _Snapshot.EXAMPLE


class SnapshotRestored(_Snapshot):
    """`snapshot.restored`."""

    TYPE = "snapshot.restored"
    MEANING = "The snapshot was restored in place."
    EXAMPLE = _Snapshot.EXAMPLE


class SnapshotDeleted(_Snapshot):
    """`snapshot.deleted`."""

    TYPE = "snapshot.deleted"
    MEANING = "The snapshot was removed."
    EXAMPLE = _Snapshot.EXAMPLE


class _Volume(EventData):
    RESOURCE = ("volume", "volume_id")
    EXAMPLE = {"volume_id": "vol_02c9ae", "order_number": "NB-SRV-10428"}
    volume_id: Key
    order_number: Key


class VolumeAttached(_Volume):
    """`volume.attached`."""

    TYPE = "volume.attached"
    MEANING = "A block volume was attached to a server."
    EXAMPLE = _Volume.EXAMPLE


class VolumeDetached(_Volume):
    """`volume.detached`."""

    TYPE = "volume.detached"
    MEANING = "A block volume was detached from a server."
    EXAMPLE = _Volume.EXAMPLE


class FirewallChanged(EventData):
    """`firewall.changed`."""

    TYPE = "firewall.changed"
    MEANING = "A firewall ruleset was applied to one or more servers."
    RESOURCE = ("firewall", "ruleset_id")
    EXAMPLE = {"ruleset_id": "fw_3391", "order_numbers": ["NB-SRV-10428", "NB-SRV-10430"]}
    ruleset_id: Key
    order_numbers: list[Key]
