"""What is told of a request: one wide line in the log, and its span if it is traced.

The route stands for the path, which has ids in it, and for the query; neither address nor credential is told, and of a
method only what HTTP calls one. A request that fails (4xx, 5xx) always has its line. What is open to all and answered
is read all day by everybody, mostly from caches; it has one at `debug` unless all are asked for.

A caller's own `traceparent` is not gone on with: strangers do not decide what is traced here.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from aiohttp import hdrs

from publisher.api.call import Access
from publisher.api.operations import OPERATIONS
from runtime import logs

if TYPE_CHECKING:
    from aiohttp import web

    from publisher.profiles import Profile
    from runtime.telemetry import Attributes, Span, Tracing
    from runtime.trace_context import Sampler

    Chosen = Literal["failed", "credentialed", "all"]

logger = logging.getLogger(__name__)

#: As OpenTelemetry's conventions for HTTP call a method that is none; in metrics too.
OTHER = "_OTHER"
#: The route of what has none.
UNMATCHED = "unmatched"
FAILED, BROKEN = 400, 500


class RequestLog:
    """Tells of requests; one for each process."""

    def __init__(
        self,
        profile: Profile,
        *,
        chosen: Chosen = "credentialed",
        tracing: Tracing | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        """`chosen` are the requests that have a line at `info`; without `tracing` and `sampler` none has a span."""
        self._chosen = chosen
        self._tracing = tracing
        self._sampler = sampler
        self._credentialed = frozenset(
            profile.base + operation.path for operation in OPERATIONS if operation.access is not Access.PUBLIC
        )

    def begun(self, method: str, route: str) -> Span | None:
        """Take note of a request; return its span if it has one."""
        if self._tracing is None or self._sampler is None:
            return None
        logs.TRACE.set(None)  # a connection's requests are of one task
        if not self._sampler.wants(None):
            return None
        about: Attributes = {"http.request.method": method, "url.path": ""}
        if route != UNMATCHED:
            about["http.route"] = route
        span = self._tracing.start(method if route == UNMATCHED else f"{method} {route}", "SERVER", about)
        trace_id = f"{span.context.trace_id:032x}"
        logs.TRACE.set(lambda: trace_id)
        return span

    def ended(  # noqa: PLR0917 - in the order of the line
        self, method: str, route: str, span: Span | None, status: int, seconds: float, request_id: str
    ) -> None:
        """Tell of a request that has been answered, after `seconds`."""
        if span is not None and self._tracing is not None:
            span.attributes["http.response.status_code"] = status
            self._tracing.end(span, error=str(status) if status >= BROKEN else None)
        level = logging.INFO if self._is_chosen(route, status) else logging.DEBUG
        if logger.isEnabledFor(level):
            took = round(seconds * 1000)
            logger.log(
                level,
                "request",
                extra=logs.fields(method=method, route=route, status=status, duration_ms=took, request_id=request_id),
            )

    def _is_chosen(self, route: str, status: int) -> bool:
        if status >= FAILED or self._chosen == "all":
            return True
        return self._chosen == "credentialed" and route in self._credentialed


def named(request: web.Request) -> tuple[str, str]:
    """Return method and route of a request that has been routed, each one of a closed set."""
    resource = request.match_info.route.resource
    return request.method if request.method in hdrs.METH_ALL else OTHER, resource.canonical if resource else UNMATCHED
