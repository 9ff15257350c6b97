"""Tracing as tests look at it: spans in memory, in the order of their ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from runtime.telemetry import Tracing
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

    from runtime.clock import Clock


class Traced:
    """Tracing, and the spans that have ended."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self.clock = clock or FakeClock()
        self.tracing = Tracing(SimpleSpanProcessor(self._exporter), self.clock, version="0")

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    @property
    def one(self) -> ReadableSpan:
        [span] = self.spans
        return span


def context(span: ReadableSpan) -> SpanContext:
    """Return what names a span; one that was started always has it."""
    found = span.get_span_context()
    assert found is not None
    return found


def parent(span: ReadableSpan) -> tuple[int, int] | None:
    """Return trace and span that a span is below."""
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


def names(span: ReadableSpan) -> tuple[int, int]:
    """Return trace and span of a span."""
    found = context(span)
    return found.trace_id, found.span_id


def everything(span: ReadableSpan) -> str:
    """Return all a span says, as it would be exported in JSON."""
    return str(span.to_json())
