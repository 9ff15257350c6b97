"""What publishing adds to a trace: fan-out, attempts, the writing of results; and nothing of a customer."""

from __future__ import annotations

import contextlib

import pytest
from opentelemetry.trace import StatusCode

from publisher import tracing
from publisher.delivery.attempt import Attempted
from publisher.delivery.outcome import Result
from publisher.delivery.transport import Response
from publisher.queue import Finished, Job
from publisher.tracing import DeliverySpans, FanOutSpans
from runtime.settings import load
from runtime.trace_context import ids_of, traceparent
from tests.support.domain_events import an_event
from tests.support.jobs import a_job, a_message, an_endpoint
from tests.support.time import FakeClock
from tests.support.traced import Traced, everything, names, parent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
NOT_RECORDED, RECORDED = f"00-{TRACE}-00f067aa0ba902b7-00", f"00-{TRACE}-00f067aa0ba902b7-01"
BEGAN = 1_793_491_200.25


def a_traced_job(text: str | None = RECORDED, *, number: int = 1, attempt: int = 1) -> Job:
    endpoint = an_endpoint("https://receiver.example/hooks/canary?token=canary", account="acct_canary")
    return a_job(f"dlv_{number}", endpoint=endpoint, message=a_message()._replace(traceparent=text), attempt=attempt)


def made(result: Result = Result.OK, status: int | None = 204) -> Attempted:
    response = None if status is None else Response(status, None, b"canary")
    return Attempted(result, BEGAN, 0.5, {"webhook-signature": "v1,canary"}, response)


def finished(job: Job) -> Finished:
    return Finished("acct_1", job.id, job.lease, "delivered", 0.0, job.attempt, Result.OK, 204, 12, None, BEGAN, None)


@pytest.mark.parametrize(
    ("endpoint", "switch", "is_traced"),
    [(None, "", False), ("http://127.0.0.1:9", "", True), ("http://127.0.0.1:9", " True", False)],
)
async def test_there_is_tracing_where_there_is_a_collector(
    monkeypatch: pytest.MonkeyPatch, endpoint: str | None, switch: str, *, is_traced: bool
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", switch)
    async with contextlib.AsyncExitStack() as stack:
        opened = tracing.open_tracing(load(environ={}, otlp_endpoint=endpoint), stack, FakeClock())
        assert (opened is not None) == is_traced


# --- fan-out ---------------------------------------------------------------------------------------------------------


def test_the_message_goes_on_with_the_span_of_its_fan_out() -> None:
    traced = Traced()
    events = [an_event(traceparent=each) for each in (None, RECORDED, NOT_RECORDED)]
    with FanOutSpans(traced.tracing)(events) as handled:
        assert traced.spans == []
    span = traced.one
    assert (span.name, span.kind.name, parent(span)) == ("fan-out", "INTERNAL", ids_of(RECORDED))
    assert dict(span.attributes or {}) == {"cloudevents.event_type": "server.power.on"}
    assert handled[0] is events[0]
    assert handled[1].traceparent == traceparent(*names(span))
    assert handled[2] is events[2]


def test_a_fan_out_that_fails_says_so_without_a_word_of_why() -> None:
    traced = Traced()
    with pytest.raises(ValueError, match="acct_canary"), FanOutSpans(traced.tracing)([an_event(traceparent=RECORDED)]):
        raise ValueError("acct_canary")
    assert (traced.one.attributes or {})["error.type"] == "ValueError"
    assert "canary" not in everything(traced.one)


# --- attempts --------------------------------------------------------------------------------------------------------


def test_an_attempt_is_a_span_of_its_own_time_below_the_fan_out() -> None:
    traced = Traced()
    DeliverySpans(traced.tracing).attempted(a_traced_job(), made())
    span = traced.one
    assert (span.name, span.kind.name, parent(span)) == ("POST", "CLIENT", ids_of(RECORDED))
    assert (span.start_time, span.end_time) == (1_793_491_200_250_000_000, 1_793_491_200_750_000_000)
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "http.response.status_code": 204,
        "url.full": "",
        "server.address": "",
        "cloudevents.event_type": "server.power.on",
    }
    assert span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("result", "status", "attempt", "expected"),
    [
        (Result.OK, 204, 3, {"http.response.status_code": 204, "http.request.resend_count": 2}),
        (Result.SERVER_ERROR, 503, 1, {"http.response.status_code": 503, "error.type": "5xx"}),
        (Result.TIMEOUT, None, 2, {"http.request.resend_count": 1, "error.type": "timeout"}),
    ],
)
def test_how_an_attempt_went_is_in_its_span(
    result: Result, status: int | None, attempt: int, expected: dict[str, str | int]
) -> None:
    traced = Traced()
    DeliverySpans(traced.tracing).attempted(a_traced_job(attempt=attempt), made(result, status))
    about = dict(traced.one.attributes or {})
    telling = ("http.response.status_code", "http.request.resend_count", "error.type")
    assert {name: about[name] for name in telling if name in about} == expected
    assert (traced.one.status.status_code is StatusCode.ERROR) == ("error.type" in expected)


