"""Spans as OTLP says them, at a third of the SDK's price: what encodes holds the interpreter that delivers.

The messages are OpenTelemetry's own (`opentelemetry-proto`), and the way to the collector is the SDK's exporter:
headers, certificates, compression, repetitions. Ours is only what makes a message of a span as `telemetry.Tracing` has
them: one resource and one scope, no events, and values that are text or whole numbers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

#: Attributes that are remembered as messages: most are types of events, topics, routes, statuses, and come again.
REMEMBERED = 1024
_KINDS = {
    SpanKind.INTERNAL: Span.SPAN_KIND_INTERNAL,
    SpanKind.SERVER: Span.SPAN_KIND_SERVER,
    SpanKind.CLIENT: Span.SPAN_KIND_CLIENT,
    SpanKind.CONSUMER: Span.SPAN_KIND_CONSUMER,
}
_KNOWN = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_REMOTE = _KNOWN | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


class Exporter(OTLPSpanExporter):
    """The SDK's exporter over HTTP, with our encoding."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans, one or more, in one request; repeat it as OTLP says while there is time."""
        sent = self._client.export(encode(spans))
        return SpanExportResult.SUCCESS if sent.success else SpanExportResult.FAILURE


def encode(spans: Sequence[ReadableSpan]) -> bytes:
    """Return the bytes of an `ExportTraceServiceRequest` of spans, one or more, that have one resource and scope."""
    request = encode_spans(spans[:1])
    scope = request.resource_spans[0].scope_spans[0]
    del scope.spans[:]
    scope.spans.extend([_message(span) for span in spans])
    encoded: bytes = request.SerializeToString()
    return encoded


def _message(span: ReadableSpan) -> Span:
    context, parent = span.context, span.parent
    message = Span(
        trace_id=context.trace_id.to_bytes(16),
        span_id=context.span_id.to_bytes(8),
        name=span.name,
        kind=_KINDS[span.kind],
        start_time_unix_nano=span.start_time or 0,
        end_time_unix_nano=span.end_time or 0,
        attributes=[_pair(name, value) for name, value in (span.attributes or {}).items()],
        flags=_flags(parent),
    )
    if parent is not None:
        message.parent_span_id = parent.span_id.to_bytes(8)
    if span.links:
        message.links.extend([_link(link.context) for link in span.links])
    if not span.status.is_unset:
        message.status.code = Status.STATUS_CODE_ERROR
    return message


def _link(context: SpanContext) -> Span.Link:
    return Span.Link(trace_id=context.trace_id.to_bytes(16), span_id=context.span_id.to_bytes(8), flags=_flags(context))


def _flags(context: SpanContext | None) -> int:
    return _REMOTE if context is not None and context.is_remote else _KNOWN


@lru_cache(REMEMBERED)
def _pair(name: str, value: object) -> KeyValue:
    if isinstance(value, str):
        return KeyValue(key=name, value=AnyValue(string_value=value))
    if isinstance(value, int):
        return KeyValue(key=name, value=AnyValue(int_value=value))
    msg = f"{name} is {value!r}: neither text nor a whole number"
    raise TypeError(msg)
