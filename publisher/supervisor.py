"""The workers of `serve --workers`: processes that consume and deliver, kept running by the one that started them.

    start one -> it is ready? start the others -> ready -> one ends? a pause -> started again, at the same address
                                                        -> stop -> SIGTERM to all -> ended, or killed

A worker is a `heliograph serve` of its own, told by its environment what its parent knows, and shares nothing with the
others but Kafka, PostgreSQL and the signer. It drains when its stdin ends, so even a parent that is killed leaves none
behind. The first one starts alone: what keeps all of them from starting is said once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import orjson
from prometheus_client import Counter

from publisher.addresses import listen_of, worker_listen
from publisher.health import CheckError, Observed
from runtime.lifecycle import EXIT_FAILED, cancel
from runtime.settings import PREFIX, environ_of

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable, Collection
    from types import TracebackType

    from prometheus_client import CollectorRegistry

    from runtime.clock import Clock
    from runtime.settings import Settings

    MakeSupervisor = Callable[[Settings, CollectorRegistry, Clock], "Supervisor"]

logger = logging.getLogger(__name__)

#: What workers may do; everything else is their parent's.
WORK = frozenset({"consume", "deliver"})
#: Seconds before a worker that ended is started again: at first, at the most.
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
#: Seconds after which a worker that ends had been well.
STEADY = 60.0
#: Seconds a worker may take to drain, as every process promises; then it is killed.
STOP = 10.0


class WorkerError(Exception):
    """A worker did not start; `code` is its exit code, and it has said why itself."""

    def __init__(self, number: int, code: int) -> None:
        """Say which."""
        super().__init__(f"worker {number} did not start (exit code {code}); it says why above")
        self.code = code


class Worker(NamedTuple):
    """A worker that runs: where its admin listener is (URL), and its process."""

    admin: str
    pid: int


class Supervisor:
    """Starts workers on entry, keeps them running in `run`, leaves none behind on exit."""

    def __init__(
        self,
        settings: Settings,
        *,
        roles: Collection[str],
        count: int,
        registry: CollectorRegistry,
        clock: Clock,
        is_debug: bool = False,
    ) -> None:
        """Have `count` workers with `roles`, told `settings`; nothing is started yet."""
        self._settings = settings
        self._clock = clock
        self._arguments = (
            *(["--debug"] if is_debug else []),
            *("serve", "--until-stdin-ends"),
            *(f"--role={role}" for role in sorted(roles)),
        )
        self._workers = [_Slot(number) for number in range(1, count + 1)]
        self._restarts = Counter(
            "heliograph_worker_restarts_total", "Workers of this process that ended and run again", registry=registry
        )

    @property
    def running(self) -> list[Worker]:
        """Those that run now."""
        return [each.worker for each in self._workers if each.worker is not None]

    def admins(self) -> list[str]:
        """Return the admin listeners of all that were ever ready, as URLs: one that is away comes back where it was."""
        return [each.admin for each in self._workers if each.admin is not None]

    async def check(self) -> Observed:
        """Return how many run; raises `CheckError` when some do not."""
        running, count = len(self.running), len(self._workers)
        if running < count:
            reason = f"{running} of {count} workers run; the log says why"
            raise CheckError(reason, Observed(running, "workers"))
        return Observed(running, "workers")

    async def __aenter__(self) -> Self:
        """Start all and return when they are ready; raises `WorkerError` when one does not start."""
        first, *others = self._workers
        try:
            await self._start(first)
            starting = [asyncio.create_task(self._start(each)) for each in others]
            try:
                await asyncio.gather(*starting)
            finally:
                await cancel(*starting)
        except BaseException:
            await self._end_all()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End those that still run."""
        await self._end_all()

    async def run(self, stop: asyncio.Event) -> None:
        """Keep all running until `stop`, then have them drain; return when they have ended."""
        keeping = [asyncio.create_task(self._keep(each), name=f"worker {each.number}") for each in self._workers]
        stopping = asyncio.create_task(stop.wait())
        try:  # none of those that keep returns; one that raises has a fault, and the service is to know
            ended, _ = await asyncio.wait({*keeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(*keeping, stopping)
            await self._end_all()
        for each in ended - {stopping}:
            await each

    async def _keep(self, slot: _Slot) -> None:
        """Start it again whenever it ends; returns only by being cancelled."""
        pause = 0.0
        while True:
            began = self._clock.monotonic()
            if slot.process is not None and slot.worker is not None:
                code = await slot.process.wait()
                slot.worker = None
                pause = next_pause(pause, self._clock.monotonic() - began)
                logger.error("worker %d ended (%s); starting it again in %.1f s", slot.number, said_of(code), pause)
            else:
                pause = next_pause(pause, 0.0)
            await asyncio.sleep(pause)
            try:
                await self._start(slot)
            except (WorkerError, OSError) as error:
                logger.warning("%s; trying again in %.1f s", error, next_pause(pause, 0.0))
            else:
                self._restarts.inc()

    async def _start(self, slot: _Slot) -> None:
        """Start it and return when it is ready; raises `WorkerError` when it ends before."""
        listen = listen_of(slot.admin) if slot.admin else worker_listen(self._settings.admin_listen, slot.number)
        settings = self._settings.model_copy(update={"admin_listen": listen})
        ours = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        slot.process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "publisher", *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**ours, **environ_of(settings)},
            start_new_session=True,  # a Ctrl-C is for the parent, which has all of them drain
        )
        assert process.stdout is not None  # noqa: S101 - asked for above
        line = await process.stdout.readline()
        if not line:
            code = await process.wait()
            raise WorkerError(slot.number, code if code > 0 else EXIT_FAILED)
        ready: dict[str, Any] = orjson.loads(line)
        slot.admin = ready["admin"]
        slot.worker = Worker(ready["admin"], process.pid)
        logger.info("worker %d runs (pid %d, %s)", slot.number, process.pid, slot.admin)

    async def _end_all(self) -> None:
        """Have all drain at once, and wait until they have ended."""
        await asyncio.gather(*(_end(each) for each in self._workers))


class _Slot:
    """A worker's place: its number, where its admin listener is (URL, once known), and the process of the moment."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.admin: str | None = None
        self.process: Process | None = None
        #: What runs, None until it is ready and after it has ended.
        self.worker: Worker | None = None


async def _end(slot: _Slot) -> None:
    process, slot.worker = slot.process, None
    if process is None or process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP):
            code = await process.wait()
        if code:
            logger.warning("worker %d ended before it had drained (%s)", slot.number, said_of(code))
    except TimeoutError:
        logger.error("worker %d did not end within %g s and is killed", slot.number, STOP)  # noqa: TRY400 - it is not our stack that hangs
        process.kill()
        await process.wait()


def next_pause(pause: float, ran: float) -> float:
    """Return the seconds before a worker that ran for `ran` is started again, after `pause` the last time. Pure."""
    if ran >= STEADY:
        return FIRST_PAUSE
    return min(max(pause * 2, FIRST_PAUSE), LONGEST_PAUSE)


def said_of(code: int) -> str:
    """Return how a process ended, in words. Pure."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"
