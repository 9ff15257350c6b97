"""What a person finds where no page is: a page that says so, and a 404. Programs get the envelope."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from feeds.pages import HTML
from feeds.pages.kept import Kept
from feeds.routes import NothingHereError

if TYPE_CHECKING:
    from aiohttp import web

    from feeds.pages import Site
    from feeds.routes import Route


class Missing:
    """The page for what is not there."""

    def __init__(self, site: Site) -> None:
        """Make it one of the site's."""
        self._kept = Kept(site, "missing.html", age=0)

    def instead(self, route: Route) -> Route:
        """Return a route whose page is this one where there is nothing; what is no page stays as it is."""
        if route.content_type != HTML:
            return route
        folder = f"{route.path.rpartition('/')[0]}/"  # only what stands behind it differs from page to page

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                return await route.handler(request)
            except NothingHereError:
                answer = self._kept.answer(request, folder, dict)
                if answer.status == HTTPStatus.OK:
                    answer.set_status(HTTPStatus.NOT_FOUND)
                return answer

        return route._replace(handler=handle)
