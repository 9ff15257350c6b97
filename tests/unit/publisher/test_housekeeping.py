"""Chores: each in its rhythm, none able to stop the others."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from publisher import housekeeping
from publisher.housekeeping import Chore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


class Turns:
    """Says whose turn it is: ours for the chores in `ours`. What PostgreSQL has to say is in test_alone."""

    def __init__(self, *ours: str) -> None:
        self.ours = set(ours)
        self.asked: list[str] = []

    @contextlib.asynccontextmanager
    async def turn(self, chore: str) -> AsyncIterator[bool]:
        self.asked.append(chore)
        yield chore in self.ours


class Work:
    """A chore's work: counts, and fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.rounds = 0
        self._failures = failures
        self._changed = asyncio.Event()

    async def __call__(self) -> None:
        self.rounds += 1
        self._changed.set()
        if self.rounds <= self._failures:
            raise ConnectionError("the database is away")

    async def until(self, rounds: int) -> None:
        async with asyncio.timeout(5):
            while self.rounds < rounds:
                self._changed.clear()
                await self._changed.wait()


async def test_a_chore_is_done_at_once_and_again(caplog: pytest.LogCaptureFixture) -> None:
    often, seldom, stop = Work(), Work(), asyncio.Event()
    keeping = asyncio.create_task(
        housekeeping.keep([Chore("often", 0, often), Chore("seldom", 3600, seldom)], stop, Turns())
    )
    await often.until(5)
    await seldom.until(1)
    stop.set()
    async with asyncio.timeout(5):
        await keeping
    assert seldom.rounds == 1
    assert caplog.text == ""


async def test_one_that_fails_is_tried_again_and_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    failing, fine, stop = Work(failures=2), Work(), asyncio.Event()
    keeping = asyncio.create_task(
        housekeeping.keep([Chore("failing", 0, failing), Chore("fine", 0, fine)], stop, Turns())
    )
    await failing.until(4)
    await fine.until(4)
    stop.set()
    await keeping
    assert [record.getMessage() for record in caplog.records] == [
        "failing: the database is away; trying again in 0 s"
    ] * 2


async def test_one_that_keeps_failing_is_tried_less_and_less_often(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "LONGEST_PAUSE", 0.003)
    failing, stop = Work(failures=4), asyncio.Event()
    keeping = asyncio.create_task(housekeeping.keep([Chore("failing", 0.001, failing)], stop, Turns()))
    await failing.until(6)
    stop.set()
    await keeping
    said = [record.getMessage().partition("trying again in ")[2] for record in caplog.records]
    assert said == ["0.001 s", "0.002 s", "0.003 s", "0.003 s"]


async def test_with_nothing_to_do_it_ends() -> None:
    await housekeeping.keep([], asyncio.Event(), Turns())


async def test_what_is_for_all_is_done_in_turn_and_the_rest_by_everybody() -> None:
    ours, anothers, own, stop = Work(), Work(), Work(), asyncio.Event()
    turns = Turns("ours")
    chores = [Chore("ours", 0, ours, is_for_all=True), Chore("another's", 0, anothers, is_for_all=True)]
    keeping = asyncio.create_task(housekeeping.keep([*chores, Chore("own", 0, own)], stop, turns))
    await ours.until(3)
    await own.until(3)
    stop.set()
    await keeping
    assert anothers.rounds == 0
    assert set(turns.asked) == {"ours", "another's"}
