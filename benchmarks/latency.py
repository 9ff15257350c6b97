"""How long a delivery takes, alone and beside endpoints that hang.

From the commit of the event to the end of the exchange: PostgreSQL's commit timestamp of the message's row against
the attempt's start and duration as the service recorded them; one machine, one clock.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from benchmarks.delivery import ACCOUNTS
from benchmarks.stage import Row, Stage, row, stage, until_quiet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

#: One endpoint in ten hangs, with so many due deliveries behind them all.
HANGING = 20
BEHIND = 100_000
#: Events a second beside hanging endpoints, over all of them.
ISOLATION_RATE = 1000.0
#: Seconds of load before what counts: joining the group leaves a backlog, connections and pages are new.
WARM_UP = 3.0

PERCENTILES = """
SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY
           (extract(epoch FROM a.attempted_at - pg_xact_commit_timestamp(m.xmin)) * 1000 + a.duration_ms)::float8
       ) AS ms, count(*) AS n
FROM deliveries d
JOIN attempts a ON a.delivery_id = d.id AND a.number = 1
JOIN messages m ON m.id = d.message_id
WHERE d.state = 'delivered' AND d.endpoint_id = ANY ($1::text[])
  AND d.created_at >= $2
"""
PILE_UP = """
WITH given AS (
    SELECT n, e.account_id, e.id AS endpoint_id
    FROM generate_series(1, $1::integer) AS n
    JOIN (SELECT account_id, id, row_number() OVER () - 1 AS place FROM endpoints WHERE id = ANY ($2::text[])) AS e
      ON e.place = n % cardinality($2::text[])
), stored AS (
    INSERT INTO messages (account_id, id, type, body)
    SELECT account_id, 'msg_' || $3 || lpad(to_hex(n), 20, '0'), 'server.provisioned', '{}' FROM given
)
INSERT INTO queue (account_id, id, endpoint_id, message_id, type, state, due_at)
SELECT account_id, 'dlv_' || $3 || lpad(to_hex(n), 20, '0'), endpoint_id, 'msg_' || $3 || lpad(to_hex(n), 20, '0'),
       'server.provisioned', 'pending', now() + make_interval(secs => $4)
FROM given
"""


async def at_half_rate(per_second: float, seconds: float) -> dict[str, Row]:
    """Return p50 and p99 at half of `per_second`, the maximum."""
    async with stage() as opened:
        endpoints = await opened.subscribe(ACCOUNTS)
        async with opened.service():
            p50, p99, n = await paced(opened, endpoints, ACCOUNTS, per_second / 2, seconds)
    return {
        "latency_p50_ms": row(p50, "ms", per_second / 2, n),
        "latency_p99_ms": row(p99, "ms", per_second / 2, n),
    }


async def isolation(seconds: float) -> dict[str, Row]:
    """Return the healthy endpoints' p99 with a tenth of the endpoints hanging, against without."""
    without = await _healthy(seconds, hanging=False)
    beside = await _healthy(seconds, hanging=True)
    return {
        "isolation_p99_ratio": row(beside[1] / without[1], "ratio", without[1], beside[2]),
        "isolation_p50_ratio": row(beside[0] / without[0], "ratio", without[0], beside[2]),
        "isolation_p99_ms": row(beside[1], "ms", without[1], beside[2]),
    }


async def _healthy(seconds: float, *, hanging: bool) -> tuple[float, float, int]:
    sick = ACCOUNTS[:HANGING]
    async with stage() as opened, silent_receiver() as silent:
        healthy = await opened.subscribe(ACCOUNTS[HANGING:])
        others = await opened.subscribe(sick, silent if hanging else None)
        if hanging:
            await pile_up(opened, others, BEHIND)
        async with opened.service():
            return await paced(opened, healthy, ACCOUNTS, ISOLATION_RATE, seconds)


async def paced(
    opened: Stage, endpoint_ids: Sequence[str], accounts: Sequence[str], rate: float, seconds: float
) -> tuple[float, float, int]:
    """Run `rate` events a second after a warm-up; return p50 and p99 in ms of `endpoint_ids`, and of how many."""
    share = len(endpoint_ids) / len(accounts)
    before = await opened.pace(accounts, rate, WARM_UP)
    await until_quiet(opened, endpoint_ids, int(before * share) - len(accounts))
    begun = await opened.pool.fetchval("SELECT clock_timestamp()")
    sent = await opened.pace(accounts, rate, seconds)
    await until_quiet(opened, endpoint_ids, int((before + sent) * share) - len(accounts))
    return await percentiles(opened, endpoint_ids, begun)


async def percentiles(opened: Stage, endpoint_ids: Sequence[str], since: datetime) -> tuple[float, float, int]:
    """Return p50 and p99 in milliseconds of first attempts that succeeded, and how many those were."""
    found = await opened.pool.fetchrow(PERCENTILES, list(endpoint_ids), since)
    assert found is not None  # noqa: S101 - an aggregate always has its row
    return found["ms"][0], found["ms"][1], found["n"]


async def pile_up(opened: Stage, endpoint_ids: Sequence[str], count: int, due_in: float = 0.0) -> None:
    """Put `count` waiting deliveries behind `endpoint_ids`, due in so many seconds."""
    await opened.pool.execute(PILE_UP, count, list(endpoint_ids), await opened.moment(), due_in)


@contextlib.asynccontextmanager
async def silent_receiver() -> AsyncIterator[str]:
    """Listen on loopback, take requests, never answer."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(65_536):
                pass
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0, backlog=1024)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hooks"
    finally:
        server.close()
