"""What is told of peering in the database: once, in whatever order, with nobody's secrets; and read back."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from itertools import islice, permutations
from random import Random
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from consumers.public_events import PeeringChanged
from feeds import marks, peering_facts
from feeds.documents import Feed
from feeds.peering import Change, Facts, build, standing
from feeds.peering_facts import LOOKED_AT, PeeringFacts
from signer.canonical import canonical
from tests.support.domain_events import an_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from consumers.events import Event
    from runtime.database import Connection

T0 = datetime(2026, 11, 20, tzinfo=UTC)
NOW = T0 + timedelta(hours=12)
SECRET = "hunter2"  # noqa: S105 - of tests
A, B, SESSION = "185.243.217.0/24", "2a0e:8f02:f001::/48", "Netnod Stockholm GREEN"


def told(minutes: float, *changes: tuple[str, str], event_id: str | None = None, **data: Any) -> Event:
    """Return an event; changes are a word and a prefix or a session's name."""
    said = [{"op": op, "prefix" if "/" in subject else "session": subject} for op, subject in changes]
    event = an_event("peering.changed", changes=said, **data)
    moment = T0 + timedelta(minutes=minutes)
    return dataclasses.replace(event, time=moment, id=event_id or event.id)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    made = await asyncpg.connect(dsn)
    yield made
    await made.close()


async def write(connection: Connection, *events: Event) -> bool:
    """Hand events to the handler, in one transaction; say whether it wants somebody woken."""
    woken: list[bool] = []
    async with connection.transaction():
        after = await PeeringFacts(lambda: woken.append(True))(connection, events)
        assert not woken
    if after is not None:
        after()
    return bool(woken)


async def changes(connection: Connection) -> int:
    return (await marks.read(connection))[Feed.PEERING].changes


async def content(connection: Connection) -> bytes:
    made = build(await peering_facts.read(connection), provider="NordBastion", now=NOW)
    return canonical(made.model_dump(mode="json"))


@asynccontextmanager
async def undone(connection: Connection) -> AsyncIterator[None]:
    transaction = connection.transaction()
    await transaction.start()
    yield
    await transaction.rollback()


async def test_what_is_new_is_marked_and_somebody_woken_and_what_is_not_is_not(connection: Connection) -> None:
    event = told(1, ("announce", A), ("session_up", SESSION), record={"aka": "NB"})
    assert await write(connection, event)
    assert await changes(connection) == 1
    before = await content(connection)
    assert not await write(connection, event)
    assert not await write(connection, an_event())
    assert not await write(connection, told(0, ("up", "x"), event_id=event.id))
    assert (await changes(connection), await content(connection)) == (1, before)


async def test_the_same_event_in_one_batch_twice_is_one(connection: Connection) -> None:
    event = told(1, ("announce", A))
    assert await write(connection, event, event)
    assert len((await peering_facts.history(connection)).told) == 1


async def test_a_record_alone_is_new(connection: Connection) -> None:
    await write(connection, told(1, ("announce", A)))
    event = told(2, ("announce", A), record={"aka": "NB"})
    await write(connection, dataclasses.replace(event, data=event.data.model_copy(update={"record": None})))
    assert await write(connection, event)
    assert (await peering_facts.read(connection)).record is not None


async def test_any_order_of_a_story_ends_in_the_same_bytes(connection: Connection) -> None:
    story = [
        told(1, ("announce", A), ("announce", B), record={"aka": "old"}),
        told(2, ("withdraw", A), event_id="x", record={"aka": "new"}),
        told(2, ("announce", A), ("session_up", SESSION), event_id="w", record={"aka": "other"}),
        told(3, ("withdrawn", A), ("flapped", B), ("session_down", SESSION)),
    ]
    found = set()
    for order in permutations(story):
        async with undone(connection):
            for each in order:
                await write(connection, each)
            found.add(await content(connection))
    assert len(found) == 1
    async with undone(connection):
        await write(connection, *story)
        assert {await content(connection)} == found
        facts = await peering_facts.read(connection)
    assert facts.record is not None
    assert facts.record.fields == {"aka": "new"}
    made = build(facts, provider="P", now=NOW)
    assert [(each.prefix, each.status, each.since) for each in made.prefixes] == [
        (A, "withdrawn", T0 + timedelta(minutes=2)),
        (B, "announced", T0 + timedelta(minutes=1)),
    ]


@pytest.mark.parametrize("seed", range(8))
async def test_what_is_read_stands_as_all_of_it_does(connection: Connection, seed: int) -> None:
    rng = Random(seed)
    events = []
    for number in range(60):
        words = [
            (rng.choice(["announce", "withdraw", "else", "session_up"]), rng.choice([A, B]))
            if rng.random() < 0.7
            else (rng.choice(["up", "down", "reset", "announce"]), rng.choice(["x", "Ä", "z"]))
            for _ in range(rng.randint(1, 3))
        ]
        event = told(rng.randint(0, 8), *words, event_id=rng.choice("äbCd") + str(number))
        assert isinstance(event.data, PeeringChanged)
        changes = event.data.changes
        if rng.random() < 0.4:
            said = {"origin_asn": 1 + number, "peer_asn": 1 + number}
            changes = [each.model_copy(update=said) for each in changes]
        events.append(dataclasses.replace(event, data=event.data.model_copy(update={"changes": changes})))
    await write(connection, *events)
    everything = [each.change for event in events for each in peering_facts.changes_of(event)]
    assert standing((await peering_facts.read(connection)).changes) == standing(everything)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_the_record_that_happened_last_stays(connection: Connection, order: Sequence[int]) -> None:
    records = [
        told(1, ("announce", A), event_id="z", record={"aka": "first"}),
        told(2, ("announce", A), event_id="B", record={"aka": "second"}),
        told(2, ("announce", A), event_id="a", record={"aka": "third"}),
    ]
    for each in order:
        await write(connection, records[each])
    record = (await peering_facts.read(connection)).record
    assert record is not None
    assert record == (213232, T0 + timedelta(minutes=2), {"aka": "third"})


