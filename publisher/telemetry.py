"""The intake of telemetry put together: what the compute API says of itself, beside the events and never in their way.

It walks by itself: a group, a loop and a limit of its own, so that a flood of reports, or of bad ones, holds up no
webhook. What it shares with the intake of events are the metrics and the dead letters. Of what it hears come the facts
of components, by handlers that are passed in, and the series `compute_api_*`.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from consumers import broker, telemetry
from consumers.deadletters import DeadLetterLimit, TooManyDeadLettersError
from consumers.loop import Loop
from consumers.watchdog import WatchedConsumer
from publisher import ratelimit_windows
from publisher.compute_api import Components, Decisions
from publisher.housekeeping import Chore
from publisher.ratelimit_windows import RateLimitWindows

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from prometheus_client import CollectorRegistry

    from consumers.deadletters import DeadLetters
    from consumers.decode import Record
    from consumers.loop import HandlerOf
    from consumers.metrics import ConsumerMetrics
    from consumers.telemetry import Telemetry
    from feeds.status import Declared
    from runtime.clock import Clock
    from runtime.database import Connection, Pool
    from runtime.settings import Settings

logger = logging.getLogger(__name__)

#: Behind the name of the group that reads events: groups with one name share out all their topics.
GROUP = "-telemetry"
#: Seconds between two rounds of each chore.
READ, FORGET = 5.0, 3600.0


class TelemetryIntake(NamedTuple):
    """What polls, what is done with it, and what has to happen now and then."""

    consumer: WatchedConsumer
    loop: Loop[Telemetry]
    chores: Sequence[Chore]


def open_telemetry(
    settings: Settings,
    *,
    pool: Pool,
    declared: Declared,
    handlers: Sequence[HandlerOf[Telemetry]],
    dead_letters: DeadLetters,
    metrics: ConsumerMetrics,
    registry: CollectorRegistry,
    clock: Clock,
) -> TelemetryIntake:
    """Put consumer and loop together; the caller starts the consumer, and stops it when the loop has ended.

    A record may be handed to `handlers` more than once. All of them see all telemetry, in one transaction a batch.
    `declared` are the components the profile names: they have series before they report.
    """
    windows = RateLimitWindows(clock, Decisions(registry).add)
    components = Components(registry, pool, clock, declared)
    group = telemetry_group(settings)
    consumer = WatchedConsumer(
        lambda: broker.KafkaConsumer(settings, [settings.kafka_topic_telemetry], metrics.rebalances.inc, group=group),
        clock=clock,
        on_restart=metrics.restarts.inc,
    )
    return TelemetryIntake(
        consumer,
        Loop(
            consumer=consumer,
            pool=pool,
            decode=partial(_decode, clock, settings.kafka_record_bytes),
            admit=_admit_all,
            handlers=[*handlers, windows],
            dead_letters=dead_letters,
            limit=DeadLetterLimit.of(settings, clock),
            metrics=metrics,
            clock=clock,
            appetite=partial(_appetite, settings.kafka_batch),
        ),
        [
            Chore("read how components are", READ, components.refresh),
            Chore(
                "forget counted windows", FORGET, lambda: ratelimit_windows.forget(pool, clock.now()), is_for_all=True
            ),
        ],
    )


def telemetry_group(settings: Settings) -> str:
    """Return the name of the consumer group that reads telemetry."""
    return settings.kafka_group + GROUP


def _decode(clock: Clock, max_bytes: int, record: Record) -> Telemetry:
    return telemetry.decode(record, now=clock.now(), max_bytes=max_bytes)


async def run(loop: Loop[Telemetry], halted: Callable[[str], None], stop: asyncio.Event) -> None:
    """Work until `stop`; a loop that halts on bad records says so to `halted`, and the rest of the service goes on."""
    try:
        await loop.run(stop)
    except TooManyDeadLettersError as error:
        logger.error("the intake of telemetry stopped: %s", error)  # noqa: TRY400 - the text is all there is to say
        halted(str(error))
        await stop.wait()


async def _admit_all(_: Connection, records: Sequence[Telemetry]) -> Sequence[Telemetry]:
    """Take every record for new: they have no ids to be known by."""
    return records


async def _appetite(batch: int) -> int:
    return batch
