"""What one subscribes to: Atom, RSS and JSON Feed, a feed for each component, the calendar of maintenance.

All are made of the newest incidents' document, each once and when it is first asked for, and served from memory. The
formats have no place for a PGP signature: they are not signed, and name the document that is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from aiohttp import hdrs

from feeds.atom import CONTENT_TYPE as ATOM
from feeds.atom import atom
from feeds.calendar_feed import CONTENT_TYPE as CALENDAR
from feeds.calendar_feed import calendar
from feeds.json_feed import CONTENT_TYPE as JSON_FEED
from feeds.json_feed import json_feed
from feeds.routes import NothingHereError, NotPublishedError, Route
from feeds.rss import CONTENT_TYPE as RSS
from feeds.rss import rss
from feeds.serving import Fixed
from feeds.syndication import channel, with_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp import web

    from feeds.feed_watch import Documents, Latest
    from feeds.models import IncidentsDocument, StatusDocument
    from feeds.pages import Site

ATOM_PATH, RSS_PATH, JSON_PATH, CALENDAR_PATH = "/history.atom", "/history.rss", "/feed.json", "/maintenance.ics"
COMPONENT_PATH = "/history/{component:.+}.atom"
#: Scripts of any page may read them; readers ask every few minutes anyway.
OPEN: Mapping[str, str] = {
    hdrs.CACHE_CONTROL: "public, max-age=60",
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
    "X-Content-Type-Options": "nosniff",
}


class _Format(NamedTuple):
    path: str
    name: str
    summary: str
    content_type: str
    make: Callable[[IncidentsDocument, Site, str], bytes]


FORMATS = (
    _Format(ATOM_PATH, "history-atom", "Incidents and maintenance as Atom.", ATOM, lambda *of: atom(channel(*of))),
    _Format(RSS_PATH, "history-rss", "Incidents and maintenance as RSS.", RSS, lambda *of: rss(channel(*of))),
    _Format(
        JSON_PATH,
        "feed-json",
        "Incidents and maintenance as JSON Feed.",
        JSON_FEED,
        lambda *of: json_feed(channel(*of)),
    ),
    _Format(CALENDAR_PATH, "maintenance-ics", "All maintenance as a calendar.", CALENDAR, calendar),
)


def routes(watch: Documents, site: Site) -> list[Route]:
    """Return the routes; they answer 404 until something has been published, and of a component nobody knows."""
    served = _Served(watch, site)
    made = [
        Route(each.path, served.of_all, each.name, each.summary, each.content_type, is_api=False) for each in FORMATS
    ]
    return [
        *made,
        Route(
            COMPONENT_PATH,
            served.of_component,
            "component-atom",
            "What concerns a component, as Atom.",
            ATOM,
            is_api=False,
        ),
    ]


def component_path(component: str) -> str:
    """Return where the feed of a component is, or of a whole bastion: `/history/STO/compute.atom`. Pure."""
    return COMPONENT_PATH.replace("{component:.+}", quote(component, safe="/"))


class _Served:
    def __init__(self, watch: Documents, site: Site) -> None:
        self._watch = watch
        self._site = site
        self._formats = {each.path: each for each in FORMATS}
        self._made_of: tuple[object, object] = (None, None)
        self._components: set[str] = set()
        self._made: dict[str, Fixed] = {}

    async def of_all(self, request: web.Request) -> web.Response:
        """Answer with a format of everything."""
        latest = self._latest()
        each = self._formats[request.path]
        if each.path not in self._made:
            self._made[each.path] = _fixed(each.make(latest.document, self._site, each.path), each.content_type, latest)
        return self._made[each.path].answer(request)

    async def of_component(self, request: web.Request) -> web.Response:
        """Answer with what concerns one component, or all at one place."""
        latest = self._latest()
        component = request.match_info["component"]
        if component not in self._components:
            raise NothingHereError
        path = component_path(component)
        if path not in self._made:
            self._made[path] = _fixed(atom(channel(latest.document, self._site, path, component)), ATOM, latest)
        return self._made[path].answer(request)

    def _latest(self) -> Latest[IncidentsDocument]:
        """Return the newest document; what was made of another is forgotten."""
        incidents, status = self._watch.incidents, self._watch.status
        if incidents is None:
            raise NotPublishedError
        if self._made_of[0] is not incidents:
            self._made = {}
        if self._made_of[0] is not incidents or self._made_of[1] is not status:
            self._components = components(incidents.document, status.document if status else None)
            self._made_of = incidents, status
        return incidents


def components(incidents: IncidentsDocument, status: StatusDocument | None) -> set[str]:
    """Return the components there are feeds of: all that have a status or were named, and the places they are at."""
    named = {name for incident in incidents.incidents for name in incident.components}
    named |= {name for maintenance in incidents.maintenances for name in maintenance.components}
    return with_groups(named | {each.id for each in status.components} if status else named)


def _fixed(content: bytes, content_type: str, latest: Latest[IncidentsDocument]) -> Fixed:
    return Fixed(content, content_type, OPEN, modified=latest.published.published_at)
