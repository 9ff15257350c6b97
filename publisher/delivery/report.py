"""What is told of an attempt: one wide line in the log, and its span if it is traced.

Failed attempts have their line at `info`, successful ones at `debug` unless all are asked for: thousands a second say
nothing that the metrics do not.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from publisher.delivery.outcome import Result
from runtime import logs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from publisher.delivery.attempt import Attempted
    from publisher.delivery.outcome import Verdict
    from publisher.queue import Finished, Job
    from publisher.tracing import DeliverySpans

logger = logging.getLogger(__name__)


class Reporter:
    """Tells of attempts; one for each worker."""

    def __init__(self, spans: DeliverySpans | None = None, *, logs_all: bool = False) -> None:
        """Without `spans` nothing is traced; `logs_all` has successes logged as failures are."""
        self._spans = spans
        self._success = logging.INFO if logs_all else logging.DEBUG

    def attempted(self, job: Job, made: Attempted, verdict: Verdict) -> None:
        """Tell of an attempt that is over, and of what becomes of its delivery."""
        if self._spans is not None:
            self._spans.attempted(job, made)
        self._tell(job, made, verdict)

    def tested(self, job: Job, made: Attempted) -> None:
        """Tell of a test, of which nothing becomes; its trace is its request's, where that is traced."""
        self._tell(job, made, None)

    def _tell(self, job: Job, made: Attempted, verdict: Verdict | None) -> None:
        level = self._success if made.result is Result.OK else logging.INFO
        if logger.isEnabledFor(level):
            logger.log(
                level,
                "attempt",
                extra=logs.fields(
                    delivery_id=job.id,
                    message_id=job.message.id,
                    endpoint_id=job.endpoint.id,
                    event_type=job.message.type,
                    attempt=job.attempt,
                    result=str(made.result),
                    status=made.status,
                    duration_ms=made.duration_ms,
                    state=verdict.state if verdict else None,
                    retry_in=round(verdict.delay, 1) if verdict and verdict.state == "retry" else None,
                    trace_id=job.message.trace_id() if verdict or logs.TRACE.get() is None else None,
                ),
            )

    def recording(self, group: Sequence[Finished]) -> AbstractContextManager[None]:
        """Return what surrounds the writing of results."""
        return contextlib.nullcontext() if self._spans is None else self._spans.recording(group)
