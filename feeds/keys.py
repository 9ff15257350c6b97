"""The published keys, read from their folder and kept in memory; and what each of them is for. Roles are pure.

A key's role comes from the settings, and for the rest from its address: what shares the feed key's is its predecessor,
or its successor where it is younger. Nothing is read from a key that it says of itself beyond that.
"""

from __future__ import annotations

import enum
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from runtime.lifecycle import first_of
from signer import published
from signer.faults import PgpError
from signer.wkd import mailbox

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from signer.certificates import Subkey
    from signer.published import PublishedKey
    from signer.wkd import Mailbox

logger = logging.getLogger(__name__)

#: Seconds between two looks at the folder.
LOOK = 30.0
#: How long before its end a key is said to expire soon.
SOON = timedelta(days=30)


class Role(enum.IntEnum):
    """What a key is for, in the order of the page."""

    FEED = 0
    NEXT_FEED = 1
    CANARY = 2
    FORMER_FEED = 3
    OTHER = 4


class State(enum.StrEnum):
    """What a key is worth."""

    VALID = "valid"
    SOON = "soon"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Duties:
    """Who signs what, as the settings say; fingerprints, `feed` perhaps of a subkey."""

    feed: str | None = None
    canary: tuple[str, ...] = ()
    #: How many of `canary` have to sign; all of them when there is no number.
    threshold: int | None = None

    @property
    def needed(self) -> int:
        """How many have to sign a canary."""
        return self.threshold or len(self.canary)


@dataclass(frozen=True, slots=True)
class Part:
    """A key as a page shows it."""

    fingerprint: str
    created_at: datetime
    expires_at: datetime | None
    state: State


@dataclass(frozen=True, slots=True)
class Shown(Part):
    """A certificate as a page shows it; `subkeys` are those that sign, the newest first.

    `place` is a canary's signer's among those that are pinned, from 1 on; of other keys 0.
    """

    role: Role
    place: int
    user_ids: tuple[str, ...]
    subkeys: tuple[Part, ...]


def ranked(keys: Iterable[PublishedKey], duties: Duties) -> list[tuple[Role, PublishedKey]]:
    """Return keys with their roles, in the order of the page: by role, signers as pinned, the newest first."""
    keys = list(keys)
    feed = next((each for each in keys if duties.feed in each.certificate.fingerprints), None)
    found = [(_role(each, feed, duties), each) for each in keys]

    def place(item: tuple[Role, PublishedKey]) -> tuple[int, int, float, str]:
        role, key = item
        fingerprint = key.certificate.fingerprint
        pinned = duties.canary.index(fingerprint) if role is Role.CANARY else 0
        return role, pinned, -key.certificate.created_at.timestamp(), fingerprint

    return sorted(found, key=place)


def shown(keys: Iterable[PublishedKey], duties: Duties, now: datetime) -> list[Shown]:
    """Return keys as the page shows them at `now`, in its order."""
    return [_shown(role, each, duties, now) for role, each in ranked(keys, duties)]


def state(key: Subkey, now: datetime, parent: Subkey | None = None) -> State:
    """Return what a key is worth at `now`; a subkey is worth no more than its `parent`."""
    ends = [each.expires_at for each in (key, parent) if each is not None and each.expires_at is not None]
    if key.is_revoked or (parent is not None and parent.is_revoked):
        return State.REVOKED
    if not ends or now < min(ends) - SOON:
        return State.VALID
    return State.SOON if now < min(ends) else State.EXPIRED


def mailboxes(key: PublishedKey) -> tuple[Mailbox, ...]:
    """Return the addresses of a key, in the order of its names."""
    return tuple(found for each in key.user_ids if (found := mailbox(each)) is not None)


def _role(key: PublishedKey, feed: PublishedKey | None, duties: Duties) -> Role:
    if key.certificate.fingerprint in duties.canary:
        return Role.CANARY
    if feed is None:
        return Role.OTHER
    if key is feed:
        return Role.FEED
    if {each.place for each in mailboxes(key)}.isdisjoint(each.place for each in mailboxes(feed)):
        return Role.OTHER
    is_younger = key.certificate.created_at > feed.certificate.created_at and not key.certificate.is_revoked
    return Role.NEXT_FEED if is_younger else Role.FORMER_FEED


def _shown(role: Role, key: PublishedKey, duties: Duties, now: datetime) -> Shown:
    certificate = key.certificate
    parts = sorted(certificate.subkeys, key=lambda each: each.created_at, reverse=True)
    return Shown(
        fingerprint=certificate.fingerprint,
        created_at=certificate.created_at,
        expires_at=certificate.expires_at,
        state=state(certificate, now),
        role=role,
        place=duties.canary.index(certificate.fingerprint) + 1 if role is Role.CANARY else 0,
        user_ids=key.user_ids,
        subkeys=tuple(
            Part(each.fingerprint, each.created_at, each.expires_at, state(each, now, certificate))
            for each in parts
            if each.can_sign
        ),
    )


class PublishedKeys:
    """The keys of the folder, read again when its files change."""

    def __init__(self, folder: Path | None, *, duties: Duties, extra: bytes | None = None) -> None:
        """`extra` is one more certificate: the feed key's, where the folder has it not."""
        self._folder = folder
        self._extra = extra
        self.duties = duties
        #: By fingerprint. Replaced as a whole: who wants to know whether it changed compares identity.
        self.keys: Sequence[PublishedKey] = ()
        self._seen: object = None
        self._trouble = ""

    async def load(self) -> None:
        """Read the folder; raises `PgpError` when a file of it will not do, or gpg will not."""
        seen = self._look()  # before reading: what changes meanwhile is seen the next time
        self.keys = await published.read(self._folder, self._extra)
        self._seen = seen

    async def run(self, stop: asyncio.Event, *, every: float = LOOK) -> None:
        """Look at the folder every so often until `stop`; what cannot be read leaves the keys as they were."""
        while not await first_of(stop, every):
            await self.refresh()

    async def refresh(self) -> None:
        """Read the folder if it has changed; trouble is logged, once for as long as it is the same."""
        try:
            if self._look() != self._seen:
                await self.load()
                logger.info("the public keys have been read again: %d", len(self.keys))
        except PgpError as error:
            if str(error) != self._trouble:
                logger.warning("the public keys stay as they were: %s", error)
            self._trouble = str(error)
        else:
            self._trouble = ""

    def _look(self) -> object:
        return () if self._folder is None else published.seen(self._folder)
