"""What a process needs to be ready, as checks: database, schema, intake, signer. Each says what it measured.

what                                  the process is
database away, schema behind          not ready: no role can do without it
intake halted, not a member of its    not ready: its share of the events waits for it
 group, getting nowhere, or unable
 to be rid of a batch (dead letters)
telemetry halted or getting nowhere   ready, with a warning: webhooks go on, the status page gets old
signer away, where it is ours         not ready: signing is one of this process's roles
signer away, where it is another's    ready, with a warning: only signed answers are refused meanwhile
a worker away, where it has the role  ready, with a warning: it still answers
 `api`
a worker away, where it has not       not ready: its workers are all there is to it
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from migrations import runner
from publisher.event_loop import STUCK, LoopMonitor
from publisher.health import CheckError, ComponentType, Observed, Status
from publisher.preconditions import ping
from publisher.roles import NotReadyError
from publisher.signing import SIGN

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Coroutine

    from prometheus_client import CollectorRegistry

    from publisher.health import Health
    from runtime.clock import Clock
    from runtime.database import Pool


class Consumer(Protocol):
    """What is asked of a consumer."""

    @property
    def assigned(self) -> int | None:
        """How many partitions it has, None while it is no member of its group."""
        ...

    def trouble(self) -> str:
        """Return why it gets nowhere."""
        ...


class Loop(Protocol):
    """What is asked of a loop."""

    def trouble(self) -> str:
        """Return why it gets nowhere."""
        ...


class Signer(Protocol):
    """What is asked of a signer."""

    async def health(self) -> SignerHealth:
        """Return how it is."""
        ...


class SignerHealth(Protocol):
    """What a signer says of itself."""

    @property
    def is_expired(self) -> bool:
        """Whether its key can sign no more."""
        ...


class Workers(Protocol):
    """What is asked of those who keep workers running."""

    async def check(self) -> Observed:
        """Return how many run; raises `CheckError` when some do not."""
        ...


def watch_database(health: Health, pool: Pool, clock: Clock) -> None:
    """Add the checks of the database: that it answers, and that its schema is fit for this release."""
    newest = runner.head()

    async def answers() -> Observed:
        began = clock.monotonic()
        await ping(pool)
        return _took(clock, began)

    async def is_migrated() -> Observed:
        async with pool.acquire() as connection:
            found = await runner.current(connection)
        if found is None or found < newest:
            reason = f"this release needs migration {newest}: run heliograph migrate"
            raise CheckError(reason, Observed(found or "none"))
        return Observed(found)

    health.add("database:responseTime", answers, component_type=ComponentType.DATASTORE)
    health.add("database:migration", is_migrated, component_type=ComponentType.DATASTORE)


def watch_halt(health: Health, name: str, why: Callable[[], str], *, otherwise: Status = Status.FAIL) -> None:
    """Add the check that an intake has not halted on bad records; `why` is empty while it has not."""

    async def goes_on() -> None:
        if reason := why():
            raise NotReadyError(reason)

    health.add(f"{name}:halted", goes_on, otherwise=otherwise)


def stopping(health: Health) -> None:
    """Have the process not be ready any more."""

    async def refuse() -> None:
        raise NotReadyError("the service is stopping")

    health.add("service:stopping", refuse)


def watch_intake(
    health: Health,
    name: str,
    consumer: Consumer,
    loop: Loop,
    why_halted: Callable[[], str],
    *,
    otherwise: Status = Status.FAIL,
) -> None:
    """Add all checks of an intake; `why_halted` is empty while it has not halted on bad records."""
    watch_halt(health, name, why_halted, otherwise=otherwise)
    watch_consumer(health, name, consumer, loop, has_halted=why_halted, otherwise=otherwise)


def watch_consumer(
    health: Health,
    name: str,
    consumer: Consumer,
    loop: Loop,
    *,
    has_halted: Callable[[], object] = lambda: False,
    otherwise: Status = Status.FAIL,
) -> None:
    """Add the checks of an intake: that it has been given its partitions, and that it gets on with them.

    Of one that has halted nobody asks that: nobody looks at its consumer any more, and `watch_halt` says why.
    """

    async def is_assigned() -> Observed:
        assigned = consumer.assigned
        is_asked = assigned is None and not has_halted()
        if is_asked and (reason := consumer.trouble()):  # any rebalance takes a moment, of all members at once
            raise CheckError(reason, Observed(0, "partitions"))
        return Observed(assigned or 0, "partitions")

    async def gets_on() -> None:
        if not has_halted() and (reason := consumer.trouble() or loop.trouble()):
            raise NotReadyError(reason)

    health.add(f"{name}:assignment", is_assigned, otherwise=otherwise)
    health.add(f"{name}:progress", gets_on, otherwise=otherwise)


def watch_signer(health: Health, signer: Signer | None, roles: Collection[str], clock: Clock) -> None:
    """Add the check of the signer, where there is one; `roles` decide how bad its absence is."""
    if signer is None:
        return

    async def answers() -> Observed:
        began = clock.monotonic()
        if (await signer.health()).is_expired:
            raise NotReadyError("its key has expired: heliograph doctor says more")
        return _took(clock, began)

    health.add("signer:responseTime", answers, otherwise=Status.FAIL if SIGN in roles else Status.WARN)


def watch_workers(health: Health, workers: Workers, roles: Collection[str]) -> None:
    """Add the check that all workers run; without them a process that serves the API still does."""
    health.add("workers:running", workers.check, otherwise=Status.WARN if "api" in roles else Status.FAIL)


def watch_event_loop(
    health: Health, registry: CollectorRegistry, clock: Clock
) -> tuple[str, Callable[[asyncio.Event], Coroutine[object, object, object]]]:
    """Have liveness depend on the event loop's lag; return what has to run beside the roles, and its name."""
    monitor = LoopMonitor(clock, registry)
    health.watch_loop(monitor.now, limit=STUCK)
    return "watch the event loop", monitor.run


def _took(clock: Clock, began: float) -> Observed:
    return Observed(round((clock.monotonic() - began) * 1000, 1), "ms")
