"""Answers while they are kept: sealed, for their own row alone, for a day, and never half a row."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from publisher.api.idempotency import forget
from publisher.secrets import Vault
from tests.support.idempotent import BOTH_WAYS, KEY, SHOWN, Gate, Service, conflict, let, once, two_pools

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.idempotent import Act, Pool

NEW = bytes(range(32, 64))
A_DAY = "24 hours"


@pytest.fixture
async def pools(dsn: str) -> AsyncIterator[tuple[Pool, Pool]]:
    async with two_pools(dsn) as opened:
        yield opened


@pytest.fixture
def service(pools: tuple[Pool, Pool]) -> Service:
    return Service(pools[0], patience=30.0, patience_of_processes=30.0)


# --- at rest ---------------------------------------------------------------------------------------------------------


@BOTH_WAYS
async def test_the_table_holds_neither_a_secret_nor_a_key(act: Act, service: Service) -> None:
    await act(service, once())
    [(text,)] = await service.pool.fetch("SELECT k::text FROM idempotency_keys k")
    for private in (SHOWN, "whsec_", "my-own-key"):
        assert private not in text
        assert private.encode().hex() not in text


@BOTH_WAYS
async def test_an_answer_that_does_not_open_any_more_is_refused_and_not_done_twice(
    act: Act, service: Service, pools: tuple[Pool, Pool], caplog: pytest.LogCaptureFixture
) -> None:
    first = await act(service, once())
    rotated = Service(pools[1], vault=Vault({"new": NEW, "old": KEY}))
    assert (await act(rotated, once())).body == first.body
    hasty = Service(pools[1], vault=Vault({"new": NEW}))
    assert await conflict(act(hasty, once())) == "idempotency_unavailable"
    assert "an answer kept for an Idempotency-Key was sealed with key 'old'" in caplog.text
    assert "acct_1" not in caplog.text
    assert await service.effects() == 1


@pytest.mark.parametrize("theft", ["account_id = 'acct_2'", "key_hash = sha256('another')"])
async def test_an_answer_moved_to_another_row_does_not_open(theft: str, service: Service) -> None:
    await service.create(once())
    await service.pool.execute(f"UPDATE idempotency_keys SET {theft}")  # noqa: S608 - ours
    thief = once(account="acct_2") if "acct_2" in theft else once(key="another")
    assert await conflict(service.create(thief)) == "idempotency_unavailable"


# --- forgotten -------------------------------------------------------------------------------------------------------


async def test_what_is_older_than_a_day_is_forgotten_and_nothing_else(service: Service) -> None:
    for number in range(5):
        await service.create(once(key=f"old-{number}"))
    await let(service.pool, "created_at", A_DAY)
    for number in range(3):
        await service.create(once(key=f"new-{number}"))
    async with service.pool.acquire() as connection:
        assert await forget(connection, batch=2) == 5
        assert await forget(connection) == 0
    assert (await service.create(once(key="new-1"))).is_replay
    assert await service.pool.fetchval("SELECT count(*) FROM idempotency_keys") == 3


async def test_forgetting_waits_for_nobody(service: Service) -> None:
    await service.create(once(key="held"))
    await service.create(once(key="free"))
    await let(service.pool, "created_at", A_DAY)
    gate = Gate()
    holder = asyncio.create_task(service.create(once(key="held"), gate))
    await gate.reached.wait()
    async with service.pool.acquire() as connection:
        assert await forget(connection) == 1
    gate.opened.set()
    assert not (await holder).is_replay


async def test_old_rows_are_found_by_their_index(service: Service) -> None:
    await service.pool.execute("""
        INSERT INTO idempotency_keys (account_id, key_hash, fingerprint, leased_until, created_at)
        SELECT 'a', sha256(n::text::bytea), sha256(''), now(), now() - n * interval '1 s'
        FROM generate_series(1, 5000) n
    """)
    await service.pool.execute("ANALYZE idempotency_keys")
    plan = await service.pool.fetch(
        "EXPLAIN SELECT FROM idempotency_keys WHERE created_at <= now() - interval '24 hours' "
        "ORDER BY created_at LIMIT 10"
    )
    assert "idempotency_keys_old" in "\n".join(line for (line,) in plan)


@pytest.mark.parametrize(
    "columns",
    [
        "status = NULL, leased_until = now()",
        "leased_until = now()",
        "headers = NULL",
        "sealed = NULL",
        "status = 409",
        "key_hash = 'short'",
        "fingerprint = ''",
    ],
)
async def test_a_row_is_an_answer_or_a_reservation(columns: str, service: Service) -> None:
    await service.create(once())
    with pytest.raises(asyncpg.CheckViolationError):
        await service.pool.execute(f"UPDATE idempotency_keys SET {columns}")  # noqa: S608 - ours
