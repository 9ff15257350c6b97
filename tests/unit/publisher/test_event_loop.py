"""How late the event loop is, on a clock that says so: no test has to keep a loop busy."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from publisher import event_loop
from publisher.event_loop import EVERY, REMEMBERED, LoopMonitor
from tests.support.time import FakeClock

METRIC = "heliograph_event_loop_lag_seconds"


def a_monitor() -> tuple[LoopMonitor, FakeClock, CollectorRegistry]:
    clock, registry = FakeClock(), CollectorRegistry()
    return LoopMonitor(clock, registry), clock, registry


def sample(monitor: LoopMonitor, clock: FakeClock, late: float) -> None:
    monitor.expect(EVERY)
    clock.advance(EVERY + late)
    monitor.woken()


def test_before_the_first_sample_nothing_is_late() -> None:
    monitor, clock, registry = a_monitor()
    clock.advance(100)
    assert monitor.now() == (0.0, "s")
    assert registry.get_sample_value(METRIC) == 0


@pytest.mark.parametrize("late", [0.0, 0.25, 12.5])
def test_late_is_what_a_wake_up_takes_beyond_its_time(late: float) -> None:
    monitor, clock, registry = a_monitor()
    sample(monitor, clock, late)
    assert monitor.now().value == pytest.approx(late)
    assert registry.get_sample_value(METRIC) == pytest.approx(late)


def test_a_wake_up_that_is_overdue_counts_before_it_comes() -> None:
    """Whoever asks may have its turn first."""
    monitor, clock, registry = a_monitor()
    monitor.expect(EVERY)
    clock.advance(EVERY + 30)
    assert monitor.now().value == pytest.approx(30)
    assert registry.get_sample_value(METRIC) == pytest.approx(30)


def test_liveness_recovers_at_once_and_the_metric_remembers_for_a_minute() -> None:
    monitor, clock, _ = a_monitor()
    sample(monitor, clock, 30)
    sample(monitor, clock, 0)
    assert monitor.now().value == pytest.approx(0)
    for _ in range(REMEMBERED - 2):
        sample(monitor, clock, 0.1)
    assert monitor.worst() == pytest.approx(30)
    sample(monitor, clock, 0.1)
    assert monitor.worst() == pytest.approx(0.1)


async def test_it_samples_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_loop, "EVERY", 0.001)
    monitor, clock, _ = a_monitor()
    stop, sampled = asyncio.Event(), asyncio.Event()
    woken = monitor.woken

    def is_woken() -> None:
        woken()
        sampled.set()

    monkeypatch.setattr(monitor, "woken", is_woken)
    running = asyncio.create_task(monitor.run(stop))
    async with asyncio.timeout(5):
        await sampled.wait()
        stop.set()
        await running
    clock.advance(3600)
    assert monitor.now().value == 0  # who has stopped is not late
