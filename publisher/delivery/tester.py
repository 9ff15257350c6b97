"""One signed `webhook.test`, now, and what became of it: the pipeline of an attempt without queue, schedule or log.

Somebody waits for the answer, and somebody else's server decides how long. So the tests of an endpoint follow each
other, and an account, and the process, have so many at once and no more: who would be one too many is told so. All of
this is counted in the process.
"""

from __future__ import annotations

import contextlib
import enum
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

from publisher import ids
from publisher.delivery import attempt, headers, request
from publisher.delivery.report import Reporter
from publisher.queue import Job, Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from publisher.delivery.outcome import Result
    from publisher.delivery.transport import Transport
    from publisher.endpoints import Endpoint
    from publisher.ids import Ids
    from runtime.clock import Clock

TYPE = "webhook.test"
MESSAGE = "This is a test: somebody asked for it, and nothing has happened."
#: Tests under way in the process, and of them those of one account.
AT_ONCE, OF_ACCOUNT = 256, 4


class Refusal(enum.StrEnum):
    """Why a test is not made now: the endpoint has one, its account has too many, or the process has."""

    UNDER_WAY = "under_way"
    TOO_MANY = "too_many"
    BUSY = "busy"


class NotTestedError(Exception):
    """No test is made now, for the reason of `refusal`; a later one may be."""

    def __init__(self, refusal: Refusal) -> None:
        """Say why."""
        super().__init__(f"no test is made now: {refusal}")
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Tested:
    """What became of a test. `headers` as they were sent, but for `host` and `content-length`; None: nothing was."""

    message_id: str
    delivery_id: str
    result: Result
    status: int | None
    duration_ms: int
    attempted_at: datetime
    headers: Mapping[str, str] | None = field(repr=False)
    body: bytes = field(repr=False)
    response: str | None = field(repr=False)


class Tester:
    """Sends tests, over the transport deliveries go over."""

    def __init__(
        self, transport: Transport, ids_: Ids, clock: Clock, *, header_prefix: str, reporter: Reporter | None = None
    ) -> None:
        """`header_prefix` is the provider's (`x-nb-`)."""
        self._transport = transport
        self._ids = ids_
        self._clock = clock
        self._header_prefix = header_prefix
        self._reporter = reporter or Reporter()
        self._endpoints: set[str] = set()
        self._accounts: Counter[str] = Counter()
        self._is_stopping = False

    async def stop(self) -> None:
        """Have what is under way end without a result: the transport is about to close."""
        self._is_stopping = True

    async def test(self, endpoint: Endpoint) -> Tested:
        """Make one attempt and return its result, which may be any; raises `NotTestedError`.

        It takes as long as the receiver, within the transport's timeout.
        """
        with self._turn(endpoint):
            job = self._job(endpoint)
            made = await attempt.make(job, self._transport, self._clock, self._header_prefix)
        if self._is_stopping:  # what was cut off by us says nothing about the receiver
            raise NotTestedError(Refusal.BUSY)
        self._reporter.tested(job, made)
        return Tested(
            message_id=job.message.id,
            delivery_id=job.id,
            result=made.result,
            status=made.status,
            duration_ms=made.duration_ms,
            attempted_at=datetime.fromtimestamp(made.unix, UTC),
            headers=headers.fixed(self._transport.user_agent) | dict(made.headers) if made.headers else None,
            body=job.message.body,
            response=made.text,
        )

    @contextlib.contextmanager
    def _turn(self, endpoint: Endpoint) -> Iterator[None]:
        if endpoint.id in self._endpoints:
            raise NotTestedError(Refusal.UNDER_WAY)
        if self._accounts[endpoint.account] >= OF_ACCOUNT:
            raise NotTestedError(Refusal.TOO_MANY)
        if len(self._endpoints) >= AT_ONCE:
            raise NotTestedError(Refusal.BUSY)
        self._endpoints.add(endpoint.id)
        self._accounts[endpoint.account] += 1
        try:
            yield
        finally:
            self._endpoints.remove(endpoint.id)
            self._accounts[endpoint.account] -= 1
            if not self._accounts[endpoint.account]:
                del self._accounts[endpoint.account]

    def _job(self, endpoint: Endpoint) -> Job:
        """Return a delivery that no queue knows of; its sequence is 0, before everything that happens."""
        message_id = self._ids.new(ids.MESSAGE)
        data = orjson.dumps({"webhook_id": endpoint.id, "message": MESSAGE})
        body = request.body(message_id, TYPE, self._clock.now(), 0, data)
        message = Message(endpoint.account, message_id, TYPE, body, None)
        return Job(id=self._ids.new(ids.DELIVERY), lease=0, endpoint=endpoint, message=message)
