"""An endpoint's own numbers, for its owner: how its deliveries ended lately, and how long they took.

Reads `deliveries` and `queue` (owner: publisher/queue.py); writes nothing. What no metric may tell, because its labels
would name customers, is told here to the one it is about. An endpoint may have millions of deliveries: of the log the
newest `LOOKED_AT` are looked at, by the key (account, endpoint, id), and of what waits as many. Ids begin with the
millisecond of their making, so a range of time is a range of ids.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from publisher.log import LOOKED_AT, PLAN_ANEW, id_range, is_name
from publisher.queue import ENDED_STATES, LIVE_STATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from runtime.database import Connection

#: The ranges there are, the shortest first; each ends now.
RANGES: Mapping[str, timedelta] = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
QUANTILES = (0.5, 0.95, 0.99)

#: Materialised: read once, whatever is made of it. A row for each range and way to end, and one for each whole range,
#: where the quantiles stand. What was looked at is the same for all of them.
ENDED = f"""
WITH looked_at AS MATERIALIZED (
    SELECT id, state, last_result, ended_at,
           greatest(extract(epoch FROM ended_at - created_at), 0)::float8 AS seconds
    FROM deliveries
    WHERE account_id = $1 AND endpoint_id = $2 AND id >= $3 AND id < $4
    ORDER BY id DESC
    LIMIT {LOOKED_AT}
), named AS (
    SELECT * FROM unnest($5::text[], $6::text[]) AS n (range, since)
)
SELECT range, state, last_result, grouping(state) = 1 AS is_whole, count(id) AS number,
       percentile_cont($7::float8[]) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE state = 'delivered') AS seconds,
       max(ended_at) FILTER (WHERE state = 'delivered') AS last_delivered_at,
       max(ended_at) FILTER (WHERE state = 'dropped') AS last_dropped_at,
       since <= (SELECT min(id) FROM looked_at) AND (SELECT count(*) FROM looked_at) >= {LOOKED_AT} AS is_cut
FROM named LEFT JOIN looked_at ON id >= since
GROUP BY GROUPING SETS ((range, since), (range, since, state, last_result))
"""  # noqa: S608 - numbers of ours
WAITING = f"""
SELECT state, count(*)
FROM (SELECT state FROM queue WHERE account_id = $1 AND endpoint_id = $2 LIMIT {LOOKED_AT}) AS looked_at
GROUP BY state
"""  # noqa: S608 - a number of ours


class Row(NamedTuple):
    """A row of `ENDED`; `is_cut` where there is more in the range than was looked at."""

    range: str
    state: str | None
    last_result: str | None
    is_whole: bool
    number: int
    seconds: Sequence[float] | None
    last_delivered_at: datetime | None
    last_dropped_at: datetime | None
    is_cut: bool | None


@dataclass(slots=True)
class Ended:
    """Deliveries made since `since` that have ended: by outcome, and by the result of the last attempt of each.

    `seconds` are `QUANTILES` of the time from the making of a delivery to its recorded 2xx, None where none arrived.
    When not `is_complete` there are more than were looked at, and these are the newest.
    """

    range: str
    since: datetime
    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ENDED_STATES, 0))
    results: dict[str, int] = field(default_factory=dict)
    seconds: Sequence[float] | None = None
    is_complete: bool = True
    last_delivered_at: datetime | None = None
    last_dropped_at: datetime | None = None


class Stats(NamedTuple):
    """An endpoint's numbers, by range; and what waits by the state it is in, `LOOKED_AT` deliveries at most."""

    ended: Mapping[str, Ended]
    waiting: Mapping[str, int]


async def of_endpoint(connection: Connection, account: str, endpoint_id: str, *, now: datetime) -> Stats:
    """Return an endpoint's numbers as of `now`. One the account does not have has none."""
    starts = {name: now - length for name, length in RANGES.items()}
    if not (is_name(account) and is_name(endpoint_id)):
        return Stats(combine(starts, ()), dict.fromkeys(LIVE_STATES, 0))
    least, before = id_range(min(starts.values()), None)
    since = [id_range(start, None)[0] for start in starts.values()]
    async with connection.transaction():
        await connection.execute(PLAN_ANEW)
        rows = await connection.fetch(ENDED, account, endpoint_id, least, before, list(starts), since, QUANTILES)
        waiting = {row[0]: row[1] for row in await connection.fetch(WAITING, account, endpoint_id)}
    return Stats(combine(starts, [Row(*row) for row in rows]), dict.fromkeys(LIVE_STATES, 0) | waiting)


def combine(starts: Mapping[str, datetime], rows: Iterable[Row]) -> dict[str, Ended]:
    """Put the rows together: every range and outcome is there, of the results those that occur. Pure."""
    made = {name: Ended(name, start) for name, start in starts.items()}
    for row in rows:
        ended = made[row.range]
        if row.is_whole:
            ended.seconds, ended.is_complete = row.seconds, not row.is_cut
            ended.last_delivered_at, ended.last_dropped_at = row.last_delivered_at, row.last_dropped_at
        elif row.state is not None:
            ended.outcomes[row.state] += row.number
            if row.last_result is not None:
                ended.results[row.last_result] = ended.results.get(row.last_result, 0) + row.number
    return made
