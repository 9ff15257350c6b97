"""Takes jobs, makes attempts, hands results to the recorder. The pipeline is `_attempt`, top to bottom."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from publisher.delivery import attempt, outcome
from publisher.delivery.lane import Lane
from publisher.delivery.outcome import Result
from publisher.delivery.recorder import Recorder
from publisher.delivery.report import Reporter
from publisher.queue import Finished
from runtime import logs
from runtime.lifecycle import first_of, reason_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from random import Random

    from publisher.delivery.gate import Gate
    from publisher.delivery.transport import Response, Transport
    from publisher.metrics import PublisherMetrics
    from publisher.queue import Job, Queue
    from runtime.clock import Clock

logger = logging.getLogger(__name__)

#: Share of the slots that claimed deliveries have to themselves; the rest belongs to fresh ones.
CLAIMED_SHARE = 0.25
#: Fresh deliveries in hand for each slot: waiting for it, using it, or waiting to be recorded. Slots then never
#: idle while the next batch is being committed.
IN_HAND = 8
#: The same of claimed ones, which others could claim meanwhile: enough for slots to go on while results are committed.
CLAIMED_IN_HAND = 4
#: Attempts started in one turn of the event loop. Hundreds at once would also end at once, turn after turn, and the
#: steps of intake, one to a turn, would wait until all is sent.
BURST, CLAIMED_BURST = 12, 4
#: How long intake is held back for a free slot before it hands its deliveries to the database instead.
PATIENCE = 0.25
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
#: Seconds between two claims at least: freed slots come one by one, and a claim costs the same for one as for fifty.
CLAIM_PAUSE = 0.02
#: Seconds between looks at what waits in hand: stalls and circuits change by time alone.
TICK = 1.0
#: Seconds the last results may take to be written at shutdown.
LAST_WRITE = 1.5
#: And what was cancelled, to end.
LAST_END = 0.5


class Worker:
    """The delivery of one process: two lanes of slots behind one gate, over one transport and one recorder."""

    def __init__(
        self,
        *,
        queue: Queue,
        transport: Transport,
        gate: Gate,
        clock: Clock,
        rng: Random,
        metrics: PublisherMetrics,
        header_prefix: str,
        slots: int,
        claim_interval: float,
        record_interval: float,
        drain_timeout: float,
        longest_wait: float,
        reporter: Reporter | None = None,
    ) -> None:
        """`slots` attempts run at once; a job waits for one at most `longest_wait` seconds of its lease."""
        self._queue = queue
        self._transport = transport
        self._gate = gate
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._header_prefix = header_prefix
        claimed_slots = max(1, round(slots * CLAIMED_SHARE))
        self._fresh = Lane(gate, slots=max(1, slots - claimed_slots), is_fresh=True)
        self._claimed = Lane(gate, slots=claimed_slots, is_fresh=False)
        self._in_hand = self._fresh.slots * IN_HAND
        self._longest_wait = longest_wait
        self._claim_interval = claim_interval
        self._drain_timeout = drain_timeout
        self._reporter = reporter or Reporter()
        self._recorder = Recorder(
            queue, interval=record_interval, on_recorded=self._on_recorded, traced=self._reporter.recording
        )
        #: What this process holds, by id and lease, and how much of it came fresh. Not by id alone: a process that
        #: slept beyond a lease may claim what it is still attempting.
        self._jobs: dict[tuple[str, int], Job] = {}
        self._fresh_jobs = 0
        self._is_pumping = False
        self._is_ending = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._due = asyncio.Event()
        self._freed = asyncio.Event()

    # --- the fresh lane -----------------------------------------------------------------------------------------

    def room(self) -> int:
        """Return how many fresh deliveries may be leased now."""
        return self._in_hand - self._fresh_jobs

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

    def choose(self, jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
        """Split new deliveries into those to be leased to this process and those that wait in the database."""
        now = self._clock.monotonic()  # their leases begin after this, and the commit may take its time
        chosen, waiting = self._gate.choose(jobs, self.room(), IN_HAND)
        for job in chosen:
            job.leased_at = now
        return chosen, waiting

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs whose leases were taken in the transaction that has just been committed."""
        now = self._clock.monotonic()
        for job in jobs:
            job.is_fresh = True
            self._take(job, now)
        self._fresh_jobs += len(jobs)
        self._fresh.add(jobs)
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
        ticking = asyncio.create_task(self._tick(), name="look at what waits")
        stopping = asyncio.create_task(stop.wait())
        loops = (recording, claiming, ticking, stopping)
        try:
            ended, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            await _end(claiming, ticking, stopping)
            self._fresh.slots = self._claimed.slots = 0  # what ends from here on starts nothing new
            for lane in (self._fresh, self._claimed):
                lane.take_back(lambda _: True)
            self._pump()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._drain_timeout):
                    while self._tasks:
                        await asyncio.wait(self._tasks)
        finally:
            self._is_ending = True
            self._fresh.slots = self._claimed.slots = 0  # the same where a loop broke
            await _end(*self._tasks, *loops)
        writing = asyncio.create_task(self._write_last())  # not a timeout: a connection may not let itself be cancelled
        if (await asyncio.wait((writing,), timeout=LAST_WRITE))[1]:
            writing.cancel()
            logger.warning("results not recorded at shutdown (no answer within %g s)", LAST_WRITE)
        for task in ended:
            task.result()  # no loop ends by itself: if one did, the process must not look healthy

    async def _write_last(self) -> None:
        try:
            await self._recorder.flush()
            await self._give_back(list(self._jobs.values()))
        except Exception as error:  # what is not written is sent again when its lease is over
            logger.warning("results not recorded at shutdown (%s)", reason_of(error))

    async def _claim(self) -> None:
        pause = FIRST_PAUSE
        while True:
            held = len(self._jobs) - self._fresh_jobs
            free = self._claimed.slots * CLAIMED_IN_HAND - held
            self._due.clear()
            claimed: list[Job] = []
            if free > 0:
                now = self._clock.monotonic()
                try:
                    claimed = await self._queue.claim(free, self._rng.getrandbits(63), self._gate)
                    pause = FIRST_PAUSE
                except Exception as error:  # claiming must survive whatever the database does
                    logger.warning("nothing claimed (%s); trying again in %.1f s", reason_of(error), pause)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)
                    continue
                for job in claimed:
                    self._take(job, now)
                self._claimed.add(claimed)
                self._pump()
            if len(claimed) < free or free <= 0:
                await first_of(self._due, self._claim_interval)
            await asyncio.sleep(CLAIM_PAUSE)

    async def _tick(self) -> None:
        """Ask again about what was not admitted; give back what has waited too long or will not start soon."""
        while True:
            await asyncio.sleep(TICK)
            self._gate.tidy()
            for lane in (self._fresh, self._claimed):
                lane.take_back(self._must_leave)
                lane.unpark_all()
            self._pump()

    def _must_leave(self, job: Job) -> bool:
        has_waited = self._clock.monotonic() - job.held_since
        return has_waited > self._longest_wait or self._gate.is_open(job.endpoint.id)

    # --- one job ------------------------------------------------------------------------------------------------

    def _take(self, job: Job, now: float) -> None:
        job.taken_at = now
        self._jobs[job.id, job.lease] = job
        self._gate.hold(job)

    def _let_go(self, delivery_id: str, lease: int) -> Job | None:
        job = self._jobs.pop((delivery_id, lease), None)
        if job is not None:
            self._gate.let_go(job)
            self._fresh_jobs -= job.is_fresh
        return job

    def _pump(self) -> None:
        """Start what may start, so many of each lane in a turn of the loop; give back what has waited too long."""
        if self._is_pumping:
            return
        horizon = self._clock.monotonic() - self._longest_wait
        for lane, burst in ((self._fresh, BURST), (self._claimed, CLAIMED_BURST)):
            for started, job in enumerate(lane.starting(horizon), 1):
                self._spawn(self._run_job(lane, job))
                if started == burst:
                    self._pump_soon()
                    break
            if lane.stale:
                stale, lane.stale = lane.stale, []
                self._spawn(self._give_back(stale))

    def _pump_soon(self) -> None:
        if not self._is_pumping:
            self._is_pumping = True
            asyncio.get_running_loop().call_soon(self._pump_on)

    def _pump_on(self) -> None:
        self._is_pumping = False
        self._pump()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_job(self, lane: Lane, job: Job) -> None:
        succeeded = False
        logs.TRACE.set(job.message.trace_id)  # of this task alone
        try:
            succeeded = await self._attempt(job)
        except BaseException as error:
            if not self._is_ending:  # not cut off but broken: nobody will record it, and its slot must not be lost
                logger.exception("the attempt of delivery %s broke off; it is made again after its lease", job.id)
                self._let_go(job.id, job.lease)
                self._freed.set()
            if self._is_ending or not isinstance(error, Exception | asyncio.CancelledError):
                raise
        finally:
            lane.ended(job, succeeded=succeeded)
            self._fresh.unpark(job.endpoint.account)
            self._claimed.unpark(job.endpoint.account)
            self._pump()

    async def _attempt(self, job: Job) -> bool:
        """The pipeline: sign, send, name the result, decide, hand over to be recorded; say whether it succeeded."""
        attempted = await attempt.make(job, self._transport, self._clock, self._header_prefix)
        result, unix, duration, headers, response = attempted
        verdict = outcome.decide(
            result,
            attempt=job.tried + 1,
            elapsed=self._elapsed(job) + duration,
            asked=self._asked(response),
            policy=job.endpoint.policy,
            rng=self._rng,
        )
        self._metrics.attempted(job, result, duration, self._clock.monotonic(), self._gate.hindered_at)
        self._reporter.attempted(job, attempted, verdict)
        self._recorder.add(
            Finished(
                account=job.endpoint.account,
                delivery_id=job.id,
                lease=job.lease,
                state=verdict.state,
                delay=verdict.delay,
                number=job.attempt,
                result=result,
                status=attempted.status,
                duration_ms=attempted.duration_ms,
                response=attempted.text,
                attempted_at=min(unix, int(unix) + 0.999_999),  # or rounding would put it into the next second
                signature=headers.get("webhook-signature"),
            )
        )
        return result is Result.OK

    def _elapsed(self, job: Job) -> float:
        """Return for how long a delivery has been tried; one that had to wait for a probe, since its event.

        Otherwise the oldest of a pile would get their first attempts one probe after the other, none its last.
        """
        return max(job.tried_for, job.age) if self._gate.is_open(job.endpoint.id) else job.tried_for

    def _asked(self, response: Response | None) -> float | None:
        if response is None or response.retry_after is None:
            return None
        return outcome.retry_after(response.status, response.retry_after, self._clock.now())

    def _on_recorded(self, group: Sequence[Finished], held: set[str]) -> None:
        for finished in group:
            job = self._let_go(finished.delivery_id, finished.lease)
            if finished.delivery_id not in held:
                logger.warning(
                    "delivery %s was taken over before its result came",
                    finished.delivery_id,
                    extra=logs.fields(trace_id=job.message.trace_id() if job else None),
                )
            elif job is not None:
                self._metrics.recorded(job.message.type, finished.state)
            if job is not None and not job.is_fresh:
                self._due.set()  # a claimed slot is free; what waits for it need not wait for the interval
        self._freed.set()

    async def _give_back(self, jobs: Sequence[Job]) -> None:
        """Release jobs that were not attempted; whoever claims them has a whole lease again."""
        if not jobs:
            return
        try:
            await self._queue.release(jobs)
        except Exception as error:  # their leases end by themselves
            logger.warning("%d deliveries not given back (%s)", len(jobs), reason_of(error))
        for job in jobs:
            self._let_go(job.id, job.lease)
        self._freed.set()
        self._due.set()


async def _end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel and wait, but not for ever for one that asks a database which does not answer."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=LAST_END)
