"""What the API exports: requests by route, and what the limits decided. Names and labels are the public contract's.

A route is its template, never the path that was asked for: that has a customer's ids in it, and whatever a scanner
tries. Formats of one thing share a route, and so do files below a digest; the number of series is that of the table of
routes. Label sets are looked up once, when the routes are known: a request costs two additions.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import hdrs
from prometheus_client import Counter, Histogram

from publisher.api.operations import OPERATIONS
from publisher.api.request_log import OTHER, UNMATCHED
from publisher.metrics import BUCKETS
from publisher.profiles.model import Fault, LimitClass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aiohttp import web
    from prometheus_client import CollectorRegistry

    from publisher.api.call import Operation
    from publisher.profiles import Profile

    StatusesOf = Callable[[Operation, Profile], frozenset[int]]

#: Below these stand many small documents of one kind.
FAMILIES = ("/.well-known/openpgpkey/", "/api/v2/", "/badges/", "/health/")
#: What is served below a digest of its content, which changes with the release.
BELOW_DIGEST = re.compile(r"/[0-9a-f]{16}/.*")
#: How whatever is not in the table of operations may be answered, and what has no route.
OF_OTHERS = (Fault.NOT_FOUND, Fault.RATE_LIMITED, Fault.CRASHED, Fault.UNAVAILABLE)
OF_UNMATCHED = (Fault.NOT_FOUND, Fault.METHOD_NOT_ALLOWED, Fault.RATE_LIMITED)
#: Ends when its reader leaves: how long that took says nothing of us.
ENDLESS = "/transparency/stream"


class Seen(NamedTuple):
    """A method of a route, with its children; without `duration` it is not timed."""

    method: str
    route: str
    statuses: dict[int, Counter]
    duration: Histogram | None


class ApiMetrics:
    """Counters of requests; every label set a route may be answered with exists once the routes are known."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register everything on `registry`; `know` tells of the routes."""
        self._requests = Counter(
            "heliograph_http_requests", "Requests answered", ("method", "route", "status"), registry=registry
        )
        self._durations = Histogram(
            "heliograph_http_request_duration_seconds",
            "From a request's head to its answer, before that is sent; neither HEAD nor streams are timed",
            ("method", "route"),
            buckets=BUCKETS,
            registry=registry,
        )
        decisions = Counter(
            "heliograph_ratelimit_decisions",
            "Requests of the API that a limit let through or refused",
            ("policy", "decision"),
            registry=registry,
        )
        self._decisions = {
            (policy, is_allowed): decisions.labels(policy, "allowed" if is_allowed else "limited")
            for policy in LimitClass
            for is_allowed in (True, False)
        }
        self._of_route: dict[web.AbstractRoute, Seen] = {}
        self._seen: dict[tuple[str, str], Seen] = {}

    def know(self, routes: Iterable[web.AbstractRoute], profile: Profile, statuses_of: StatusesOf) -> None:
        """Make every series of an application's `routes`; `statuses_of` says how an operation may be answered."""
        kinds = profile.errors.kinds
        expected = expected_statuses(profile, statuses_of)
        others = {HTTPStatus.OK, HTTPStatus.NOT_MODIFIED, *(kinds[fault].status for fault in OF_OTHERS)}
        for route in routes:
            if route.resource is None:
                continue
            template = route.resource.canonical
            statuses = expected.get((route.method, template))
            label = template if statuses is not None else route_of(template)
            is_timed = route.method != hdrs.METH_HEAD and template != profile.base + ENDLESS
            self._of_route[route] = self._add(route.method, label, statuses or others, is_timed=is_timed)
        for method in (*sorted(hdrs.METH_ALL), OTHER):
            self._add(method, UNMATCHED, {kinds[fault].status for fault in OF_UNMATCHED}, is_timed=False)

    def answered(self, request: web.Request, status: int, seconds: float) -> None:
        """Count an answer, and the `seconds` it took to make."""
        seen = self._of_route.get(request.match_info.route)
        if seen is None:
            method = request.method if request.method in hdrs.METH_ALL else OTHER
            seen = self._seen.get((method, UNMATCHED)) or self._add(method, UNMATCHED, (), is_timed=False)
        self.counted(seen, status, seconds)

    def of(self, method: str, path: str) -> Seen | None:
        """Return what counts answers of a path that is a whole route, and no operation's; None if it is not known."""
        return self._seen.get((method, route_of(path)))

    def counted(self, seen: Seen, status: int, seconds: float) -> None:
        """Count an answer of what `of` returned."""
        counter = seen.statuses.get(status)
        if counter is None:
            counter = seen.statuses[status] = self._requests.labels(seen.method, seen.route, str(status))
        counter.inc()
        if seen.duration is not None:
            seen.duration.observe(seconds)

    def decided(self, policy: LimitClass, *, is_allowed: bool) -> None:
        """Count what a limit decided about a request."""
        self._decisions[policy, is_allowed].inc()

    def _add(self, method: str, route: str, statuses: Iterable[int], *, is_timed: bool) -> Seen:
        seen = self._seen.get((method, route))
        if seen is None:
            duration = self._durations.labels(method, route) if is_timed else None
            seen = self._seen[method, route] = Seen(method, route, {}, duration)
        for status in statuses:
            if status not in seen.statuses:
                seen.statuses[status] = self._requests.labels(method, route, str(int(status)))
        return seen


def expected_statuses(profile: Profile, statuses_of: StatusesOf) -> Mapping[tuple[str, str], frozenset[int]]:
    """Return the statuses operations may be answered with, by method and whole template. Pure."""
    expected = {}
    for operation in OPERATIONS:
        statuses = statuses_of(operation, profile)
        template = profile.base + operation.path
        expected[operation.method, template] = statuses
        if operation.method == hdrs.METH_GET:
            expected[hdrs.METH_HEAD, template] = statuses
    return expected


def route_of(template: str) -> str:
    """Return the label of a route outside the table of operations: its template, without formats and digests. Pure."""
    for family in FAMILIES:
        if template.startswith(family):
            return f"{family}*"
    if BELOW_DIGEST.search(template):
        return BELOW_DIGEST.sub("/*", template)
    folder, _, name = template.rstrip("/").rpartition("/")
    return f"{folder}/{name.partition('.')[0]}"
