"""The wiring: every role of the service, put together in one place. Read `Service.run` for the order of things.

Roles can share a process (the default) or have one each: intake without delivery leaves its deliveries to be
claimed, delivery without intake claims them. What a role needs is opened on entry and closed on exit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from aiohttp import web
from prometheus_client import CollectorRegistry, disable_created_metrics

from consumers import broker
from consumers.announcements import Relay
from consumers.deadletters import DeadLetterLimit, DeadLetters, TooManyDeadLettersError
from consumers.loop import Loop
from consumers.metrics import ConsumerMetrics
from migrations import runner
from publisher import VERSION, endpoint_secrets, failures, housekeeping, recovery
from publisher.admin import admin_app
from publisher.api.app import public_app
from publisher.delivery.egress import Rules
from publisher.delivery.gate import Gate, Limits
from publisher.delivery.transport import Transport
from publisher.delivery.worker import Worker
from publisher.endpoints import Directory
from publisher.fanout import FanOut
from publisher.health import Health
from publisher.housekeeping import Chore
from publisher.ids import Ids
from publisher.metrics import PublisherMetrics
from publisher.queue import PostgresQueue
from publisher.quota import Quota
from publisher.retention import Retention
from publisher.roles import ROLES, NotReadyError
from publisher.secrets import Vault
from runtime.clock import SystemClock
from runtime.database import open_pool
from runtime.lifecycle import EXIT_DONE, EXIT_FAILED, reason_of
from runtime.settings import listen_address, variable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
    from types import TracebackType

    from consumers.loop import Appetite
    from publisher.queue import Job
    from runtime.clock import Clock
    from runtime.database import Pool
    from runtime.settings import Settings

logger = logging.getLogger(__name__)

#: Header prefix of the NordBastion house style; it moves into the profile when there is a second one.
HEADER_PREFIX = "x-nb-"
#: Seconds the batch in hand may take to end at shutdown, and each client to disconnect.
INTAKE_GRACE = 1.0
CLOSE_GRACE = 1.0
#: Seconds between two rounds of each chore.
RECOVER, COUNT, JUDGE, SWEEP = 1.0, 10.0, 60.0, 600.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the listeners are, as URLs."""

    api: str | None
    admin: str


