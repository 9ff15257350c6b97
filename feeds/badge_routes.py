"""The routes of the badges: how everything does, how a component does, how the warrant canary stands.

A badge is drawn when it is first asked for after its document or the canary's state has changed, and served from
memory. One of a document that is hours old says so: a picture that stays green while nobody looks is worse than none.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import hdrs

from feeds import badges, canary
from feeds.badges import CONTENT_TYPE, OUT_OF_DATE, svg
from feeds.routes import NothingHereError, NotPublishedError, Route
from feeds.serving import Fixed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from feeds.badges import Badge
    from feeds.canary import Watched
    from feeds.feed_watch import Documents, Latest
    from feeds.models import StatusDocument
    from feeds.routes import Handler
    from runtime.clock import Clock
    from signer.canary_dates import State

STATUS_PATH, CANARY_PATH = "/badges/status.svg", "/badges/canary.svg"
COMPONENT_PATH = "/badges/{component:.+}.svg"
#: A document is as of the hour at the latest; this leaves an hour to the signer.
OLD = timedelta(hours=2)
HEADERS: Mapping[str, str] = {
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
    "Content-Security-Policy": "default-src 'none'",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
}
#: Seconds a badge may be kept.
AGE = 60
KEPT: Mapping[str, str] = {hdrs.CACHE_CONTROL: f"public, max-age={AGE}"}


def routes(watch: Documents, canary_watch: Watched, clock: Clock) -> list[Route]:
    """Return the routes; that of components comes last, for its path fits the others too."""
    served = _Served(watch, canary_watch, clock)
    return [
        _route(STATUS_PATH, served.overall, "badge-status", "How everything does, as a badge."),
        _route(CANARY_PATH, served.canary, "badge-canary", "How the warrant canary stands, as a badge."),
        _route(COMPONENT_PATH, served.component, "badge-component", "How a component does, as a badge."),
    ]


def component_path(component: str) -> str:
    """Return where a component's badge is: `/badges/STO/compute.svg`. Pure."""
    return COMPONENT_PATH.replace("{component:.+}", quote(component, safe="/"))


class _Served:
    def __init__(self, watch: Documents, canary_watch: Watched, clock: Clock) -> None:
        self._watch = watch
        self._canary_watch = canary_watch
        self._clock = clock
        self._made_of: tuple[Latest[StatusDocument], bool] | None = None
        self._made: dict[str | None, Fixed] = {}
        self._states: dict[State, Fixed] = {}

    async def overall(self, request: web.Request) -> web.Response:
        """Answer with the badge of everything."""
        latest, is_old = self._latest()
        if None not in self._made:
            self._made[None] = _fixed(OUT_OF_DATE if is_old else badges.overall(latest.document))
        return self._made[None].answer(request, KEPT)

    async def component(self, request: web.Request) -> web.Response:
        """Answer with the badge of a component."""
        latest, is_old = self._latest()
        wanted = request.match_info["component"]
        if wanted not in self._made:
            found = next((each for each in latest.document.components if each.id == wanted), None)
            if found is None:
                raise NothingHereError
            badge = badges.of_component(found, latest.document)
            self._made[wanted] = _fixed(OUT_OF_DATE._replace(label=badge.label) if is_old else badge)
        return self._made[wanted].answer(request, KEPT)

    async def canary(self, request: web.Request) -> web.Response:
        """Answer with the badge of the canary; like the canary itself in every state, also where there is none."""
        standing, now = self._canary_watch.standing, self._clock.now()
        state = standing.state(now)
        if state not in self._states:
            self._states[state] = _fixed(badges.of_canary(state))
        age = canary.max_age(canary.until(standing, now), now)
        headers: Mapping[str, str] = {hdrs.CACHE_CONTROL: f"public, max-age={age}, must-revalidate"}
        return self._states[state].answer(request, headers)

    def _latest(self) -> tuple[Latest[StatusDocument], bool]:
        """Return the newest document, and whether it is old; what was drawn of another is forgotten."""
        latest = self._watch.status
        if latest is None:
            raise NotPublishedError
        is_old = self._clock.now() - latest.document.as_of > OLD
        if self._made_of is None or self._made_of[0] is not latest or self._made_of[1] is not is_old:
            self._made, self._made_of = {}, (latest, is_old)
        return latest, is_old


def _fixed(badge: Badge) -> Fixed:
    return Fixed(svg(badge), CONTENT_TYPE, HEADERS)


def _route(path: str, handler: Handler, name: str, summary: str) -> Route:
    return Route(path, handler, name, summary, CONTENT_TYPE, is_api=False)
