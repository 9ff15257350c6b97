"""The wide line of an attempt: all that helps, nothing of the customer, and not thousands a second."""

from __future__ import annotations

import logging
from typing import Any

import orjson
import pytest

from publisher.delivery.attempt import Attempted
from publisher.delivery.outcome import DELIVERED, DROPPED, Result, Verdict
from publisher.delivery.report import Reporter
from publisher.delivery.transport import Response
from runtime import logs
from runtime.logs import JsonFormatter
from runtime.trace_context import trace_id_of
from tests.support.jobs import a_job, a_message, an_endpoint

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
JOB = a_job(
    endpoint=an_endpoint("https://canary.example/canary?canary", account="acct_canary"),
    message=a_message(body=b"canary")._replace(traceparent=f"00-{TRACE}-00f067aa0ba902b7-00"),
    attempt=2,
)
OK = Attempted(Result.OK, 0.0, 0.0871, {"webhook-signature": "canary"}, Response(204, None, b"canary"))
LATE = Attempted(Result.TIMEOUT, 0.0, 15.0, {}, None)


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [orjson.loads(JsonFormatter().format(record)) for record in caplog.records]


def test_a_line_has_everything_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Reporter().attempted(JOB, LATE, Verdict("retry", delay=95.24))
    [line] = lines(caplog)
    assert {name: line[name] for name in line if name not in {"time", "logger", "pid"}} == {
        "level": "info",
        "message": "attempt",
        "delivery_id": "dlv_1",
        "message_id": "msg_1",
        "endpoint_id": "we_1",
        "event_type": "server.power.on",
        "attempt": 2,
        "result": "timeout",
        "duration_ms": 15_000,
        "state": "retry",
        "retry_in": 95.2,
        "trace_id": TRACE,
    }


@pytest.mark.parametrize("is_traced", [False, True])
def test_a_test_has_its_line_too_in_the_trace_of_its_request(
    caplog: pytest.LogCaptureFixture, *, is_traced: bool
) -> None:
    caplog.set_level(logging.INFO)
    request = "1" * 32
    token = logs.TRACE.set((lambda: request) if is_traced else None)
    try:
        Reporter().tested(JOB, LATE)
        [line] = lines(caplog)
    finally:
        logs.TRACE.reset(token)
    assert line["trace_id"] == (request if is_traced else TRACE)
    assert (line["result"], line["delivery_id"]) == ("timeout", "dlv_1")
    assert line.keys().isdisjoint({"state", "retry_in"})


@pytest.mark.parametrize(("attempted", "verdict"), [(OK, DELIVERED), (LATE, DROPPED)])
def test_nothing_of_the_customer_is_in_it(
    caplog: pytest.LogCaptureFixture, attempted: Attempted, verdict: Verdict
) -> None:
    caplog.set_level(logging.DEBUG)
    Reporter().attempted(JOB, attempted, verdict)
    [line] = lines(caplog)
    assert "canary" not in str(line)
    assert ("status" in line) == (attempted is OK)
    assert "retry_in" not in line


@pytest.mark.parametrize(
    ("logs_all", "attempted", "level"),
    [(False, OK, "DEBUG"), (False, LATE, "INFO"), (True, OK, "INFO"), (True, LATE, "INFO")],
)
def test_successes_are_told_quietly_unless_all_are_asked_for(
    caplog: pytest.LogCaptureFixture, attempted: Attempted, level: str, *, logs_all: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    Reporter(logs_all=logs_all).attempted(JOB, attempted, DELIVERED)
    assert [record.levelname for record in caplog.records] == [level]


def test_a_message_that_came_without_a_trace_has_one_to_quote(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Reporter().attempted(a_job(), LATE, DROPPED)
    assert lines(caplog)[0]["trace_id"] == trace_id_of(None, "msg_1")
