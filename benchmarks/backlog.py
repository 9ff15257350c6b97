"""Throughput with a month behind it against an empty database.

A million delivered rows in the log, with their attempts and payloads, and two hundred thousand waiting deliveries:
half of them retries that are due later, over a thousand endpoints; half of them due now behind endpoints that hang.
"""

from __future__ import annotations

from benchmarks.delivery import ACCOUNTS, drain, rate
from benchmarks.latency import pile_up, silent_receiver
from benchmarks.stage import Row, Stage, row, stage

LOGGED = 1_000_000
WAITING = 200_000
LATER = 1800.0
RETRYING = [f"retry_{number}" for number in range(1000)]
SICK = [f"sick_{number}" for number in range(20)]

HISTORY = """
WITH given AS (
    SELECT n, $2 || lpad(to_hex(n), 20, '0') AS name, e.account_id, e.id AS endpoint_id
    FROM generate_series(1, $1::integer) AS n
    JOIN (SELECT account_id, id, row_number() OVER () - 1 AS place FROM endpoints WHERE id = ANY ($3::text[])) AS e
      ON e.place = n % cardinality($3::text[])
), stored AS (
    INSERT INTO messages (account_id, id, type, body)
    SELECT account_id, 'msg_' || name, 'server.provisioned', convert_to(repeat('x', 300), 'UTF8') FROM given
), attempted AS (
    INSERT INTO attempts (account_id, delivery_id, number, result, status, duration_ms, attempted_at)
    SELECT account_id, 'dlv_' || name, 1, '2xx', 204, 3, now() FROM given
)
INSERT INTO deliveries (account_id, id, endpoint_id, message_id, type, state, attempts, last_result, created_at)
SELECT account_id, 'dlv_' || name, endpoint_id, 'msg_' || name, 'server.provisioned', 'delivered', 1, '2xx', now()
FROM given
"""


async def measure(events: int) -> dict[str, Row]:
    """Return the ratio; empty runs before and after, the mean counts."""
    before = await _throughput(events, full=False)
    full = await _throughput(events, full=True)
    after = await _throughput(events, full=False)
    empty = (before + after) / 2
    return {"backlog_throughput_ratio": row(full / empty, "ratio", empty, events)}


async def _throughput(events: int, *, full: bool) -> float:
    async with stage() as opened, silent_receiver() as silent:
        endpoints = await opened.subscribe(ACCOUNTS)
        if full:
            await _fill(opened, endpoints, silent)
        first, last = await drain(opened, events)
    return rate(first, last)


async def _fill(opened: Stage, endpoints: list[str], silent: str) -> None:
    step = LOGGED // 10
    for _ in range(LOGGED // step):
        await opened.pool.execute(HISTORY, step, await opened.moment(), endpoints)
    await pile_up(opened, await opened.subscribe(RETRYING), WAITING // 2, LATER)
    await pile_up(opened, await opened.subscribe(SICK, silent), WAITING // 2)
    for statement in ("VACUUM ANALYZE", "CHECKPOINT"):  # a month's rows are not written in the minute before
        await opened.pool.execute(statement)
