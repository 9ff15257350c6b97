"""Whatever goes wrong, the answer is the provider's envelope with the request's id, and says nothing it should not."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from publisher.api import operations
from tests.support.api import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.settings import Settings
    from tests.support.api import Answer, Caller, Running

KEYS = ["type", "code", "message", "request_id", "doc_url"]


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Running]:
    async with running(settings) as running_api:
        yield running_api


@pytest.fixture
def caller(api: Running) -> Caller:
    return api.caller()


def said(answer: Answer) -> tuple[int, str, str]:
    """Return status, type and code of an error; check what every error has."""
    error = answer.json["error"]
    assert list(error) == KEYS
    assert error["doc_url"] == "https://nordbastion.com/api/#errors"
    assert error["request_id"] == answer.headers["X-Request-ID"]
    assert answer.headers["Content-Type"].startswith("application/json")
    assert "Server" not in answer.headers
    return answer.status, error["type"], error["code"]


#: Of requests with no route or a wrong query: status, type and code.
UNROUTED = [
    ("GET", "/v1", 404, "not_found", "not_found"),
    ("GET", "/v1/webhook", 404, "not_found", "not_found"),
    ("GET", "/v1/webhooks/", 404, "not_found", "not_found"),
    ("GET", "/v2/webhooks", 404, "not_found", "not_found"),
    ("GET", "/v1/webhooks/../../etc/passwd", 404, "not_found", "not_found"),
    ("PUT", "/v1/webhooks", 405, "invalid_request", "method_not_allowed"),
    ("DELETE", "/v1/webhooks", 405, "invalid_request", "method_not_allowed"),
    ("PROPFIND", "/v1/webhooks", 405, "invalid_request", "method_not_allowed"),
    ("BREW", "/v1/webhooks", 400, "invalid_request", "malformed_request"),
    ("GET", "/v1/webhooks?page=0", 422, "invalid_request", "invalid_parameter"),
    ("GET", "/v1/webhooks?pages=1", 422, "invalid_request", "unknown_parameter"),
    ("GET", "/v1/webhooks/we_1?x=1", 422, "invalid_request", "unknown_parameter"),
]


async def test_what_has_no_route_or_a_wrong_query(caller: Caller) -> None:
    for method, path, status, kind, code in UNROUTED:
        assert said(await caller(method, path)) == (status, kind, code), (method, path)


async def test_a_wrong_method_is_told_the_right_ones(caller: Caller) -> None:
    answer = await caller("PUT", "/v1/webhooks")
    assert set(answer.headers["Allow"].split(", ")) >= {"GET", "POST"}
    options = await caller("OPTIONS", "/v1/webhooks")
    assert said(options) == (405, "invalid_request", "method_not_allowed")
    assert "Access-Control-Allow-Origin" not in options.headers


GOOD: dict[str, Any] = {"url": "https://example.com/hooks", "events": ["*"]}


#: Of bodies and their content types: status and code.
WRONG_BODIES = [
    (b"{", "application/json", 400, "invalid_json"),
    (b"", "application/json", 400, "missing_body"),
    (b"[]", "application/json", 400, "invalid_json"),
    (b'"text"', "application/json", 400, "invalid_json"),
    (b'{"url": NaN}', "application/json", 400, "invalid_json"),
    (b"\xff\xfe", "application/json", 400, "invalid_json"),
    (b"[" * 100_000, "application/json", 400, "invalid_json"),
    (b"{}", "text/plain", 415, "unsupported_media_type"),
    (b"url=https://example.com", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    (b"{}", "application/json; charset=utf-16", 415, "unsupported_media_type"),
    (b"{}", "application/json", 422, "missing_field"),
    (b'{"url": 1, "events": ["*"]}', "application/json", 422, "invalid_url"),
    (b'{"url": "https://example.com/", "events": ["*"], "x": 1}', "application/json", 422, "unknown_field"),
    (b" " * 262_145, "application/json", 413, "body_too_large"),
]


async def test_a_wrong_body(caller: Caller) -> None:
    for content, content_type, status, code in WRONG_BODIES:
        answer = await caller("POST", "/v1/webhooks", content=content, Content_Type=content_type)
        assert said(answer)[::2] == (status, code), (content[:40], answer.content)


async def test_a_request_id_is_made_or_echoed(caller: Caller) -> None:
    made = await caller("GET", "/v1/webhooks")
    assert made.headers["X-Request-ID"].startswith("req_")
    again = await caller("GET", "/v1/webhooks")
    assert again.headers["X-Request-ID"] != made.headers["X-Request-ID"]
    for given in ("mine-1", "2f1c9ac2-0e3d-4d3e-9f87-6d5a2c1b0a99", "a" * 64):
        assert (await caller("GET", "/v1/nothing", X_Request_ID=given)).headers["X-Request-ID"] == given
    for refused in ("", "a" * 65, "<script>", "a b", "ä"):
        answer = await caller("GET", "/v1/webhooks", X_Request_ID=refused)
        assert answer.headers["X-Request-ID"].startswith("req_"), refused


async def test_a_crash_says_nothing_and_is_in_the_log(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash(_: object) -> None:
        raise ZeroDivisionError("something internal")

    table = {operation.name: operation for operation in operations.OPERATIONS}
    monkeypatch.setattr(type(table["list_webhooks"]), "__setattr__", object.__setattr__)
    monkeypatch.setattr(table["list_webhooks"], "handler", crash)
    with caplog.at_level(logging.ERROR):
        async with running(settings) as api:
            answer = await api.caller()("GET", "/v1/webhooks")
    assert said(answer) == (500, "api_error", "internal_error")
    assert b"internal" in answer.content
    assert b"ZeroDivision" not in answer.content
    assert b"something" not in answer.content
    [record] = [each for each in caplog.records if answer.headers["X-Request-ID"] in each.getMessage()]
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


async def test_signed_answers_are_refused_while_nobody_can_sign(caller: Caller) -> None:
    for wish, expected in {"1": (503, "signing_unavailable"), "2": (400, "invalid_header")}.items():
        answer = await caller("POST", "/v1/webhooks", GOOD, X_NB_Sign=wish)
        assert said(answer)[::2] == expected
    assert (await caller("GET", "/v1/webhooks")).json["meta"]["total"] == 0


async def test_requests_have_their_share_of_connections_and_wait_their_turn(api: Running) -> None:
    answers = await asyncio.gather(*(api.caller()("GET", "/v1/webhooks") for _ in range(100)))
    assert {answer.status for answer in answers} == {200}


async def test_a_database_that_is_away_is_503_and_comes_back(settings: Settings) -> None:
    async with running(settings) as api:
        caller = api.caller()
        pool = api.service.pool
        assert (await caller("GET", "/v1/webhooks")).status == 200
        await pool.execute("ALTER TABLE endpoints RENAME TO hidden")
        try:
            broken = await caller("GET", "/v1/webhooks")
        finally:
            await pool.execute("ALTER TABLE hidden RENAME TO endpoints")
        assert said(broken) == (500, "api_error", "internal_error")
        await pool.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        statuses = [(await caller("GET", "/v1/webhooks")).status for _ in range(12)]
        assert set(statuses) <= {200, 503}
        assert statuses[-1] == 200
