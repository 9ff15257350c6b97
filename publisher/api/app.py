"""All public routes in one place. Health is what there is so far: the status alone, for load balancers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from publisher.health import CONTENT_TYPE, body

if TYPE_CHECKING:
    from publisher.health import Health


def public_app(health: Health) -> web.Application:
    """Return the public application."""

    async def live(_: web.Request) -> web.Response:
        return web.Response(body=body("pass"), content_type=CONTENT_TYPE)

    async def ready(_: web.Request) -> web.Response:
        report = await health.report()
        return web.Response(body=body(report.status), status=report.http_status, content_type=CONTENT_TYPE)

    app = web.Application()
    app.router.add_get("/health", ready)
    app.router.add_get("/health/live", live)
    app.router.add_get("/health/ready", ready)
    return app
