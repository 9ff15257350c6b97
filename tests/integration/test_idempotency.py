"""Idempotency-Key on a real database: one effect and one answer, whatever fails, crashes, or comes at once."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING

import pytest

from publisher.api.errors import ApiError
from publisher.api.idempotency import Stored
from tests.support.idempotent import BOTH_WAYS, Gate, Service, an_answer, conflict, failing, let, once, two_pools
from tests.support.process import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.idempotent import Act, Pool

A_DAY, ALMOST_A_DAY = "24 hours", "23 hours 59 minutes"
WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@pytest.fixture
async def pools(dsn: str) -> AsyncIterator[tuple[Pool, Pool]]:
    async with two_pools(dsn) as opened:
        yield opened


@pytest.fixture
def service(pools: tuple[Pool, Pool]) -> Service:
    return Service(pools[0], patience=30.0, patience_of_processes=30.0)


@pytest.fixture
def other(pools: tuple[Pool, Pool]) -> Service:
    return Service(pools[1], patience=30.0, patience_of_processes=30.0)


# --- again -----------------------------------------------------------------------------------------------------------


@BOTH_WAYS
async def test_a_repetition_is_answered_the_same_bytes_and_has_no_effect(
    act: Act, service: Service, other: Service
) -> None:
    first = await act(service, once())
    assert (first.status, first.headers, first.is_replay) == (201, {"Location": "/v1/webhooks/we_1"}, False)
    for process in (service, other, service):
        again = await act(process, once())
        assert (again.status, again.headers, again.body) == (first.status, first.headers, first.body)
        assert again.is_replay
    assert await service.effects() == 1


async def test_an_empty_answer_is_repeated_as_it_was(service: Service) -> None:
    async def work() -> Stored:
        return Stored(204)

    for is_replay in (False, True):
        async with service.connections.transaction("acct_1") as connection:
            answer = await service.idempotency.within(connection, once(), work)
        assert (answer.status, answer.headers, answer.body, answer.is_replay) == (204, {}, b"", is_replay)


@BOTH_WAYS
async def test_another_request_under_the_same_key_is_refused(act: Act, service: Service) -> None:
    await act(service, once("{}"))
    assert await conflict(act(service, once('{"a":1}'))) == "idempotency_key_reused"
    assert await service.effects() == 1


@BOTH_WAYS
async def test_another_account_has_keys_of_its_own(act: Act, service: Service) -> None:
    answers = {(await act(service, once(account=account))).body for account in ("acct_1", "acct_2", "acct_1")}
    assert len(answers) == await service.effects() == 2


@BOTH_WAYS
async def test_another_key_is_another_request(act: Act, service: Service) -> None:
    assert (await act(service, once(key="a"))).body != (await act(service, once(key="A"))).body


@BOTH_WAYS
async def test_after_a_day_a_key_is_as_new(act: Act, service: Service) -> None:
    first = await act(service, once())
    await let(service.pool, "created_at", ALMOST_A_DAY)
    assert (await act(service, once())).body == first.body
    await let(service.pool, "created_at", A_DAY)
    second = await act(service, once('{"a":1}'))
    assert (second.body, second.is_replay) == (an_answer(2).body, False)
    assert (await act(service, once('{"a":1}'))).body == second.body
    assert await conflict(act(service, once())) == "idempotency_key_reused"


# --- what failed -----------------------------------------------------------------------------------------------------


@BOTH_WAYS
async def test_what_is_refused_leaves_nothing_and_may_be_tried_again(act: Act, service: Service) -> None:
    for _ in range(2):
        assert await conflict(act(service, once(), failing)) == "too_many_webhooks"
        assert await service.pool.fetchval("SELECT count(*) FROM idempotency_keys") == 0
    assert not (await act(service, once('{"a":1}'))).is_replay


async def test_within_a_transaction_the_effect_of_what_failed_is_undone(service: Service) -> None:
    async def crash() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await service.create(once(), crash)
    assert await service.effects() == 0


@BOTH_WAYS
async def test_when_the_first_twin_fails_the_one_that_waits_does_the_work(
    act: Act, service: Service, other: Service
) -> None:
    gate = Gate()

    async def wait_and_fail() -> None:
        await gate()
        await failing()

    first = asyncio.create_task(act(service, once(), wait_and_fail))
    await gate.reached.wait()
    twins = [asyncio.create_task(act(service, once()))]
    if act is Service.create:  # apart, a twin of another process does not wait
        twins.append(asyncio.create_task(act(other, once())))
        await until(lambda: _waits(service), "the other process waits")
    gate.opened.set()
    assert await conflict(first) == "too_many_webhooks"
    answers = await asyncio.gather(*twins)
    assert len({answer.body for answer in answers}) == 1
    assert sum(not answer.is_replay for answer in answers) == 1
    assert await service.effects() == (1 if act is Service.create else 2)


async def _waits(service: Service) -> bool:
    return bool(await service.pool.fetchval(WAITING))


# --- at once ---------------------------------------------------------------------------------------------------------


@BOTH_WAYS
async def test_thirty_twins_in_one_process_have_one_effect_and_one_answer(act: Act, service: Service) -> None:
    answers = await asyncio.gather(*(act(service, once()) for _ in range(30)))
    assert {(answer.status, answer.body) for answer in answers} == {(201, an_answer(1).body)}
    assert sum(not answer.is_replay for answer in answers) == 1
    assert await service.effects() == 1


@BOTH_WAYS
async def test_thirty_twins_in_two_processes_have_one_effect(act: Act, service: Service, other: Service) -> None:
    outcomes = await asyncio.gather(
        *(act(process, once()) for process in (service, other) for _ in range(15)), return_exceptions=True
    )
    answers = [outcome for outcome in outcomes if isinstance(outcome, Stored)]
    refusals = [outcome for outcome in outcomes if not isinstance(outcome, Stored)]
    assert {answer.body for answer in answers} == {an_answer(1).body}
    assert {each.code for each in refusals if isinstance(each, ApiError)} <= {"idempotency_in_progress"}
    assert all(isinstance(each, ApiError) for each in refusals)
    assert await service.effects() == 1


@BOTH_WAYS
async def test_twins_that_wait_hold_no_connection(act: Act, pools: tuple[Pool, Pool]) -> None:
    service = Service(pools[0], most=4)  # of which an account has two
    gate = Gate()
    first = asyncio.create_task(act(service, once(), gate))
    await gate.reached.wait()
    twins = [asyncio.create_task(act(service, once())) for _ in range(30)]
    assert not (await act(service, once(key="another"))).is_replay
    gate.opened.set()
    answers = await asyncio.gather(first, *twins)
    assert {answer.body for answer in answers} == {an_answer(1).body}
    assert await service.effects() == 2


@BOTH_WAYS
async def test_a_twin_does_not_wait_for_ever(act: Act, pools: tuple[Pool, Pool]) -> None:
    service = Service(pools[0], patience=0.01)
    gate = Gate()
    first = asyncio.create_task(act(service, once(), gate))
    await gate.reached.wait()
    assert await conflict(act(service, once())) == "idempotency_in_progress"
    gate.opened.set()
    assert (await first).body == (await act(service, once())).body
    gc.collect()
    assert len(service.idempotency._turns) == 0


async def test_a_twin_of_another_process_waits_for_the_answer(service: Service, other: Service) -> None:
    gate = Gate()
    first = asyncio.create_task(service.create(once(), gate))
    await gate.reached.wait()
    twin = asyncio.create_task(other.create(once()))
    await until(lambda: _waits(service), "the twin waits")
    gate.opened.set()
    assert (await twin).body == (await first).body
    assert (await twin).is_replay


async def test_a_twin_of_another_process_waits_a_moment_only(service: Service, pools: tuple[Pool, Pool]) -> None:
    other = Service(pools[1], patience_of_processes=0.01)
    gate = Gate()
    first = asyncio.create_task(service.create(once(), gate))
    await gate.reached.wait()
    with pytest.raises(ApiError) as caught:
        await other.create(once())
    assert (caught.value.code, caught.value.headers) == ("idempotency_in_progress", {"Retry-After": "1"})
    gate.opened.set()
    assert (await first).body == (await other.create(once())).body


async def test_the_work_waits_for_locks_as_long_as_it_did(service: Service) -> None:
    async with service.connections.transaction("acct_1") as connection:
        await connection.execute("SET LOCAL lock_timeout = '1234ms'")

        async def work() -> Stored:
            return Stored(200, body=(await connection.fetchval("SHOW lock_timeout")).encode())

        assert (await service.idempotency.within(connection, once(), work)).body == b"1234ms"


# --- apart -----------------------------------------------------------------------------------------------------------


async def test_while_something_is_done_apart_no_connection_is_held(pools: tuple[Pool, Pool]) -> None:
    service = Service(pools[0], most=1)
    gate = Gate()
    first = asyncio.create_task(service.test(once(), gate))
    await gate.reached.wait()
    async with service.connections.acquire("acct_1") as connection:
        states = await connection.fetch("SELECT state FROM pg_stat_activity WHERE datname = current_database()")
    assert "idle in transaction" not in {state for (state,) in states}
    gate.opened.set()
    await first


async def test_a_twin_of_another_process_is_refused_while_it_is_done_apart(service: Service, other: Service) -> None:
    gate = Gate()
    first = asyncio.create_task(service.test(once(), gate))
    await gate.reached.wait()
    assert await conflict(other.test(once())) == "idempotency_in_progress"
    assert await conflict(other.test(once('{"a":1}'))) == "idempotency_key_reused"
    gate.opened.set()
    assert (await first).body == (await other.test(once())).body


async def test_work_that_is_cancelled_leaves_no_reservation(service: Service, other: Service) -> None:
    """As at shutdown: whoever tries again elsewhere is not to wait for a lease."""
    gate = Gate()
    first = asyncio.create_task(service.test(once(), gate))
    await gate.reached.wait()
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    assert not (await other.test(once())).is_replay


async def test_after_a_crash_the_reservation_ends_with_its_lease_and_the_work_is_done_again(
    service: Service, other: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_more(*_: object) -> None:
        """A process that is killed lets go of nothing."""

    monkeypatch.setattr(service.idempotency, "_let_go", no_more)
    gate = Gate()
    first = asyncio.create_task(service.test(once(), gate))
    await gate.reached.wait()
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    assert await conflict(other.test(once())) == "idempotency_in_progress"
    await let(service.pool, "leased_until", "1 microsecond")
    second = await other.test(once('{"a":1}'))
    assert (second.body, second.is_replay) == (an_answer(2).body, False)
    assert (await other.test(once('{"a":1}'))).is_replay


@pytest.mark.parametrize("ends_well", [True, False])
async def test_who_outlives_its_lease_does_not_touch_what_the_next_one_answered(
    service: Service, other: Service, *, ends_well: bool
) -> None:
    gate = Gate()

    async def slow() -> None:
        await gate()
        if not ends_well:
            await failing()

    first = asyncio.create_task(service.test(once(), slow))
    await gate.reached.wait()
    await let(service.pool, "leased_until", "1 microsecond")
    second = await other.test(once())
    gate.opened.set()
    [outcome] = await asyncio.gather(first, return_exceptions=True)
    assert isinstance(outcome, Stored if ends_well else ApiError)
    assert (await service.test(once())).body == second.body


async def test_a_lease_is_as_long_as_it_was_said(pools: tuple[Pool, Pool]) -> None:
    service = Service(pools[0], lease=3600.0)
    gate = Gate()
    first = asyncio.create_task(service.test(once(), gate))
    await gate.reached.wait()
    lease = await service.pool.fetchval("SELECT extract(epoch FROM leased_until - now()) FROM idempotency_keys")
    assert 3000 < lease <= 3600
    gate.opened.set()
    await first


async def test_what_the_work_raised_is_told_even_when_the_database_is_gone(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async def lose_the_database() -> None:
        await service.pool.close()
        await failing()

    assert await conflict(service.test(once(), lose_the_database)) == "too_many_webhooks"
    assert "a reserved Idempotency-Key stays so for up to 60 s (pool is closed)" in caplog.text
    assert "my-own-key" not in caplog.text
