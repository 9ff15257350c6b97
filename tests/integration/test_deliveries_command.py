"""`heliograph deliveries` on a real PostgreSQL: what it counts, sends again and gives up, and what it leaves."""

from __future__ import annotations

import asyncio
import io
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import orjson
import pytest

from publisher import recovery
from publisher.__main__ import run
from publisher.cli import deliveries as command
from publisher.deliveries import count_waiting, drop_waiting
from publisher.recovery import Recoverer
from runtime.settings import variable
from tests.support.histories import HOUR_AGO, NOW, Histories, histories

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    Command = Callable[..., Coroutine[None, None, "Said"]]


class Said(NamedTuple):
    """What a command answered."""

    code: int
    stdout: str
    stderr: list[str]


@pytest.fixture
async def past(dsn: str) -> AsyncIterator[Histories]:
    async with histories(dsn) as made:
        yield made


@pytest.fixture
def deliveries(dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Call the command in a thread of its own, for it brings its own event loop; put logging back afterwards."""
    monkeypatch.setenv(variable("database_url"), dsn)
    root = logging.getLogger()
    handlers, level, disabled = root.handlers[:], root.level, logging.root.manager.disable

    async def call(*arguments: str) -> Said:
        code = await asyncio.to_thread(run, ["deliveries", *arguments])
        stdout, stderr = capsys.readouterr()
        return Said(code, stdout, stderr.splitlines())

    yield call
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.disable(disabled)


# --- stats ----------------------------------------------------------------------------------------------------------


async def test_stats_count_what_waits_and_what_ended(past: Histories, deliveries: Command) -> None:
    mine, theirs = await past.endpoint(), await past.endpoint("acct_2")
    for state in ("pending", "retry", "retry", "leased", "delivered", "delivered", "dropped", "cancelled"):
        await past.add(mine, state)
    await past.add(theirs, "pending", account="acct_2")
    hours_ago = await past.add(theirs, "dropped", account="acct_2", last_result="timeout")
    await past.execute("UPDATE deliveries SET ended_at = now() - interval '2 hours' WHERE id = $1", hours_ago)
    await past.add(theirs, "delivered", account="acct_2", at=NOW - timedelta(days=4))
    await past.execute("INSERT INTO full_accounts (account_id, queued) VALUES ('acct_2', 5)")
    await past.execute("UPDATE endpoints SET status = 'disabled', disabled_reason = 'gone' WHERE id = $1", theirs)
    await past.execute("INSERT INTO announcements (type, key, data) VALUES ('x', 'k', '{}')")

    said = await deliveries("stats")
    assert (said.code, said.stderr) == (0, [])
    assert said.stdout.count("\n") == 1
    everything = orjson.loads(said.stdout)
    assert {state: each["deliveries"] for state, each in everything["queue"].items()} == {
        "pending": 2,
        "leased": 1,
        "retry": 2,
    }
    assert everything["queue"]["pending"]["oldest_due"] is not None
    assert {state: (each["hour"], each["day"]) for state, each in everything["ended"].items()} == {
        "delivered": (2, 2),
        "dropped": (1, 2),
        "cancelled": (1, 1),
    }
    assert everything["ended"]["dropped"]["by_last_result"] == {
        "5xx": {"hour": 1, "day": 1},
        "timeout": {"hour": 0, "day": 1},
    }
    assert (everything["full_accounts"], everything["disabled_endpoints"]) == (1, 1)
    assert everything["announcements"]["unsent"] == 1

    of_mine = orjson.loads((await deliveries("stats", "--account", "acct_1")).stdout)
    assert (of_mine["full_accounts"], of_mine["disabled_endpoints"]) == (0, 0)
    assert of_mine["queue"]["pending"]["deliveries"] == 1
    assert of_mine["ended"]["dropped"]["day"] == 1
    assert "full" not in of_mine
    of_theirs = orjson.loads((await deliveries("stats", "--account", "acct_2")).stdout)
    assert of_theirs["full"]["deliveries"] == 5


# --- retry ----------------------------------------------------------------------------------------------------------


async def test_retry_sends_what_is_named_and_names_what_it_cannot(past: Histories, deliveries: Command) -> None:
    endpoint_id = await past.endpoint()
    ended = [await past.add(endpoint_id, state) for state in ("dropped", "delivered")]
    waiting, leased = await past.add(endpoint_id, "retry"), await past.add(endpoint_id, "leased")
    said = await deliveries("retry", *ended, waiting, ended[0])
    assert said == (0, "3 queued, 0 not\n", [])
    assert [await past.due(each) for each in (*ended, waiting)] == [True] * 3
    said = await deliveries("retry", leased, "dlv_no_such")
    assert (said.code, said.stdout) == (1, "0 queued, 2 not\n")
    assert said.stderr == [
        f"heliograph: '{leased}': is being attempted now",
        "heliograph: 'dlv_no_such': there is none of that id: never was, or retention took it",
    ]


async def test_retry_of_an_endpoint_hastens_what_waits_and_recovers_what_ended(
    past: Histories, deliveries: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "BATCH", 2)
    endpoint_id, other = await past.endpoint(), await past.endpoint()
    waiting = [await past.add(endpoint_id, "retry") for _ in range(5)]
    old = await past.add(endpoint_id, "retry", at=NOW - timedelta(days=1, hours=1))
    leased, others = await past.add(endpoint_id, "leased"), await past.add(other, "retry")
    dropped = await past.add(endpoint_id, "dropped")
    said = await deliveries("retry", "--endpoint", endpoint_id, "--since", "25h")
    assert (said.code, said.stderr) == (0, [])
    assert [await past.due(each) for each in waiting] == [True] * 5
    assert [await past.due(each) for each in (old, leased, others)] == [False] * 3
    async with past.pool.acquire() as connection:
        [started] = await recovery.list_of(connection, "acct_1", endpoint_id)
    assert said.stdout == f"5 made due; recovery {started.id} puts back what was dropped or cancelled\n"
    await Recoverer(past.pool).work()
    assert dropped in await past.queued()


async def test_retry_of_a_state_leaves_what_waits_and_the_other_state(past: Histories, deliveries: Command) -> None:
    endpoint_id = await past.endpoint()
    waiting, cancelled = await past.add(endpoint_id, "retry"), await past.add(endpoint_id, "cancelled")
    dropped = await past.add(endpoint_id, "dropped")
    said = await deliveries("retry", "--endpoint", endpoint_id, "--state", "cancelled")
    assert said.code == 0, said
    assert said.stdout.startswith("0 made due; recovery rcv_")
    await Recoverer(past.pool).work()
    assert await past.queued() == [waiting, cancelled]
    assert not await past.due(waiting)
    assert await past.state(dropped) == "dropped"


async def test_retry_says_why_an_endpoint_cannot_be_recovered(past: Histories, deliveries: Command) -> None:
    endpoint_id = await past.endpoint()
    assert (await deliveries("retry", "--endpoint", endpoint_id)).code == 0
    said = await deliveries("retry", "--endpoint", endpoint_id)
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr[0].endswith(" of this endpoint is still running")
    await past.execute("UPDATE endpoints SET status = 'paused'")
    said = await deliveries("retry", "--endpoint", endpoint_id)
    assert said == (1, "", [f"heliograph: endpoint {endpoint_id} is paused: enable it first"])
    said = await deliveries("retry", "--endpoint", "we_no_such")
    assert said == (1, "", ["heliograph: there is no endpoint 'we_no_such'"])
    said = await deliveries("retry", "--endpoint", endpoint_id, "--since", "2999-01-01")
    assert said.code == 1
    await past.execute("UPDATE endpoints SET status = 'active'; UPDATE recoveries SET ended_at = now()")
    said = await deliveries("retry", "--endpoint", endpoint_id, "--since", "2999-01-01")
    assert said == (2, "", ["heliograph: --since: must not be later than until, nor in the future"])


# --- drop -----------------------------------------------------------------------------------------------------------


async def announced(past: Histories) -> list[str]:
    rows = await past.pool.fetch("SELECT data FROM announcements WHERE type = 'webhook.delivery.dropped' ORDER BY id")
    return [orjson.loads(row[0])["delivery_id"] for row in rows]


async def test_drop_gives_up_what_waits_and_announces_it(past: Histories, deliveries: Command) -> None:
    endpoint_id = await past.endpoint()
    waiting = [await past.add(endpoint_id, state) for state in ("pending", "retry")]
    said = await deliveries("drop", *waiting, waiting[0])
    assert said == (0, "2 dropped, 0 not\n", [])
    rows = await past.pool.fetch("SELECT state, reason, attempts FROM deliveries ORDER BY id")
    assert [tuple(row) for row in rows] == [("dropped", "operator", 0), ("dropped", "operator", 1)]
    assert await announced(past) == waiting
    await deliveries("retry", waiting[0])
    assert await past.queued() == waiting[:1]


async def test_drop_leaves_and_names_what_it_cannot(past: Histories, deliveries: Command) -> None:
    endpoint_id = await past.endpoint()
    leased, delivered = await past.add(endpoint_id, "leased"), await past.add(endpoint_id, "delivered")
    waiting = await past.add(endpoint_id, "retry")
    said = await deliveries("drop", leased, delivered, "dlv_\x01", waiting)
    assert (said.code, said.stdout) == (1, "1 dropped, 3 not\n")
    assert said.stderr == [
        f"heliograph: '{leased}': is being attempted now",
        f"heliograph: '{delivered}': has ended: delivered",
        "heliograph: 'dlv_\\x01': there is none of that id: never was, or retention took it",
    ]
    assert await announced(past) == [waiting]
    assert await past.queued() == [leased]


async def test_drop_of_an_endpoint_goes_through_all_that_waits_in_batches(
    past: Histories, deliveries: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "BATCH", 2)
    endpoint_id, other = await past.endpoint(), await past.endpoint()
    waiting = [await past.add(endpoint_id, state) for state in ("pending", "retry", "retry", "retry", "pending")]
    leased, others = await past.add(endpoint_id, "leased"), await past.add(other, "retry")
    said = await deliveries("drop", "--endpoint", endpoint_id, "--yes")
    assert said == (
        0,
        "5 dropped, 1 being attempted now\n",
        [f"heliograph: '{leased}': is being attempted now"],
    )
    assert sorted(await announced(past)) == waiting
    assert await past.queued() == [leased, others]
    said = await deliveries("drop", "--endpoint", "we_no_such", "--yes")
    assert said == (1, "", ["heliograph: there is no endpoint 'we_no_such'"])


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code", "is_kept"), [("y\n", 0, False), ("n\n", 130, True), ("", 130, True)])
async def test_on_a_terminal_drop_asks_first(
    past: Histories, deliveries: Command, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, *, is_kept: bool
) -> None:
    endpoint_id = await past.endpoint()
    waiting = await past.add(endpoint_id, "retry")
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    said = await deliveries("drop", "--endpoint", endpoint_id)
    assert said.code == code
    assert f"Give up 1 waiting deliveries of {endpoint_id}?" in said.stdout
    assert await past.queued() == ([waiting] if is_kept else [])


async def test_what_arrives_while_an_endpoint_is_being_dropped_stays(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    before = await past.add(endpoint_id, "pending", at=HOUR_AGO)
    async with past.pool.acquire() as connection:
        until, waiting = await count_waiting(connection, "acct_1", endpoint_id)
        since = await past.add(endpoint_id, "pending", at=until + timedelta(milliseconds=1))
        async with connection.transaction():
            dropped = await drop_waiting(connection, "acct_1", endpoint_id, until=until, limit=10)
    assert (waiting, [each.delivery_id for each in dropped]) == (1, [before])
    assert await past.queued() == [since]


async def test_a_drop_that_cannot_be_announced_is_not_made(past: Histories, deliveries: Command) -> None:
    endpoint_id = await past.endpoint()
    waiting = await past.add(endpoint_id, "retry", at=HOUR_AGO)
    await past.execute("DROP TABLE announcements")
    said = await deliveries("drop", waiting)
    assert said.code == 1
    assert await past.queued() == [waiting]
