"""The public application with routes of the feeds, on a real database, without the rest of the service."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import aiohttp

from consumers.credentials import Credentials
from publisher.api.app import public_app
from publisher.api.auth import Authenticator
from publisher.api.clients import Clients
from publisher.api.idempotency import Idempotency
from publisher.api.limits import Limiter
from publisher.api.pipeline import Pipeline
from publisher.api.tokens import Tokens
from publisher.health import Health
from publisher.secrets import Vault
from runtime.clock import SystemClock
from runtime.settings import load
from tests.conftest import SECRET_KEYS
from tests.support.api import Caller
from tests.support.desk import a_desk
from tests.support.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from feeds.routes import Route
    from publisher.profiles import Profile
    from runtime.database import Pool

PUBLIC_URL = "https://api.provider.example"


@contextlib.asynccontextmanager
async def a_site(
    dsn: str, routes: Callable[[Pool], Sequence[Route]], *, profile: Profile | None = None
) -> AsyncIterator[Caller]:
    """Serve `routes` and the operations; yield somebody without a credential."""
    settings = load(environ={}, env="development", secret_keys=SECRET_KEYS, database_url=dsn, public_url=PUBLIC_URL)
    clock = SystemClock()
    async with a_desk(dsn, profile=profile) as desk, aiohttp.ClientSession() as session:
        services = desk.services
        pipeline = Pipeline(
            services,
            authenticator=Authenticator(
                services.profile.credentials,
                Credentials(desk.pool.acquire, clock, keeps=False),
                Tokens.of(settings, clock),
                clock,
            ),
            limiter=Limiter.of(settings, services.profile.limits, clock),
            idempotency=Idempotency(Vault(settings.keys()), lease=60),
            client_of=Clients.of(settings),
        )
        app = public_app(settings, services.profile, Health(), pipeline, routes(desk.pool))
        async with serving(app) as served:
            yield Caller(f"http://127.0.0.1:{served.port}", session)
