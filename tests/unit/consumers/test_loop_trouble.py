"""What readiness hears of a loop that tries again and again: nothing at first, then why, until it is through."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, cast

from prometheus_client import CollectorRegistry

from consumers import inbox, loop
from consumers.broker import Outgoing
from consumers.deadletters import DeadLetterLimit, DeadLetters
from consumers.decode import decode
from consumers.metrics import ConsumerMetrics
from consumers.watchdog import UNREADY
from tests.support.fake_broker import FakeBroker
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

    from consumers.broker import Partition

EVENTS, DEAD = "events", "dead"


async def test_dead_letters_that_cannot_be_written_are_trouble_until_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(loop, "FIRST_PAUSE", 0.001)
    clock = FakeClock()
    broker = FakeBroker({EVENTS: 1, DEAD: 1})
    broker.failing_sends = math.inf
    consumer, heard, waiting = broker.consumer(EVENTS), [], []
    registry = CollectorRegistry()
    rewind = consumer.rewind

    def rewound(offsets: Mapping[Partition, int]) -> None:
        waiting.append(registry.get_sample_value("heliograph_kafka_lag_records", {"topic": EVENTS, "partition": "0"}))
        clock.advance(UNREADY / 2)  # as long as a try takes
        heard.append(reading.trouble())
        rewind(offsets)

    monkeypatch.setattr(consumer, "rewind", rewound)

    async def appetite() -> int:
        return 10

    reading = loop.Loop(
        consumer=consumer,
        pool=cast("Any", None),  # what cannot be decoded reaches no database
        decode=decode,
        admit=inbox.admit,
        handlers=[],
        dead_letters=DeadLetters(broker.producer(), DEAD),
        limit=DeadLetterLimit(FakeClock(), share=1, window=60, minimum=20),
        metrics=ConsumerMetrics(registry),
        appetite=appetite,
        clock=clock,
    )
    broker.append(Outgoing(EVENTS, None, b"{", []))
    stop = asyncio.Event()
    running = asyncio.create_task(reading.run(stop))
    await broker.until(lambda: broker.seen["send failed"] == 4)
    assert waiting[:3] == [1, 1, 1]  # though it has been read
    assert heard[:3] == ["", "dead has no leader", "dead has no leader"]
    broker.failing_sends = 0
    await broker.until(lambda: broker.is_drained(EVENTS))
    stop.set()
    async with asyncio.timeout(10):
        await running
    assert reading.trouble() == ""
