"""The feeds put together: the canary that is watched, its reminders, the published keys, and what is served of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from feeds import (
    badge_routes,
    canary_page,
    canary_routes,
    feed_routes,
    key_routes,
    pages,
    peering_page,
    peering_routes,
    status_pages,
    statuspage_routes,
    syndication_routes,
)
from feeds.canary_guard import CanaryGuard
from feeds.canary_reminders import remind
from feeds.canary_watch import CanaryWatch
from feeds.keys import Duties, PublishedKeys
from feeds.metrics import CanaryMetrics
from feeds.pages import Link, Site
from feeds.pages.missing import Missing
from feeds.security_text import Contacts, SecurityText
from feeds.stream import Streams
from publisher.api.clients import Clients
from publisher.api.limits import network_of
from publisher.housekeeping import Chore
from publisher.roles import NotReadyError
from runtime.settings import variable
from signer.client import SignerError
from signer.faults import PgpError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Coroutine

    from prometheus_client import CollectorRegistry

    from feeds.feed_watch import FeedWatch
    from feeds.routes import Route
    from publisher.profiles import Profile
    from runtime.clock import Clock
    from runtime.database import Pool
    from runtime.settings import Settings
    from signer.canary_judge import Pins
    from signer.client import SignerClient
    from signer.protocol import PublicKey

logger = logging.getLogger(__name__)

#: Seconds between two looks at whether there is something to remind of.
REMIND = 60.0
#: The pages one gets to from every page.
NAVIGATION = (
    Link("/status/", "Status"),
    Link("/warrant-canary/", "Warrant canary"),
    Link("/peering/", "Peering"),
    Link("/pgp/", "Keys"),
)


class Transparency(NamedTuple):
    """What is served, what runs beside, and what has to happen now and then."""

    routes: list[Route]
    beside: list[tuple[str, Callable[[asyncio.Event], Coroutine[object, object, object]]]]
    chores: list[Chore]


async def open_transparency(
    settings: Settings,
    profile: Profile,
    roles: Collection[str],
    *,
    pool: Pool,
    pins: Pins | None,
    signer: SignerClient | None,
    feeds: FeedWatch,
    registry: CollectorRegistry,
    clock: Clock,
) -> Transparency:
    """Judge the newest canary and read the published keys; raises `NotReadyError` when gpg or a key will not do.

    Every process knows how the canary stands, for its metrics; those that announce send the reminders.
    """
    watch = CanaryWatch(pool, pins, clock)
    opened = Transparency([], [("watch the canary", watch.run), ("watch the feeds", feeds.run)], [])
    CanaryMetrics(registry, watch, clock, feeds=feeds)
    try:
        await watch.load()
        await feeds.load()
        if "api" in roles:
            await _serve(opened, settings, profile, pool=pool, watch=watch, feeds=feeds, signer=signer, clock=clock)
    except PgpError as error:
        raise NotReadyError(f"{variable('public_keys')}: {error}") from None
    if settings.kafka_bootstrap and not {"consume", "deliver"}.isdisjoint(roles):
        opened.chores.append(Chore("remind of the canary", REMIND, lambda: remind(pool, watch, clock), is_for_all=True))
    return opened


def canary_guard(settings: Settings, profile: Profile) -> CanaryGuard:
    """Return what keeps canaries that nobody published out of the intake."""
    public_url = settings.public_url.rstrip("/")
    location = f"{public_url}{profile.base}/transparency/canary"
    return CanaryGuard(pinned=settings.canary_keys, source=public_url, location=location)


async def _serve(
    opened: Transparency,
    settings: Settings,
    profile: Profile,
    *,
    pool: Pool,
    watch: CanaryWatch,
    feeds: FeedWatch,
    signer: SignerClient | None,
    clock: Clock,
) -> None:
    own = await _own_key(signer)
    duties = Duties(own.primary if own else settings.feed_key, settings.canary_keys, settings.canary_threshold)
    keys = PublishedKeys(settings.public_keys, duties=duties, extra=own.armored if own else None)
    await keys.load()
    public_url = settings.public_url.rstrip("/")
    site = Site(
        name=profile.site.name if profile.site else profile.title,
        home=profile.site.url if profile.site else profile.docs_url,
        public_url=public_url,
        base=profile.base,
        onion_location=settings.onion_location,
        navigation=NAVIGATION,
    )
    clients = Clients.of(settings)
    streams = Streams(
        feeds,
        pool,
        clock,
        url=public_url + profile.base,
        address_of=lambda request: network_of(clients(request).address),
    )
    served = [
        *canary_routes.routes(watch, pool, clock, url=public_url + profile.base),
        *key_routes.routes(keys, site, clock=clock, security=_security(profile, public_url, signer, clock)),
        *pages.assets(),
        *status_pages.routes(feeds, site, clock),
        *canary_page.routes(watch, pool, site, clock),
        *peering_page.routes(feeds, site),
        *feed_routes.routes(feeds, pool),
        *statuspage_routes.routes(feeds, site),
        *syndication_routes.routes(feeds, site),
        *peering_routes.routes(feeds),
        *badge_routes.routes(feeds, watch, clock),
        streams.route,
    ]  # fmt: skip
    missing = Missing(site)
    opened.routes.extend(missing.instead(each) for each in served)
    opened.beside.extend([("read the public keys", keys.run), ("end streams", streams.run)])


async def _own_key(signer: SignerClient | None) -> PublicKey | None:
    """Return the feed key as the signing process has it, None while that is away: the folder may have it too."""
    if signer is None:
        return None
    try:
        return await signer.public_key()
    except SignerError as error:
        logger.warning("the signer's public key is not published before the next start (%s)", error)
        return None


def _security(profile: Profile, public_url: str, signer: SignerClient | None, clock: Clock) -> SecurityText | None:
    if profile.security is None:
        return None
    said = profile.security
    contacts = Contacts(said.contact, said.policy, said.acknowledgments, said.encryption, said.languages)
    return SecurityText(contacts, public_url, clock=clock, signer=signer)
