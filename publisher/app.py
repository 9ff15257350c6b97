"""The wiring: every role of the service, put together in one place. Read `Service.run` for the order of things.

Roles can share a process (the default) or have one each: intake without delivery leaves its deliveries to be
claimed, delivery without intake claims them. What a role needs is opened on entry and closed on exit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from functools import partial
from typing import TYPE_CHECKING, Self

from prometheus_client import CollectorRegistry, disable_created_metrics

from consumers import broker
from consumers.announcements import Relay
from consumers.deadletters import TooManyDeadLettersError
from feeds.feed_watch import FeedWatch
from feeds.metrics import PublishingMetrics
from publisher import housekeeping, profiles, readiness, telemetry
from publisher.addresses import Addresses
from publisher.admin import admin_app
from publisher.alone import Alone
from publisher.api import server
from publisher.api.opening import open_api
from publisher.delivery.egress import Rules
from publisher.delivery.opening import open_delivery, transport_of
from publisher.endpoints import Directory
from publisher.feed_publishing import declared, open_feed_publishing
from publisher.following import open_following
from publisher.health import Health, Status
from publisher.health_metrics import HealthMetrics
from publisher.housekeeping import Chore
from publisher.ids import Ids
from publisher.intake import CLOSE_GRACE, open_intake
from publisher.metrics import PublisherMetrics, watch_process
from publisher.preconditions import check_canary_keys, check_schema, check_topics
from publisher.quota import Quota
from publisher.retention import Retention
from publisher.roles import ROLES, NotReadyError
from publisher.signing import Signing
from publisher.telemetry import open_telemetry
from publisher.tracing import open_tracing
from publisher.transparency import canary_guard, open_transparency
from runtime.clock import SystemClock
from runtime.database import close_pool, open_pool
from runtime.lifecycle import EXIT_DONE, EXIT_FAILED, cancel, close_within, reason_of
from runtime.settings import variable
from signer.metrics import SignerMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine
    from ssl import SSLContext
    from types import TracebackType

    from consumers.credentials import Credentials
    from consumers.events import Event
    from consumers.loop import Loop
    from consumers.watchdog import WatchedConsumer
    from feeds.routes import Route
    from publisher.api.server import Runner
    from publisher.delivery.transport import Transport
    from publisher.delivery.worker import Worker
    from publisher.feed_publishing import FeedPublishing
    from publisher.supervisor import MakeSupervisor, Supervisor
    from runtime.clock import Clock
    from runtime.database import Pool
    from runtime.settings import Settings
    from runtime.telemetry import Tracing
    from signer.canary_judge import Pins
    from signer.client import SignerClient

logger = logging.getLogger(__name__)

#: Seconds the batch in hand may take to end at shutdown.
INTAKE_GRACE = 1.0
#: Seconds they may take to leave their groups.
LEAVE_GRACE = 3.0
#: Seconds between two rounds of each chore.
COUNT, SWEEP = 10.0, 600.0


class Service:
    """One process of Heliograph, with the roles it was given."""

    addresses: Addresses
    pool: Pool
    _directory: Directory
    _quota: Quota
    _tracing: Tracing | None
    _transport: Transport
    _credentials: Credentials
    _signer: SignerClient | None
    _pins: Pins | None
    _feed_watch: FeedWatch
    _feeds: FeedPublishing

    def __init__(
        self,
        settings: Settings,
        roles: Collection[str] = ROLES,
        *,
        clock: Clock | None = None,
        workers: MakeSupervisor | None = None,
    ) -> None:
        """Take complete settings; nothing is opened yet. Raises `ProfileError` for a broken profile.

        `workers` makes those who have the other roles, told the settings and where this process signs.
        """
        self._settings = settings
        self._profile = profiles.load(settings.profile)
        self._roles = frozenset(roles)
        self._clock = clock or SystemClock()
        self._rng = random.SystemRandom()
        self._ids = Ids(self._clock)
        self._stack = contextlib.AsyncExitStack()
        self._health = Health()
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus-client leaves this one untyped
        self.registry = CollectorRegistry()
        watch_process(self.registry)
        self._metrics = PublisherMetrics(self.registry, profile=self._profile.name)
        self._worker: Worker | None = None
        self._make_workers = workers
        self.workers: Supervisor | None = None
        self._consumers: list[WatchedConsumer] = []
        self._hear: Callable[[asyncio.Event], Coroutine[object, object, object]] | None = None
        self._intake: Loop[Event] | None = None
        self._relay: Relay | None = None
        self._chores: list[Chore] = []
        self._beside: list[tuple[str, Callable[[asyncio.Event], Coroutine[object, object, object]]]] = []
        self._halted = self._deaf = ""
        self._beside.append(readiness.watch_event_loop(self._health, self.registry, self._clock))
        self._chores.append(HealthMetrics(self.registry, self._health).chore)

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
        deliver = self._worker or self.workers
        delivery = _task("deliver", deliver.run(stop_delivery) if deliver else stop_delivery.wait())
        intake = _task("consume", self._intake.run(stop_intake) if self._intake else stop_intake.wait())
        hearing = _task("hear telemetry", self._hear(stop_intake) if self._hear else stop_intake.wait())
        beside = [_task("housekeeping", housekeeping.keep(self._chores, stop, Alone(self.pool)))]
        beside += [_task("announce", self._relay.run(stop_delivery))] if self._relay else []
        followers = [_task(name, work(stop_delivery)) for name, work in self._beside]
        stopping = _task("stop", stop.wait())
        code = EXIT_DONE
        running = {delivery, intake, hearing, stopping, *beside, *followers}
        while not stop.is_set() and code == EXIT_DONE:
            ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                break  # housekeeping ends by itself then
            for task in ended - {stopping}:
                code = self._ended(task) or code
        readiness.stopping(self._health)  # whoever shares the load out is to look elsewhere
        stop_intake.set()
        await asyncio.wait((intake, hearing), timeout=INTAKE_GRACE)
        await cancel(intake, hearing, stopping)
        leaving = _task("leave the groups", self._leave_groups())
        stop_delivery.set()
        await asyncio.wait((delivery, leaving))
        await cancel(*followers)  # they only listen, and until now requests were answered
        await asyncio.wait(beside, timeout=CLOSE_GRACE)
        await cancel(*beside)
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
        self._tracing = open_tracing(settings, self._stack, self._clock)
        self.pool = pool = await open_pool(settings)
        self._stack.push_async_callback(close_pool, pool, CLOSE_GRACE)
        await check_schema(pool)
        readiness.watch_database(self._health, pool, self._clock)
        self._directory = Directory.of(settings, self._ids)
        self._pins = await check_canary_keys(settings)
        signing = Signing(settings, self._roles, metrics=SignerMetrics(self.registry), clock=self._clock)
        self._signer = signing.client
        readiness.watch_signer(self._health, self._signer, self._roles, self._clock)
        if self._make_workers:
            told = settings.model_copy(update={"signer_socket": signing.socket})
            self.workers = self._make_workers(told, self.registry, self._clock)
            readiness.watch_workers(self._health, self.workers, self._roles)
        # First of what can be refused: one that cannot listen would join its groups and leave them, again and again.
        admin = await self._listen(server.runner(admin_app(self.registry, self._health, self.workers)), "admin_listen")
        starting = asyncio.create_task(self._stack.enter_async_context(signing), name="start the signer")
        try:
            self._open_feeds(pool)
            await self._open_roles(pool)
            await starting  # a process of its own: it starts beside everything else
        except BaseException:
            await cancel(starting)
            raise
        routes = await self._open_transparency(pool)
        api = await self._open_api(pool, self._directory, routes) if "api" in self._roles else None
        self.addresses = Addresses(api, admin)
        if self.workers:
            await self._stack.enter_async_context(self.workers)
        self._health.started()

    def _open_feeds(self, pool: Pool) -> None:
        """Know the newest documents everywhere; publish where facts are written."""
        self._feed_watch = FeedWatch(pool, self._clock)
        self._feeds = open_feed_publishing(
            self._profile, pool=pool, signer=self._signer, clock=self._clock, on_published=self._feed_watch.wake
        )
        publishes = bool(self._roles & {"consume", "deliver"})
        if publishes:
            self._beside.append(("publish feeds", self._feeds.publisher.run))
            self._chores += self._feeds.chores
        PublishingMetrics(self.registry, self._feeds.publisher if publishes else None)

    async def _open_roles(self, pool: Pool) -> None:
        settings, directory = self._settings, self._directory
        rules = Rules.of(settings)
        if rules.allow:
            logger.warning("EGRESS_ALLOW: receivers may be at %s", ", ".join(map(str, rules.allow)))
        await check_topics(settings, self._roles)
        if self._roles & {"deliver", "consume"}:
            await self._open_upkeep(pool)
        if self._roles & {"deliver", "api"}:
            self._transport = await self._stack.enter_async_context(transport_of(settings, rules))
        if "deliver" in self._roles:
            await self._open_delivery(pool, directory)
        if "consume" in self._roles:
            await self._open_intake(pool, directory)
        if self._roles & {"consume", "api"}:
            await self._open_credentials(pool)

    async def _open_upkeep(self, pool: Pool) -> None:
        """Before anything is consumed there is a partition for it."""
        settings = self._settings
        retention = Retention(pool, settings)
        await retention.ensure()
        self._quota = Quota(pool, settings.account_queue)
        self._chores += [
            Chore("retention", SWEEP, retention.sweep, is_for_all=True),
            Chore("count full accounts", COUNT, self._quota.count),
        ]
        if settings.kafka_bootstrap:  # a process that only delivers may leave announcing to others
            self._relay = Relay(
                pool=pool,
                producer=lambda: broker.KafkaProducer(settings),
                topic=settings.kafka_topic_announcements,
                source=settings.public_url,
            )

    async def _open_delivery(self, pool: Pool, directory: Directory) -> None:
        opened = await open_delivery(
            self._settings,
            pool=pool,
            directory=directory,
            transport=self._transport,
            metrics=self._metrics,
            header_prefix=self._profile.headers.webhook_prefix,
            clock=self._clock,
            rng=self._rng,
            tracing=self._tracing,
        )
        self._worker = opened.worker
        self._chores += opened.chores

    async def _open_intake(self, pool: Pool, directory: Directory) -> None:
        opened = await open_intake(
            self._settings,
            self._stack,
            pool=pool,
            directory=directory,
            worker=self._worker,
            before=[canary_guard(self._settings, self._profile), *self._feeds.of_events],
            offered=self._profile.events.types,
            full=self._quota.full,
            on_turned_away=self._metrics.cancelled,
            ids=self._ids,
            rng=self._rng,
            clock=self._clock,
            registry=self.registry,
            tracing=self._tracing,
        )
        self._intake = opened.loop
        self._stack.push_async_callback(self._leave_groups)
        heard = open_telemetry(
            self._settings,
            pool=pool,
            declared=declared(self._profile),
            handlers=self._feeds.of_telemetry,
            dead_letters=opened.dead_letters,
            metrics=opened.metrics,
            registry=self.registry,
            clock=self._clock,
        )
        self._chores += heard.chores
        self._consumers += [opened.consumer, heard.consumer]
        self._hear = partial(telemetry.run, heard.loop, self._hear_no_more)
        for each in self._consumers:
            await broker.start_patiently(each, self._settings)
        readiness.watch_intake(self._health, "intake", opened.consumer, opened.loop, lambda: self._halted)
        readiness.watch_intake(
            self._health, "telemetry", heard.consumer, heard.loop, lambda: self._deaf, otherwise=Status.WARN
        )

    def _hear_no_more(self, why: str) -> None:
        self._deaf = why

    async def _open_credentials(self, pool: Pool) -> None:
        opened = await open_following(self._settings, pool=pool, clock=self._clock)
        self._credentials = opened.credentials
        self._beside += opened.beside
        self._chores += opened.chores

    async def _open_transparency(self, pool: Pool) -> list[Route]:
        opened = await open_transparency(
            self._settings,
            self._profile,
            self._roles,
            pool=pool,
            pins=self._pins,
            signer=self._signer,
            feeds=self._feed_watch,
            registry=self.registry,
            clock=self._clock,
        )
        self._beside += opened.beside
        self._chores += opened.chores
        return opened.routes

    async def _open_api(self, pool: Pool, directory: Directory, feeds: list[Route]) -> str:
        opened = open_api(
            self._settings,
            self._profile,
            pool=pool,
            directory=directory,
            credentials=self._credentials,
            transport=self._transport,
            health=self._health,
            ids=self._ids,
            clock=self._clock,
            rng=self._rng,
            metrics=self._metrics,
            tracing=self._tracing,
            signer=self._signer,
            routes=feeds,
            feeds=self._feed_watch,
        )
        self._stack.push_async_callback(opened.close)
        self._beside += opened.beside
        self._chores += opened.chores
        return await self._listen(opened.runner, "api_listen", server.tls(self._settings))

    async def _listen(self, runner: Runner, setting: str, tls: SSLContext | None = None) -> str:
        self._stack.push_async_callback(runner.cleanup)
        try:
            return await server.listen(runner, getattr(self._settings, setting), tls)
        except OSError as error:
            listen = getattr(self._settings, setting)
            raise NotReadyError(f"{variable(setting)}: cannot listen on {listen} ({reason_of(error)})") from None

    async def _leave_groups(self) -> None:
        """Beside the end of delivery: there is time for a broker that takes its own."""
        leaving, self._consumers = self._consumers, []
        await asyncio.gather(*(close_within(LEAVE_GRACE, each.stop) for each in leaving))


def _task(name: str, work: Coroutine[object, object, object]) -> asyncio.Task[object]:
    return asyncio.create_task(work, name=name)
