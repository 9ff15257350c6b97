"""The fault table, the processes themselves: killed by the hundred, stopped beyond their leases, shared out anew.

HELIOGRAPH_CHAOS_EVENTS and HELIOGRAPH_CHAOS_KILLS make the long run shorter, HELIOGRAPH_TEST_SEED repeats its moments.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.fault_stage import IN_FLIGHT, Stage, a_stage
from tests.support.process import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.books import Balance

pytestmark = pytest.mark.timeout(600)

KILLS = int(os.environ.get("HELIOGRAPH_CHAOS_KILLS", "100"))
EVENTS = int(os.environ.get("HELIOGRAPH_CHAOS_EVENTS", "100000"))
#: Who is killed: intake, delivery, and a worker that does both.
TEAM = (("consume",), ("deliver",), ("consume", "deliver"))
#: Seconds a kill may wait for its moment: a group is shared out anew only when a killed member's session has ended.
MOMENT_SECONDS = 120.0
#: Seconds the last of it may take when nobody is killed any more.
BACKLOG_SECONDS = 1200.0
#: Attempts each process may have under way; of those that were claimed, a quarter.
MANY_IN_FLIGHT = 256
INGESTED = "heliograph_events_ingested_total"


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with a_stage() as made:
        yield made


@pytest.mark.timeout(3600)
async def test_sigkills_of_workers_over_many_events(count: Callable[[Balance, int], None]) -> None:
    """Before each kill there are new events; it comes at a random moment among their requests, and hits who is ready.

    What may come again is what the killed one had under way: a slot is free only when its result is written.
    """
    seed = int(os.environ.get("HELIOGRAPH_TEST_SEED") or random.SystemRandom().randrange(10**6))
    print(f"seed {seed}")  # noqa: T201 - for a failure's report
    async with a_stage(in_flight=MANY_IN_FLIGHT) as stage:
        bound = await killed(stage, random.Random(seed))
        await stage.produce(EVENTS - stage.produced)
        count(await stage.balanced(again=bound, seconds=BACKLOG_SECONDS), bound)


async def killed(stage: Stage, rng: random.Random) -> int:
    """Kill one after the other and start another in its place; return how many requests may come again by that."""
    portion = EVENTS // KILLS
    bound = 0
    async with asyncio.TaskGroup() as starting:
        team = {starting.create_task(stage.serve(*roles)): roles for roles in TEAM}
        for _ in range(KILLS):
            await stage.produce(portion)
            await stage.arrived(stage.customers.count + rng.randrange(portion), MOMENT_SECONDS)
            await asyncio.wait(team, return_when=asyncio.FIRST_COMPLETED)
            victim = rng.choice([each for each in team if each.done()])
            roles = team.pop(victim)
            await stage.end(victim.result())
            bound += MANY_IN_FLIGHT if "deliver" in roles else 0
            team[starting.create_task(stage.serve(*roles))] = roles
    return bound


async def test_a_worker_stopped_beyond_its_lease_and_continued(
    stage: Stage, count: Callable[[Balance, int], None]
) -> None:
    """Another one takes over what it had; what it then wants to record is refused, row by row."""
    _, stopped, _ = await asyncio.gather(stage.serve("consume"), stage.serve("deliver"), stage.serve("deliver"))
    await stage.produce(2000)
    await stage.arrived(500)
    stopped.send(signal.SIGSTOP)
    await stage.everywhere()
    async with stage.looking() as connection:

        async def is_done() -> bool:
            return not await connection.fetchval("SELECT count(*) FROM queue")

        await until(is_done, "everything is recorded by the other one")
    stopped.send(signal.SIGCONT)
    await stage.becomes(200, stopped)
    await stage.produce(200)
    count(await stage.balanced(again=IN_FLIGHT), IN_FLIGHT)


# --- intake -----------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def batch_held(stage: Stage, events: int) -> AsyncIterator[None]:
    """Produce, and keep the transaction of the batch that is read from ending until this context does."""
    async with stage.looking() as connection, connection.transaction():
        await connection.execute("LOCK TABLE inbox IN EXCLUSIVE MODE")
        await stage.produce(events)

        async def waits() -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await until(waits, "a batch in its transaction")
        yield


async def test_kill_9_between_database_commit_and_offset_commit(
    stage: Stage, count: Callable[[Balance, int], None]
) -> None:
    """The batch's transaction is committed while nothing reaches the broker any more; then the process is killed."""
    events = 300
    consume, _ = await asyncio.gather(stage.serve("consume"), stage.serve("deliver"))
    async with batch_held(stage, events):
        stage.kafka.lose()
    async with stage.looking() as connection:

        async def is_committed() -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM inbox"))

        await until(is_committed, "the batch is committed")
        await consume.kill()
        handled = await connection.fetchval("SELECT count(*) FROM inbox")
    stage.kafka.heal()
    assert await stage.acknowledged() == 0
    again = await stage.serve("consume")
    count(await stage.balanced(again=0), 0)
    assert await stage.metric(again, INGESTED, '"duplicate"') == handled
    assert await stage.metric(again, INGESTED, '"new"') == events - handled


async def test_rebalances_in_the_middle_of_batches(stage: Stage, count: Callable[[Balance, int], None]) -> None:
    """One joins while the other has a batch in hand, and each leaves so: ended in order, and killed."""
    first, _ = await asyncio.gather(stage.serve("consume"), stage.serve("deliver"))
    await stage.produce(100)
    async with batch_held(stage, 400):
        second = await stage.serve("consume")
        await second.says("assigned controlplane.events")
    async with batch_held(stage, 400):
        first.send(signal.SIGTERM)
        await first.says("draining")
    assert (await first.ended()).code == 0
    async with batch_held(stage, 400):
        third = await stage.serve("consume")
        await second.kill()
        await third.says("assigned controlplane.events")
    await stage.produce(100)
    count(await stage.balanced(again=0), 0)
