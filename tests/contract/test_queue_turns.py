"""Whose turn it is: what every queue promises about fairness, held against PostgreSQL and against the fake.

A claim is fair when no pile, no pause and no full room of one endpoint is felt by another.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from math import ceil
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from publisher import queue as queue_module
from publisher.queue import Room
from tests.support.queues import LEASE_SECONDS, FakeBench, PostgresBench, postgres_bench

if TYPE_CHECKING:
    from collections.abc import Sequence

    from publisher.queue import Job
    from tests.support.queues import Bench

MINE, YOURS = 1001, 2002


async def _endpoints(bench: Bench, count: int) -> list[str]:
    return [await bench.endpoint() for _ in range(count)]


async def _pile(bench: Bench, endpoint_id: str, count: int, *, due_in: float = 0.0) -> list[str]:
    return [
        await bench.add(f"{endpoint_id}_{number:03}", endpoint_id=endpoint_id, due_in=due_in) for number in range(count)
    ]


def _counts(jobs: Sequence[Job]) -> Counter[str]:
    return Counter(job.endpoint.id for job in jobs)


async def test_a_pile_behind_one_endpoint_keeps_no_other_from_its_turn(bench: Bench) -> None:
    first, *others = await _endpoints(bench, 20)
    pile = await _pile(bench, first, 200)
    await bench.pass_time(60)  # the pile is older than anything of the others
    for endpoint_id in others:
        await _pile(bench, endpoint_id, 1)
    jobs = await bench.queue.claim(20, MINE)
    assert _counts(jobs) == Counter([first, *others])
    assert {job.id for job in jobs if job.endpoint.id == first} == {pile[0]}


async def test_what_nobody_else_needs_the_pile_gets(bench: Bench) -> None:
    heavy, light = await _endpoints(bench, 2)
    await _pile(bench, heavy, 30)
    await _pile(bench, light, 2)
    jobs = await bench.queue.claim(10, MINE)
    assert _counts(jobs)[light] == 2
    assert 5 <= _counts(jobs)[heavy] <= 8


async def test_none_gets_more_than_its_room(bench: Bench) -> None:
    narrow, wide, unknown = await _endpoints(bench, 3)
    for endpoint_id in (narrow, wide, unknown):
        await _pile(bench, endpoint_id, 12)
    room = Room(others=3, known={narrow: 1, wide: 7})
    assert _counts(await bench.queue.claim(100, MINE, room)) == {narrow: 1, wide: 7, unknown: 3}


async def test_who_has_no_room_is_passed_by_and_stays_due(bench: Bench) -> None:
    full, other = await _endpoints(bench, 2)
    waiting = await _pile(bench, full, 3)
    await _pile(bench, other, 1)
    no_room = Room(known={full: 0})
    assert _counts(await bench.queue.claim(10, MINE, no_room)) == {other: 1}
    assert await bench.queue.claim(10, MINE, no_room) == []
    assert [(await bench.state(delivery_id)).state for delivery_id in waiting] == ["pending"] * 3
    assert _counts(await bench.queue.claim(10, YOURS)) == {full: 3}


async def test_nobody_has_room_is_nothing_and_takes_nothing(bench: Bench) -> None:
    [endpoint_id] = await _endpoints(bench, 1)
    await _pile(bench, endpoint_id, 2)
    assert await bench.queue.claim(10, MINE, Room(others=0)) == []
    assert await bench.queue.claim(0, MINE) == []
    assert len(await bench.queue.claim(10, MINE)) == 2


async def test_a_later_claim_goes_on_where_the_last_one_ended(bench: Bench) -> None:
    everyone = sorted(await _endpoints(bench, 7))
    for endpoint_id in everyone:
        await _pile(bench, endpoint_id, 3)
    turns = [sorted(_counts(await bench.queue.claim(3, MINE))) for _ in range(7)]
    begun = everyone.index(turns[0][0])
    order = everyone[begun:] + everyone[:begun]
    assert turns == [sorted(order[(number * 3 + step) % 7] for step in range(3)) for number in range(7)]
    assert await bench.queue.claim(3, MINE) == []


async def test_what_ended_its_lease_has_its_turn_like_what_waits(bench: Bench) -> None:
    left, waiting = await _endpoints(bench, 2)
    await bench.add("left", endpoint_id=left, leased_under=YOURS)
    await _pile(bench, waiting, 5)
    assert _counts(await bench.queue.claim(2, MINE)) == {waiting: 2}
    await bench.pass_time(LEASE_SECONDS)
    assert _counts(await bench.queue.claim(2, MINE)) == {left: 1, waiting: 1}


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 12, 13, 1000])
async def test_what_is_not_due_is_not_walked_over_for_ever(
    steps: int, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More endpoints than one statement passes, most of them waiting for later: each claim ends, none hides another."""
    monkeypatch.setattr(queue_module, "STEPS", steps)
    everyone = sorted(await _endpoints(bench, 12))
    due = {everyone[position] for position in (0, 5, 11)}
    for endpoint_id in everyone:
        await _pile(bench, endpoint_id, 2, due_in=0 if endpoint_id in due else 600)
    async with asyncio.timeout(20):
        for expected in ({everyone[0]}, {everyone[5]}, {everyone[11]}, {everyone[0]}):
            assert set(_counts(await bench.queue.claim(1, MINE))) == expected
        assert _counts(await bench.queue.claim(10, MINE)) == {everyone[5]: 1, everyone[11]: 1}
        assert await bench.queue.claim(10, MINE) == []
        await bench.pass_time(600)
        rest = await bench.queue.claim(100, YOURS)
    assert set(_counts(rest)) == set(everyone)


