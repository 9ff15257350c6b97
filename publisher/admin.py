"""The admin listener: metrics and health in full, and where to find those of workers. Not public."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import orjson
from aiohttp import web

from publisher.addresses import targets
from publisher.exposition import scrape
from publisher.health import CONTENT_TYPE, full_body

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry

    from publisher.health import Health, Report


class Workers(Protocol):
    """What is asked of those who keep workers running."""

    def admins(self) -> Iterable[str]:
        """Return where their admin listeners are, as URLs."""
        ...


def admin_app(registry: CollectorRegistry, health: Health, workers: Workers | None = None) -> web.Application:
    """Return the admin application of a process, which may have workers."""

    async def metrics(request: web.Request) -> web.Response:
        made = await scrape(registry, request.headers.get("Accept", ""))
        return web.Response(body=made.body, headers={"Content-Type": made.content_type})

    async def live(_: web.Request) -> web.Response:
        return _answer(health.liveness())

    async def ready(_: web.Request) -> web.Response:
        starting = health.startup()
        return _answer(starting if starting.findings else await health.report())

    async def started(_: web.Request) -> web.Response:
        return _answer(health.startup())

    async def discover(request: web.Request) -> web.Response:
        body = orjson.dumps(targets(request.host, workers.admins() if workers else ()))
        return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store"})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/livez", live)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/startupz", started)
    app.router.add_get("/health", ready)
    app.router.add_get("/targets", discover)
    return app


def _answer(report: Report) -> web.Response:
    return web.Response(
        body=full_body(report),
        status=report.http_status,
        content_type=CONTENT_TYPE,
        headers={"Cache-Control": "no-store"},
    )
