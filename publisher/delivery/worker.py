"""Takes jobs, makes attempts, hands results to the recorder. The pipeline is `_attempt`, top to bottom."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from publisher.delivery import outcome, request
from publisher.delivery.outcome import Result
from publisher.delivery.recorder import Recorder
from publisher.queue import Finished
from runtime.lifecycle import first_of, reason_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from random import Random

    from publisher.delivery.backoff import Policy
    from publisher.delivery.transport import Response, Transport
    from publisher.metrics import PublisherMetrics
    from publisher.queue import Job, Queue
    from runtime.clock import Clock

logger = logging.getLogger(__name__)

#: Share of the slots that claimed deliveries have to themselves; the rest belongs to fresh ones.
CLAIMED_SHARE = 0.25
#: Fresh deliveries in hand for each slot: waiting for it, using it, or waiting to be recorded. Slots then never
#: idle while the next batch is being committed.
IN_HAND = 4
#: How long intake is held back for a free slot before it hands its deliveries to the database instead.
PATIENCE = 0.25
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
#: Seconds the last results may take to be written at shutdown.
LAST_WRITE = 1.5


class Worker:
    """The delivery of one process: two lanes of slots over one transport and one recorder."""

    def __init__(
        self,
        *,
        queue: Queue,
        transport: Transport,
        policy: Policy,
        clock: Clock,
        rng: Random,
        metrics: PublisherMetrics,
        header_prefix: str,
        slots: int,
        claim_interval: float,
        record_interval: float,
        drain_timeout: float,
        longest_wait: float,
        on_gone: Callable[[Sequence[str]], Awaitable[None]],
    ) -> None:
        """`slots` attempts run at once; a fresh job waits for one at most `longest_wait` seconds of its lease.

        `on_gone` is told the endpoints that answered 410 once their result is recorded.
        """
        self._queue = queue
        self._transport = transport
        self._policy = policy
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._header_prefix = header_prefix
        self._claimed_slots = max(1, round(slots * CLAIMED_SHARE))
        self._fresh_slots = max(1, slots - self._claimed_slots)
        self._in_hand = self._fresh_slots * IN_HAND
        self._longest_wait = longest_wait
        self._claim_interval = claim_interval
        self._drain_timeout = drain_timeout
        self._recorder = Recorder(queue, interval=record_interval, on_recorded=self._on_recorded)
        self._on_gone = on_gone
        self._jobs: dict[str, Job] = {}
        self._fresh: set[str] = set()
        self._fresh_running = 0
        self._ready: deque[Job] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._due = asyncio.Event()
        self._freed = asyncio.Event()

    # --- the fresh lane -----------------------------------------------------------------------------------------

    def room(self) -> int:
        """Return how many fresh deliveries may be leased now."""
        return self._in_hand - len(self._fresh)

    async def appetite(self) -> int:
        """Return how many records intake should read next, waiting briefly for room when there is little.

        Held back for long it reads on all the same: what finds no room waits in the database, not in Kafka.
        """
        enough = self._in_hand // 2
        if self.room() < enough:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    while self.room() < enough:
                        self._freed.clear()
                        await self._freed.wait()
        return max(self.room(), enough)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs whose leases were taken in the transaction that has just been committed."""
        committed_at = self._clock.monotonic()
        for job in jobs:
            job.committed_at = committed_at
            self._fresh.add(job.id)
        self._ready.extend(jobs)
        self._pump()

    def _pump(self) -> None:
        """Start fresh jobs while there are free slots; give back those that waited for one too long."""
        stale = []
        while self._ready and self._fresh_running < self._fresh_slots:
            job = self._ready.popleft()
            if self._clock.monotonic() - (job.committed_at or 0.0) > self._longest_wait:
                stale.append(job)
            else:
                self._fresh_running += 1
                self._start(job).add_done_callback(self._on_fresh_done)
        if stale:
            self._spawn(self._give_back(stale))

    def _on_fresh_done(self, _: asyncio.Task[None]) -> None:
        self._fresh_running -= 1
        self._pump()

    def wake(self) -> None:
        """Say that something is due now, so that the next claim does not wait for the interval."""
        self._due.set()

    # --- the claimed lane ---------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Claim and deliver until `stop`, then drain: nothing may be submitted any more at that point.

        Attempts under way get `drain_timeout` seconds to end; the rest are given back for anyone to claim.
        """
        recording = asyncio.create_task(self._recorder.run(), name="record results")
        claiming = asyncio.create_task(self._claim(), name="claim deliveries")
        stopping = asyncio.create_task(stop.wait())
        ended, _ = await asyncio.wait((recording, claiming, stopping), return_when=asyncio.FIRST_COMPLETED)
        await _end(claiming, stopping)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_timeout):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        self._fresh_slots = 0  # what ends from here on starts nothing new
        await _end(*self._tasks)
        await _end(recording)
        unattempted, self._ready = list(self._ready), deque()
        try:
            async with asyncio.timeout(LAST_WRITE):
                await self._recorder.flush()
                await self._give_back([*self._jobs.values(), *unattempted])
                await asyncio.gather(*self._tasks)  # endpoints that said 410 in the last group
        except Exception as error:  # what is not written is sent again when its lease is over
            logger.warning("results not recorded at shutdown (%s)", reason_of(error))
        for task in ended:
            task.result()  # neither loop ends by itself: if one did, the process must not look healthy

    async def _claim(self) -> None:
        pause = FIRST_PAUSE
        while True:
            free = self._claimed_slots - (len(self._jobs) - len(self._fresh))
            self._due.clear()
            claimed: list[Job] = []
            if free > 0:
                try:
                    claimed = await self._queue.claim(free, self._rng.getrandbits(63))
                    pause = FIRST_PAUSE
                except Exception as error:  # claiming must survive whatever the database does
                    logger.warning("nothing claimed (%s); trying again in %.1f s", reason_of(error), pause)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)
                    continue
            for job in claimed:
                self._start(job)
            if len(claimed) < free or free <= 0:
                await first_of(self._due, self._claim_interval)

    # --- one job ------------------------------------------------------------------------------------------------

    def _start(self, job: Job) -> asyncio.Task[None]:
        self._jobs[job.id] = job
        return self._spawn(self._attempt(job))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _attempt(self, job: Job) -> None:
        """The pipeline: sign, send, name the result, decide, hand over to be recorded."""
        started = self._clock.monotonic()
        unix = self._clock.unix()
        response: Response | None = None
        try:
            headers = request.headers(job, int(unix), self._header_prefix)
            response = await self._transport.post(job.endpoint.url, headers, job.message.body)
            result = outcome.result_of_status(response.status)
        except Exception as error:  # every class has a result; an unknown one is `internal`, and the worker lives
            result = outcome.result_of_error(error)
            if result is Result.INTERNAL:
                logger.exception("attempt of delivery %s failed inside the service", job.id)
        duration = self._clock.monotonic() - started
        verdict = outcome.decide(
            result,
            attempt=job.attempt,
            elapsed=job.tried_for + duration,
            asked=self._asked(response),
            policy=self._policy,
            rng=self._rng,
        )
        self._metrics.attempted(job, result, duration, self._clock.monotonic())
        self._recorder.add(
            Finished(
                delivery_id=job.id,
                lease=job.lease,
                state=verdict.state,
                delay=verdict.delay,
                number=job.attempt,
                result=result,
                status=response.status if response else None,
                duration_ms=round(duration * 1000),
                response=_text(response),
                attempted_at=unix,
            )
        )

    def _asked(self, response: Response | None) -> float | None:
        if response is None or response.retry_after is None:
            return None
        return outcome.retry_after(response.status, response.retry_after, self._clock.now())

    def _on_recorded(self, group: Sequence[Finished], held: set[str]) -> None:
        gone = []
        for finished in group:
            job = self._jobs.pop(finished.delivery_id, None)
            if finished.delivery_id in self._fresh:
                self._fresh.discard(finished.delivery_id)
            else:
                self._due.set()  # a claimed slot is free; what waits for it need not wait for the interval
            if finished.delivery_id not in held:
                logger.warning("delivery %s was taken over before its result came", finished.delivery_id)
                continue
            if job is not None:
                self._metrics.recorded(job.message.type, finished.state)
                if finished.result is Result.GONE:
                    gone.append(job.endpoint.id)
        self._freed.set()
        if gone:
            self._spawn(self._disable(gone))

    async def _give_back(self, jobs: Sequence[Job]) -> None:
        """Release jobs that were not attempted; whoever claims them has a whole lease again."""
        try:
            await self._queue.release(jobs)
        except Exception as error:  # their leases end by themselves
            logger.warning("%d deliveries not given back (%s)", len(jobs), reason_of(error))
        for job in jobs:
            self._jobs.pop(job.id, None)
            self._fresh.discard(job.id)
        self._freed.set()
        self._due.set()

    async def _disable(self, gone: Sequence[str]) -> None:
        try:
            await self._on_gone(gone)
        except Exception:  # the endpoint's next delivery meets 410 again and tries this again
            logger.exception("%d endpoints that answered 410 could not be disabled", len(gone))


def _text(response: Response | None) -> str | None:
    """Return a response's body as text PostgreSQL can store: invalid bytes replaced, no NUL."""
    if response is None or not response.body:
        return None
    return response.body.decode("utf-8", "replace").replace("\x00", "\ufffd")


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
