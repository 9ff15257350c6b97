"""The inbox: which events have been seen. Owns the table `inbox`.

A row is written in the transaction that handles the event, so an event is either handled and remembered or
neither: reading a record twice (a crash between the database's commit and the offset's) changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.events import Event
    from runtime.database import Connection

ADMIT = """
INSERT INTO inbox (source, event_id)
SELECT * FROM unnest($1::text[], $2::text[])
ON CONFLICT DO NOTHING
RETURNING source, event_id
"""


async def admit(connection: Connection, events: Sequence[Event]) -> list[Event]:
    """Remember `events`; return those not seen before, in order, each once."""
    if not events:
        return []
    rows = await connection.fetch(ADMIT, [event.source for event in events], [event.id for event in events])
    unseen = {(source, event_id) for source, event_id in rows}
    admitted = []
    for event in events:
        if (event.source, event.id) in unseen:
            unseen.discard((event.source, event.id))
            admitted.append(event)
    return admitted