class Service:
    """One process of Heliograph, with the roles it was given."""

    addresses: Addresses
    _quota: Quota

    def __init__(self, settings: Settings, roles: Collection[str] = ROLES, *, clock: Clock | None = None) -> None:
        """Take complete settings; nothing is opened yet."""
        self._settings = settings
        self._roles = frozenset(roles)
        self._clock = clock or SystemClock()
        self._rng = random.SystemRandom()
        self._ids = Ids(self._clock)
        self._stack = contextlib.AsyncExitStack()
        self._health = Health()
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus-client leaves this one untyped
        self.registry = CollectorRegistry()
        self._worker: Worker | None = None
        self._consumer: broker.KafkaConsumer | None = None
        self._intake: Loop | None = None
        self._relay: Relay | None = None
        self._chores: list[Chore] = []
        self._halted = ""

    async def __aenter__(self) -> Self:
        """Open everything the roles need; raises `UnreachableError` or `NotReadyError`."""
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything."""
        await self._stack.aclose()

    async def run(self, stop: asyncio.Event) -> int:
        """Work until `stop`, then drain; return the exit code.

        Intake ends first, with the batch in hand; then delivery, which takes nothing new and ends or gives back
        what it has. An intake that halted on bad records leaves the other roles at work, and readiness says why.
        """
        stop_delivery = asyncio.Event()
        stop_intake = asyncio.Event()
        delivery = _task("deliver", self._worker.run(stop_delivery) if self._worker else stop_delivery.wait())
        intake = _task("consume", self._intake.run(stop_intake) if self._intake else stop_intake.wait())
        beside = [_task("housekeeping", housekeeping.keep(self._chores, stop))] if self._chores else []
        beside += [_task("announce", self._relay.run(stop_delivery))] if self._relay else []
        stopping = _task("stop", stop.wait())
        code = EXIT_DONE
        running = {delivery, intake, stopping, *beside}
        while not stop.is_set() and code == EXIT_DONE:
            ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                break  # housekeeping ends by itself then
            for task in ended - {stopping}:
                code = self._ended(task) or code
        stop_intake.set()
        await asyncio.wait((intake,), timeout=INTAKE_GRACE)
        await _cancel(intake, stopping)
        leaving = _task("leave the group", self._leave_group())
        stop_delivery.set()
        await asyncio.wait((delivery, leaving))
        if beside:
            await asyncio.wait(beside, timeout=CLOSE_GRACE)
        await _cancel(*beside)
        return code

    def _ended(self, task: asyncio.Task[object]) -> int:
        """Say what a role that ended by itself means for the process."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if isinstance(error, TooManyDeadLettersError):
            logger.error("intake stopped: %s", error)
            self._halted = str(error)
            return EXIT_FAILED if self._roles == {"consume"} else EXIT_DONE
        logger.error("the role %s ended unexpectedly (%s)", task.get_name(), reason_of(error), exc_info=error)
        return EXIT_FAILED

    # --- opening --------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        settings = self._settings
        settings.require("database_url", "secret_keys", *(("kafka_bootstrap",) if "consume" in self._roles else ()))
        pool = await open_pool(settings)
        self._stack.push_async_callback(_close_pool, pool)
        await _check_schema(pool)
        rules = Rules.of(settings)
        if rules.allow:
            logger.warning("EGRESS_ALLOW: receivers may be at %s", ", ".join(map(str, rules.allow)))
        directory = Directory.of(settings, self._ids)
        self._health.add("database", lambda: _ping(pool))
        if self._roles & {"deliver", "consume"}:
            await self._open_upkeep(pool)
        if "deliver" in self._roles:
            await self._open_delivery(pool, directory, rules)
        if "consume" in self._roles:
            await self._open_intake(pool, directory)
        admin = await self._listen(admin_app(self.registry, self._health), "admin_listen")
        api = await self._listen(public_app(self._health), "api_listen") if "api" in self._roles else None
        self.addresses = Addresses(api, admin)

    async def _open_upkeep(self, pool: Pool) -> None:
        """Before anything is consumed there is a partition for it."""
        settings = self._settings
        retention = Retention(pool, settings)
        await retention.ensure()
        self._quota = Quota(pool, settings.account_queue)
        self._chores += [
            Chore("retention", SWEEP, retention.sweep),
            Chore("count full accounts", COUNT, self._quota.count),
        ]
        if settings.kafka_bootstrap:  # a process that only delivers may leave announcing to others
            self._relay = Relay(
                pool=pool,
                producer=lambda: broker.KafkaProducer(settings),
                topic=settings.kafka_topic_announcements,
                source=settings.public_url,
            )

    async def _open_delivery(self, pool: Pool, directory: Directory, rules: Rules) -> None:
        settings = self._settings
        agent = f"Heliograph/{VERSION} (+{settings.public_url})"
        transport = await self._stack.enter_async_context(
            Transport(
                rules,
                timeout=settings.attempt_timeout,
                response_bytes=settings.response_bytes,
                user_agent=agent,
            )
        )

        async with pool.acquire() as connection:
            for fault in await endpoint_secrets.unopened(connection, Vault(settings.keys())):
                logger.error("%s; its deliveries will fail: `heliograph doctor` says what to do", fault)
        metrics = PublisherMetrics(self.registry, profile=settings.profile)
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
            self._clock,
        )
        self._worker = Worker(
            queue=PostgresQueue(
                pool,
                directory,
                lease_seconds=settings.lease,
                agent=agent,
                on_cancelled=lambda event_type: metrics.recorded(event_type, "cancelled"),
                follow=failures.follow,
            ),
            transport=transport,
            gate=gate,
            clock=self._clock,
            rng=self._rng,
            metrics=metrics,
            header_prefix=HEADER_PREFIX,
            slots=settings.max_in_flight,
            claim_interval=settings.claim_interval,
            record_interval=settings.record_interval,
            drain_timeout=settings.drain_timeout,
            longest_wait=settings.lease_margin / 2,
        )

        async def disable_failing() -> None:
            await failures.disable_failing(pool, after=settings.disable_after, dropped=settings.disable_dropped)

        async def forget_recoveries() -> None:
            async with pool.acquire() as connection:
                await recovery.forget(connection, after=settings.retention_attempts)

        self._chores += [
            Chore("disable failing endpoints", JUDGE, disable_failing),
            Chore("recoveries", RECOVER, recovery.Recoverer(pool).work),
            Chore("forget recoveries", SWEEP, forget_recoveries),
        ]

    async def _open_intake(self, pool: Pool, directory: Directory) -> None:
        settings = self._settings
        worker = self._worker
        metrics = ConsumerMetrics(self.registry)
        await _check_topics(settings)
        producer = broker.KafkaProducer(settings)
        self._stack.push_async_callback(_within, CLOSE_GRACE, producer.stop)
        await broker.start_patiently(producer, settings)
        self._consumer = broker.KafkaConsumer(settings, [settings.kafka_topic_events], metrics.rebalances.inc)
        self._stack.push_async_callback(self._leave_group)
        await broker.start_patiently(self._consumer, settings)
        fan_out = FanOut(
            directory=directory,
            ids=self._ids,
            rng=self._rng,
            lease_seconds=settings.lease,
            choose=worker.choose if worker else _everything_waits,
            submit=worker.submit if worker else _nobody,
            wake=worker.wake if worker else lambda: None,
            full=self._quota.full,
        )
        self._intake = Loop(
            consumer=self._consumer,
            pool=pool,
            handlers=[fan_out],
            dead_letters=DeadLetters(producer, settings.kafka_topic_dead_letters),
            limit=DeadLetterLimit(
                self._clock,
                share=settings.dead_letter_share,
                window=settings.dead_letter_window,
                minimum=settings.dead_letter_minimum,
            ),
            metrics=metrics,
            appetite=_appetite(worker, settings.kafka_batch),
            record_bytes=settings.kafka_record_bytes,
        )
        self._health.add("intake", self._check_intake)

    async def _listen(self, app: web.Application, setting: str) -> str:
        listen: str = getattr(self._settings, setting)
        host, port = listen_address(listen)
        server = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=CLOSE_GRACE)
        await server.setup()
        self._stack.push_async_callback(server.cleanup)
        site = web.TCPSite(server, host, port)
        try:
            await site.start()
        except OSError as error:
            raise NotReadyError(f"{variable(setting)}: cannot listen on {listen} ({reason_of(error)})") from None
        bound = server.addresses[0]
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        return f"http://{shown}:{bound[1]}"

    async def _check_intake(self) -> None:
        if self._halted:
            raise NotReadyError(self._halted)

    async def _leave_group(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await _within(CLOSE_GRACE, consumer.stop)


def _appetite(worker: Worker | None, batch: int) -> Appetite:
    async def appetite() -> int:
        return min(batch, await worker.appetite()) if worker else batch

    return appetite


def _everything_waits(jobs: Sequence[Job]) -> tuple[Sequence[Job], Sequence[Job]]:
    return (), jobs


def _nobody(jobs: Sequence[Job]) -> None:
    assert not jobs  # noqa: S101 - without a worker there is no room, so nothing is leased


async def _ping(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await connection.execute("SELECT 1")


async def _check_schema(pool: Pool) -> None:
    async with pool.acquire() as connection:
        found = await runner.current(connection)
    if runner.is_behind(found):
        raise NotReadyError(
            f"the database is at migration {found or 'none'}, this release needs {runner.head()}: "
            f"run heliograph migrate"
        )


async def _check_topics(settings: Settings) -> None:
    needed = {settings.kafka_topic_events, settings.kafka_topic_dead_letters, settings.kafka_topic_announcements}
    missing = needed - await broker.list_topics(settings)
    if missing:
        raise NotReadyError(
            f"Kafka at {','.join(settings.kafka_bootstrap)} has no topic {', '.join(sorted(missing))} that this user "
            f"may see: create it, or name yours in HELIOGRAPH_KAFKA_TOPIC_*"
        )


def _task(name: str, work: Coroutine[object, object, object]) -> asyncio.Task[object]:
    return asyncio.create_task(work, name=name)


async def _cancel(*tasks: asyncio.Task[object]) -> None:
    """Cancel and wait, but not for ever for one that asks a database which does not answer."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CLOSE_GRACE)


async def _within(seconds: float, close: Callable[[], Awaitable[None]]) -> None:
    """Close something that may not answer any more; aiokafka may even answer that it was cancelled."""
    closing = asyncio.ensure_future(close())
    _, unfinished = await asyncio.wait((closing,), timeout=seconds)
    closing.cancel()  # we are leaving: what does not close is cut off
    [outcome] = await asyncio.gather(closing, return_exceptions=True)
    if unfinished or outcome is not None:
        logger.info("not closed cleanly (%s)", "no answer" if unfinished else reason_of(outcome))


async def _close_pool(pool: Pool) -> None:
    await _within(CLOSE_GRACE, pool.close)
    pool.terminate()
