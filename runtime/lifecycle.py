"""Starting against things that may not be there yet, and stopping when told to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from typing import TYPE_CHECKING, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

logger = logging.getLogger(__name__)
T = TypeVar("T")
S = TypeVar("S")

EXIT_DONE, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
#: Seconds a cancelled task may take to end.
LAST_END = 1.0


class UnreachableError(Exception):
    """Something needed at start did not answer in time; the text is one line and names its address."""


async def until_reachable(
    what: str,
    address: str,
    connect: Callable[[], Awaitable[T]],
    *,
    errors: tuple[type[BaseException], ...],
    timeout: float,  # noqa: ASYNC109 - a bound over many tries, not over one await
) -> T:
    """Call `connect` with growing pauses until it succeeds; raise `UnreachableError` after `timeout` seconds.

    Only `errors` are worth another try; each failure is logged once with the pause that follows. A `connect` that
    hangs is cut off: nothing here takes longer than `timeout`.
    """
    reason = "no answer"

    def report(state: RetryCallState) -> None:
        nonlocal reason
        reason = reason_of(state.outcome.exception() if state.outcome else None)
        pause = state.next_action.sleep if state.next_action else 0.0
        logger.warning("%s at %s is not reachable (%s); trying again in %.1f s", what, address, reason, pause)

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(errors), wait=wait_exponential(multiplier=0.25, max=5), before_sleep=report
    )
    try:
        async with asyncio.timeout(timeout) as limit:
            return await retrying(connect)
    except TimeoutError:
        if not limit.expired():  # it is `connect`'s own, and not among `errors`
            raise
        msg = f"{what} at {address} did not answer within {timeout:g} s ({reason})"
        raise UnreachableError(msg) from None


def reason_of(error: BaseException | None) -> str:
    """Return an exception as one short line, a bare one gives its type; a database's details repeat rows, and go."""
    text = " ".join(str(error).partition("\nDETAIL:")[0].split()) if error is not None else ""
    return text or type(error).__name__


@contextlib.contextmanager
def stop_on_signals(*, is_told_once: bool = False) -> Iterator[asyncio.Event]:
    """Yield an event that SIGTERM and SIGINT set; a second signal ends the process the usual way.

    Not where a parent passes on what it was told, `is_told_once`: who signals all processes of a service at once, as
    systemd does, has told the child already, and its parent's word would cut off what drains.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            return
        logger.info("%s: draining", number.name)
        stop.set()
        for each in signals if not is_told_once else ():
            loop.remove_signal_handler(each)

    for number in signals:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def stop_when_stdin_ends(stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` when stdin ends: a parent that holds the other end writes nothing, and even SIGKILL closes it."""
    loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()

    def on_end() -> None:
        loop.remove_reader(stdin)  # the end can be read again and again
        stop.set()

    loop.add_reader(stdin, on_end)
    try:
        yield
    finally:
        loop.remove_reader(stdin)


async def first_of(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for `stop`, at most `seconds`; say whether it is set.

    Not with `asyncio.wait_for`: until Python 3.12 it loses a cancellation that comes in the moment of the event.
    """
    if not stop.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()
    return stop.is_set()


async def cancel(*tasks: asyncio.Task[object]) -> None:
    """Cancel and wait, but not for ever for one that asks a database which does not answer."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=LAST_END)


async def side_by_side(one: Awaitable[T], other: Awaitable[S]) -> tuple[T, S]:
    """Do both at once; return what they return. Raises what either raises, once both have ended.

    When this is cancelled both are, and they have the time they need to put away what they began.
    """
    tasks = (asyncio.ensure_future(one), asyncio.ensure_future(other))
    try:
        await asyncio.wait(tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return tasks[0].result(), tasks[1].result()


async def close_within(seconds: float, close: Callable[[], Awaitable[None]]) -> None:
    """Close something that may not answer any more; aiokafka may even answer that it was cancelled."""
    closing = asyncio.ensure_future(close())
    _, unfinished = await asyncio.wait((closing,), timeout=seconds)
    closing.cancel()  # we are leaving: what does not close is cut off
    [outcome] = await asyncio.gather(closing, return_exceptions=True)
    if unfinished or outcome is not None:
        logger.info("not closed cleanly (%s)", "no answer" if unfinished else reason_of(outcome))
