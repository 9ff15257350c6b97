"""An event becomes a message and its deliveries on a real PostgreSQL: who gets it, numbered how, leased or waiting.

Everything happens in the caller's transaction, so each test opens one, as intake does, and looks at what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from random import Random
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import pytest

from consumers.catalogue import CATALOGUE
from publisher import endpoint_failures
from publisher.endpoints import Directory
from publisher.fanout import FanOut
from publisher.ids import Ids
from publisher.secrets import Vault
from tests.support.domain_events import an_event
from tests.support.egress import LOOPBACK
from tests.support.jobs import KEY
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from consumers.events import Event
    from publisher.queue import Job

    Connection = asyncpg.Connection[asyncpg.Record]

LEASE_SECONDS = 30.0
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Bench:
    """A fan-out whose worker is a list, on a connection of its own."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.room = 1000
        self.full: set[str] = set()
        self.offered = set(CATALOGUE) - {"server.resized", "incident.updated"}
        self.submitted: list[list[Job]] = []
        self.woken = 0
        self.turned_away: list[str] = []
        ids = Ids(FakeClock())
        self.directory = Directory(Vault({"test": KEY}), ids, LOOPBACK)
        self.fan_out = FanOut(
            directory=self.directory,
            ids=ids,
            rng=Random(1),
            lease_seconds=LEASE_SECONDS,
            choose=lambda jobs: (jobs[: max(0, self.room)], jobs[max(0, self.room) :]),
            full=lambda: self.full,
            submit=lambda jobs: self.submitted.append(list(jobs)),
            wake=self._wake,
            offered=self.offered,
            on_turned_away=self.turned_away.append,
        )

    def _wake(self) -> None:
        self.woken += 1

    @property
    def jobs(self) -> list[Job]:
        return [job for jobs in self.submitted for job in jobs]

    async def subscribe(self, *filters: str, account: str = "acct_1") -> str:
        endpoint_id, _ = await self.directory.register(
            self.connection, account=account, url="https://receiver.example/", events=filters
        )
        return endpoint_id

    async def publish(self, *events: Event) -> bool:
        """Handle `events` as intake does; say whether there was anything to do after the commit."""
        async with self.connection.transaction():
            after = await self.fan_out(self.connection, events)
            before_commit = (len(self.submitted), self.woken)
        assert before_commit == (len(self.submitted), self.woken)
        if after is not None:
            after()
        return after is not None

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.connection.fetch(query)]

    async def receivers(self) -> set[str]:
        return {row[0] for row in await self.rows("SELECT endpoint_id FROM queue")}

    async def sequences(self) -> list[int]:
        """Return the sequence of each message, in the order of their making."""
        bodies = await self.rows("SELECT body FROM messages ORDER BY ctid")
        return [orjson.loads(body)["sequence"] for (body,) in bodies]


@pytest.fixture
async def bench(dsn: str) -> AsyncIterator[Bench]:
    connection = await asyncpg.connect(dsn)
    yield Bench(connection)
    await connection.close()


async def _is_empty(bench: Bench) -> bool:
    counts = [await bench.connection.fetchval(f"SELECT count(*) FROM {name}") for name in _TABLES]  # noqa: S608 - ours
    return counts == [0] * len(_TABLES)


_TABLES = ("sequences", "messages", "queue", "deliveries", "attempts")


# --- who gets it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "is_wanted"),
    [
        (["server.power.on"], True),
        (["server.power.*"], True),
        (["server.*"], True),
        (["*"], True),
        (["topup.created", "server.power.on"], True),
        (["server.power.off"], False),
        (["topup.*"], False),
        (["canary.updated"], False),
    ],
)
async def test_an_endpoint_gets_what_its_filters_select(
    bench: Bench, filters: Sequence[str], *, is_wanted: bool
) -> None:
    endpoint_id = await bench.subscribe(*filters)
    assert await bench.publish(an_event("server.power.on")) is is_wanted
    assert await bench.receivers() == ({endpoint_id} if is_wanted else set())


async def test_an_event_nobody_wants_leaves_no_trace(bench: Bench) -> None:
    await bench.subscribe("topup.*")
    assert not await bench.publish(an_event("server.power.on"), an_event("server.power.on", account="acct_2"))
    assert await _is_empty(bench)
    assert (bench.submitted, bench.woken) == ([], 0)


async def test_every_endpoint_of_the_account_gets_it_and_nobody_else(bench: Bench) -> None:
    mine = {await bench.subscribe("server.*") for _ in range(3)}
    await bench.subscribe("*", account="acct_2")
    await bench.publish(an_event("server.power.on", account="acct_1"))
    assert {job.endpoint.id for job in bench.jobs} == await bench.receivers() == mine
    assert len({job.id for job in bench.jobs}) == 3
    assert len({job.message.id for job in bench.jobs}) == 1
    assert await bench.rows("SELECT count(*) FROM messages") == [(1,)]
    assert await bench.rows("SELECT DISTINCT account_id FROM queue") == [("acct_1",)]


