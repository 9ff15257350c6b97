"""The span of a record: it goes on with what came, says where the record stands, and ends with its handling."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from opentelemetry.trace import StatusCode

from consumers.tracing import ConsumeSpans
from runtime.trace_context import Sampler, ids_of, traceparent
from tests.support.domain_events import an_event
from tests.support.traced import Traced, everything, names, parent
from tests.unit.consumers.records import record

if TYPE_CHECKING:
    from consumers.decode import Record
    from consumers.events import Event

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
NOT_RECORDED, RECORDED = f"00-{TRACE}-00f067aa0ba902b7-00", f"00-{TRACE}-00f067aa0ba902b7-01"


def consume_spans(traced: Traced, *, share: float = 0.0) -> ConsumeSpans:
    return ConsumeSpans(traced.tracing, Sampler(share, Random(1), traced.clock), group="heliograph")


def a_batch(*traceparents: str | None) -> list[tuple[Record, Event]]:
    return [(record(b"{}"), an_event(traceparent=each)) for each in traceparents]


def test_a_record_s_span_goes_on_with_its_trace_and_the_event_with_the_span() -> None:
    traced = Traced()
    with consume_spans(traced)(a_batch(RECORDED)) as [(consumed, event)]:
        assert traced.spans == []
    span = traced.one
    assert parent(span) == ids_of(RECORDED)
    assert event.traceparent == traceparent(*names(span))
    assert (span.name, span.kind.name) == (f"process {consumed.topic}", "CONSUMER")
    assert dict(span.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": consumed.topic,
        "messaging.destination.partition.id": str(consumed.partition),
        "messaging.kafka.offset": consumed.offset,
        "messaging.consumer.group.name": "heliograph",
        "cloudevents.event_type": "server.power.on",
    }
    assert span.status.status_code is StatusCode.UNSET


def test_a_record_without_a_trace_begins_one_when_its_turn_comes() -> None:
    traced = Traced()
    with consume_spans(traced, share=1.0)(a_batch(None)) as [(_, event)]:
        pass
    assert parent(traced.one) is None
    assert event.traceparent == traceparent(*names(traced.one))


@pytest.mark.parametrize("came", [None, NOT_RECORDED])
def test_what_is_not_traced_has_no_span_and_stays_as_it_is(came: str | None) -> None:
    traced = Traced()
    batch = a_batch(came)
    with consume_spans(traced)(batch) as handled:
        assert handled == batch
        assert handled[0][1] is batch[0][1]
    assert traced.spans == []


def test_what_is_too_much_is_not_traced_further_on_either() -> None:
    traced = Traced()
    with consume_spans(traced)(a_batch(*[RECORDED] * 101)) as handled:
        pass
    assert len(traced.spans) == 100
    assert handled[-1][1].traceparent == NOT_RECORDED


def test_order_is_kept() -> None:
    traced = Traced()
    batch = a_batch(None, RECORDED, NOT_RECORDED, RECORDED)
    with consume_spans(traced)(batch) as handled:
        pass
    assert [event.id for _, event in handled] == [event.id for _, event in batch]


def test_a_batch_that_fails_ends_its_spans_as_failed_without_a_word_of_why() -> None:
    traced = Traced()
    with pytest.raises(ConnectionError), consume_spans(traced)(a_batch(RECORDED)):
        raise ConnectionError("acct_secret")
    assert traced.one.status.status_code is StatusCode.ERROR
    assert (traced.one.attributes or {})["error.type"] == "ConnectionError"
    assert "acct_secret" not in everything(traced.one)
