"""Which series requests have: as many as there are routes, each there before anybody asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry, disable_created_metrics

from publisher import profiles
from publisher.api.metrics import ENDLESS, ApiMetrics, expected_statuses, route_of
from publisher.api.openapi.faults import statuses_of
from publisher.api.operations import OPERATIONS
from publisher.profiles.model import LimitClass

disable_created_metrics()  # type: ignore[no-untyped-call]  # as the service does

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PROFILE = profiles.load("nordbastion")
WEBHOOK = f"{PROFILE.base}/webhooks/{{webhook_id}}"
STREAM = PROFILE.base + ENDLESS
REQUESTS, DURATIONS = "heliograph_http_requests_total", "heliograph_http_request_duration_seconds_count"

ROUTES = [
    ("/", "/"),
    ("/status", "/status"),
    ("/status/", "/status"),
    ("/status/incidents/{id}", "/status/incidents/{id}"),
    ("/history.atom", "/history"),
    ("/history.rss", "/history"),
    ("/history/{component}.atom", "/history/{component}"),
    ("/v1/transparency/canary.json.{signer}.asc", "/v1/transparency/canary"),
    ("/v1/transparency/peering/documents/{number}.json.asc", "/v1/transparency/peering/documents/{number}"),
    ("/.well-known/security.txt", "/.well-known/security"),
    ("/.well-known/openpgpkey/{domain}/hu/{name}", "/.well-known/openpgpkey/*"),
    ("/api/v2/scheduled-maintenances/upcoming.json", "/api/v2/*"),
    ("/api/net", "/api/net"),
    ("/badges/{component}.svg", "/badges/*"),
    ("/pages/c4e26b88b1bb245e/site.css", "/pages/*"),
    ("/v1/docs/3354f5e56b80bba9/explorer.js", "/v1/docs/*"),
    ("/v1/docs", "/v1/docs"),
    ("/health", "/health"),
    ("/health/live", "/health/*"),
]


@pytest.mark.parametrize(("template", "route"), ROUTES)
def test_formats_and_digests_share_a_route(template: str, route: str) -> None:
    assert route_of(template) == route


def test_an_operation_is_expected_to_answer_as_its_documentation_says() -> None:
    expected = expected_statuses(PROFILE, statuses_of)
    assert expected["GET", WEBHOOK] == {200, 400, 401, 403, 404, 422, 429, 500, 503}
    assert expected["HEAD", WEBHOOK] == expected["GET", WEBHOOK]
    assert {204, 404} <= expected["DELETE", WEBHOOK]
    assert {202, 409, 413, 415} <= expected["POST", f"{WEBHOOK}/recover"]
    assert {method for method, _ in expected} == {"GET", "HEAD", "POST", "PATCH", "DELETE"}
    assert {template for _, template in expected} == {PROFILE.base + each.path for each in OPERATIONS}


async def answer(_: web.Request) -> web.Response:
    return web.Response()


def an_app() -> tuple[web.Application, ApiMetrics, CollectorRegistry]:
    """Return an application with two routes, whose answers are counted as if each took two seconds."""
    registry = CollectorRegistry()
    metrics = ApiMetrics(registry)

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPException as error:
            response = web.Response(status=error.status)
        metrics.answered(request, response.status, 2.0)
        return response

    app = web.Application(middlewares=[count])
    app.router.add_get(WEBHOOK, answer)
    app.router.add_get(STREAM, answer)
    metrics.know(app.router.routes(), PROFILE, statuses_of)
    return app, metrics, registry


def value(registry: CollectorRegistry, method: str, route: str, status: int | None = None) -> float | None:
    if status is None:
        return registry.get_sample_value(DURATIONS, {"method": method, "route": route})
    return registry.get_sample_value(REQUESTS, {"method": method, "route": route, "status": str(status)})


def test_every_label_set_is_there_before_anybody_asks() -> None:
    _, _, registry = an_app()
    for method in ("GET", "HEAD"):
        for status in expected_statuses(PROFILE, statuses_of)[method, WEBHOOK]:
            assert value(registry, method, WEBHOOK, status) == 0
    assert value(registry, "GET", STREAM, 304) == 0
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "_OTHER"):
        assert [value(registry, method, "unmatched", status) for status in (404, 405, 429)] == [0, 0, 0]
    for policy in LimitClass:
        for decision in ("allowed", "limited"):
            labels = {"policy": policy, "decision": decision}
            assert registry.get_sample_value("heliograph_ratelimit_decisions_total", labels) == 0


def test_neither_head_nor_streams_nor_strays_are_timed() -> None:
    _, _, registry = an_app()
    assert value(registry, "GET", WEBHOOK) == 0
    assert [value(registry, *each) for each in (("HEAD", WEBHOOK), ("GET", STREAM), ("GET", "unmatched"))] == [None] * 3


async def test_requests_are_counted_by_their_route_and_never_by_their_path() -> None:
    app, _, registry = an_app()
    path = WEBHOOK.replace("{webhook_id}", "we_of-a-customer")
    async with TestClient(TestServer(app)) as client:
        for method, asked in [
            ("GET", path), ("GET", f"{path}-2"), ("HEAD", path), ("GET", "/etc/passwd"), ("DELETE", path),
            ("PROPFIND", "/coffee"), ("PROPFIND", path),
        ]:  # fmt: skip
            await client.request(method, asked)
    assert value(registry, "GET", WEBHOOK, 200) == 2
    assert value(registry, "HEAD", WEBHOOK, 200) == 1
    assert value(registry, "GET", "unmatched", 404) == 1
    assert value(registry, "DELETE", "unmatched", 405) == 1
    assert (value(registry, "_OTHER", "unmatched", 404), value(registry, "_OTHER", "unmatched", 405)) == (1, 1)
    assert value(registry, "GET", WEBHOOK) == 2
    assert registry.get_sample_value(DURATIONS.replace("count", "sum"), {"method": "GET", "route": WEBHOOK}) == 4
    said = "".join(str(sample.labels) for family in registry.collect() for sample in family.samples)
    assert not [secret for secret in ("customer", "passwd", "coffee", "PROPFIND") if secret in said]


def test_decisions_of_a_limit_are_counted_by_policy() -> None:
    _, metrics, registry = an_app()
    metrics.decided(LimitClass.AUTH, is_allowed=False)
    metrics.decided(LimitClass.READ, is_allowed=True)
    found = {
        (policy, decision): registry.get_sample_value(
            "heliograph_ratelimit_decisions_total", {"policy": policy, "decision": decision}
        )
        for policy in LimitClass
        for decision in ("allowed", "limited")
    }
    assert {each for each, number in found.items() if number} == {("auth", "limited"), ("read", "allowed")}
