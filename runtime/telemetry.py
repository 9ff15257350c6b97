"""Spans, and the way they leave: the tracer, the bounded queue behind it, OTLP over HTTP. Loaded only where it is used.

Whether something is traced has been decided before it comes here (`trace_context.Sampler`): everything that does come
is recorded, so what is not traced costs no object. Spans are exported by a thread of their own. While nobody takes them
they are dropped, and the log says so once: tracing neither delays nor fails anything.

A span under way is ours, and becomes the SDK's `ReadableSpan` when it is over. The SDK's own `Span` is made for code
that it does not know: locks, limits and copies of what is never shared nor long here, ten times the price of the rest.

A span has the attributes its caller names, and a failure its class (`error.type`): never an exception's text, which may
repeat a customer's bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from runtime.otlp import Exporter
from runtime.trace_context import ids_of, traceparent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opentelemetry.sdk.trace import SpanProcessor

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
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_FINE, _FAILED = Status(StatusCode.UNSET), Status(StatusCode.ERROR)


@dataclass(slots=True)
class Span:
    """A span under way; `attributes` may be added to until it ends. `start` is in unix nanoseconds."""

    name: str
    kind: Kind
    attributes: Attributes
    context: SpanContext
    parent: SpanContext | None
    links: Sequence[Link]
    start: int

    @property
    def traceparent(self) -> str:
        """Return what continues a trace at this span."""
        return traceparent(self.context.trace_id, self.context.span_id)


class Tracing:
    """Makes spans; one for each process that exports any."""

    def __init__(self, processor: SpanProcessor, clock: Clock, *, version: str) -> None:
        """Hand spans that have ended to `processor`; `version` is the service's."""
        self._resource = Resource.create({"service.name": "heliograph", "service.version": version})
        self._scope = InstrumentationScope("heliograph", version)
        self._ids = RandomIdGenerator()
        self._processor = processor
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
        above = None if parent is None else _context(parent)
        trace_id = self._ids.generate_trace_id() if above is None else above.trace_id
        return Span(
            name,
            kind,
            dict(attributes),
            SpanContext(trace_id, self._ids.generate_span_id(), is_remote=False, trace_flags=_SAMPLED),
            above,
            [Link(_context(each)) for each in links],
            _nanoseconds(self.clock.unix() if at is None else at),
        )

    def end(self, span: Span, *, error: str | None = None, at: float | None = None) -> None:
        """End a span; `error` is the class of what went wrong, a member of some closed set."""
        if error is not None:
            span.attributes["error.type"] = error
        self._processor.on_end(
            ReadableSpan(
                span.name,
                span.context,
                span.parent,
                self._resource,
                span.attributes,
                links=span.links,
                kind=SpanKind[span.kind],
                status=_FINE if error is None else _FAILED,
                start_time=span.start,
                end_time=_nanoseconds(self.clock.unix() if at is None else at),
                instrumentation_scope=self._scope,
            )
        )

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

    async def close(self) -> None:
        """Export what waits, for `FLUSH_GRACE` seconds at most; then the process ends without it."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut() -> None:
            self._processor.shutdown()
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
    exporter = Exporter(endpoint=base if base.endswith(PATH) else base + PATH, timeout=EXPORT_TIMEOUT)
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
