"""What every queue promises its workers, held against PostgreSQL and against the fake that stands in for it.

A promise the fake keeps and PostgreSQL does not would make every test of the worker a lie, so there is one suite.
Whose turn it is, and how much of it, is in test_queue_turns.py.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from publisher.delivery.outcome import Result
from tests.support.jobs import a_job, a_message
from tests.support.queues import LEASE_SECONDS, State, a_result

if TYPE_CHECKING:
    from publisher.queue import Job
    from tests.support.queues import Bench

MINE, YOURS = 1001, 2002


async def _claim_one(bench: Bench, lease: int = MINE) -> Job:
    [job] = await bench.queue.claim(10, lease)
    return job


async def _ids(bench: Bench, limit: int = 10, lease: int = MINE) -> set[str]:
    return {job.id for job in await bench.queue.claim(limit, lease)}


# --- claiming --------------------------------------------------------------------------------------------------------


async def test_an_empty_queue_gives_nothing(bench: Bench) -> None:
    assert await bench.queue.claim(10, MINE) == []


async def test_a_claimed_job_has_all_it_takes_to_attempt_it(bench: Bench) -> None:
    await bench.add("a")
    await bench.pass_time(5)
    job = await _claim_one(bench)
    assert (job.id, job.lease, job.attempt, job.tried_for) == ("dlv_a", MINE, 1, 0)
    assert job.message == a_message("msg_a")
    assert str(job.endpoint.url) == "http://127.0.0.1:9/hooks"
    assert job.endpoint.account == "acct_1"
    assert job.endpoint.keys
    assert 5 <= job.age < 60
    assert await bench.state("dlv_a") == State("leased", 0)


async def test_a_claim_takes_the_oldest_due_up_to_its_limit(bench: Bench) -> None:
    for name in ("first", "second", "third", "fourth", "fifth"):
        await bench.add(name)
        await bench.pass_time(1)
    assert await _ids(bench, limit=2) == {"dlv_first", "dlv_second"}
    assert await _ids(bench, limit=2) == {"dlv_third", "dlv_fourth"}
    assert await _ids(bench, limit=2) == {"dlv_fifth"}
    assert await _ids(bench, limit=2) == set()


async def test_what_is_leased_from_birth_is_not_claimed_before_its_lease_ends(bench: Bench) -> None:
    await bench.add("fresh", leased_under=YOURS)
    await bench.add("waiting")
    await bench.pass_time(LEASE_SECONDS - 5)
    assert await _ids(bench) == {"dlv_waiting"}
    await bench.pass_time(5)
    assert await _ids(bench) == {"dlv_fresh"}


async def test_a_claimed_delivery_is_not_claimed_again_before_its_lease_ends(bench: Bench) -> None:
    await bench.add("a")
    await _claim_one(bench)
    assert await _ids(bench, lease=YOURS) == set()
    await bench.pass_time(LEASE_SECONDS - 5)
    assert await _ids(bench, lease=YOURS) == set()


async def test_an_expired_lease_is_claimed_by_anyone_and_the_attempt_still_has_its_number(bench: Bench) -> None:
    await bench.add("a")
    await _claim_one(bench)
    await bench.pass_time(LEASE_SECONDS)
    job = await _claim_one(bench, YOURS)
    assert (job.id, job.lease, job.attempt) == ("dlv_a", YOURS, 1)


async def test_concurrent_claimers_never_share_a_job_and_leave_none(bench: Bench) -> None:
    added = {await bench.add(str(number)) for number in range(120)}
    claims = await asyncio.gather(*(bench.queue.claim(20, lease) for lease in range(1, 9)))
    taken = [job.id for jobs in claims for job in jobs]
    assert len(taken) == len(set(taken))
    while rest := await bench.queue.claim(20, MINE):  # who finds a row locked passes it by
        taken += [job.id for job in rest]
    assert sorted(taken) == sorted(added)


async def test_what_has_no_endpoint_any_more_is_not_handed_out(bench: Bench) -> None:
    await bench.add("a")
    await bench.remove_endpoint()
    assert await bench.queue.claim(10, MINE) == []
    assert await bench.state("dlv_a") == State("cancelled", 0)
    await bench.pass_time(LEASE_SECONDS * 10)
    assert await bench.queue.claim(10, MINE) == []


# --- recording -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["delivered", "dropped"])
async def test_what_ended_is_never_claimed_again(bench: Bench, state: str) -> None:
    await bench.add("a")
    job = await _claim_one(bench)
    assert await bench.queue.record([a_result(job, state)]) == {job.id}
    assert await bench.state(job.id) == State(state, 1)
    await bench.pass_time(1_000_000)
    assert await bench.queue.claim(10, YOURS) == []


async def test_a_retry_is_due_after_its_delay_and_not_before(bench: Bench) -> None:
    await bench.add("a")
    job = await _claim_one(bench)
    assert await bench.queue.record([a_result(job, "retry", delay=600)]) == {job.id}
    assert await bench.state(job.id) == State("retry", 1)
    await bench.pass_time(590)
    assert await bench.queue.claim(10, YOURS) == []
    await bench.pass_time(10)
    assert (await _claim_one(bench, YOURS)).id == job.id


async def test_attempts_are_counted_and_kept(bench: Bench) -> None:
    await bench.add("a")
    for number in (1, 2, 3):
        job = await _claim_one(bench)
        assert job.attempt == number
        await bench.queue.record([a_result(job, "retry", delay=60)])
        await bench.pass_time(60)
    await bench.queue.record([a_result(await _claim_one(bench), "delivered")])
    assert await bench.state("dlv_a") == State("delivered", 4)
    failed = ("5xx", 503, 250, "busy")
    assert await bench.attempts("dlv_a") == [(1, *failed), (2, *failed), (3, *failed), (4, "2xx", 204, 250, None)]


async def test_an_attempt_without_an_answer_is_kept_too(bench: Bench) -> None:
    await bench.add("a")
    job = await _claim_one(bench)
    finished = a_result(job, "dropped", result=Result.TIMEOUT)._replace(status=None, response=None)
    assert await bench.queue.record([finished]) == {job.id}
    assert await bench.attempts(job.id) == [(1, "timeout", None, 250, None)]


async def test_tried_for_runs_from_the_first_attempt_by_the_queue_s_own_clock(
    bench: Bench,
) -> None:
    await bench.add("a")
    await bench.queue.record([a_result(await _claim_one(bench), "retry", delay=100)])
    await bench.pass_time(100)
    second = await _claim_one(bench)
    assert 100 <= second.tried_for < 130
    await bench.queue.record([a_result(second, "retry", delay=500)])
    await bench.pass_time(500)
    assert 600 <= (await _claim_one(bench)).tried_for < 630


async def test_a_stale_lease_changes_nothing_and_is_told_so(bench: Bench) -> None:
    await bench.add("a")
    mine = await _claim_one(bench)
    await bench.pass_time(LEASE_SECONDS)
    yours = await _claim_one(bench, YOURS)
    assert await bench.queue.record([a_result(mine, "dropped")]) == set()
    assert await bench.state("dlv_a") == State("leased", 0)
    assert await bench.attempts("dlv_a") == []
    assert await bench.queue.record([a_result(yours, "delivered")]) == {"dlv_a"}
    assert await bench.queue.record([a_result(mine, "retry")]) == set()
    assert await bench.state("dlv_a") == State("delivered", 1)


async def test_a_result_is_recorded_once(bench: Bench) -> None:
    await bench.add("a")
    job = await _claim_one(bench)
    assert await bench.queue.record([a_result(job, "retry", delay=5)]) == {job.id}
    assert await bench.queue.record([a_result(job, "retry", delay=5)]) == set()
    assert len(await bench.attempts(job.id)) == 1


async def test_one_group_may_hold_results_of_every_kind(bench: Bench) -> None:
    for name in ("ok", "again", "over", "stale"):
        await bench.add(name)
    jobs = {job.id: job for job in await bench.queue.claim(10, MINE)}
    stale = a_result(jobs["dlv_stale"], "delivered")._replace(lease=YOURS)
    unknown = a_result(jobs["dlv_ok"], "delivered")._replace(delivery_id="dlv_unknown")
    held = await bench.queue.record(
        [
            a_result(jobs["dlv_ok"], "delivered"),
            stale,
            a_result(jobs["dlv_again"], "retry", delay=60),
            unknown,
            a_result(jobs["dlv_over"], "dropped"),
        ]
    )
    assert held == {"dlv_ok", "dlv_again", "dlv_over"}
    states = {name: (await bench.state(f"dlv_{name}")).state for name in ("ok", "again", "over", "stale")}
    assert states == {"ok": "delivered", "again": "retry", "over": "dropped", "stale": "leased"}


async def test_nothing_to_record_is_nothing(bench: Bench) -> None:
    assert await bench.queue.record([]) == set()


async def test_what_was_leased_from_birth_is_recorded_under_that_lease(bench: Bench) -> None:
    delivery_id = await bench.add("fresh", leased_under=MINE)
    job = a_job(delivery_id, lease=MINE)
    assert await bench.queue.record([a_result(job, "delivered")]) == {delivery_id}
    assert await bench.state(delivery_id) == State("delivered", 1)


# --- releasing -------------------------------------------------------------------------------------------------------


async def test_what_is_released_is_due_at_once_as_if_it_had_not_been_claimed(bench: Bench) -> None:
    await bench.add("a")
    job = await _claim_one(bench)
    await bench.queue.release([job])
    assert await bench.state("dlv_a") == State("pending", 0)
    again = await _claim_one(bench, YOURS)
    assert (again.id, again.attempt) == ("dlv_a", 1)


async def test_a_released_retry_keeps_its_attempts(bench: Bench) -> None:
    await bench.add("a")
    await bench.queue.record([a_result(await _claim_one(bench), "retry")])
    await bench.queue.release([await _claim_one(bench)])
    assert await bench.state("dlv_a") == State("retry", 1)
    assert (await _claim_one(bench)).attempt == 2


async def test_a_result_after_the_release_changes_nothing(bench: Bench) -> None:
    await bench.add("a")
    job = await _claim_one(bench)
    await bench.queue.release([job])
    assert await bench.queue.record([a_result(job, "dropped")]) == set()
    assert await bench.state("dlv_a") == State("pending", 0)


async def test_a_stale_lease_releases_nothing(bench: Bench) -> None:
    await bench.add("a")
    await bench.add("b")
    mine = await bench.queue.claim(10, MINE)
    await bench.queue.record([a_result(job, "delivered") for job in mine if job.id == "dlv_b"])
    await bench.pass_time(LEASE_SECONDS)
    await _claim_one(bench, YOURS)
    await bench.queue.release(mine)
    assert await bench.state("dlv_a") == State("leased", 0)
    assert await bench.state("dlv_b") == State("delivered", 1)
    assert await bench.queue.claim(10, MINE) == []


async def test_releasing_nothing_is_nothing(bench: Bench) -> None:
    await bench.add("a")
    await bench.queue.release([])
    assert await bench.state("dlv_a") == State("pending", 0)


# --- what ended, and what begins again -------------------------------------------------------------------------------


async def test_a_payload_that_retention_took_is_cancelled_as_expired_and_keeps_nobody_else(bench: Bench) -> None:
    for name in ("gone", "there"):
        await bench.add(name)
    await bench.lose_payload("gone")
    assert await _ids(bench) == {"dlv_there"}
    assert (await bench.state("dlv_gone"), await bench.reason("dlv_gone")) == (State("cancelled", 0), "expired")
    await bench.pass_time(LEASE_SECONDS * 10)
    assert await _ids(bench) == {"dlv_there"}


async def test_all_that_is_due_at_an_inactive_endpoint_is_cancelled_at_once(bench: Bench) -> None:
    due = [await bench.add(str(number)) for number in range(30)]
    await bench.add("later", due_in=60)
    await bench.remove_endpoint()
    assert await bench.queue.claim(1, MINE) == []
    for delivery_id in due:
        assert (await bench.state(delivery_id), await bench.reason(delivery_id)) == (State("cancelled", 0), "endpoint")
    assert await bench.state("dlv_later") == State("pending", 0)
    await bench.pass_time(60)
    assert await bench.queue.claim(1, MINE) == []
    assert await bench.reason("dlv_later") == "endpoint"


async def test_an_attempt_under_way_when_its_endpoint_goes_is_recorded_all_the_same(bench: Bench) -> None:
    await bench.add("a")
    job = await _claim_one(bench)
    await bench.remove_endpoint()
    assert await bench.queue.claim(10, YOURS) == []
    assert await bench.state("dlv_a") == State("leased", 0)
    assert await bench.queue.record([a_result(job, "delivered")]) == {"dlv_a"}
    assert (await bench.state("dlv_a"), await bench.reason("dlv_a")) == (State("delivered", 1), None)


async def test_what_is_delivered_again_begins_its_schedule_anew_and_goes_on_counting(bench: Bench) -> None:
    await bench.add("a")
    first = await _claim_one(bench)
    assert await bench.queue.record([a_result(first, "retry", delay=100)]) == {"dlv_a"}
    await bench.pass_time(100)
    second = await _claim_one(bench)
    assert (second.attempt, second.tried) == (2, 1)
    assert second.tried_for >= 100
    assert await bench.queue.record([a_result(second, "dropped")]) == {"dlv_a"}
    await bench.put_back("dlv_a")
    third = await _claim_one(bench)
    assert (third.attempt, third.tried, third.tried_for) == (3, 0, 0)
    assert await bench.queue.record([a_result(third, "retry")]) == {"dlv_a"}
    fourth = await _claim_one(bench)
    assert (fourth.attempt, fourth.tried) == (4, 1)
    assert await bench.queue.record([a_result(fourth, "delivered")]) == {"dlv_a"}
    assert [number for number, *_ in await bench.attempts("dlv_a")] == [1, 2, 3, 4]
    assert (await bench.state("dlv_a"), await bench.reason("dlv_a")) == (State("delivered", 4), None)


async def test_what_is_delivered_again_and_released_waits_as_if_it_were_new(bench: Bench) -> None:
    await bench.add("a")
    await bench.queue.record([a_result(await _claim_one(bench), "dropped")])
    await bench.put_back("dlv_a")
    await bench.queue.release([await _claim_one(bench)])
    assert await bench.state("dlv_a") == State("pending", 1)
    again = await _claim_one(bench)
    assert (again.attempt, again.tried) == (2, 0)
