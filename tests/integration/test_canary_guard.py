"""Intake with the guard before the fan-out, on a real PostgreSQL: a forged `canary.updated` reaches nobody."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import pytest
from prometheus_client import CollectorRegistry

from consumers import inbox
from consumers.deadletters import DeadLetterLimit, DeadLetters
from consumers.decode import decode
from consumers.encode import cloud_event
from consumers.loop import Loop
from consumers.metrics import ConsumerMetrics
from consumers.public_events import CanaryUpdated
from feeds.canary_events import updated
from feeds.canary_guard import CanaryGuard
from tests.support.canaries import STATEMENTS
from tests.support.canary_office import LOCATION, NOW, PUBLIC_URL, Press, office, press
from tests.support.fake_broker import FakeBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from datetime import datetime

    from tests.support.canary_office import Office

EVENTS, DEAD = "events", "dead"


@pytest.fixture(scope="module")
def desk() -> Iterator[Office]:
    with office() as made:
        yield made


@pytest.fixture
async def paper(dsn: str, desk: Office) -> AsyncIterator[Press]:
    async with press(dsn, desk) as made:
        yield made


class Intake:
    """A loop on a broker in memory that reads what a control plane says, with the guard before the fan-out."""

    def __init__(self, paper: Press, dsn: str, pinned: tuple[str, ...]) -> None:
        self.paper = paper
        self.dsn = dsn
        self.broker = FakeBroker({EVENTS: 1, DEAD: 1})
        self.guard = CanaryGuard(pinned=pinned, source=PUBLIC_URL, location=LOCATION)

    def say(self, *, at: datetime = NOW, **data: Any) -> None:
        """Produce `canary.updated`."""
        self.broker.append(cloud_event(EVENTS, "canary.updated", time=at, source="/control-plane", data=data))

    async def run(self) -> None:
        """Read everything that was said."""
        stop = asyncio.Event()

        async def appetite() -> int:
            return 100

        async with asyncpg.create_pool(self.dsn, min_size=1, max_size=2) as pool:
            loop = Loop(
                consumer=self.broker.consumer(EVENTS),
                pool=pool,
                decode=decode,
                admit=inbox.admit,
                handlers=[self.guard, self.paper.fan_out],
                dead_letters=DeadLetters(self.broker.producer(), DEAD),
                limit=DeadLetterLimit(self.paper.clock, share=1.0, window=60, minimum=100),
                metrics=ConsumerMetrics(CollectorRegistry()),
                clock=self.paper.clock,
                appetite=appetite,
            )
            running = asyncio.create_task(loop.run(stop))
            await self.broker.until(lambda: self.broker.is_drained(EVENTS))
            stop.set()
            await running

    def refused(self) -> list[str]:
        """Return why each dead letter is one."""
        return [(dict(record.headers)["heliograph-detail"] or b"").decode() for record in self.broker.records(DEAD)]


async def told(paper: Press) -> dict[str, Any]:
    """Publish a first canary while nobody listens; return what a control plane says of it."""
    made = await paper.publish(paper.office.first())
    await paper.subscribe("canary.updated", account="acct_1")
    data: dict[str, Any] = orjson.loads(updated(made.published, made.statement, LOCATION).model_dump_json())
    return data


async def test_what_was_signed_goes_on_and_what_was_not_is_a_dead_letter(paper: Press, dsn: str) -> None:
    data = await told(paper)
    intake = Intake(paper, dsn, (paper.office.alice,))
    intake.say(**data | {"next_due": "2030-01-01T00:00:00Z"})
    intake.say(**data)
    intake.say(**data | {"sequence": 2})
    await intake.run()
    assert intake.refused() == [
        "data.next_due: not as in the canary that was signed",
        "data.sequence: is not that of the newest canary published here",
    ]
    assert len(await paper.deliveries()) == 1


async def test_it_may_be_told_once_more_and_then_no_more(paper: Press, dsn: str) -> None:
    data = await told(paper)
    for _ in range(2):  # also by another process, or after a restart
        intake = Intake(paper, dsn, (paper.office.alice,))
        intake.say(**data)
        intake.say(**data)
        await intake.run()
    assert intake.refused() == ["this canary has been told of again already"] * 2
    assert len(await paper.deliveries()) == 1


async def test_a_time_beyond_the_days_of_the_canary_is_refused(paper: Press, dsn: str) -> None:
    data = await told(paper)
    intake = Intake(paper, dsn, (paper.office.alice,))
    for days in (-1, 46):
        intake.say(at=NOW + timedelta(days=days), **data)
    await intake.run()
    assert intake.refused() == ["time: not of the days of this canary"] * 2
    assert await paper.deliveries() == []


async def test_where_nothing_is_published_nothing_is_let_through(paper: Press, dsn: str) -> None:
    await paper.subscribe("*", account="acct_1")
    intake = Intake(paper, dsn, (paper.office.alice,))
    intake.say(**CanaryUpdated.EXAMPLE)
    intake.broker.append(cloud_event(EVENTS, "incident.opened", time=NOW, source="/control-plane"))
    await intake.run()
    assert intake.refused() == ["no canary has been published here"]
    assert len(await paper.deliveries()) == 1


async def test_an_older_canary_cannot_be_told_again(paper: Press, dsn: str) -> None:
    first = await told(paper)
    paper.clock.advance(86_400 * 25)
    second = paper.office.successor(
        paper.office.first(),
        paper.clock.now() - timedelta(minutes=5),
        statements=STATEMENTS[1:],
        removed=frozenset({"warrants"}),
    )
    await paper.publish(second, acknowledged=("warrants",))
    before = await paper.deliveries()
    intake = Intake(paper, dsn, (paper.office.alice,))
    intake.say(**first)
    await intake.run()
    assert intake.refused() == ["data.sequence: is not that of the newest canary published here"]
    assert await paper.deliveries() == before


async def test_without_pinned_keys_everything_is_let_through(paper: Press, dsn: str) -> None:
    await paper.subscribe("*", account="acct_1")
    intake = Intake(paper, dsn, ())
    intake.say(**CanaryUpdated.EXAMPLE)
    await intake.run()
    assert intake.refused() == []
    assert len(await paper.deliveries()) == 1
