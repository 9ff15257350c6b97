"""The admin listener: metrics and health in full. Not public."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from publisher.exposition import scrape
from publisher.health import CONTENT_TYPE, full_body

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from publisher.health import Health, Report


def admin_app(registry: CollectorRegistry, health: Health) -> web.Application:
    """Return the admin application."""

    async def metrics(request: web.Request) -> web.Response:
        made = await scrape(registry, request.headers.get("Accept", ""))
        return web.Response(body=made.body, headers={"Content-Type": made.content_type})

    async def live(_: web.Request) -> web.Response:
        return _answer(health.liveness())

    async def ready(_: web.Request) -> web.Response:
        return _answer(await health.report())

    async def started(_: web.Request) -> web.Response:
        return _answer(health.startup())

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/livez", live)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/startupz", started)
    app.router.add_get("/health", ready)
    return app


def _answer(report: Report) -> web.Response:
    return web.Response(
        body=full_body(report),
        status=report.http_status,
        content_type=CONTENT_TYPE,
        headers={"Cache-Control": "no-store"},
    )