async def test_a_disabled_endpoint_gets_nothing_more(bench: Bench) -> None:
    endpoint_id = await bench.subscribe("*")
    await bench.publish(an_event())
    await endpoint_failures.disable(bench.connection, [endpoint_id], "gone")
    assert not await bench.publish(an_event())
    await bench.publish(an_event("canary.updated"))
    assert await bench.rows("SELECT count(*) FROM queue") == [(1,)]


async def test_a_public_event_goes_to_every_subscriber_of_every_account(bench: Bench) -> None:
    wanting = {
        await bench.subscribe("canary.updated", account="acct_1"),
        await bench.subscribe("canary.*", account="acct_1"),
        await bench.subscribe("*", account="acct_2"),
    }
    await bench.subscribe("server.*", account="acct_3")
    assert await bench.publish(an_event("canary.updated"))
    rows = await bench.rows("SELECT endpoint_id, account_id, id, state, lease, due_at <= now(), message_id FROM queue")
    assert {row[0] for row in rows} == wanting
    assert sorted(row[1] for row in rows) == ["acct_1", "acct_1", "acct_2"]
    assert len({row[2] for row in rows}) == 3
    assert all(re.fullmatch(r"dlv_[0-9a-f]{32}", row[2]) for row in rows)
    assert {row[3:6] for row in rows} == {("pending", None, True)}
    assert await bench.rows("SELECT account_id, id FROM messages") == [("", rows[0][6])]
    assert (bench.jobs, bench.woken) == ([], 1)


async def test_a_public_event_nobody_wants_wakes_nobody(bench: Bench) -> None:
    await bench.publish(an_event("canary.updated"))
    assert await bench.rows("SELECT count(*) FROM queue") == [(0,)]
    assert (bench.jobs, bench.woken) == ([], 0)


async def test_a_public_event_nobody_wants_leaves_no_trace_either(bench: Bench) -> None:
    await bench.publish(an_event("canary.updated"))
    assert await _is_empty(bench)


async def test_one_batch_may_hold_events_of_every_kind(bench: Bench) -> None:
    first = await bench.subscribe("server.*", account="acct_1")
    second = await bench.subscribe("*", account="acct_2")
    await bench.publish(
        an_event("topup.created", account="acct_1"),
        an_event("server.power.on", account="acct_1"),
        an_event("incident.opened"),
        an_event("topup.created", account="acct_2"),
        an_event("topup.created", account="acct_3"),
    )
    rows = await bench.rows("SELECT d.endpoint_id, m.type, d.state FROM queue d JOIN messages m ON m.id = message_id")
    assert sorted(rows) == sorted(
        [
            (first, "server.power.on", "leased"),
            (second, "topup.created", "leased"),
            (second, "incident.opened", "pending"),
        ]
    )
    assert {job.endpoint.id for job in bench.jobs} == {first, second}
    assert bench.woken == 1


# --- what it is ------------------------------------------------------------------------------------------------------


async def test_the_message_is_the_contracts_with_the_data_as_it_was_written(bench: Bench) -> None:
    await bench.subscribe("*")
    raw = b'{ "order_number":"NB-1", "service_code":"NB-V3","bastion":"STO","initiated_by":"\\u00e9", "x":1.50 }'
    await bench.publish(an_event("server.power.on", raw=raw, traceparent=TRACEPARENT))
    [(account, message_id, event_type, body, traceparent)] = await bench.rows(
        "SELECT account_id, id, type, body, traceparent FROM messages"
    )
    assert re.fullmatch(r"msg_[0-9a-f]{32}", message_id)
    assert (account, event_type, traceparent) == ("acct_1", "server.power.on", TRACEPARENT)
    head = f'{{"id":"{message_id}","type":"server.power.on","timestamp":"2026-11-01T00:00:00Z","sequence":1,"data":'
    assert body == head.encode() + raw + b"}"
    [job] = bench.jobs
    assert (job.message.id, job.message.body, job.message.type) == (message_id, body, event_type)
    assert re.fullmatch(r"dlv_[0-9a-f]{32}", job.id)
    assert job.attempt == 1


# --- sequences -------------------------------------------------------------------------------------------------------


async def test_sequences_count_from_one_in_order_within_a_batch_and_across_batches(bench: Bench) -> None:
    await bench.subscribe("*")
    await bench.publish(*[an_event() for _ in range(3)])
    await bench.publish(an_event())
    await bench.publish(an_event(), an_event())
    assert await bench.sequences() == [1, 2, 3, 4, 5, 6]


async def test_each_resource_of_each_account_counts_for_itself(bench: Bench) -> None:
    for account in ("acct_1", "acct_2"):
        await bench.subscribe("*", account=account)
    await bench.publish(
        an_event(order_number="NB-1"),
        an_event(order_number="NB-2"),
        an_event("server.power.off", order_number="NB-1"),  # the same server
        an_event(order_number="NB-1", account="acct_2"),
        an_event("snapshot.created", order_number="NB-1"),  # a snapshot is a resource of its own
        an_event("canary.updated"),
        an_event("incident.opened"),
        an_event("incident.resolved"),
        an_event(order_number="NB-2"),
    )
    assert await bench.sequences() == [1, 1, 2, 1, 1, 2, 1, 1, 2]


