"""Knows the newest document of each feed, so that nobody who asks for one waits for the database.

Every second: are there newer ones? While the database is away the last ones are served, and their age shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio

    from feeds.documents import Feed, Published
    from feeds.models import IncidentsDocument, PeeringDocument, StatusDocument
    from runtime.clock import Clock
    from runtime.database import Pool

D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Latest(Generic[D]):
    """The newest document of a feed: as it was signed, and as a model."""

    published: Published
    document: D


class FeedWatch:
    """Holds the newest documents; None where nothing has been published yet."""

    def __init__(self, pool: Pool, clock: Clock, *, interval: float = 1.0) -> None:
        """Look every `interval` seconds."""
        raise NotImplementedError

    @property
    def incidents(self) -> Latest[IncidentsDocument] | None:
        """Incidents and maintenance; the same object for as long as nothing newer is there."""
        raise NotImplementedError

    @property
    def status(self) -> Latest[StatusDocument] | None:
        """How everything does."""
        raise NotImplementedError

    @property
    def peering(self) -> Latest[PeeringDocument] | None:
        """What is announced."""
        raise NotImplementedError

    def of(self, feed: Feed) -> Published | None:
        """Return the newest document of a feed as it was signed."""
        raise NotImplementedError

    async def load(self) -> None:
        """Read the newest ones; raises what the database raises."""
        raise NotImplementedError

    async def run(self, stop: asyncio.Event) -> None:
        """Look again and again until `stop`."""
        raise NotImplementedError

    async def changed(self) -> None:
        """Return when there is something newer."""
        raise NotImplementedError
