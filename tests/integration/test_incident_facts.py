"""What is said of incidents and maintenance is kept once, whichever transaction brings it, and tells who publishes."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.decode import InvalidRecordError, Reason
from feeds import incident_facts, marks, status
from feeds.component_days import Facts
from feeds.documents import Feed
from feeds.incident_facts import IncidentFacts
from feeds.incidents import build, fold
from feeds.status import Declared
from signer.canonical import canonical
from tests.support.domain_events import an_event
from tests.support.incident_courses import interleaved, minute, opened, resolved, rows, scheduled, updated, work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from consumers.events import Event
    from feeds.incidents import Row
    from runtime.database import Connection

NOW = datetime(2026, 11, 20, tzinfo=UTC)


class Told:
    """Counts how often it was woken."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    opened_one = await asyncpg.connect(dsn)
    yield opened_one
    await opened_one.close()


async def _handle(connection: Connection, *events: Event) -> bool:
    """Handle events in a transaction, as the consumer does; say whether there was anything to publish."""
    told = Told()
    async with connection.transaction():
        after = await IncidentFacts(told)(connection, events)
        assert told.times == 0
    if after is not None:
        after()
    return bool(told.times)


async def _changes(connection: Connection) -> dict[str, int]:
    return {feed: each.changes for feed, each in (await marks.read(connection)).items()}


async def test_what_is_kept_comes_back_as_it_was_said(connection: Connection) -> None:
    events = [
        opened(0, body="Ein „Wort“, 字"), updated("monitoring", 5.0001), resolved(9), scheduled(-9, 60, 90),
        work("started", 61), work("completed", 80),
    ]  # fmt: skip
    assert await _handle(connection, *events)
    kept = await incident_facts.read(connection)
    assert sorted(kept, key=lambda row: row.event_id) == sorted(rows(*events), key=lambda row: row.event_id)
    assert fold(kept) == fold(rows(*events))


async def test_only_what_the_catalogue_names_is_kept(connection: Connection) -> None:
    await _handle(connection, an_event("incident.opened", internal_note="who was on call", started_by="somebody"))
    [row] = await incident_facts.read(connection)
    assert set(row.data) == {"incident_id", "title", "impact", "components", "body", "started_at"}


async def test_what_is_new_marks_both_feeds_and_what_is_not_marks_none(connection: Connection) -> None:
    first, second = opened(0), resolved(9)
    before = await _changes(connection)
    assert await _handle(connection, first)
    assert await _changes(connection) == {**before, Feed.INCIDENTS: 1, Feed.STATUS: 1}
    assert not await _handle(connection, first)
    assert not await _handle(connection, replace(first, raw=b"{}"), first)
    assert await _changes(connection) == {**before, Feed.INCIDENTS: 1, Feed.STATUS: 1}
    assert await _handle(connection, first, second, second)
    assert await _changes(connection) == {**before, Feed.INCIDENTS: 2, Feed.STATUS: 2}
    assert len(await incident_facts.read(connection)) == 2


async def test_one_id_of_two_sources_is_two_events(connection: Connection) -> None:
    one = opened(0)
    assert await _handle(connection, one, replace(one, source="/other"))
    assert len(await incident_facts.read(connection)) == 2


async def test_other_events_are_none_of_its_business(connection: Connection) -> None:
    assert not await _handle(connection, an_event("server.power.on"), an_event("peering.changed"))
    assert not await _handle(connection)
    assert await incident_facts.read(connection) == []
    assert await _handle(connection, an_event("server.power.on"), opened(0))


async def test_what_is_rolled_back_was_never_said(connection: Connection) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with connection.transaction():
            await IncidentFacts(Told())(connection, [opened(0)])
            raise ZeroDivisionError
    assert await incident_facts.read(connection) == []
    assert (await _changes(connection))[Feed.INCIDENTS] == 0


async def test_a_text_that_postgresql_cannot_keep_is_kept_without_what_it_cannot(connection: Connection) -> None:
    await _handle(connection, opened(0, title="a\x00b", body="\x00\\u0000\x01"))
    [made], _ = fold(await incident_facts.read(connection))
    assert made.title == "a\ufffdb"
    assert made.updates[0].body == "\ufffd\\u0000\x01"


@pytest.mark.parametrize(
    "event",
    [
        an_event("incident.opened", started_at="0001-01-01T00:00:00+14:00"),
        an_event("incident.resolved", resolved_at="9999-12-31T23:59:59-14:00"),
        an_event("incident.updated", updated_at="1999-12-31T23:59:59Z"),
        an_event("maintenance.scheduled", scheduled_for="9001-01-01T00:00:00Z"),
        an_event("maintenance.scheduled", scheduled_until="9001-01-01T00:00:00Z"),
        replace(an_event("maintenance.scheduled"), time=datetime(1970, 1, 1, tzinfo=UTC)),
    ],
    ids=lambda event: event.id,
)
async def test_a_date_that_not_every_format_can_write_is_refused(event: Event, connection: Connection) -> None:
    with pytest.raises(InvalidRecordError, match="2000 to 9000") as refused:
        await _handle(connection, opened(0), event)
    assert (refused.value.reason, refused.value.event_type) == (Reason.HANDLER, event.type)
    assert await incident_facts.read(connection) == []


async def test_moments_are_kept_as_moments(connection: Connection) -> None:
    await _handle(connection, opened(0, started_at="2026-11-07T06:00:00+02:00"))
    [row] = await incident_facts.read(connection)
    assert row.happened_at == minute(0)


@given(both=interleaved(), data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_however_it_is_cut_into_transactions_it_ends_in_the_same_documents(
    both: tuple[Sequence[Event], Sequence[Event]], data: st.DataObject, dsn: str
) -> None:
    """Half of the transactions are another process's, at the same time."""
    events, again = both
    cuts = sorted(data.draw(st.lists(st.integers(0, len(again)), max_size=4), label="cuts"))
    parts = [again[start:end] for start, end in zip([0, *cuts], [*cuts, len(again)], strict=True)]

    async def process(mine: Sequence[Sequence[Event]]) -> None:
        connection = await asyncpg.connect(dsn)
        try:
            for part in mine:
                await _handle(connection, *part)
        finally:
            await connection.close()

    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("TRUNCATE incident_events")
        await asyncio.gather(process(parts[::2]), process(parts[1::2]))
        kept = await incident_facts.read(connection)
    finally:
        await connection.close()
    assert len(kept) == len(events)
    assert _documents(kept) == _documents(rows(*events))


def _documents(stored: Sequence[Row]) -> list[bytes]:
    """Return what is published of incidents: their own document, and that of the status."""
    folded = fold(stored)
    made = [
        build(*folded, provider="NordBastion", now=NOW),
        status.build(Facts({}, {}), *folded, Declared(), provider="NordBastion", now=NOW),
    ]
    return [canonical(each.model_dump(mode="json")) for each in made]
