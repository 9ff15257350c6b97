"""The admin listener: metrics and health in full. Not public."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from publisher.health import CONTENT_TYPE, body

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from publisher.health import Health


def admin_app(registry: CollectorRegistry, health: Health) -> web.Application:
    """Return the admin application."""

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    async def live(_: web.Request) -> web.Response:
        return web.Response(body=body("pass"), content_type=CONTENT_TYPE)

    async def ready(_: web.Request) -> web.Response:
        report = await health.report()
        return web.Response(
            body=body(report.status, report.reasons), status=report.http_status, content_type=CONTENT_TYPE
        )

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/livez", live)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/startupz", ready)
    app.router.add_get("/health", ready)
    return app