async def test_what_nobody_wants_takes_no_number(bench: Bench) -> None:
    await bench.subscribe("server.power.off")
    await bench.publish(an_event("server.power.on"), an_event("server.power.off"), an_event("server.power.on"))
    await bench.publish(an_event("server.power.off"))
    assert await bench.sequences() == [1, 2]


async def test_two_processes_never_give_the_same_number(dsn: str, bench: Bench) -> None:
    await bench.subscribe("*")
    other = await asyncpg.connect(dsn)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(other.close)
        first = bench.connection.transaction()
        await first.start()
        await bench.fan_out(bench.connection, [an_event(), an_event()])
        second = asyncio.create_task(Bench(other).publish(an_event(), an_event()))
        done, _ = await asyncio.wait({second}, timeout=0.1)
        assert not done  # it waits for the numbers
        await first.commit()
        async with asyncio.timeout(10):
            await second
    sequences = [orjson.loads(body)["sequence"] for (body,) in await bench.rows("SELECT body FROM messages")]
    assert sorted(sequences) == [1, 2, 3, 4]


# --- leased or waiting -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("room", "leased"), [(-3, 0), (0, 0), (1, 1), (4, 4), (6, 6), (1000, 6)])
async def test_only_as_many_are_leased_as_there_is_room(bench: Bench, room: int, leased: int) -> None:
    for _ in range(2):
        await bench.subscribe("*")
    bench.room = room
    await bench.publish(*[an_event() for _ in range(3)])
    states = await bench.rows("SELECT state, lease, extract(epoch FROM due_at - created_at)::int FROM queue")
    assert len(bench.jobs) == leased
    assert sorted(state for state, _, _ in states) == ["leased"] * leased + ["pending"] * (6 - leased)
    for state, lease, due_in in states:
        if state == "leased":
            assert (lease, due_in) == (bench.jobs[0].lease, LEASE_SECONDS)
        else:
            assert (lease, due_in) == (None, 0)
    held = await bench.rows("SELECT id, lease FROM queue WHERE state = 'leased'")
    assert sorted(held) == sorted((job.id, job.lease) for job in bench.jobs)
    assert bench.woken == (1 if leased < 6 else 0)


async def test_a_lease_begins_when_it_is_taken_however_long_the_transaction_has_waited(bench: Bench) -> None:
    await bench.subscribe("*")
    async with bench.connection.transaction():
        begun = await bench.connection.fetchval("SELECT now()")
        await bench.connection.execute("SELECT pg_sleep(0.3)")  # another consumer's transaction has the same event
        await bench.fan_out(bench.connection, [an_event()])
        due_at = await bench.connection.fetchval("SELECT due_at FROM queue")
    assert (due_at - begun).total_seconds() >= LEASE_SECONDS + 0.3


async def test_what_is_new_for_a_full_account_is_logged_as_cancelled_and_nothing_else_changes(bench: Bench) -> None:
    full = await bench.subscribe("*", account="acct_full")
    other = await bench.subscribe("*", account="acct_other")
    bench.full = {"acct_full"}
    await bench.publish(an_event(account="acct_full"), an_event(account="acct_other"), an_event("canary.updated"))
    logged = await bench.rows(
        "SELECT account_id, endpoint_id, type, state, reason, attempts FROM deliveries ORDER BY type"
    )
    assert logged == [
        ("acct_full", full, "canary.updated", "cancelled", "quota", 0),
        ("acct_full", full, "server.power.on", "cancelled", "quota", 0),
    ]
    assert sorted(await bench.rows("SELECT endpoint_id, type FROM queue")) == [
        (other, "canary.updated"),
        (other, "server.power.on"),
    ]
    assert [job.endpoint.id for job in bench.jobs] == [other]
    assert bench.turned_away == ["server.power.on"]
    assert await bench.rows("SELECT count(*) FROM messages") == [(3,)]


async def test_a_rollback_leaves_nothing(bench: Bench) -> None:
    await bench.subscribe("*")
    transaction = bench.connection.transaction()
    await transaction.start()
    await bench.fan_out(bench.connection, [an_event(), an_event("canary.updated")])
    await transaction.rollback()
    assert await _is_empty(bench)
    assert (bench.submitted, bench.woken) == ([], 0)
    await bench.publish(an_event())
    assert await bench.sequences() == [1]


async def test_what_the_provider_does_not_offer_is_published_to_nobody(bench: Bench) -> None:
    await bench.subscribe("*")
    assert not await bench.publish(an_event("server.resized"), an_event("incident.updated", account=None))
    assert await bench.publish(an_event("server.resized"), an_event("server.power.on"))
    assert [job.message.type for job in bench.jobs] == ["server.power.on"]
