"""Limits in front of an aiohttp application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from heliograph_telemetry.callers import by_method

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from heliograph_telemetry.callers import Caller
    from heliograph_telemetry.limits import Limits

_NAME = "heliograph_telemetry.headers"
#: Newer releases of aiohttp want keys of their own kind.
_TOLD: Any = web.RequestKey(_NAME, dict) if hasattr(web, "RequestKey") else _NAME


def setup(
    app: web.Application,
    limits: Limits,
    *,
    caller: Callable[[web.Request], Caller],
    policy: Callable[[str, str], str | None] = by_method,
) -> None:
    """Limit every request of `app` from here on, and tell how the caller stands on every answer, streams too.

    `caller` says whose a request is: middlewares added before this one have run by then. `policy` takes method and
    path; what it returns None for has no limit.
    """

    @web.middleware
    async def limit(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        counts_as = policy(request.method, request.path)
        if counts_as is None:
            return await handler(request)
        given = request.headers.get(limits.profile.request_id_header)
        decision = limits.decide(counts_as, caller(request), given)
        request[_TOLD] = decision.headers
        if decision.refusal is None:
            return await handler(request)
        return web.Response(body=decision.refusal, status=limits.profile.status, content_type="application/json")

    async def tell(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(request.get(_TOLD, {}))

    app.middlewares.append(limit)
    app.on_response_prepare.append(tell)
