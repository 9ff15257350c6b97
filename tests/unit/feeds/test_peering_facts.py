"""What an event says of peering: in whose words, of what, and what of it is not for everybody."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from consumers.decode import InvalidRecordError
from feeds.peering import STATUS
from feeds.peering_facts import PREFIX, SESSION, WORDS, changes_of, newest_records, op_of
from tests.support.domain_events import an_event

if TYPE_CHECKING:
    from consumers.events import Event
    from feeds.peering import Change, Kind

SECRET = "hunter2"  # noqa: S105 - of tests
A = "185.243.217.0/24"


def told(*changes: dict[str, Any], **data: Any) -> Event:
    return an_event("peering.changed", changes=list(changes), **data)


def only(change: dict[str, Any]) -> Change:
    [found] = changes_of(told(change))
    return found.change


@pytest.mark.parametrize(
    ("kind", "word", "expected"),
    [
        (PREFIX, "announce", "announce"),
        (PREFIX, "Announced", "announce"),
        (PREFIX, "prefix_announced", "announce"),
        (PREFIX, "prefix.withdrawn", "withdraw"),
        (PREFIX, " withdrew ", "withdraw"),
        (PREFIX, "removed", "withdraw"),
        (PREFIX, "session_up", "session_up"),
        (PREFIX, "RPKI-Valid", "RPKI-Valid"),
        (SESSION, "up", "session_up"),
        (SESSION, "session-established", "session_up"),
        (SESSION, "SESSION DOWN", "session_down"),
        (SESSION, "session_removed", "session_down"),
        (SESSION, "announce", "announce"),
    ],
)
def test_words_for_the_same_are_one_word_and_others_stay(kind: Kind, word: str, expected: str) -> None:
    assert op_of(kind, word) == expected


def test_every_word_that_is_known_makes_a_state_and_stays_what_it_is() -> None:
    for kind, words in WORDS.items():
        for word in words.values():
            assert (kind, word) in STATUS
            assert op_of(kind, word) == word


@pytest.mark.parametrize(
    ("change", "kind", "subject"),
    [
        ({"op": "announce", "prefix": "2A0E:8F02:F001:0000::/48"}, PREFIX, "2a0e:8f02:f001::/48"),
        ({"op": "announce", "prefix": "185.243.217.0/255.255.255.0"}, PREFIX, A),
        ({"op": "session_up", "session": "Netnod"}, SESSION, "Netnod"),
        ({"op": "up", "session": {"name": "Netnod", "peer_asn": 1}}, SESSION, "Netnod"),
        ({"op": "up", "session": {"ix": "NETNOD", "peer_asn": 6939}}, SESSION, "NETNOD AS6939"),
        ({"op": "up", "session": {"peer_asn": 1, "ipaddr4": "192.0.2.1", "md5": SECRET}}, SESSION, "AS1 192.0.2.1"),
        ({"op": "announce", "prefix": A, "session": "Netnod"}, PREFIX, A),
        ({"op": "session_down", "prefix": A, "session": "Netnod"}, SESSION, "Netnod"),
        ({"op": "removed", "prefix": A, "session": "Netnod"}, PREFIX, A),
        ({"op": "session_down", "prefix": A}, PREFIX, A),
        ({"op": "else", "prefix": A, "session": "Netnod"}, PREFIX, A),
    ],
)
def test_a_change_is_about_a_prefix_or_a_session(change: dict[str, Any], kind: Kind, subject: str) -> None:
    found = only(change)
    assert (found.kind, found.subject) == (kind, subject)


@pytest.mark.parametrize(
    "session", [{}, {"password": SECRET}, {"name": "x" * 201}, {"name": "a\nb"}, {"name": ""}, {"peer_asn": "6939"}]
)
def test_a_session_that_nothing_names_is_left_out(session: dict[str, Any]) -> None:
    found = list(changes_of(told({"op": "up", "session": session}, {"op": "announce", "prefix": A})))
    assert [(each.change.subject, each.change.place) for each in found] == [(A, 1)]


@pytest.mark.parametrize(
    ("change", "asn"),
    [
        ({"op": "announce", "prefix": A, "origin_asn": 213232}, 213232),
        ({"op": "announce", "prefix": A, "origin_asn": "213232"}, None),
        ({"op": "announce", "prefix": A, "origin_asn": True}, None),
        ({"op": "announce", "prefix": A, "origin_asn": 0}, None),
        ({"op": "announce", "prefix": A, "origin_asn": 2**32}, None),
        ({"op": "announce", "prefix": A, "peer_asn": 1}, None),
        ({"op": "up", "session": "x", "peer_asn": 6939}, 6939),
        ({"op": "up", "session": {"name": "x", "peer_asn": 6939}}, 6939),
        ({"op": "up", "session": {"name": "x", "peer_asn": 6939}, "peer_asn": 1}, 1),
    ],
)
def test_the_other_as_is_a_number_of_an_as(change: dict[str, Any], asn: int | None) -> None:
    assert only(change).other_asn == asn


def test_nothing_else_of_a_session_is_taken() -> None:
    event = told({"op": "up", "session": {"name": "x", "md5": SECRET}, "password": SECRET, "note": SECRET})
    assert SECRET not in repr(list(changes_of(event)))


def test_an_event_of_another_type_tells_nothing() -> None:
    assert not list(changes_of(an_event()))
    assert newest_records([an_event()]) == {}


@pytest.mark.parametrize("year", [1, 9999])
def test_a_time_that_cannot_be_written_is_refused(year: int) -> None:
    event = dataclasses.replace(an_event("peering.changed"), time=datetime(year, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidRecordError, match="its time is not of the years"):
        list(changes_of(event))


def test_of_an_as_the_record_that_happened_last_counts() -> None:
    first, second, other = (
        told({"op": "announce", "prefix": A}, record={"aka": name, "md5": SECRET}, asn=asn)
        for name, asn in (("first", 1), ("second", 1), ("other", 2))
    )
    first = dataclasses.replace(first, id="a")
    second = dataclasses.replace(second, id="b")
    for events in ([first, second, other], [other, second, first]):
        found = newest_records(events)
        assert {asn: kept for asn, (_, _, kept) in found.items()} == {1: {"aka": "second"}, 2: {"aka": "other"}}
