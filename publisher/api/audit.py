"""Who did what to which webhook, for those who opted in; of the others nothing is written.

The record is an announcement in the transaction of what it tells, so there is none without the other. It has names
of fields and no values, and says nothing of where a webhook leads.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from consumers.announcements import Announcement, announce

if TYPE_CHECKING:
    from collections.abc import Iterable

    from publisher.api.call import Call
    from runtime.database import Connection

TYPE = "webhook.audit"


class Action(enum.StrEnum):
    """What was done: a closed set, which the control plane reads."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    TESTED = "tested"
    SECRET_ROTATED = "secret_rotated"  # noqa: S105 - what was done to it
    REDELIVERED = "redelivered"
    RECOVERY_STARTED = "recovery_started"


async def note(
    connection: Connection, call: Call, action: Action, webhook_id: str, *, changed: Iterable[str] = ()
) -> None:
    """Announce that the caller did something to a webhook, if its account wants to know; `changed` names fields."""
    caller = call.caller
    if not caller.is_audited:
        return
    data = {
        "action": action,
        "endpoint_id": webhook_id,
        "changed": sorted(changed),
        "actor": {"kind": caller.kind, "id": caller.id},
        "request_id": call.request_id,
        "at": call.services.clock.now().isoformat(),
    }
    await announce(connection, [Announcement(TYPE, call.account, call.account, data)])
