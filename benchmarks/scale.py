"""What is more than a day's work: one event for a hundred thousand endpoints, a start with a million deliveries due.

Endpoints are written straight into their tables, sealed as the service seals them: registering so many one by one
would take longer than all the rest. Every delivery goes to nginx.
"""

from __future__ import annotations

import asyncio
import os

from benchmarks.delivery import ACCOUNTS, drain, rate
from benchmarks.latency import pile_up
from benchmarks.stage import Row, Stage, row, stage
from publisher.secrets import Owner, Vault

SUBSCRIBERS = 100_000
PENDING = 1_000_000
#: Endpoints the pending deliveries are for.
WAITING = [f"waiting_{number}" for number in range(1000)]
#: Seconds the start with a backlog is looked at: after the first delivery, rate counts.
LOOKED_AT = 20.0
PATIENCE = 600.0
WORKERS = (1, 2, 4)
SECRET_BYTES = 24

SUBSCRIBE = """
INSERT INTO endpoints (account_id, id, url, events)
SELECT 'acct_' || n, 'we_' || lpad(n::text, 32, '0'), $2, '{canary.updated}' FROM generate_series(1, $1::integer) AS n
"""


async def fan_out(events: int) -> dict[str, Row]:
    """Return how long one `canary.updated` takes to be committed and delivered to everybody, and the rate of that.

    The rate is compared with that of private events in the same run.
    """
    async with stage() as opened:
        await opened.subscribe(ACCOUNTS)
        first, last = await drain(opened, events)
        await _subscribe(opened, SUBSCRIBERS)
        loop = asyncio.get_running_loop()
        async with opened.service(), asyncio.timeout(PATIENCE):
            before = await opened.delivered()
            begun = loop.time()
            await opened.announce("canary.updated")
            while not await opened.pool.fetchval("SELECT EXISTS (SELECT FROM queue)"):  # noqa: ASYNC110 - see below
                await asyncio.sleep(0.01)
            committed = loop.time() - begun
            while await opened.delivered() - before < SUBSCRIBERS:  # noqa: ASYNC110 - it is another process we wait for
                await asyncio.sleep(0.1)
            took = loop.time() - begun
    private = rate(first, last)
    return {
        "fan_out_commit_seconds": row(committed, "s", took, SUBSCRIBERS),
        "fan_out_seconds": row(took, "s", committed, SUBSCRIBERS),
        "fan_out_per_second": row(SUBSCRIBERS / took, "1/s", private, SUBSCRIBERS),
        "fan_out_ratio": row(SUBSCRIBERS / took / private, "ratio", private, SUBSCRIBERS),
    }


async def cold_start(events: int) -> dict[str, Row]:
    """Return how soon a service that starts with a million deliveries due delivers, and its rate ÷ that of new ones."""
    async with stage() as opened:
        await opened.subscribe(ACCOUNTS)
        first, last = await drain(opened, events)
        endpoints = await opened.subscribe(WAITING)
        await pile_up(opened, endpoints, PENDING)
        for statement in ("VACUUM ANALYZE", "CHECKPOINT"):
            await opened.pool.execute(statement)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with opened.service(), asyncio.timeout(PATIENCE):
            before, served = await opened.delivered(), await opened.requests()
            asked = 1
            while await opened.requests() - served - asked < 1:
                asked += 1
                await asyncio.sleep(0.01)
            started = loop.time() - begun
            since, at = await opened.delivered(), loop.time()
            await asyncio.sleep(LOOKED_AT)
            worked, now = await opened.delivered(), loop.time()
    private, backlog = rate(first, last), (worked - since) / (now - at)
    return {
        "cold_start_seconds": row(started, "s", PENDING, worked - before),
        "cold_start_ratio": row(backlog / private, "ratio", private, worked - before),
    }


async def workers(events: int) -> dict[str, Row]:
    """Return deliveries a second with 1, 2 and 4 workers under one parent, ÷ one process with all roles."""
    rates: dict[int | None, float] = {}
    for count in (None, *WORKERS):
        async with stage() as opened:
            await opened.subscribe(ACCOUNTS)
            rates[count] = rate(*await drain(opened, events, workers=count))
    alone = rates[None]
    return {f"workers_{count}_ratio": row(rates[count] / alone, "ratio", alone, events) for count in WORKERS}


async def _subscribe(opened: Stage, count: int) -> None:
    vault = Vault(opened.settings.keys())
    async with opened.pool.acquire() as connection, connection.transaction():
        await connection.execute(SUBSCRIBE, count, opened.sink.url)
        rows = await connection.fetch("SELECT account_id, id FROM endpoints WHERE events = '{canary.updated}'")
        sealed = (
            (account, endpoint, 1, *vault.seal(os.urandom(SECRET_BYTES), Owner(account, endpoint, 1)))
            for account, endpoint in rows
        )
        await connection.copy_records_to_table(
            "endpoint_secrets", records=sealed, columns=["account_id", "endpoint_id", "version", "key_id", "sealed"]
        )
    await opened.pool.execute("VACUUM ANALYZE endpoints, endpoint_secrets")
