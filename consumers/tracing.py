"""The span of a record that is consumed: it goes on with what the record's `traceparent` began, or begins.

Attributes are those of OpenTelemetry's conventions for messaging and Kafka: where a record stands, and nothing of what
it says but the event's type, which is one of ours.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from runtime.trace_context import is_recorded, unrecorded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from consumers.decode import Record
    from consumers.events import Event
    from runtime.telemetry import Attributes, Tracing
    from runtime.trace_context import Sampler


class ConsumeSpans:
    """Decides what is traced, and spans the handling of that: from decoded to committed."""

    def __init__(self, tracing: Tracing, sampler: Sampler, *, group: str) -> None:
        """`group` is the consumer group's name."""
        self._tracing = tracing
        self._sampler = sampler
        self._group = group

    @contextlib.contextmanager
    def __call__(self, batch: Sequence[tuple[Record, Event]]) -> Iterator[Sequence[tuple[Record, Event]]]:
        """Yield the batch with what is traced naming its span; an exception ends the spans as failed, and goes on."""
        traced: list[tuple[Record, Event]] = []
        spans = []
        for record, event in batch:
            if not self._sampler.wants(event.traceparent):
                traced.append((record, _as_decided(event)))
                continue
            span = self._tracing.start(
                f"process {record.topic}", "CONSUMER", self._attributes(record, event), parent=event.traceparent
            )
            spans.append(span)
            traced.append((record, replace(event, traceparent=span.traceparent)))
        with self._tracing.ending(spans):
            yield traced

    def _attributes(self, record: Record, event: Event) -> Attributes:
        return {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.consumer.group.name": self._group,
            "cloudevents.event_type": event.type,
        }


def _as_decided(event: Event) -> Event:
    """Return an event that is not traced: what wanted to be, and was too much, says so to whoever goes on with it."""
    text = event.traceparent
    return event if text is None or not is_recorded(text) else replace(event, traceparent=unrecorded(text))
