"""Intake put together: the consumer, its handlers in their order, and what decides how much it takes at once."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from consumers import broker, inbox
from consumers.deadletters import DeadLetterLimit, DeadLetters
from consumers.decode import decode
from consumers.loop import Loop
from consumers.metrics import ConsumerMetrics
from consumers.tracing import ConsumeSpans
from consumers.watchdog import WatchedConsumer
from publisher.endpoints import Directory
from publisher.fanout import FanOut
from publisher.tracing import FanOutSpans
from runtime.lifecycle import close_within
from runtime.trace_context import Sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from contextlib import AsyncExitStack
    from random import Random

    from prometheus_client import CollectorRegistry

    from consumers.events import Event
    from consumers.loop import Appetite, Handler
    from publisher.delivery.worker import Worker
    from publisher.ids import Ids
    from publisher.queue import Job
    from runtime.clock import Clock
    from runtime.database import Pool
    from runtime.settings import Settings
    from runtime.telemetry import Tracing

#: Seconds a client may take to disconnect.
CLOSE_GRACE = 1.0


class Intake(NamedTuple):
    """What polls, and what is done with it; the consumer is closed by `leave`."""

    consumer: WatchedConsumer
    loop: Loop[Event]
    dead_letters: DeadLetters
    metrics: ConsumerMetrics


async def open_intake(
    settings: Settings,
    stack: AsyncExitStack,
    *,
    pool: Pool,
    directory: Directory,
    worker: Worker | None,
    before: Sequence[Handler],
    offered: Collection[str],
    full: Callable[[], Collection[str]],
    on_turned_away: Callable[[str], None],
    ids: Ids,
    rng: Random,
    clock: Clock,
    registry: CollectorRegistry,
    tracing: Tracing | None = None,
) -> Intake:
    """Connect producer and consumer; raises `UnreachableError`.

    `before` are handlers that see events before they are published. Without a `worker` in this process deliveries wait
    for one in another. What is opened is closed by `stack`, but for the consumer, which the caller has leave first.
    """
    metrics = ConsumerMetrics(registry)
    producer = broker.KafkaProducer(settings)
    stack.push_async_callback(close_within, CLOSE_GRACE, producer.stop)
    await broker.start_patiently(producer, settings)
    consumer = WatchedConsumer(
        lambda: broker.KafkaConsumer(settings, [settings.kafka_topic_events], metrics.rebalances.inc),
        clock=clock,
        on_restart=metrics.restarts.inc,
    )
    fan_out = FanOut(
        directory=directory,
        ids=ids,
        rng=rng,
        lease_seconds=settings.lease,
        choose=worker.choose if worker else everything_waits,
        submit=worker.submit if worker else nobody,
        wake=worker.wake if worker else lambda: None,
        full=full,
        on_turned_away=on_turned_away,
        offered=offered,
        traced=FanOutSpans(tracing) if tracing else contextlib.nullcontext,
    )
    dead_letters = DeadLetters(producer, settings.kafka_topic_dead_letters)
    loop = Loop(
        consumer=consumer,
        pool=pool,
        decode=partial(decode, max_bytes=settings.kafka_record_bytes),
        admit=inbox.admit,
        handlers=[*before, fan_out],
        dead_letters=dead_letters,
        limit=DeadLetterLimit.of(settings, clock),
        metrics=metrics,
        clock=clock,
        appetite=_appetite(worker, settings.kafka_batch),
        traced=ConsumeSpans(tracing, Sampler(settings.trace_sample, rng, clock), group=settings.kafka_group)
        if tracing
        else contextlib.nullcontext,
    )
    return Intake(consumer, loop, dead_letters, metrics)


def fan_out_for_others(
    settings: Settings, ids: Ids, rng: Random, offered: Collection[str], *, wake: Callable[[], None] = lambda: None
) -> FanOut:
    """Return the fan-out of a process that delivers nothing itself: all deliveries wait for one that does.

    It asks no quota: it is for what everybody is told. `wake` is called when there is anybody.
    """
    return FanOut(
        directory=Directory.of(settings, ids),
        ids=ids,
        rng=rng,
        lease_seconds=settings.lease,
        choose=everything_waits,
        submit=nobody,
        wake=wake,
        full=frozenset,
        offered=offered,
    )


def _appetite(worker: Worker | None, batch: int) -> Appetite:
    async def appetite() -> int:
        return min(batch, await worker.appetite()) if worker else batch

    return appetite


def everything_waits(jobs: Sequence[Job]) -> tuple[Sequence[Job], Sequence[Job]]:
    """Choose nothing: there is no worker here."""
    return (), jobs


def nobody(jobs: Sequence[Job]) -> None:
    """Take nothing: without a worker there is no room, so nothing is leased."""
    assert not jobs  # noqa: S101 - see above
