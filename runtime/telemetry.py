"""Spans, and the way they leave: the tracer, the bounded queue behind it, OTLP over HTTP. Loaded only where it is used.

Whether something is traced has been decided before it comes here (`trace_context.Sampler`): everything that does come
is recorded, so what is not traced costs no object. Spans are exported by a thread of their own. While nobody takes them
they are dropped, and the log says so once: tracing neither delays nor fails anything.

A span has the attributes its caller names, and a failure its class (`error.type`): never an exception's text, which may
repeat a customer's bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Literal

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from runtime.trace_context import ids_of, traceparent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
    from opentelemetry.trace import Span

    from runtime.clock import Clock

logger = logging.getLogger(__name__)

Kind = Literal["INTERNAL", "SERVER", "CLIENT", "CONSUMER"]
Attributes = dict[str, str | int]

#: Where a collector takes traces (OTLP 1.x, "OTLP/HTTP Request").
PATH = "/v1/traces"
#: Spans that wait to be exported; more are dropped.
WAITING = 4096
#: Spans in one request, and milliseconds it waits for as many.
AT_ONCE, DELAY_MS = 512, 1000.0
#: Seconds an export may take with all its repetitions.
EXPORT_TIMEOUT = 5.0
#: Seconds that the last spans have at the end.
FLUSH_GRACE = 1.0
_NOWHERE = Context()
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class Tracing:
    """Makes spans; one for each process that exports any."""

    def __init__(self, processor: SpanProcessor, clock: Clock, *, version: str) -> None:
        """Hand spans that have ended to `processor`; `version` is the service's."""
        resource = Resource.create({"service.name": "heliograph", "service.version": version})
        self._provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("heliograph", version)
        self.clock = clock

    def start(
        self,
        name: str,
        kind: Kind,
        attributes: Mapping[str, str | int],
        *,
        parent: str | None = None,
        links: Sequence[str] = (),
        at: float | None = None,
    ) -> Span:
        """Begin a span below the span `parent`, or a trace of its own; `links` and `parent` are `traceparent`s.

        `at` is wall time in unix seconds, now when left out.
        """
        return self._tracer.start_span(
            name,
            _NOWHERE if parent is None else set_span_in_context(NonRecordingSpan(_context(parent)), _NOWHERE),
            SpanKind[kind],
            attributes,
            [Link(_context(each)) for each in links],
            _nanoseconds(self.clock.unix() if at is None else at),
            record_exception=False,
            set_status_on_exception=False,
        )

    def end(self, span: Span, *, error: str | None = None, at: float | None = None) -> None:
        """End a span; `error` is the class of what went wrong, a member of some closed set."""
        if error is not None:
            span.set_attribute("error.type", error)
            span.set_status(Status(StatusCode.ERROR))
        span.end(_nanoseconds(self.clock.unix() if at is None else at))

    @contextlib.contextmanager
    def ending(self, spans: Sequence[Span]) -> Iterator[None]:
        """End `spans` with what they surround; what that raises goes on, and its class is their error."""
        error = None
        try:
            yield
        except BaseException as raised:
            error = type(raised).__name__
            raise
        finally:
            for span in spans:
                self.end(span, error=error)

    @staticmethod
    def traceparent_of(span: Span) -> str:
        """Return what continues a trace at `span`."""
        context = span.get_span_context()
        return traceparent(context.trace_id, context.span_id)

    async def close(self) -> None:
        """Export what waits, for `FLUSH_GRACE` seconds at most; then the process ends without it."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(done.set)

        # Not one of the loop's own threads: those are waited for at the end, however long they take.
        threading.Thread(target=shut, name="flush traces", daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_GRACE):
                await done.wait()
        except TimeoutError:
            logger.warning("the last traces were not exported (no answer within %g s)", FLUSH_GRACE)


def to_collector(endpoint: str, clock: Clock, *, version: str) -> Tracing:
    """Return tracing towards an OTLP collector; `endpoint` is its base URL, or that of its traces.

    Headers and certificates are the OpenTelemetry SDK's own variables, `OTEL_EXPORTER_OTLP_HEADERS`, `_CERTIFICATE`, ….
    """
    # Each failure is several lines there, one of them a traceback; ours is one until it is over.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    base = endpoint.rstrip("/")
    exporter = OTLPSpanExporter(endpoint=base if base.endswith(PATH) else base + PATH, timeout=EXPORT_TIMEOUT)
    return Tracing(Outbox(exporter), clock, version=version)


class Outbox(BatchSpanProcessor):
    """The bounded queue before an exporter: what finds no room is dropped, which takes no time and is told once."""

    def __init__(self, exporter: SpanExporter) -> None:
        """Export in batches, in a thread."""
        self._taken = 0
        self._watched = WatchedExporter(exporter)
        super().__init__(self._watched, WAITING, DELAY_MS, AT_ONCE)

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span that has ended, if there is room."""
        if self._taken - self._watched.left >= WAITING:
            self._watched.refused += 1
            return
        self._taken += 1
        super().on_end(span)


class WatchedExporter(SpanExporter):
    """An exporter that says once that spans are lost, and once that they are not any more.

    `left` are the spans it was given. `refused`, those that found no room before it, is written by whoever refuses.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        """Export with `exporter`."""
        self._exporter = exporter
        self._failed = 0
        self._lost = 0
        self._lost_before: int | None = None
        self.left = 0
        self.refused = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export, and never raise."""
        self.left += len(spans)
        try:
            result = self._exporter.export(spans)
        except Exception:  # the thread must live, whatever a collector or a proxy makes of it
            result = SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS:
            self._failed += len(spans)
        lost = self._failed + self.refused
        if lost > self._lost and self._lost_before is None:
            self._lost_before = self._lost
            logger.warning("traces are lost: what OTLP_ENDPOINT names does not take them, or not as fast as they come")
        elif lost == self._lost and self._lost_before is not None:
            logger.info("traces are exported again; %d spans were lost", lost - self._lost_before)
            self._lost_before = None
        self._lost = lost
        return result

    def shutdown(self) -> None:
        """Close connections."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Say that nothing waits here."""
        return self._exporter.force_flush(timeout_millis)


def _context(text: str) -> SpanContext:
    trace_id, span_id = ids_of(text)
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=_SAMPLED)


def _nanoseconds(unix: float) -> int:
    return round(unix * 1e6) * 1000