# --- for any due endpoints, rooms and limit --------------------------------------------------------------------------

DUE = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9)


async def _everyone_is_served(bench: Bench, endpoint_ids: Sequence[str], due: Sequence[int], room: Room) -> None:
    """Claim until nothing comes: who had something due and room was served within one round of turns."""
    limit = max(1, len(endpoint_ids) // 3)
    for endpoint_id, count in zip(endpoint_ids, due, strict=True):
        await _pile(bench, endpoint_id, count)
    entitled = {each for each, count in zip(endpoint_ids, due, strict=True) if count > 0 and room.of(each) > 0}
    left = Counter(dict(zip(endpoint_ids, due, strict=True)))
    served: set[str] = set()
    for _ in range(ceil(len(entitled) / limit)):
        jobs = await bench.queue.claim(limit, MINE, room)
        counts = _counts(jobs)
        assert len(jobs) <= limit
        assert all(count <= min(room.of(each), left[each]) for each, count in counts.items())
        left -= counts
        served |= counts.keys()
    assert served == entitled


def _case(endpoint_ids: Sequence[str], drawn: Sequence[tuple[int, int]]) -> tuple[list[str], list[int], Room]:
    chosen = list(endpoint_ids[: len(drawn)])
    room = Room(others=0, known={each: space for each, (_, space) in zip(chosen, drawn, strict=True)})
    return chosen, [count for count, _ in drawn], room


@settings(deadline=None, max_examples=150)
@given(DUE)
def test_everyone_with_room_is_served_within_a_round_by_the_fake(drawn: list[tuple[int, int]]) -> None:
    async def run() -> None:
        bench = FakeBench()
        await _everyone_is_served(bench, *_case(await _endpoints(bench, 9), drawn))

    asyncio.run(run())


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DUE, st.sampled_from([1, 2, 4, 1000]))
def test_everyone_with_room_is_served_within_a_round_by_postgresql(
    dsn: str, drawn: list[tuple[int, int]], steps: int
) -> None:
    async def run(bench: PostgresBench) -> None:
        await bench.pool.execute("TRUNCATE endpoints, endpoint_secrets, queue, messages")
        await _everyone_is_served(bench, *_case(await _endpoints(bench, 9), drawn))

    async def on_a_queue() -> None:
        async with postgres_bench(dsn) as bench:
            await run(bench)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(queue_module, "STEPS", steps)
        asyncio.run(on_a_queue())
