"""A canary is published on a real PostgreSQL, with real signatures: what is stored, who is told, what must fit."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest

from feeds import documents
from feeds.canary_publishing import RefusedError
from feeds.documents import Feed, NumberTakenError, Signature
from signer.canary_check import Reason
from signer.canary_dates import State
from tests.support.canaries import STATEMENTS, altered
from tests.support.canary_office import ISSUED, LOCATION, NOW, PUBLIC_URL, Press, faults, office, press

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from consumers.events import Event
    from runtime.database import Connection
    from tests.support.canary_office import Office


@pytest.fixture(scope="module")
def desk() -> Iterator[Office]:
    with office() as made:
        yield made


@pytest.fixture
async def paper(dsn: str, desk: Office) -> AsyncIterator[Press]:
    async with press(dsn, desk) as made:
        yield made


# --- the walk -----------------------------------------------------------------------------------------------------


async def test_the_exact_bytes_are_stored_with_what_counts_and_subscribers_are_told(paper: Press) -> None:
    told = [
        await paper.subscribe("canary.updated", account="acct_1"),
        await paper.subscribe("*", account="acct_2"),
    ]
    await paper.subscribe("server.*", account="acct_3")
    document = paper.office.first()
    files = paper.office.signed(document.content, paper.office.mallory, paper.office.subkeys[0], paper.office.bob)
    made = await paper.publish(document, files)
    assert made.is_new
    newest = await paper.newest()
    assert newest == made.published
    assert newest is not None
    assert (newest.number, newest.content, newest.sha256) == (1, document.content, document.sha256)
    kept = [Signature(paper.office.alice, files["1.asc"]), Signature(paper.office.bob, files["2.asc"])]
    assert list(newest.signatures) == sorted(kept)
    assert await paper.deliveries() == sorted(told)
    assert paper.woken == 0
    assert made.after_commit is not None
    made.after_commit()
    assert paper.woken == 1
    message = json.loads(await paper.connection.fetchval("SELECT body FROM messages"))
    assert (message["type"], message["timestamp"]) == ("canary.updated", "2024-11-01T10:30:00Z")
    assert message["data"] == {
        "sequence": 1,
        "issued_at": "2024-11-01T09:30:00Z",
        "next_due": "2024-12-01T00:00:00Z",
        "expires_at": "2024-12-08T00:00:00Z",
        "sha256": document.sha256,
        "url": f"{LOCATION}/history/1.json",
        "signature_url": f"{LOCATION}/history/1.json.asc",
        "state": "current",
    }
    assert await paper.state() is State.CURRENT


async def test_the_same_canary_is_the_same_event(paper: Press) -> None:
    told: list[Event] = []

    async def announce(_: Connection, events: Sequence[Event]) -> None:
        told.extend(events)

    made = await paper.publish(paper.office.first(), announce=announce)
    [event] = told
    assert (event.source, event.id) == (PUBLIC_URL, f"canary-{made.published.sha256}")
    assert (event.account, event.resource, event.time) == (None, "canary", NOW)


async def test_each_follows_the_one_before_and_one_published_late_in_the_month_is_due(paper: Press) -> None:
    _, second = await paper.second()
    made = await paper.publish(second)
    assert (made.published.number, await paper.state()) == (2, State.CURRENT)
    paper.clock.advance(86_400 * 24)
    third = paper.office.successor(second, paper.clock.now())
    paper.clock.advance(86_400 * 6)
    assert (await paper.publish(third)).published.number == 3
    assert await paper.state() is State.DUE


async def test_what_is_published_grows_late_by_itself(paper: Press) -> None:
    await paper.publish(paper.office.first())
    seen = []
    for days in (0, 22, 1, 7):  # 1, 23, 24 November and 1 December, 10:30
        paper.clock.advance(86_400 * days)
        seen.append(await paper.state())
    assert seen == [State.CURRENT, State.CURRENT, State.DUE, State.OVERDUE]
    paper.clock.advance(86_400 * 7)
    assert await paper.state() is State.EXPIRED


async def test_a_file_that_is_the_newest_already_is_left_as_it_is(paper: Press) -> None:
    document = paper.office.first()
    made = await paper.publish(document)
    await paper.subscribe("*", account="acct_1")
    again = await paper.publish(document, {})
    assert not again.is_new
    assert (again.published, again.after_commit) == (made.published, None)
    assert await paper.deliveries() == []


# --- dates and chain ----------------------------------------------------------------------------------------------


async def test_dates_that_cannot_be_are_refused(paper: Press) -> None:
    tomorrow = paper.office.first(NOW + timedelta(days=1))
    at = NOW + timedelta(minutes=1)
    error = await paper.refused(tomorrow, paper.office.signed(tomorrow.content, at=at))
    assert Reason.FROM_THE_FUTURE in faults(error)
    due = NOW.replace(month=12, day=1, hour=0, minute=0)
    long = altered(paper.office.first(), expires_at=due + timedelta(days=17))
    error = await paper.refused(long)
    assert error.reasons == ("bad_dates: expires_at is more than 45 days after issued_at",)
    paper.clock.advance(86_400 * 32)
    assert faults(await paper.refused(paper.office.first())) == [Reason.OVERDUE]
    paper.clock.advance(86_400 * 7)
    assert faults(await paper.refused(paper.office.first())) == [Reason.EXPIRED]


async def test_a_replayed_canary_is_refused(paper: Press) -> None:
    first, second = await paper.second()
    await paper.publish(second)
    error = await paper.refused(first)
    assert {Reason.WRONG_SEQUENCE, Reason.BROKEN_CHAIN, Reason.NOT_NEWER} <= set(faults(error))
    assert await paper.state() is State.CURRENT


async def test_a_chain_that_breaks_is_refused(paper: Press) -> None:
    first, second = await paper.second()
    for fields, reason in (
        ({"sequence": 3}, Reason.WRONG_SEQUENCE),
        ({"previous_sha256": "0" * 64}, Reason.BROKEN_CHAIN),
        ({"provider": "Another"}, Reason.ANOTHER_CANARY),
        ({"issued_at": first.statement.issued_at}, Reason.NOT_NEWER),
        ({"freshness": first.statement.freshness}, Reason.STALE_PROOFS),
    ):
        assert reason in faults(await paper.refused(altered(second, **fields)))
    another = paper.office.first(paper.clock.now() - timedelta(minutes=5))
    assert {Reason.WRONG_SEQUENCE, Reason.BROKEN_CHAIN} <= set(faults(await paper.refused(another)))


async def test_nothing_begins_in_the_middle(paper: Press) -> None:
    first = paper.office.first()
    second = paper.office.successor(first, ISSUED + timedelta(minutes=30))
    assert faults(await paper.refused(second)) == [Reason.WRONG_SEQUENCE]
    assert faults(await paper.refused(paper.office.retirement())) == [Reason.BROKEN_CHAIN]


# --- what is gone -------------------------------------------------------------------------------------------------


async def test_a_statement_does_not_vanish_silently(paper: Press) -> None:
    _, second = await paper.second(statements=STATEMENTS[1:], removed=frozenset({"warrants"}))
    silent = altered(second, acknowledged_removals=())
    assert faults(await paper.refused(silent, acknowledged=("warrants",))) == [Reason.VANISHED]
    feigned = altered(second, acknowledged_removals=("seizures", "warrants"))
    assert faults(await paper.refused(feigned, acknowledged=("warrants", "seizures"))) == [Reason.NOT_VANISHED]


async def test_whoever_publishes_must_name_what_is_gone_and_nothing_else(paper: Press) -> None:
    _, second = await paper.second(statements=STATEMENTS[1:], scope="Oslo", removed=frozenset({"warrants", "scope"}))
    error = await paper.refused(second)
    assert str(error) == (
        "it removes scope, warrants, and everyone will see that; if that is meant, add "
        "--acknowledge-removed scope --acknowledge-removed warrants"
    )
    error = await paper.refused(second, acknowledged=("warrants", "seizures"))
    assert error.reasons == (
        "it removes scope, and everyone will see that; if that is meant, add --acknowledge-removed scope",
        "--acknowledge-removed: it does not remove seizures",
    )
    made = await paper.publish(second, acknowledged=("warrants", "scope", "scope"))
    assert made.is_new
    assert await paper.state() is State.CHANGED


# --- the end ------------------------------------------------------------------------------------------------------


async def test_a_retirement_signed_long_before_ends_the_canary_for_good(paper: Press) -> None:
    told = await paper.subscribe("canary.*", account="acct_1")
    _, second = await paper.second()
    retirement = paper.office.retirement()
    files = paper.office.signed(retirement.content, at=ISSUED - timedelta(days=80))
    assert (await paper.publish(retirement, files)).published.number == 2
    assert await paper.deliveries() == [told, told]
    bodies = [json.loads(row[0]) for row in await paper.connection.fetch("SELECT body FROM messages ORDER BY id")]
    at = "2024-11-26T10:30:00Z"
    assert bodies[-1]["data"] == {
        "sequence": 2,
        "issued_at": at,
        "next_due": at,
        "expires_at": at,
        "sha256": retirement.sha256,
        "url": f"{LOCATION}/history/2.json",
        "signature_url": f"{LOCATION}/history/2.json.asc",
        "state": "revoked",
    }
    assert await paper.state() is State.REVOKED
    assert faults(await paper.refused(second)) == [Reason.AFTER_RETIREMENT]
    again = paper.office.retirement(retirement="Once more.")
    assert faults(await paper.refused(again)) == [Reason.AFTER_RETIREMENT]
    assert not (await paper.publish(retirement, files)).is_new


async def test_a_retirement_of_another_scope_ends_nothing(paper: Press) -> None:
    await paper.publish(paper.office.first())
    assert faults(await paper.refused(paper.office.retirement(scope="Oslo"))) == [Reason.ANOTHER_CANARY]


# --- what may happen meanwhile ------------------------------------------------------------------------------------


async def test_of_two_who_publish_at_once_one_wins_and_the_other_is_told(paper: Press, dsn: str) -> None:
    first, second = await paper.second()
    rival = paper.office.successor(first, paper.clock.now() - timedelta(minutes=20))
    other = await asyncpg.connect(dsn)
    try:
        ended = await asyncio.gather(
            paper.publish(second), paper.publish(rival, connection=other), return_exceptions=True
        )
    finally:
        await other.close()
    [error] = [each for each in ended if isinstance(each, BaseException)]
    assert isinstance(error, RefusedError)
    assert {Reason.WRONG_SEQUENCE, Reason.BROKEN_CHAIN} <= set(faults(error))
    assert await documents.count(paper.connection, Feed.CANARY) == 2


async def test_two_who_publish_the_same_at_once_publish_it_once(paper: Press, dsn: str) -> None:
    await paper.subscribe("*", account="acct_1")
    document = paper.office.first()
    other = await asyncpg.connect(dsn)
    try:
        ended = await asyncio.gather(paper.publish(document), paper.publish(document, connection=other))
    finally:
        await other.close()
    assert sorted(each.is_new for each in ended) == [False, True]
    assert len(await paper.deliveries()) == 1


async def test_where_telling_fails_nothing_is_published(paper: Press) -> None:
    async def fails(connection: Connection, events: Sequence[Event]) -> None:
        await paper.fan_out(connection, events)
        assert len(await paper.deliveries()) == 1
        raise ConnectionResetError

    await paper.subscribe("*", account="acct_1")
    document = paper.office.first()
    with pytest.raises(ConnectionResetError):
        await paper.publish(document, announce=fails)
    assert (await paper.newest(), await paper.deliveries()) == (None, [])
    assert (await paper.publish(document)).is_new


async def test_a_number_that_somebody_took_meanwhile_is_said(paper: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    async def taken(*_: object, **__: object) -> None:
        raise NumberTakenError("canary 1 has been published already")

    monkeypatch.setattr(documents, "save", taken)
    error = await paper.refused(paper.office.first())
    assert str(error) == "canary 1 has been published already by somebody else in this moment: look at that one first"
