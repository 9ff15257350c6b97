"""Windows leave when they are over, wait while they cannot, and are not forgotten at the end."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson
import pytest

from heliograph_telemetry import Caller, Check, Limits, Profile, Report, Telemetry, telemetry
from tests.support.time import FakeClock

SECONDS = 10
CALLER = Caller.key("k1")


class Topic:
    """Takes records, unless it is away."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.is_away = False
        self.changed = asyncio.Event()

    async def publish(self, record: bytes) -> None:
        self.changed.set()
        if self.is_away:
            raise ConnectionError("away")
        self.records.append(orjson.loads(record))

    def allowed(self) -> list[int]:
        return [each["allowed"] for each in self.records]


class Stage:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.limits = Limits(Profile.load("nordbastion"), clock=self.clock)
        self.topic = Topic()

    def ask(self, times: int = 1) -> None:
        for _ in range(times):
            self.limits.decide("read", CALLER, None)

    def telemetry(self, **options: Any) -> Telemetry:
        return Telemetry(self.limits, self.topic.publish, **options)


@pytest.fixture
async def stage() -> Stage:
    return Stage()


async def test_a_window_leaves_when_it_is_over(stage: Stage) -> None:
    made = stage.telemetry()
    stage.ask(3)
    await made.publish_windows()
    assert stage.topic.records == []
    stage.clock.advance(60)
    await made.publish_windows()
    await made.publish_windows()
    assert stage.topic.allowed() == [3]


async def test_it_waits_while_nothing_can_be_published_and_keeps_its_place(stage: Stage) -> None:
    made = stage.telemetry()
    stage.topic.is_away = True
    for times in (1, 2):
        stage.ask(times)
        stage.clock.advance(60)
        with pytest.raises(ConnectionError):
            await made.publish_windows()
    stage.topic.is_away = False
    await made.publish_windows()
    assert stage.topic.allowed() == [1, 2]


async def test_too_many_that_wait_are_lost_the_oldest_first_and_said_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(telemetry, "MOST_WAITING", 2)
    made = stage.telemetry()
    stage.topic.is_away = True
    for times in (1, 2, 3):
        stage.ask(times)
        stage.clock.advance(60)
        with pytest.raises(ConnectionError):
            await made.publish_windows()
    stage.topic.is_away = False
    await made.publish_windows()
    assert stage.topic.allowed() == [2, 3]
    assert "1 windows of limits are lost" in caplog.text


async def test_a_publisher_that_hangs_is_given_up(stage: Stage) -> None:
    async def hang(_: bytes) -> None:
        await asyncio.Event().wait()

    stage.ask()
    stage.clock.advance(60)
    with pytest.raises(TimeoutError):
        await Telemetry(stage.limits, hang, patience=0.001).publish_windows()


async def test_the_end_publishes_the_window_under_way(stage: Stage) -> None:
    async with stage.telemetry():
        stage.ask(2)
    assert stage.topic.allowed() == [2]


async def test_an_end_without_a_topic_says_what_is_lost(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.topic.is_away = True
    async with stage.telemetry():
        stage.ask()
    assert "1 windows of limits are lost (ConnectionError)" in caplog.text


async def test_it_looks_again_and_again_whatever_fails(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.topic.is_away = True
    stage.ask()
    stage.clock.advance(60)
    async with asyncio.timeout(SECONDS), stage.telemetry(look=0.001):
        await stage.topic.changed.wait()
        stage.topic.is_away = False
        while not stage.topic.records:
            stage.topic.changed.clear()
            await stage.topic.changed.wait()
    assert stage.topic.allowed() == [1]
    assert "telemetry was not published (ConnectionError)" in caplog.text


async def test_counters_of_callers_go_with_their_windows_though_nobody_calls(stage: Stage) -> None:
    stage.ask()
    stage.clock.advance(120)
    await stage.telemetry().publish_windows()
    assert len(stage.limits.limiter) == 0


async def test_health_is_asked_at_once_and_again(stage: Stage) -> None:
    asked = 0
    twice = asyncio.Event()

    async def health() -> list[Report]:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise OSError("not yet")
        if asked > 2:
            twice.set()
        return [Report("STO/compute", "operational", [Check("lag", "ok", 1, "s")])]

    async with asyncio.timeout(SECONDS), stage.telemetry(health=health, every=0.001):
        await twice.wait()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    first = stage.topic.records[0]
    assert first == {
        "type": "health.report",
        "component": "STO/compute",
        "status": "operational",
        "checks": [{"name": "lag", "status": "ok", "observed_value": 1.0, "unit": "s"}],
        "time": "2026-11-01T00:00:00Z",
    }


async def test_what_is_no_report_is_logged_and_the_others_leave(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    async def health() -> list[Report]:
        return [Report("STO/compute", "fine"), Report("panel", "operational")]

    await stage.telemetry(health=health).publish_health()
    assert [each["component"] for each in stage.topic.records] == ["panel"]
    assert "status 'fine' of STO/compute is none of" in caplog.text


async def test_without_anybody_to_ask_there_are_no_reports(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with stage.telemetry():
        pass
    await stage.telemetry().publish_health()
    assert stage.topic.records == []
    assert not caplog.records
