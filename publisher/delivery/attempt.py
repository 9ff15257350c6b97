"""One attempt, whoever makes it: sign, send, name the result. Raises nothing: every failure is a result."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from publisher.delivery import outcome, request
from publisher.delivery.outcome import Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from publisher.delivery.transport import Response, Transport
    from publisher.queue import Job
    from runtime.clock import Clock

logger = logging.getLogger(__name__)


class Attempted(NamedTuple):
    """How an attempt went: `unix` is when it began, `duration` seconds.

    `headers` are those that differ from request to request, empty where nothing was signed and so nothing sent.
    """

    result: Result
    unix: float
    duration: float
    headers: Mapping[str, str]
    response: Response | None

    @property
    def status(self) -> int | None:
        """The status that came back."""
        return self.response.status if self.response else None

    @property
    def duration_ms(self) -> int:
        """The duration in whole milliseconds."""
        return round(self.duration * 1000)

    @property
    def text(self) -> str | None:
        """What was read of the answer, as text PostgreSQL can store: invalid bytes replaced, no NUL."""
        if self.response is None or not self.response.body:
            return None
        return self.response.body.decode("utf-8", "replace").replace("\x00", "\ufffd")


async def make(job: Job, transport: Transport, clock: Clock, header_prefix: str) -> Attempted:
    """Make the next attempt of a delivery; the caller decides what follows from it."""
    started = clock.monotonic()
    unix = clock.unix()
    response: Response | None = None
    headers: dict[str, str] = {}
    try:
        headers = request.headers(job, int(unix), header_prefix)
        response = await transport.post(job.endpoint.url, headers, job.message.body)
        result = outcome.result_of_status(response.status)
    except Exception as error:  # every class has a result; an unknown one is `internal`, and the caller lives
        result = outcome.result_of_error(error)
        if isinstance(error, request.NoSecretError):
            logger.error("attempt of delivery %s was not made: %s", job.id, error)  # noqa: TRY400 - no bug, no traceback
        elif result is Result.INTERNAL:
            logger.exception("attempt of delivery %s failed inside the service", job.id)
    return Attempted(result, unix, clock.monotonic() - started, headers, response)
