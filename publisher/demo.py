"""The demo: everything real on one machine, and a customer who believes nothing it cannot verify.

PostgreSQL and a broker from wheels, the service in this process, every documented event type produced through
Kafka. The receiver plays the customer: it checks each request with the public `standardwebhooks` library and
knows nothing of Heliograph but its secret. A canary is published before: of one that nobody signed the service would
tell nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from consumers import broker
from consumers.catalogue import DOCUMENTED
from consumers.encode import cloud_event
from consumers.public_events import CanaryUpdated
from feeds import canary_page, key_routes, peering_page, status_pages
from publisher.app import Service
from publisher.demo_canary import Signers
from publisher.embedded import embedded_settings
from publisher.endpoints import Directory
from publisher.ids import Ids
from runtime.clock import SystemClock
from runtime.database import open_pool
from runtime.lifecycle import EXIT_DONE, EXIT_FAILED, first_of, side_by_side

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from runtime.database import Pool
    from runtime.settings import Settings

ACCOUNT = "acct_demo"
SOURCE = "/nordbastion/control-plane"
#: Longest the whole round may take before the demo says what is missing.
PATIENCE = 60.0
POLL = 0.05
#: What one may look at in a browser, and where.
PAGES = (
    ("how everything does:", status_pages.PAGE),
    ("a canary that two keys signed:", canary_page.PAGE),
    ("whom one may meet where:", peering_page.PAGE),
    ("the keys, and how to verify:", key_routes.PAGE),
)

RECORDED = """
SELECT DISTINCT d.type
FROM deliveries d JOIN attempts a ON a.delivery_id = d.id
WHERE d.state = 'delivered' AND a.result = '2xx'
"""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request at the customer's receiver; `fault` says why it was not believed."""

    type: str
    message_id: str
    attempt: str
    size: int
    fault: str = ""


class Receiver:
    """The customer's endpoint: 204 for what verifies, 401 for what does not."""

    def __init__(self, show: Callable[[Arrival], None]) -> None:
        """`show` is called for every request."""
        self._show = show
        self._webhook: Webhook | None = None
        self.verified: set[str] = set()
        self.url = ""

    def trust(self, secret: str) -> None:
        """Take the secret that came with the subscription."""
        self._webhook = Webhook(secret)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen on a free loopback port for the length of the context."""
        app = web.Application()
        app.router.add_post("/hooks", self._receive)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks"
            yield
        finally:
            await runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = dict(request.headers)
        fault = ""
        event_type = headers.get("x-nb-event", "?")
        try:
            if self._webhook is None:
                fault = "no secret yet"
            else:
                event_type = self._webhook.verify(body, headers)["type"]
                self.verified.add(event_type)
        except WebhookVerificationError as error:
            fault = str(error)
        self._show(
            Arrival(event_type, headers.get("webhook-id", "?"), headers.get("x-nb-attempt", "?"), len(body), fault)
        )
        return web.Response(status=401 if fault else 204)


class Screen(Protocol):
    """Where the demo shows what happens."""

    def say(self, text: str) -> None:
        """Show a line of prose."""
        ...

    def arrived(self, arrival: Arrival) -> None:
        """Show a request at the receiver."""
        ...


async def run(given: Settings, screen: Screen, stop: asyncio.Event, *, once: bool) -> int:
    """Run the demo; return 0 only if every type arrived, verified, and stands recorded."""
    screen.say("starting PostgreSQL and a Kafka-protocol broker from their wheels")
    receiver = Receiver(screen.arrived)
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        settings, signers = await side_by_side(
            stack.enter_async_context(embedded_settings(given)), stack.enter_async_context(Signers(clock))
        )
        settings = signers.pinned(settings)
        await stack.enter_async_context(receiver.listening())
        pool = await open_pool(settings, size=2)
        async with pool.acquire() as connection:
            canary = await signers.publish(connection, settings, random.SystemRandom())
        service = await stack.enter_async_context(Service(settings))
        stop_service = asyncio.Event()
        serving = asyncio.create_task(service.run(stop_service))
        try:
            receiver.trust(await _subscribe(settings, pool, receiver.url))
            screen.say(f"serving; {ACCOUNT} subscribed {receiver.url} to every event")
            screen.say(f"producing {len(DOCUMENTED)} event types to {settings.kafka_topic_events}")
            await _emit_all(settings, {CanaryUpdated.TYPE: canary})
            done = await _wait(pool, receiver, stop)
            if not once and not stop.is_set():
                _explain(settings, service, screen, done)
                await stop.wait()
        finally:
            stop_service.set()
            await serving
            await pool.close()
    total = len(DOCUMENTED)
    missing = sorted(model.TYPE for model in DOCUMENTED if model.TYPE not in done)
    if missing:
        screen.say(f"missing: {', '.join(missing)}")
    screen.say(f"{len(done)} of {total} event types delivered, verified and recorded")
    return EXIT_FAILED if missing else EXIT_DONE


async def _subscribe(settings: Settings, pool: Pool, url: str) -> str:
    directory = Directory.of(settings, Ids(SystemClock()))
    async with pool.acquire() as connection:
        _, secret = await directory.register(connection, account=ACCOUNT, url=url, events=["*"])
    return secret


async def _emit_all(settings: Settings, data: Mapping[str, dict[str, Any]]) -> None:
    """Produce every type with its example, or with `data` where there is some."""
    producer = broker.KafkaProducer(settings)
    await producer.start()
    try:
        await producer.send(
            cloud_event(
                settings.kafka_topic_events,
                model.TYPE,
                time=datetime.now(UTC),
                source=SOURCE,
                account=None if model.IS_PUBLIC else ACCOUNT,
                data=data.get(model.TYPE),
            )
            for model in DOCUMENTED
        )
    finally:
        await producer.stop()


async def _wait(pool: Pool, receiver: Receiver, stop: asyncio.Event) -> set[str]:
    """Wait until every type is verified and recorded, or time is up; return those that are both."""
    wanted = {model.TYPE for model in DOCUMENTED}
    done: set[str] = set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while done != wanted and not await first_of(stop, POLL):
                async with pool.acquire() as connection:
                    recorded = {row[0] for row in await connection.fetch(RECORDED)}
                done = recorded & receiver.verified & wanted
    return done


def _explain(settings: Settings, service: Service, screen: Screen, done: set[str]) -> None:
    screen.say(f"{len(done)} of {len(DOCUMENTED)} event types delivered, verified and recorded so far")
    for what, page in PAGES:
        screen.say(f"{what} {service.addresses.api}{page}")
    screen.say(f"metrics at {service.addresses.admin}/metrics, health at {service.addresses.api}/health")
    screen.say(
        f"produce more from another terminal: HELIOGRAPH_DATABASE_URL='{settings.dsn()}' "
        f".venv/bin/heliograph emit server.power.on --account {ACCOUNT}"
    )
    screen.say("Ctrl-C ends it")
