"""What publishing adds to a trace: the fan-out of an event, an attempt of a delivery, the writing of its result.

The span of the fan-out is stored with the message, so whoever attempts it, now or in an hour, here or in another
process, goes on with the same trace. A receiver's URL names a customer: `url.full` and `server.address` are blank, and
neither accounts nor ids of theirs are attributes. Customers are sent no trace context: request.py's headers are all.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from publisher import VERSION
from publisher.delivery.outcome import Result
from runtime.trace_context import Budget, is_recorded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AsyncExitStack

    from consumers.events import Event
    from publisher.delivery.attempt import Attempted
    from publisher.queue import Finished, Job
    from runtime.clock import Clock
    from runtime.settings import Settings
    from runtime.telemetry import Attributes, Tracing

#: Spans of attempts a second: a public event that is traced goes to everyone.
ATTEMPTS_PER_SECOND = 1000
#: Attempts whose results are not written yet, remembered for the span that will be; beyond, the oldest are forgotten.
UNWRITTEN = 10_000


def open_tracing(settings: Settings, stack: AsyncExitStack, clock: Clock) -> Tracing | None:
    """Return tracing as the settings say, None without a collector; what waits is exported when `stack` is closed.

    OpenTelemetry's own switch, `OTEL_SDK_DISABLED=true`, means the same here.
    """
    if settings.otlp_endpoint is None or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    from runtime import telemetry  # noqa: PLC0415 - tens of milliseconds and megabytes that only tracing needs

    tracing = telemetry.to_collector(settings.otlp_endpoint, clock, version=VERSION)
    stack.push_async_callback(tracing.close)
    return tracing


class FanOutSpans:
    """Spans the fan-out of what is traced."""

    def __init__(self, tracing: Tracing) -> None:
        """Make spans with `tracing`."""
        self._tracing = tracing

    @contextlib.contextmanager
    def __call__(self, events: Sequence[Event]) -> Iterator[Sequence[Event]]:
        """Yield `events`, those that are traced naming the span of their fan-out instead of what it is below."""
        spans = []
        traced = []
        for event in events:
            if not is_recorded(event.traceparent):
                traced.append(event)
                continue
            about: Attributes = {"cloudevents.event_type": event.type}
            span = self._tracing.start("fan-out", "INTERNAL", about, parent=event.traceparent)
            spans.append(span)
            traced.append(replace(event, traceparent=span.traceparent))
        with self._tracing.ending(spans):
            yield traced


class DeliverySpans:
    """Spans attempts, each when it is over, and the writing of their results."""

    def __init__(self, tracing: Tracing) -> None:
        """Make spans with `tracing`."""
        self._tracing = tracing
        self._budget = Budget(tracing.clock, ATTEMPTS_PER_SECOND)
        #: By delivery and lease: spans of attempts whose results wait to be written.
        self._unwritten: dict[tuple[str, int], str] = {}

    def attempted(self, job: Job, made: Attempted) -> None:
        """Span an attempt that is over, if its message is traced."""
        if not is_recorded(job.message.traceparent) or not self._budget.take():
            return
        about: Attributes = {
            "http.request.method": "POST",
            "url.full": "",
            "server.address": "",
            "cloudevents.event_type": job.message.type,
        }
        if job.attempt > 1:
            about["http.request.resend_count"] = job.attempt - 1
        if made.status is not None:
            about["http.response.status_code"] = made.status
        span = self._tracing.start("POST", "CLIENT", about, parent=job.message.traceparent, at=made.unix)
        error = None if made.result is Result.OK else str(made.result)
        self._tracing.end(span, error=error, at=made.unix + made.duration)
        if len(self._unwritten) >= UNWRITTEN:  # what is never written must not stay for ever
            del self._unwritten[next(iter(self._unwritten))]
        self._unwritten[job.id, job.lease] = span.traceparent

    @contextlib.contextmanager
    def recording(self, group: Sequence[Finished]) -> Iterator[None]:
        """Span the writing of results if one of them is of an attempt that was.

        One span for the group, as it is one transaction: below the first such attempt, and linked to all of them.
        """
        wanted = self._unwritten
        keys = [key for each in group if (key := (each.delivery_id, each.lease)) in wanted] if wanted else []
        if not keys:
            yield
            return
        links = [wanted.pop(key) for key in keys]
        about: Attributes = {"db.system.name": "postgresql", "db.operation.batch.size": len(group)}
        span = self._tracing.start("record", "INTERNAL", about, parent=links[0], links=links)
        error = None
        try:
            yield
        except BaseException as raised:
            error = type(raised).__name__
            wanted.update(zip(keys, links, strict=True))  # it is written again
            raise
        finally:
            self._tracing.end(span, error=error)
