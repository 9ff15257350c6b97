"""The public application: every route in one place.

Operations come from the table (operations.py) under the profile's base path; beside them the document that describes
them with a page to try them, and health for load balancers, which no limit counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from publisher.api import explorer
from publisher.api.openapi import document
from publisher.api.operations import OPERATIONS
from publisher.health import CONTENT_TYPE, body

if TYPE_CHECKING:
    from publisher.api.pipeline import Pipeline
    from publisher.health import Health
    from publisher.profiles import Profile
    from runtime.settings import Settings


def public_app(settings: Settings, profile: Profile, health: Health, pipeline: Pipeline) -> web.Application:
    """Return the public application."""
    app = web.Application(middlewares=[pipeline.middleware()])
    app.add_routes(health_routes(health))
    for operation in OPERATIONS:
        methods = ("GET", "HEAD") if operation.method == "GET" else (operation.method,)
        for method in methods:
            app.router.add_route(method, profile.base + operation.path, pipeline.serve(operation))
    for described in explorer.routes(document(profile, settings.public_url), profile, settings.onion_location):
        app.router.add_get(described.path, pipeline.counted(described.handler))
    return app


def health_routes(health: Health) -> list[web.RouteDef]:
    """Return what load balancers ask: the status alone."""

    async def live(_: web.Request) -> web.Response:
        return web.Response(body=body("pass"), content_type=CONTENT_TYPE)

    async def ready(_: web.Request) -> web.Response:
        report = await health.report()
        return web.Response(body=body(report.status), status=report.http_status, content_type=CONTENT_TYPE)

    return [web.get("/health", ready), web.get("/health/live", live), web.get("/health/ready", ready)]
