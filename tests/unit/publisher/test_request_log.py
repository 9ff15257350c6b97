"""The wide line and the span of a request: route instead of path, nothing of who asked."""

from __future__ import annotations

import logging
from random import Random
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from opentelemetry.trace import StatusCode

from publisher import profiles
from publisher.api.request_log import RequestLog, named
from runtime import logs
from runtime.logs import JsonFormatter
from runtime.trace_context import Sampler
from tests.support.time import FakeClock
from tests.support.traced import Traced, everything, names, parent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from publisher.api.request_log import Chosen

PROFILE = profiles.load("nordbastion")
HOOK, FEED = "/v1/webhooks/{webhook_id}", "/v1/transparency/status"


@pytest.fixture(autouse=True)
def _no_trace_is_left() -> Iterator[None]:
    token = logs.TRACE.set(None)
    yield
    logs.TRACE.reset(token)


async def a_request(path: str, route: str | None, method: str = "GET") -> web.Request:
    """Return a request as it is once it has been routed."""

    async def handle(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    if route is not None:
        app.router.add_route(method, route, handle)
    headers = {"Authorization": "Bearer canary", "traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}
    request = make_mocked_request(method, path, headers, app=app)
    request._match_info = await app.router.resolve(request)
    return request


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [orjson.loads(JsonFormatter().format(record)) for record in caplog.records]


def tracing_log(traced: Traced, share: float = 1.0) -> RequestLog:
    return RequestLog(PROFILE, tracing=traced.tracing, sampler=Sampler(share, Random(1), FakeClock()))


async def test_a_line_has_the_route_and_not_the_path(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    request = await a_request("/v1/webhooks/canary?token=canary", HOOK)
    RequestLog(PROFILE).ended(*named(request), None, 200, 0.0126, "req_1")
    [line] = lines(caplog)
    assert {name: line[name] for name in line if name not in {"time", "logger", "pid"}} == {
        "level": "info",
        "message": "request",
        "method": "GET",
        "route": HOOK,
        "status": 200,
        "duration_ms": 13,
        "request_id": "req_1",
    }


async def test_what_has_no_route_says_nothing_of_what_was_tried(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    request = await a_request("/canary.php?canary", None, "CANARY")
    traced = Traced()
    log = tracing_log(traced)
    log.ended(*named(request), log.begun(*named(request)), 404, 0.0, "req_1")
    [line] = lines(caplog)
    assert (line["method"], line["route"], line["status"]) == ("_OTHER", "unmatched", 404)
    assert "canary" not in str(line).lower()
    assert traced.one.name == "_OTHER"
    assert "http.route" not in (traced.one.attributes or {})
    assert "canary" not in everything(traced.one).lower()


@pytest.mark.parametrize(
    ("chosen", "route", "status", "level"),
    [
        ("failed", HOOK, 200, "DEBUG"),
        ("failed", HOOK, 404, "INFO"),
        ("failed", FEED, 500, "INFO"),
        ("credentialed", HOOK, 399, "INFO"),
        ("credentialed", FEED, 200, "DEBUG"),
        ("credentialed", FEED, 400, "INFO"),
        ("all", FEED, 304, "INFO"),
    ],
)
async def test_which_requests_have_a_line(
    caplog: pytest.LogCaptureFixture, chosen: Chosen, route: str, status: int, level: str
) -> None:
    caplog.set_level(logging.DEBUG)
    request = await a_request(route.replace("{webhook_id}", "we_1"), route)
    RequestLog(PROFILE, chosen=chosen).ended(*named(request), None, status, 0.0, "req_1")
    assert [record.levelname for record in caplog.records] == [level]


@pytest.mark.parametrize(("status", "error"), [(200, None), (404, None), (503, "503")])
async def test_a_span_has_the_route_and_begins_a_trace_of_ours(status: int, error: str | None) -> None:
    traced = Traced()
    log = tracing_log(traced)
    request = await a_request("/v1/webhooks/canary?token=canary", HOOK)
    log.ended(*named(request), log.begun(*named(request)), status, 0.0, "req_1")
    span = traced.one
    assert (span.name, span.kind.name, parent(span)) == (f"GET {HOOK}", "SERVER", None)
    about = dict(span.attributes or {})
    assert about.pop("error.type", None) == error
    expected = {"http.request.method": "GET", "http.route": HOOK, "http.response.status_code": status, "url.path": ""}
    assert about == expected
    assert (span.status.status_code is StatusCode.ERROR) == (error is not None)
    assert names(span)[0] != int("1" * 32, 16)  # the caller's
    assert "canary" not in everything(span)


async def test_lines_within_a_span_name_its_trace_and_those_of_the_next_request_do_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    traced = Traced()
    request = await a_request("/v1/webhooks/we_1", HOOK)
    log = tracing_log(traced)
    log.ended(*named(request), log.begun(*named(request)), 200, 0.0, "req_1")
    assert lines(caplog)[0]["trace_id"] == f"{names(traced.one)[0]:032x}"
    caplog.clear()
    log = tracing_log(traced, share=0.0)
    log.ended(*named(request), log.begun(*named(request)), 200, 0.0, "req_2")
    assert "trace_id" not in lines(caplog)[0]
