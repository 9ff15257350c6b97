"""The page of the warrant canary: how it stands, in words, and everything one needs to doubt that and look oneself.

    CanaryWatch -> standing + now -> state, time left --+
    database    -> those before, once for each canary --+-> template -> kept while nothing of it changes

The time left is shown in days, at the end in hours, so a page is made anew when that number moves.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import hdrs

from feeds import canary, documents
from feeds.documents import Feed
from feeds.pages import HTML, LIVE_POLICY, PAGE_AGE, slashed
from feeds.pages.kept import Kept
from feeds.routes import Route
from runtime.lifecycle import reason_of
from signer.canary_dates import State
from signer.statement import signature_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from aiohttp import web

    from feeds.canary import Watched
    from feeds.canary_standing import Standing
    from feeds.documents import Published
    from feeds.pages import Site
    from runtime.clock import Clock
    from runtime.database import Pool

logger = logging.getLogger(__name__)

PAGE = "/warrant-canary/"
DOCUMENT = "canary.json"
#: How many of those before are shown, and for how many seconds a reader waits for them.
SHOWN, PATIENCE = 24, 1.0
#: The standing of a signer of whom there is no signature, and of one whose signature nobody has looked at.
ABSENT, UNJUDGED = "absent", "unjudged"
BELIEVED = frozenset({State.CURRENT, State.DUE, State.CHANGED})
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


class Signer(NamedTuple):
    """A signer as the page shows it; `file` is the name of the signature below the API, None where there is none."""

    fingerprint: str
    standing: str
    file: str | None


class Left(NamedTuple):
    """How much time is left: whole days if there are two or more, else whole hours, rounded down."""

    days: int
    hours: int


class Past(NamedTuple):
    """A canary of the history as the page shows it; moments are None where they are not to be read."""

    number: int
    issued_at: datetime | None
    next_due: datetime | None
    is_retirement: bool
    signatures: int
    sha256: str


def routes(watch: Watched, pool: Pool, site: Site, clock: Clock) -> list[Route]:
    """Return the routes; below a provider's base path stands none of them."""
    page = _Page(watch, pool, site, clock)
    return [
        Route(PAGE, page.serve, "canary-page", "The warrant canary, as a page.", HTML, is_api=False),
        slashed(PAGE),
    ]


class _Page:
    def __init__(self, watch: Watched, pool: Pool, site: Site, clock: Clock) -> None:
        self._watch = watch
        self._pool = pool
        self._clock = clock
        self._kept = Kept(site, "canary.html", policy=LIVE_POLICY)
        self._history: Sequence[Past] = ()
        self._history_of: Published | None = None
        self._next_try = 0.0
        self._turn = asyncio.Lock()

    async def serve(self, request: web.Request) -> web.Response:
        history = await self._known()
        standing, now = self._watch.standing, self._clock.now()
        age = min(PAGE_AGE, canary.max_age(canary.until(standing, now), now))
        return self._kept.answer(
            request,
            PAGE,
            lambda: values(standing, history, now),
            of=(standing, history),
            at=(standing.state(now), left(standing, now)),
            headers={hdrs.CACHE_CONTROL: f"public, max-age={age}, must-revalidate"},
        )

    async def _known(self) -> Sequence[Past]:
        """Return the history up to the newest canary; what it was before while the database is away."""
        newest = self._watch.standing.published
        if newest is self._history_of:
            return self._history
        async with self._turn:
            if newest is not self._history_of and self._clock.monotonic() >= self._next_try:
                try:
                    async with asyncio.timeout(PATIENCE), self._pool.acquire() as connection:
                        found = await documents.page(connection, Feed.CANARY, offset=0, size=SHOWN)
                except Exception as error:  # whatever the database raises: the page does without
                    logger.warning("the page of the canary stays without its newest history (%s)", reason_of(error))
                    self._next_try = self._clock.monotonic() + PAGE_AGE
                else:
                    self._history, self._history_of = [past(each) for each in found], newest
        return self._history


# --- what is shown ----------------------------------------------------------------------------------------------------


def values(standing: Standing, history: Sequence[Past], now: datetime) -> dict[str, Any]:
    """Return what the page shows at `now`."""
    state, remaining = standing.state(now), left(standing, now)
    return {
        "state": str(state),
        "is_believed": state in BELIEVED,
        "faults": canary.faults(standing),
        "statement": standing.statement,
        "published": standing.published,
        "days": remaining.days,
        "hours": remaining.hours,
        "needed": standing.needed,
        "signers": signers(standing),
        "suffixes": suffixes(standing.published) if standing.published else [],
        "history": history,
    }


def left(standing: Standing, now: datetime) -> Left:
    """Return for how long the canary is not due yet; of an overdue one for how long it has not expired."""
    statement = standing.statement
    if statement is None:
        return Left(0, 0)
    ends = statement.expires_at if standing.state(now) is State.OVERDUE else statement.next_due
    if ends is None or ends <= now:
        return Left(0, 0)
    remaining = ends - now
    return Left(remaining // DAY, 0) if remaining >= 2 * DAY else Left(0, remaining // HOUR)


def signers(standing: Standing) -> list[Signer]:
    """Return who was to sign and who did, with what that is worth here, in the order of fingerprints.

    Where no keys are pinned none has been judged.
    """
    if standing.published is None:
        return []
    stored = {each.fingerprint for each in standing.published.signatures}
    judged = {each.signed.primary: str(each.standing) for each in standing.signatures}
    named = set(standing.statement.signers) if standing.statement else set()
    return [
        Signer(
            each,
            judged.get(each, UNJUDGED) if each in stored else ABSENT,
            signature_name(DOCUMENT, each) if each in stored else None,
        )
        for each in sorted(stored | named)
    ]


def suffixes(published: Published) -> list[str]:
    """Return by what the names of the signatures are longer than the document's."""
    return [signature_name("", each.fingerprint) for each in published.signatures]


def past(published: Published) -> Past:
    """Return a line of the history."""
    statement = canary.read(published)
    return Past(
        published.number,
        statement.issued_at if statement else None,
        statement.next_due if statement else None,
        statement is not None and statement.is_retirement,
        len(published.signatures),
        published.sha256,
    )
