"""Our encoding of spans says what the SDK's says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

from runtime.otlp import encode
from tests.support.traced import Traced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.telemetry import Attributes, Kind

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def _as_the_sdk_says(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
    request = encode_spans(spans)
    for span in request.resource_spans[0].scope_spans[0].spans:
        if not span.status.code:
            span.ClearField("status")  # which the SDK sends empty
    return request


@pytest.mark.parametrize("kind", ["INTERNAL", "SERVER", "CLIENT", "CONSUMER"])
@pytest.mark.parametrize("parent", [None, PARENT])
@pytest.mark.parametrize("links", [[], [PARENT], [PARENT, OTHER]])
@pytest.mark.parametrize("error", [None, "timeout"])
@pytest.mark.parametrize("about", [{}, {"url.full": ""}, {"cloudevents.event_type": "server.ñ", "offset": 2**62}])
def test_a_span_says_what_the_sdk_says_of_it(
    kind: Kind, parent: str | None, links: list[str], error: str | None, about: Attributes
) -> None:
    traced = Traced()
    for _ in range(2):
        traced.tracing.end(traced.tracing.start("a name", kind, about, parent=parent, links=links), error=error)
        traced.clock.advance(0.001)  # type: ignore[attr-defined]  # it is a FakeClock
    encoded = ExportTraceServiceRequest.FromString(encode(traced.spans))
    assert len(encoded.resource_spans[0].scope_spans[0].spans) == 2
    assert encoded == _as_the_sdk_says(traced.spans)


def test_the_same_pair_with_another_kind_of_value_is_another_pair() -> None:
    traced = Traced()
    for value in (1, "1"):
        traced.tracing.end(traced.tracing.start("a name", "INTERNAL", {"a": value}))
    encoded = ExportTraceServiceRequest.FromString(encode(traced.spans))
    values = [span.attributes[0].value for span in encoded.resource_spans[0].scope_spans[0].spans]
    assert [(value.WhichOneof("value"), str(value.string_value)) for value in values] == [
        ("int_value", ""), ("string_value", "1")
    ]  # fmt: skip


def test_what_is_neither_text_nor_a_whole_number_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"ratio is 0\.5: neither text nor a whole number"):
        encode([ReadableSpan("a name", SpanContext(1, 2, is_remote=False), attributes={"ratio": 0.5})])
