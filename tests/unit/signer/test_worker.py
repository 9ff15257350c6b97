"""One thread for gpg: in order, a bounded queue, an end that loses nothing that was taken on."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from signer.faults import BusyError, GpgUnavailableError
from signer.worker import Worker


def nothing() -> None:
    """Do it."""


async def test_it_returns_and_raises_what_the_work_does_on_one_other_thread() -> None:
    worker = Worker("test", most=5)
    threads = {await worker.run(threading.get_ident) for _ in range(3)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 / 0)
    await worker.close(nothing)


async def test_one_too_many_is_refused_at_once_and_room_comes_back() -> None:
    worker = Worker("test", most=2)
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> str:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait()
        return "done"

    first = asyncio.create_task(worker.run(work))
    await begun.wait()
    second = asyncio.create_task(worker.run(lambda: "second"))
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await worker.run(nothing)
    second.cancel()
    await asyncio.wait([second])
    third = asyncio.create_task(worker.run(lambda: "third"))  # in the place of the one that was cancelled
    await asyncio.sleep(0)
    go_on.set()
    assert [await first, await third] == ["done", "third"]
    assert await worker.run(lambda: "fourth") == "fourth"
    await worker.close(nothing)


async def test_closing_finishes_what_waits_and_takes_nothing_more() -> None:
    worker = Worker("test", most=5)
    order: list[str] = []
    running = [asyncio.create_task(worker.run(partial(order.append, name))) for name in ("a", "b")]
    await asyncio.sleep(0)
    await worker.close(partial(order.append, "last"))
    await asyncio.wait(running)
    assert order == ["a", "b", "last"]
    with pytest.raises(GpgUnavailableError, match="closed"):
        await worker.run(nothing)
    await worker.close(partial(order.append, "twice"))
    assert order == ["a", "b", "last"]
