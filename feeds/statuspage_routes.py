"""What programs that read Statuspage ask for: /api/v2/*.json, made from the documents that were signed.

Each answer is made when it is first asked for after a document has changed, and served from memory.

While either document is missing there is nothing here, a 404. Statuspage has no word for "not known": an empty page
with the indicator `none` would say that all is well, which nobody has said. Clients keep what they had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from aiohttp import hdrs

from feeds.routes import NotPublishedError, Route
from feeds.serving import Fixed
from feeds.statuspage import ANSWERS, Statuspage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from feeds.feed_watch import Documents, Latest
    from feeds.models import IncidentsDocument, StatusDocument
    from feeds.pages import Site
    from feeds.routes import Handler

BASE = "/api/v2/"
JSON = "application/json"
#: Seconds an answer may be kept: pages in browsers ask every few.
AGE = 10
HEADERS: Mapping[str, str] = {hdrs.CACHE_CONTROL: f"public, max-age={AGE}", hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*"}


def routes(watch: Documents, site: Site) -> list[Route]:
    """Return the routes; they stand at the root, where clients look for them."""
    answers = Answers(watch, site)
    return [
        Route(
            BASE + path,
            answers.at(path),
            f"statuspage-{path.removesuffix('.json').replace('/', '-')}",
            make.__doc__ or "",
            JSON,
            is_api=False,
        )
        for path, make in ANSWERS.items()
    ]


class Answers:
    """The answers of the documents as they are."""

    def __init__(self, watch: Documents, site: Site) -> None:
        """`watch` has the documents, `site` says whose page it is and where."""
        self._watch = watch
        self._site = site
        self._made_of: tuple[Latest[IncidentsDocument], Latest[StatusDocument]] | None = None
        self._page: Statuspage | None = None
        self._made: dict[str, Fixed] = {}

    def at(self, path: str) -> Handler:
        """Return what answers a path below /api/v2/."""

        async def serve(request: web.Request) -> web.Response:
            return self._fixed(path).answer(request)

        return serve

    def _fixed(self, path: str) -> Fixed:
        incidents, status = self._watch.incidents, self._watch.status
        if incidents is None or status is None:
            raise NotPublishedError
        known = self._made_of
        if self._page is None or known is None or known[0] is not incidents or known[1] is not status:
            self._page = Statuspage(incidents.document, status.document, self._site)
            self._made, self._made_of = {}, (incidents, status)
        if path not in self._made:
            modified = max(incidents.published.published_at, status.published.published_at)
            self._made[path] = Fixed(orjson.dumps(ANSWERS[path](self._page)), JSON, HEADERS, modified=modified)
        return self._made[path]
