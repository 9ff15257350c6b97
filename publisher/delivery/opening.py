"""Delivery put together: queue, gate, transport and worker, and what keeps them healthy."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from publisher import VERSION, endpoint_secrets, failures, recovery
from publisher.delivery.gate import Gate, Limits
from publisher.delivery.report import Reporter
from publisher.delivery.transport import Transport
from publisher.delivery.worker import Worker
from publisher.gauges import COUNT, Gauges
from publisher.housekeeping import Chore
from publisher.queue import PostgresQueue
from publisher.secrets import Vault
from publisher.tracing import DeliverySpans

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from publisher.delivery.egress import Rules
    from publisher.endpoints import Directory
    from publisher.metrics import PublisherMetrics
    from runtime.clock import Clock
    from runtime.database import Pool
    from runtime.settings import Settings
    from runtime.telemetry import Tracing

logger = logging.getLogger(__name__)

#: Seconds between two rounds of each chore.
RECOVER, JUDGE, FORGET = 1.0, 60.0, 600.0


class Opened(NamedTuple):
    """The worker, and what has to happen now and then beside it."""

    worker: Worker
    chores: Sequence[Chore]


def transport_of(settings: Settings, rules: Rules) -> Transport:
    """Return the way to receivers, to be entered."""
    return Transport(
        rules,
        timeout=settings.attempt_timeout,
        response_bytes=settings.response_bytes,
        user_agent=f"Heliograph/{VERSION} (+{settings.public_url})",
    )


async def open_delivery(
    settings: Settings,
    *,
    pool: Pool,
    directory: Directory,
    transport: Transport,
    metrics: PublisherMetrics,
    header_prefix: str,
    clock: Clock,
    rng: Random,
    tracing: Tracing | None = None,
) -> Opened:
    """Put delivery together; what is wrong with sealed secrets is logged here, once, before it fails attempts."""
    async with pool.acquire() as connection:
        for fault in await endpoint_secrets.unopened(connection, Vault(settings.keys())):
            logger.error("%s; its deliveries will fail: `heliograph doctor` says what to do", fault)
    gate = Gate(
        Limits(
            per_endpoint=settings.endpoint_in_flight,
            per_account=settings.account_in_flight,
            stall=settings.stall,
            share=settings.circuit_share,
            minimum=settings.circuit_minimum,
            window=settings.circuit_window,
            probe=settings.circuit_probe,
        ),
        clock,
    )
    worker = Worker(
        queue=PostgresQueue(
            pool,
            directory,
            lease_seconds=settings.lease,
            agent=transport.user_agent,
            on_cancelled=metrics.cancelled,
            follow=failures.follow,
        ),
        transport=transport,
        gate=gate,
        clock=clock,
        rng=rng,
        metrics=metrics,
        header_prefix=header_prefix,
        slots=settings.max_in_flight,
        claim_interval=settings.claim_interval,
        record_interval=settings.record_interval,
        drain_timeout=settings.drain_timeout,
        longest_wait=settings.lease_margin / 2,
        reporter=Reporter(DeliverySpans(tracing) if tracing else None, logs_all=settings.log_attempts == "all"),
    )

    async def disable_failing() -> None:
        await failures.disable_failing(pool, after=settings.disable_after, dropped=settings.disable_dropped)

    async def forget_recoveries() -> None:
        async with pool.acquire() as connection:
            await recovery.forget(connection, after=settings.retention_attempts)

    return Opened(
        worker,
        [
            Chore("count the queue", COUNT, Gauges(metrics.registry, pool, gate, clock).count),
            Chore("disable failing endpoints", JUDGE, disable_failing, is_for_all=True),
            Chore("recoveries", RECOVER, recovery.Recoverer(pool).work),
            Chore("forget recoveries", FORGET, forget_recoveries, is_for_all=True),
        ],
    )
