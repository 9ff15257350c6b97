"""The API put together: whom it believes, how often it answers, what it answers once, and its application."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from publisher.api import server
from publisher.api.app import of_feeds, public_app
from publisher.api.auth import Authenticator
from publisher.api.call import Services
from publisher.api.clients import Clients
from publisher.api.connections import Connections
from publisher.api.deprecations import check_deprecations
from publisher.api.idempotency import Idempotency, forget
from publisher.api.limits import Limiter
from publisher.api.metrics import ApiMetrics
from publisher.api.openapi.faults import statuses_of
from publisher.api.pipeline import Pipeline
from publisher.api.request_log import RequestLog
from publisher.api.shortcut import Shortcut
from publisher.api.tokens import Tokens
from publisher.delivery.report import Reporter
from publisher.delivery.tester import Tester
from publisher.housekeeping import Chore
from publisher.secrets import Vault
from runtime.trace_context import Sampler

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from random import Random

    from consumers.credentials import Credentials
    from feeds.feed_watch import FeedWatch
    from feeds.routes import Route
    from publisher.api.signing import ResponseSigner
    from publisher.delivery.transport import Transport
    from publisher.endpoints import Directory
    from publisher.health import Health
    from publisher.ids import Ids
    from publisher.metrics import PublisherMetrics
    from publisher.profiles import Profile
    from runtime.clock import Clock
    from runtime.database import Pool
    from runtime.settings import Settings
    from runtime.telemetry import Tracing

#: Seconds between two rounds of forgetting answers.
FORGET = 600.0
#: Seconds that an answer which waits for somebody else's attempt may take beyond it: connections, the database.
LEASE_MARGIN = 30.0


class Opened(NamedTuple):
    """The API's server, what has to run beside it, what has to happen now and then, and what closes it."""

    runner: server.Runner
    beside: Sequence[tuple[str, Callable[[asyncio.Event], Coroutine[object, object, object]]]]
    chores: Sequence[Chore]
    close: Callable[[], Awaitable[None]]


def open_api(
    settings: Settings,
    profile: Profile,
    *,
    pool: Pool,
    directory: Directory,
    credentials: Credentials,
    transport: Transport,
    health: Health,
    ids: Ids,
    clock: Clock,
    rng: Random,
    metrics: PublisherMetrics,
    signer: ResponseSigner | None = None,
    routes: Sequence[Route] = (),
    feeds: FeedWatch | None = None,
    tracing: Tracing | None = None,
) -> Opened:
    """Put the API together, with the `routes` of the feeds; without a `signer` no answer is signed.

    Raises `ProfileError` for a profile that speaks of operations there are not.
    """
    check_deprecations(profile)
    connections = Connections(pool, max(1, settings.database_pool // 2))
    vault = Vault(settings.keys())
    tokens = Tokens.of(settings, clock)
    reporter = Reporter(logs_all=settings.log_attempts == "all")
    tester = Tester(transport, ids, clock, header_prefix=profile.headers.webhook_prefix, reporter=reporter)
    services = Services(
        connections=connections,
        directory=directory,
        ids=ids,
        clock=clock,
        tester=tester,
        profile=profile,
        feeds=feeds,
        on_cancelled=metrics.cancelled,
    )
    counting = ApiMetrics(metrics.registry)
    log = RequestLog(
        profile, chosen=settings.log_requests, tracing=tracing, sampler=Sampler(settings.trace_sample, rng, clock)
    )
    limiter = Limiter.of(settings, profile.limits, clock)
    client_of = Clients.of(settings)
    is_https = settings.public_url.startswith("https://")
    pipeline = Pipeline(
        services,
        authenticator=Authenticator(profile.credentials, credentials, tokens, clock),
        limiter=limiter,
        idempotency=Idempotency(vault, lease=settings.attempt_timeout + LEASE_MARGIN),
        client_of=client_of,
        signer=signer,
        metrics=counting,
        log=log,
    )
    app = public_app(settings, profile, health, pipeline, routes)
    counting.know(app.router.routes(), profile, statuses_of)

    shortcut = Shortcut(
        profile,
        of_feeds(profile, routes),
        limiter=limiter,
        client_of=client_of.read,
        ids=ids,
        clock=clock,
        is_https=is_https,
        metrics=counting,
        log=log,
    )

    async def close() -> None:
        await tester.stop()
        await limiter.aclose()

    async def forget_answers() -> None:
        async with pool.acquire() as connection:
            await forget(connection)

    return Opened(
        server.runner(
            app,
            envelope=server.envelope_of(profile, ids),
            connections=server.most_connections(settings),
            is_https=is_https,
            shortcut=shortcut,
        ),
        [("tokens", tokens.run)],
        [Chore("forget answers", FORGET, forget_answers, is_for_all=True)],
        close,
    )
