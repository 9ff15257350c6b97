"""The public application: every route in one place.

Operations come from the table (operations.py) under the profile's base path; beside them what is served of the feeds,
the document that describes them all with a page to try them, and health for load balancers, which no limit counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from publisher.api import explorer, feed_answers
from publisher.api.call import Access
from publisher.api.openapi import document
from publisher.api.operations import OPERATIONS
from publisher.health import CONTENT_TYPE, body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from feeds.routes import Route
    from publisher.api.pipeline import Pipeline
    from publisher.health import Health, Report
    from publisher.profiles import Profile
    from runtime.settings import Settings

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def public_app(
    settings: Settings, profile: Profile, health: Health, pipeline: Pipeline, feeds: Sequence[Route] = ()
) -> web.Application:
    """Return the public application; `feeds` are served as they are, behind a limit."""
    app = web.Application(middlewares=[pipeline.middleware()])
    app.add_routes(health_routes(health))
    for path, route in of_feeds(profile, feeds).items():  # before the operations: a canary's `3.json` is no sequence
        sign = profile.headers.sign if feed_answers.is_json(route) else None
        app.router.add_get(path, pipeline.counted(feed_answers.of_feed(route, sign), sign=sign))
    for operation in OPERATIONS:
        methods = ("GET", "HEAD") if operation.method == "GET" else (operation.method,)
        handler = pipeline.serve(operation)
        for method in methods:
            path = profile.base + operation.path
            app.router.add_route(
                method, path, _for_every_page(handler) if operation.access is Access.PUBLIC else handler
            )
    for described in explorer.routes(document(profile, settings.public_url), profile, settings.onion_location):
        app.router.add_get(described.path, pipeline.counted(described.handler))
    return app


def of_feeds(profile: Profile, feeds: Sequence[Route]) -> dict[str, Route]:
    """Return the routes of the feeds by their whole path. Pure."""
    return {profile.base + route.path if route.is_api else route.path: route for route in feeds}


def health_routes(health: Health) -> list[web.RouteDef]:
    """Return what load balancers ask: the status alone."""

    async def live(_: web.Request) -> web.Response:
        return _status_of(health.liveness())

    async def ready(_: web.Request) -> web.Response:
        return _status_of(await health.report())

    return [web.get("/health", ready), web.get("/health/live", live), web.get("/health/ready", ready)]


def _status_of(report: Report) -> web.Response:
    return web.Response(body=body(report.status), status=report.http_status, content_type=CONTENT_TYPE)


def _for_every_page(handler: Handler) -> Handler:
    """Return a handler whose answers scripts of any page may read: they are the same for all."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = await handler(request)
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"
        return response

    return handle
