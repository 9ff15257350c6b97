"""The feeds' way in, put together: handlers that write facts, builders that read them, and who publishes."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, NamedTuple

from feeds import component_facts, incidents, peering, peering_facts, status
from feeds.component_facts import ComponentFacts
from feeds.documents import Feed
from feeds.incident_facts import IncidentFacts, IncidentLedger
from feeds.peering_facts import PeeringFacts
from feeds.publish import Publisher, Source, forget
from feeds.status import Declared, DeclaredGroup, DeclaredService
from publisher.housekeeping import Chore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from consumers.loop import Handler, HandlerOf
    from consumers.telemetry import Telemetry
    from feeds.models import IncidentsDocument, PeeringDocument, StatusDocument
    from publisher.profiles import Profile
    from runtime.clock import Clock
    from runtime.database import Connection, Pool
    from signer.client import SignerClient

#: Seconds between two rounds of forgetting what is old.
FORGET = 3600.0


class FeedPublishing(NamedTuple):
    """Who publishes, which handlers see events and telemetry before, and what has to happen now and then."""

    publisher: Publisher
    of_events: Sequence[Handler]
    of_telemetry: Sequence[HandlerOf[Telemetry]]
    chores: Sequence[Chore]


def open_feed_publishing(
    profile: Profile, *, pool: Pool, signer: SignerClient | None, clock: Clock, on_published: Callable[[], None]
) -> FeedPublishing:
    """Put them together; `on_published` is told of every document that was stored. Without a `signer` none is.

    The provider in the documents is the profile's name: entries of feeds are named by it, so it must never change.
    """
    sources = _Sources(profile.name, declared(profile))
    publisher = Publisher(
        pool,
        signer,
        clock,
        [
            Source(Feed.INCIDENTS, sources.incidents, day_of),
            Source(Feed.PEERING, sources.peering, day_of),
            Source(Feed.STATUS, sources.status),
        ],
        on_published=on_published,
    )

    async def forget_days() -> None:
        async with pool.acquire() as connection:
            await component_facts.forget(connection, clock.now())

    return FeedPublishing(
        publisher,
        [IncidentFacts(publisher.wake), PeeringFacts(publisher.wake)],
        [ComponentFacts(clock, wake=publisher.wake)],
        [
            Chore("forget old documents", FORGET, lambda: forget(pool, clock), is_for_all=True),
            Chore("forget old days of components", FORGET, forget_days, is_for_all=True),
        ],
    )


def declared(profile: Profile) -> Declared:
    """Return the components a profile names. Pure."""
    return Declared(
        [
            DeclaredGroup(
                bastion.code,
                bastion.name,
                [DeclaredService(f"{bastion.code}/{each.id}", each.name) for each in bastion.services],
            )
            for bastion in profile.status.bastions
        ],
        [DeclaredService(each.id, each.name) for each in profile.status.shared],
    )


def day_of(moment: datetime) -> date:
    """Return the period that documents of incidents and peering are of. Pure."""
    return moment.astimezone(UTC).date()


class _Sources:
    """Reads facts and has them built, for one provider; in a thread, for deliveries do not wait."""

    def __init__(self, provider: str, components: Declared) -> None:
        self._provider = provider
        self._components = components
        self._ledger = IncidentLedger()

    async def incidents(self, connection: Connection, now: datetime) -> IncidentsDocument:
        folded = await self._ledger.read(connection)
        return await asyncio.to_thread(incidents.build, *folded, provider=self._provider, now=now)

    async def peering(self, connection: Connection, now: datetime) -> PeeringDocument:
        facts = await peering_facts.read(connection)
        return await asyncio.to_thread(peering.build, facts, provider=self._provider, now=now)

    async def status(self, connection: Connection, now: datetime) -> StatusDocument:
        facts = await component_facts.read(connection, status.since(now))
        folded = await self._ledger.read(connection)
        return await asyncio.to_thread(
            status.build, facts, *folded, self._components, provider=self._provider, now=now
        )  # fmt: skip
