"""Starting against what is not there yet: patient, bounded, clear about what did not answer. Stopping on signals."""

from __future__ import annotations

import asyncio
import logging
import os
import signal

import pytest

from runtime import lifecycle
from runtime.lifecycle import UnreachableError, first_of, reason_of, side_by_side, stop_on_signals, until_reachable

ADDRESS = "db.example:5432/heliograph"


class Server:
    """Fails with `errors` in turn, then answers."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def connect(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "connected"


async def _hangs() -> str:
    await asyncio.Event().wait()
    return "never"


async def test_what_answers_is_returned_at_once() -> None:
    server = Server()
    assert await until_reachable("database", ADDRESS, server.connect, errors=(OSError,), timeout=5) == "connected"
    assert server.calls == 1


async def test_what_is_not_up_yet_is_asked_again_and_each_failure_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(ConnectionRefusedError(111, "Connection refused"))
    async with asyncio.timeout(5):
        assert await until_reachable("database", ADDRESS, server.connect, errors=(OSError,), timeout=5) == "connected"
    assert server.calls == 2
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line == (f"database at {ADDRESS} is not reachable ([Errno 111] Connection refused); trying again in 0.2 s")


async def test_the_wait_is_bounded_and_the_message_names_address_time_and_reason() -> None:
    server = Server(*[OSError("no\n  route")] * 1000)
    with pytest.raises(UnreachableError) as caught:
        async with asyncio.timeout(5):
            await until_reachable("Kafka", "b.example:9092", server.connect, errors=(OSError,), timeout=0.05)
    assert str(caught.value) == "Kafka at b.example:9092 did not answer within 0.05 s (no route)"
    assert caught.value.__suppress_context__
    assert server.calls == 1  # its pause would have been longer than the time that was left


async def test_a_connect_that_hangs_is_bounded_too() -> None:
    with pytest.raises(UnreachableError, match=rf"^database at {ADDRESS} did not answer within 0.05 s \(no answer\)$"):
        async with asyncio.timeout(5):
            await until_reachable("database", ADDRESS, _hangs, errors=(OSError,), timeout=0.05)


@pytest.mark.parametrize("error", [PermissionError("login refused"), ValueError("x"), TimeoutError("its own")])
async def test_what_no_patience_helps_is_raised_at_once(error: Exception) -> None:
    server = Server(error)
    with pytest.raises(type(error)) as caught:
        await until_reachable("database", ADDRESS, server.connect, errors=(ConnectionError,), timeout=5)
    assert caught.value is error
    assert server.calls == 1


async def test_a_timeout_of_the_connect_s_own_is_worth_another_try_where_it_is_named() -> None:
    server = Server(TimeoutError())
    async with asyncio.timeout(5):
        assert await until_reachable("database", ADDRESS, server.connect, errors=(TimeoutError,), timeout=5)
    assert server.calls == 2


async def test_cancelling_the_wait_ends_it() -> None:
    task = asyncio.create_task(until_reachable("database", ADDRESS, _hangs, errors=(OSError,), timeout=60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(111, "Connection refused"), "[Errno 111] Connection refused"),
        (ValueError("a\n\n  b\tc "), "a b c"),
        (TimeoutError(), "TimeoutError"),
        (ValueError("null value\nDETAIL:  Failing row contains (acct_1)."), "null value"),
        (ValueError(" \n"), "ValueError"),
        (None, "NoneType"),
    ],
)
def test_a_reason_is_one_short_line(error: BaseException | None, reason: str) -> None:
    assert reason_of(error) == reason


async def test_first_of_says_which() -> None:
    stop = asyncio.Event()
    assert not await first_of(stop, 0.001)
    asyncio.get_running_loop().call_soon(stop.set)
    async with asyncio.timeout(5):
        assert await first_of(stop, 60)
        assert await first_of(stop, 60)


@pytest.mark.parametrize("steps", range(5))
async def test_a_cancellation_in_the_moment_of_the_event_is_not_lost(steps: int) -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(first_of(stop, 60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stop.set()
    for _ in range(steps):  # of the loop, between the event and the cancellation
        await asyncio.sleep(0)
    is_cancelled = waiting.cancel()
    [ended] = await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError) == is_cancelled


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_says_stop_and_the_next_one_is_the_system_s_again(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        async with asyncio.timeout(5):
            await stop.wait()
        assert signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}
    signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_what_a_parent_passes_on_changes_nothing_once_it_was_told(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals(is_told_once=True) as stop:
        for _ in range(2):
            os.kill(os.getpid(), number)
            async with asyncio.timeout(5):
                await stop.wait()
        assert signal.getsignal(number) not in {signal.SIG_DFL, signal.default_int_handler}
    signal.signal(number, before)


def test_the_exit_codes_are_the_contracts() -> None:
    assert (lifecycle.EXIT_DONE, lifecycle.EXIT_FAILED, lifecycle.EXIT_USAGE) == (0, 1, 2)


async def test_what_is_cut_off_has_the_time_it_needs_to_put_away_what_it_began() -> None:
    begun, may_end, put_away = asyncio.Event(), asyncio.Event(), []

    async def work(name: str) -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await may_end.wait()
            put_away.append(name)

    both = asyncio.ensure_future(side_by_side(work("one"), work("other")))
    await begun.wait()
    both.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not both.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await both
    assert sorted(put_away) == ["one", "other"]
