"""Results written in groups: none is lost to a database that is away, none keeps the others from being written."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from publisher.delivery import recorder as recorder_module
from publisher.delivery.outcome import Result
from publisher.delivery.recorder import Recorder
from publisher.queue import Finished, Job, Rooms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def _finished(number: int) -> Finished:
    return Finished("acct_1", f"dlv_{number}", 7, "delivered", 0.0, 1, Result.OK, 204, 12, None, 1_793_491_200.0, None)


class Table:
    """The queue as the recorder sees it; `respond` may raise for a group."""

    def __init__(self, respond: Callable[[Sequence[Finished]], None] = lambda _: None) -> None:
        self.groups: list[list[str]] = []
        self.respond = respond

    async def record(self, finished: Sequence[Finished]) -> set[str]:
        self.groups.append([each.delivery_id for each in finished])
        self.respond(finished)
        return {each.delivery_id for each in finished}

    async def claim(self, limit: int, lease: int, room: Rooms | None = None) -> list[Job]:
        raise NotImplementedError

    async def release(self, jobs: Sequence[Job]) -> None:
        raise NotImplementedError


class Told:
    """What `on_recorded` was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], set[str]]] = []
        self.called = asyncio.Event()

    def __call__(self, group: Sequence[Finished], held: set[str]) -> None:
        self.calls.append(([each.delivery_id for each in group], held))
        self.called.set()


async def _within(seconds: float, event: asyncio.Event) -> None:
    async with asyncio.timeout(seconds):
        await event.wait()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "FIRST_PAUSE", 0.0)


async def test_results_that_arrive_together_are_written_together() -> None:
    table, told = Table(), Told()
    recorder = Recorder(table, interval=0, on_recorded=told)
    for number in range(5):
        recorder.add(_finished(number))
    task = asyncio.create_task(recorder.run())
    await _within(5, told.called)
    assert table.groups == [[f"dlv_{number}" for number in range(5)]]
    assert told.calls == [(table.groups[0], set(table.groups[0]))]
    told.called.clear()
    recorder.add(_finished(9))
    await _within(5, told.called)
    assert table.groups[1:] == [["dlv_9"]]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_group_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "LARGEST_GROUP", 2)
    table, told = Table(), Told()
    recorder = Recorder(table, interval=0, on_recorded=told)
    for number in range(5):
        recorder.add(_finished(number))
    await recorder.flush()
    assert table.groups == [["dlv_0", "dlv_1"], ["dlv_2", "dlv_3"], ["dlv_4"]]


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "refused"),
        TimeoutError(),
        asyncpg.ConnectionDoesNotExistError("closed"),
        asyncpg.AdminShutdownError("terminating"),
        asyncpg.CannotConnectNowError("starting up"),
        asyncpg.TooManyConnectionsError("sorry"),
        asyncpg.DiskFullError("no space left"),
        asyncpg.InterfaceError("connection is closed"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_database_that_is_away_is_waited_for(error: Exception) -> None:
    failures = [error, error, error]

    def respond(_: Sequence[Finished]) -> None:
        if failures:
            raise failures.pop()

    table, told = Table(respond), Told()
    recorder = Recorder(table, interval=0, on_recorded=told)
    recorder.add(_finished(1))
    recorder.add(_finished(2))
    async with asyncio.timeout(5):
        await recorder.flush()
    assert table.groups == [["dlv_1", "dlv_2"]] * 4
    assert told.calls == [(["dlv_1", "dlv_2"], {"dlv_1", "dlv_2"})]


async def test_one_result_that_cannot_be_written_does_not_keep_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def respond(group: Sequence[Finished]) -> None:
        if any(each.delivery_id == "dlv_2" for each in group):
            raise asyncpg.CheckViolationError("attempts_result_check")

    table, told = Table(respond), Told()
    recorder = Recorder(table, interval=0, on_recorded=told)
    for number in (1, 2, 3):
        recorder.add(_finished(number))
    await recorder.flush()
    assert table.groups == [["dlv_1", "dlv_2", "dlv_3"], ["dlv_1"], ["dlv_2"], ["dlv_3"]]
    # its slot is freed like the others', but it counts as nothing: it was not written
    assert told.calls == [(["dlv_1"], {"dlv_1"}), (["dlv_2"], set()), (["dlv_3"], {"dlv_3"})]
    assert "the result of delivery dlv_2 cannot be recorded" in caplog.text


async def test_what_a_cancelled_write_held_is_written_by_the_next_flush() -> None:
    writing = asyncio.Event()

    class Stuck(Table):
        async def record(self, finished: Sequence[Finished]) -> set[str]:
            if not writing.is_set():
                writing.set()
                await asyncio.Event().wait()
            return await super().record(finished)

    table, told = Stuck(), Told()
    recorder = Recorder(table, interval=0, on_recorded=told)
    recorder.add(_finished(1))
    task = asyncio.create_task(recorder.run())
    await _within(5, writing)
    recorder.add(_finished(2))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert told.calls == []
    await recorder.flush()
    assert table.groups == [["dlv_1", "dlv_2"]]
    assert told.calls == [(["dlv_1", "dlv_2"], {"dlv_1", "dlv_2"})]