@pytest.mark.parametrize("text", [None, NOT_RECORDED])
def test_an_attempt_of_what_is_not_traced_has_no_span(text: str | None) -> None:
    traced = Traced()
    spans = DeliverySpans(traced.tracing)
    job = a_traced_job(text)
    spans.attempted(job, made())
    with spans.recording([finished(job)]):
        pass
    assert traced.spans == []


def test_nothing_of_a_customer_is_in_a_span() -> None:
    traced = Traced()
    spans = DeliverySpans(traced.tracing)
    job = a_traced_job()
    spans.attempted(job, made(Result.SERVER_ERROR, 500))
    with spans.recording([finished(job)]):
        pass
    said = "".join(map(everything, traced.spans))
    for theirs in ("canary", "receiver.example", "acct_", job.endpoint.id, job.id):
        assert theirs not in said


def test_a_public_event_that_is_traced_makes_no_more_spans_than_so_many_a_second() -> None:
    traced = Traced()
    spans = DeliverySpans(traced.tracing)
    for number in range(tracing.ATTEMPTS_PER_SECOND + 100):
        spans.attempted(a_traced_job(number=number), made())
    assert len(traced.spans) == tracing.ATTEMPTS_PER_SECOND


# --- results ---------------------------------------------------------------------------------------------------------


def test_results_are_written_in_a_span_below_the_first_attempt_and_linked_to_all() -> None:
    traced = Traced()
    spans = DeliverySpans(traced.tracing)
    other = "00-" + "1" * 32 + "-00f067aa0ba902b7-01"
    jobs = [a_traced_job(None, number=1), a_traced_job(RECORDED, number=2), a_traced_job(other, number=3)]
    for job in jobs:
        spans.attempted(job, made())
    with spans.recording([finished(job) for job in jobs]):
        pass
    first, second, record = traced.spans
    assert (record.name, record.kind.name, parent(record)) == ("record", "INTERNAL", names(first))
    assert [(link.context.trace_id, link.context.span_id) for link in record.links] == [names(first), names(second)]
    assert dict(record.attributes or {}) == {"db.system.name": "postgresql", "db.operation.batch.size": 3}
    with spans.recording([finished(job) for job in jobs]):
        pass
    assert len(traced.spans) == 3  # each result is written once


def test_a_write_that_fails_is_a_span_and_so_is_the_next_one() -> None:
    traced = Traced()
    spans = DeliverySpans(traced.tracing)
    job = a_traced_job()
    spans.attempted(job, made())
    with pytest.raises(ConnectionError), spans.recording([finished(job)]):
        raise ConnectionError("canary")
    with spans.recording([finished(job)]):
        pass
    attempt, failed, written = traced.spans
    assert parent(failed) == parent(written) == names(attempt)
    assert (failed.attributes or {})["error.type"] == "ConnectionError"
    assert written.status.status_code is StatusCode.UNSET


def test_what_is_never_written_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "UNWRITTEN", 2)
    traced = Traced()
    spans = DeliverySpans(traced.tracing)
    jobs = [a_traced_job(number=number) for number in range(3)]
    for job in jobs:
        spans.attempted(job, made())
    with spans.recording([finished(job) for job in jobs]):
        pass
    assert [(link.context.trace_id, link.context.span_id) for link in traced.spans[-1].links] == [
        names(span) for span in traced.spans[1:3]
    ]
