"""The inbox: which events have been seen. Owns the table `inbox`.

A row is written in the transaction that handles the event, so an event is either handled and remembered or
neither: reading a record twice (a crash between the database's commit and the offset's) changes nothing.

The table is cut into periods, so that it can forget by dropping one. An event is new when the current period takes
it and no earlier one that is kept has it. In the first `OVERLAP_SECONDS` of a period it is written into the one
before as well, and is new only when both took it: two transactions that handle the same event at the same moment
meet the same key, even when one of them began before the change of period and the other after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from consumers.events import Event
    from runtime.database import Connection

PERIOD_SECONDS = 45 * 86_400
#: Longer than any transaction, and than the clocks of two servers of which one takes over are apart.
OVERLAP_SECONDS = 3600

_AT = "floor((extract(epoch FROM coalesce($3::timestamptz, now())) - {ago}) / {seconds})::integer"
_LAST = _AT.format(ago=0, seconds=PERIOD_SECONDS)
_FIRST = _AT.format(ago=OVERLAP_SECONDS, seconds=PERIOD_SECONDS)
#: OFFSET 0 keeps the planner from reading whole periods into a hash: a look-up is one descent of each period's index.
#: The bare `<` lets it leave out the other partitions at the start; with an OR it would descend into all.
ADMIT = f"""
WITH written AS (
    INSERT INTO inbox (period, account_id, source, event_id)
    SELECT period, event.account_id, event.source, event.event_id
    FROM unnest($1::text[], $2::text[], $4::text[]) AS event (source, event_id, account_id),
         generate_series({_FIRST}, {_LAST}) AS period
    WHERE NOT EXISTS (
        SELECT FROM inbox AS seen
        WHERE seen.source = event.source AND seen.event_id = event.event_id
          AND seen.period < {_FIRST}
        OFFSET 0
    )
    ON CONFLICT DO NOTHING
    RETURNING source, event_id
)
SELECT source, event_id FROM written GROUP BY source, event_id HAVING count(*) = {_LAST} - {_FIRST} + 1
"""  # noqa: S608 - put together from the constants above


async def admit(connection: Connection, events: Sequence[Event], *, now: datetime | None = None) -> list[Event]:
    """Remember `events`; return those not seen before, in order, each once.

    The period is that of the database's `now()`; a test may give another.
    """
    if not events:
        return []
    accounts = [event.account or "" for event in events]
    sources, event_ids = [event.source for event in events], [event.id for event in events]
    rows = await connection.fetch(ADMIT, sources, event_ids, now, accounts)
    unseen = {(source, event_id) for source, event_id in rows}
    admitted = []
    for event in events:
        if (event.source, event.id) in unseen:
            unseen.discard((event.source, event.id))
            admitted.append(event)
    return admitted
