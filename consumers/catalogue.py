"""The event types Heliograph publishes: type name -> model, schema, example, public or private.

The one list that decoding, `emit`, the demo, the documentation and the API's catalogue read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consumers import events, public_events

if TYPE_CHECKING:
    from consumers.events import EventData

#: What the provider documents: the types customers are told about.
DOCUMENTED: tuple[type[EventData], ...] = (
    events.BalanceLow,
    events.TopupCreated,
    events.TopupConfirmed,
    events.TopupFailed,
    events.InvoiceIssued,
    events.ServerProvisioning,
    events.ServerProvisioned,
    events.ServerPowerOn,
    events.ServerPowerOff,
    events.ServerReinstalled,
    events.ServerResized,
    events.ServerMigrated,
    events.ServerDeleted,
    events.SnapshotCreated,
    events.SnapshotRestored,
    events.SnapshotDeleted,
    events.VolumeAttached,
    events.VolumeDetached,
    events.FirewallChanged,
    public_events.CanaryUpdated,
    public_events.IncidentOpened,
    public_events.IncidentResolved,
    public_events.PeeringChanged,
)

#: Accepted and published the same way; a status page needs them.
ALSO_ACCEPTED: tuple[type[EventData], ...] = (
    public_events.IncidentUpdated,
    public_events.MaintenanceScheduled,
    public_events.MaintenanceStarted,
    public_events.MaintenanceCompleted,
)

CATALOGUE: dict[str, type[EventData]] = {model.TYPE: model for model in DOCUMENTED + ALSO_ACCEPTED}


def schema(event_type: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a type's `data`, its example included; KeyError if unknown."""
    return CATALOGUE[event_type].model_json_schema()


def prefixes(event_type: str) -> tuple[str, ...]:
    """Return every filter that selects `event_type`: `*`, each `part.*`, and the exact name."""
    parts = event_type.split(".")
    return ("*", *(".".join(parts[:end]) + ".*" for end in range(1, len(parts))), event_type)
