"""The feeds' documents stored, watched and served, with what somebody without a credential sees of them."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import aiohttp
from prometheus_client import CollectorRegistry

from consumers.credentials import Credentials
from feeds import documents, feed_routes
from feeds.documents import Feed, Signature
from feeds.feed_watch import FeedWatch
from feeds.stream import Streams
from publisher.api.app import of_feeds, public_app
from publisher.api.auth import Authenticator
from publisher.api.clients import Clients
from publisher.api.idempotency import Idempotency
from publisher.api.limits import Limiter
from publisher.api.metrics import ApiMetrics
from publisher.api.openapi.faults import statuses_of
from publisher.api.pipeline import Pipeline
from publisher.api.request_log import RequestLog
from publisher.api.shortcut import Shortcut
from publisher.api.tokens import Tokens
from publisher.health import Health
from publisher.secrets import Vault
from runtime.clock import SystemClock
from runtime.settings import load
from signer.canonical import canonical
from tests.conftest import SECRET_KEYS
from tests.support.api import Caller
from tests.support.desk import a_desk
from tests.support.feed_signers import PRIMARY
from tests.support.feed_site import PUBLIC_URL
from tests.support.serving import serving
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pydantic import BaseModel

    from publisher.api.signing import ResponseSigner
    from publisher.profiles import Profile
    from runtime.database import Pool
    from tests.support.serving import Served

#: When the first document of a stage is published.
PUBLISHED_AT = datetime(2026, 11, 20, 1, 30, tzinfo=UTC)
ARMORED = b"-----BEGIN PGP SIGNATURE-----\n\nnobody's\n-----END PGP SIGNATURE-----\n"


@dataclass
class Stage:
    """The feeds in this process; `publish` stores what is given, signed by nobody, and has it watched."""

    ask: Caller
    pool: Pool
    clock: FakeClock
    watch: FeedWatch
    streams: Streams
    served: Served
    shortcut: Shortcut
    limiter: Limiter

    async def publish(self, feed: Feed, document: BaseModel) -> documents.Published:
        content = canonical(document.model_dump(mode="json"))
        return await self.store(feed, content)

    async def store(self, feed: Feed, content: bytes) -> documents.Published:
        async with self.pool.acquire() as connection:
            number = await documents.last(connection, feed) + 1
            await documents.save(
                connection, feed, number, content, signatures=[Signature(PRIMARY, ARMORED)],
                published_at=self.clock.now(),
            )  # fmt: skip
            stored = await documents.read(connection, feed, number)
        self.clock.advance(1)
        await self.watch.look()
        assert stored is not None
        assert stored.sha256 == hashlib.sha256(content).hexdigest()
        return stored


@contextlib.asynccontextmanager
async def a_stage(
    dsn: str,
    *,
    signer: ResponseSigner | None = None,
    profile: Profile | None = None,
    heartbeat: float = 15.0,
) -> AsyncIterator[Stage]:
    """Serve the feeds and the operations; nothing is published yet."""
    settings = load(environ={}, env="development", secret_keys=SECRET_KEYS, database_url=dsn, public_url=PUBLIC_URL)
    clock, system = FakeClock(PUBLISHED_AT), SystemClock()
    async with a_desk(dsn, profile=profile) as desk, aiohttp.ClientSession() as session:
        watch = FeedWatch(desk.pool, clock)
        await watch.load()
        streams = Streams(
            watch, desk.pool, clock, url=f"{PUBLIC_URL}/v1", heartbeat=heartbeat,
            address_of=lambda request: request.headers.get("X-Of", request.remote or ""),
        )  # fmt: skip
        services = replace(desk.services, feeds=watch)
        limiter, clients = Limiter.of(settings, services.profile.limits, system), Clients.of(settings)
        pipeline = Pipeline(
            services,
            authenticator=Authenticator(
                services.profile.credentials,
                Credentials(desk.pool.acquire, system, keeps=False),
                Tokens.of(settings, system),
                system,
            ),
            limiter=limiter,
            idempotency=Idempotency(Vault(settings.keys()), lease=60),
            client_of=clients,
            signer=signer,
        )
        routes = [*feed_routes.routes(watch, desk.pool), streams.route]
        app = public_app(settings, services.profile, Health(), pipeline, routes)
        metrics = ApiMetrics(CollectorRegistry())
        metrics.know(app.router.routes(), services.profile, statuses_of)
        shortcut = Shortcut(
            services.profile, of_feeds(services.profile, routes), limiter=limiter, client_of=clients.read,
            ids=services.ids, clock=system, is_https=False, metrics=metrics, log=RequestLog(services.profile),
        )  # fmt: skip
        async with serving(app, shortcut=shortcut) as served:
            caller = Caller(f"http://127.0.0.1:{served.port}", session)
            yield Stage(caller, desk.pool, clock, watch, streams, served, shortcut, limiter)
            streams.ending.set()
