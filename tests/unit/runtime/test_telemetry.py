"""Spans on their way out: bounded, told of once when they are lost, and never in anybody's way."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from runtime import telemetry
from runtime.clock import SystemClock
from runtime.telemetry import Outbox, Tracing, WatchedExporter
from runtime.trace_context import TRACEPARENT, ids_of
from tests.support.collector import Collector
from tests.support.traced import Traced, everything, names, parent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Exporter(SpanExporter):
    """Answers as it is told, when it is let."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.answer: SpanExportResult | Exception = SpanExportResult.SUCCESS
        self.exported: list[str] = []
        self.began, self.gate = threading.Event(), threading.Event()
        self.is_shut = False
        if is_open:
            self.gate.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.began.set()
        assert self.gate.wait(20)
        if isinstance(self.answer, Exception):
            raise self.answer
        self.exported += [span.name for span in spans]
        return self.answer

    def shutdown(self) -> None:
        self.is_shut = True


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "runtime.telemetry"]


# --- spans -----------------------------------------------------------------------------------------------------------


def test_a_span_is_below_what_it_goes_on_with() -> None:
    traced = Traced()
    span = traced.tracing.start("fan-out", "INTERNAL", {"a": 1}, parent=PARENT, links=[PARENT])
    traced.clock.advance(2.5)  # type: ignore[attr-defined]  # it is a FakeClock
    traced.tracing.end(span)
    ended = traced.one
    assert parent(ended) == ids_of(PARENT)
    assert [(link.context.trace_id, link.context.span_id) for link in ended.links] == [ids_of(PARENT)]
    assert (ended.name, ended.kind.name, dict(ended.attributes or {})) == ("fan-out", "INTERNAL", {"a": 1})
    assert ended.start_time is not None
    assert ended.end_time is not None
    assert ended.end_time - ended.start_time == 2_500_000_000
    assert ended.resource.attributes["service.name"] == "heliograph"
    assert ended.status.status_code is StatusCode.UNSET


def test_a_span_without_a_parent_begins_a_trace_whatever_else_is_under_way() -> None:
    traced = Traced()
    outer = traced.tracing.start("outer", "SERVER", {})
    traced.tracing.end(traced.tracing.start("inner", "SERVER", {}))
    traced.tracing.end(outer)
    assert [parent(span) for span in traced.spans] == [None, None]
    assert len({names(span)[0] for span in traced.spans}) == 2


def test_what_comes_here_has_been_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    traced = Traced()
    traced.tracing.end(traced.tracing.start("fan-out", "INTERNAL", {}, parent=PARENT))
    assert len(traced.spans) == 1


def test_a_span_s_attributes_are_its_own() -> None:
    traced = Traced()
    about: telemetry.Attributes = {"a": 1}
    first, second = (traced.tracing.start("POST", "CLIENT", about) for _ in range(2))
    first.attributes["b"] = 2
    traced.tracing.end(first, error="timeout")
    traced.tracing.end(second)
    assert [dict(span.attributes or {}) for span in traced.spans] == [{"a": 1, "b": 2, "error.type": "timeout"}, about]


def test_what_continues_a_span_is_valid_and_recorded() -> None:
    traced = Traced()
    span = traced.tracing.start("request", "SERVER", {})
    text = span.traceparent
    traced.tracing.end(span)
    assert TRACEPARENT.fullmatch(text)
    assert ids_of(text) == names(traced.one)
    assert text.endswith("-01")


def test_a_failure_is_its_class_and_no_text() -> None:
    traced = Traced()
    traced.tracing.end(traced.tracing.start("POST", "CLIENT", {}), error="timeout")
    ended = traced.one
    assert ended.status.status_code is StatusCode.ERROR
    assert ended.status.description is None
    assert dict(ended.attributes or {}) == {"error.type": "timeout"}
    assert ended.events == ()
    assert "Traceback" not in everything(ended)


# --- what is lost ----------------------------------------------------------------------------------------------------


def test_spans_that_are_lost_are_told_of_once_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    behind = Exporter()
    exporter = WatchedExporter(behind)
    spans = _spans(3)
    for answer in (SpanExportResult.FAILURE, OSError("refused"), SpanExportResult.FAILURE):
        behind.answer = answer
        assert exporter.export(spans) is SpanExportResult.FAILURE
    behind.answer = SpanExportResult.SUCCESS
    for _ in range(2):
        assert exporter.export(spans) is SpanExportResult.SUCCESS
    assert [level for level, _ in said(caplog)] == ["WARNING", "INFO"]
    assert "9 spans were lost" in said(caplog)[1][1]
    assert "refused" not in caplog.text
    behind.answer = SpanExportResult.FAILURE
    exporter.export(spans)
    assert said(caplog)[2][0] == "WARNING"


def _spans(count: int) -> list[ReadableSpan]:
    traced = Traced()
    for number in range(count):
        traced.tracing.end(traced.tracing.start(f"span {number}", "INTERNAL", {}))
    return traced.spans


async def test_what_finds_no_room_is_dropped_at_once_and_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(telemetry, "WAITING", 8)
    monkeypatch.setattr(telemetry, "AT_ONCE", 4)
    exporter = Exporter(is_open=False)
    tracing = Tracing(Outbox(exporter), SystemClock(), version="0")

    def make(count: int) -> None:
        for number in range(count):
            tracing.end(tracing.start(f"span {number}", "INTERNAL", {}))

    make(4)
    assert exporter.began.wait(20)  # four are on their way, and eight may wait
    make(20)
    exporter.gate.set()
    await tracing.close()
    assert len(exporter.exported) == 4 + 8
    assert exporter.is_shut
    assert [level for level, _ in said(caplog)] == ["WARNING", "INFO"]
    assert "12 spans were lost" in said(caplog)[1][1]


async def test_a_collector_that_is_away_costs_one_line_and_nothing_of_the_library_s(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "EXPORT_TIMEOUT", 0.05)
    tracing = telemetry.to_collector("http://127.0.0.1:9", SystemClock(), version="0")
    tracing.end(tracing.start("the last", "INTERNAL", {}))
    await tracing.close()
    assert {record.name for record in caplog.records if record.levelno >= logging.INFO} == {"runtime.telemetry"}
    assert [level for level, _ in said(caplog)] == ["WARNING"]


@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
async def test_spans_go_to_the_traces_of_a_collector(path: str) -> None:
    async with Collector().listening() as collector:
        tracing = telemetry.to_collector(collector.url + path, SystemClock(), version="0")
        tracing.end(tracing.start("fan-out", "INTERNAL", {"a": 1}, parent=PARENT))
        await tracing.close()
    [span] = collector.spans
    assert (span.name, span.kind, span.attributes) == ("fan-out", "INTERNAL", {"a": 1})
    assert (int(span.trace, 16), int(span.parent, 16)) == ids_of(PARENT)


# --- the end ---------------------------------------------------------------------------------------------------------


async def test_at_the_end_what_waits_is_exported() -> None:
    exporter = Exporter()
    tracing = Tracing(Outbox(exporter), SystemClock(), version="0")
    tracing.end(tracing.start("the last", "INTERNAL", {}))
    await tracing.close()
    assert exporter.exported == ["the last"]


async def test_a_collector_that_does_not_answer_keeps_nobody(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "FLUSH_GRACE", 0.05)
    exporter = Exporter(is_open=False)
    tracing = Tracing(Outbox(exporter), SystemClock(), version="0")
    tracing.end(tracing.start("the last", "INTERNAL", {}))
    await tracing.close()
    assert [text for _, text in said(caplog)] == ["the last traces were not exported (no answer within 0.05 s)"]
    exporter.gate.set()