async def test_no_secret_reaches_the_database(connection: Connection) -> None:
    event = an_event(
        "peering.changed",
        changes=[
            {"op": "session_up", "session": {"name": "x", "md5": SECRET}, "password": SECRET},
            {"op": "announce", "prefix": A, "community": SECRET},
        ],
        record={"netixlan_set": [{"name": "IX", "md5": SECRET}], "tcp_ao": SECRET},
        secret=SECRET,
    )
    await write(connection, event)
    rows = [
        row[0]
        for table in ("peering_changes", "peering_records")
        for row in await connection.fetch(f"SELECT {table}::text FROM {table}")  # noqa: S608 - of tests
    ]
    assert len(rows) == 3
    assert not [row for row in rows if SECRET in row]


async def test_a_text_the_database_does_not_know_spoils_nothing(connection: Connection) -> None:
    assert await write(connection, told(1, ("announce", A), record={"notes": "a\x00b", "aka": "NB"}))
    record = (await peering_facts.read(connection)).record
    assert record is not None
    assert record.fields == {"aka": "NB"}


async def test_nothing_was_told(connection: Connection) -> None:
    assert await peering_facts.read(connection) == Facts([], None, None)
    assert await peering_facts.history(connection) == ([], 0, True, None)


async def test_the_history_has_everything_and_can_be_leafed_through(connection: Connection) -> None:
    await write(
        connection,
        told(1, ("announce", A), ("flapped", A), event_id="a"),
        told(3, ("withdraw", A), event_id="c"),
        told(2, ("session_up", SESSION), event_id="b"),
    )

    async def page(**wanted: Any) -> list[tuple[str, int]]:
        found = await peering_facts.history(connection, **wanted)
        return [(each.change.event_id, each.change.place) for each in found.told]

    everything = [("c", 0), ("b", 0), ("a", 1), ("a", 0)]
    assert await page() == everything
    assert await page(is_descending=False) == everything[::-1]
    assert await page(offset=1, size=2) == everything[1:3]
    assert await page(prefix=A) == [("c", 0), ("a", 1), ("a", 0)]
    assert await page(prefix=SESSION) == []
    assert await page(since=T0 + timedelta(minutes=2), until=T0 + timedelta(minutes=2)) == [("b", 0)]
    found = await peering_facts.history(connection, size=1)
    assert (found.total, found.is_complete, found.newest) == (4, True, T0 + timedelta(minutes=3))
    assert found.told[0].asn == 213232
    assert found.told[0].change._replace(source="", place=0) == Change(
        T0 + timedelta(minutes=3), "c", "", 0, "prefix", A, "withdraw", None
    )


async def test_a_long_history_is_cut_and_says_so_and_a_large_table_is_read(connection: Connection) -> None:
    networks = list(islice(ip_network("10.0.0.0/8").subnets(new_prefix=24), 5_000))
    for minutes, word in ((1, "announce"), (2, "withdraw")):
        await write(connection, told(minutes, *((word, str(each)) for each in networks)))
    exact = await peering_facts.history(connection, offset=LOOKED_AT - 1, size=5)
    assert (len(exact.told), exact.total, exact.is_complete) == (1, LOOKED_AT, True)
    await write(connection, told(3, ("announce", A)))
    cut = await peering_facts.history(connection, offset=LOOKED_AT - 1, size=5)
    assert (len(cut.told), cut.total, cut.is_complete) == (1, LOOKED_AT, False)
    assert (await peering_facts.history(connection, offset=2**31 - 1)).told == []
    assert len(build(await peering_facts.read(connection), provider="P", now=NOW).prefixes) == 5_001


async def test_a_page_of_the_history_is_read_from_an_index(connection: Connection) -> None:
    networks = [str(each) for each in islice(ip_network("10.0.0.0/8").subnets(new_prefix=24), 400)]
    for minutes in range(10):
        await write(connection, told(minutes, *(("announce", each) for each in networks)))
    await connection.execute("ANALYZE peering_changes")
    asked: list[tuple[str, Sequence[object]]] = []

    def note(query: Any) -> None:
        asked.append((query.query, query.args))

    connection.add_query_logger(note)
    for direction in (True, False):
        await peering_facts.history(connection, is_descending=direction)
        await peering_facts.history(connection, prefix=networks[7], since=T0, until=NOW, is_descending=direction)
    await asyncio.sleep(0)  # loggers are called soon
    connection.remove_query_logger(note)
    asked = [(query, args) for query, args in asked if "peering_changes" in query]
    assert len(asked) == 8
    for query, args in asked:
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF) {query}", *args))
        index = "peering_changes_of_subject" if networks[7] in args else "peering_changes_told"
        assert index in plan, plan
        assert "Seq Scan" not in plan
