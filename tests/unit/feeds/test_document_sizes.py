"""What is more than can be signed is left out by rule and said; a document's work grows as its facts do.

No clock is looked at: calls are counted.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds import incidents, peering, peering_record, room, status
from feeds.component_days import SLOTS, Facts, Reported
from feeds.incidents import fold
from feeds.models import ComponentStatus, Impact, Session
from feeds.peering import Change
from feeds.peering_record import GREATEST, MOST_OF_SETS, SETS, allowed, complete, is_whole
from feeds.publish import plain
from feeds.room import MOST_BYTES, first_that_fit, size
from feeds.status import MOST_OF_COMPONENTS, MOST_OF_INCIDENTS, MOST_OF_MAINTENANCES, Declared, DeclaredService
from signer.canonical import canonical
from signer.protocol import MAX_CONTENT
from tests.support import feed_documents
from tests.support.call_counts import calls
from tests.support.incident_courses import opened, resolved, rows, updated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel

    from feeds.incidents import Row
    from feeds.models import PeeringDocument, StatusDocument

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=30)
INCIDENTS, PREFIXES = 1_000, 5_000
#: What doubles may come to a little more than twice: sorting does.
DOUBLE = 2.2


def told(op: str, subjects: Sequence[str], *, at: datetime = LONG_AGO) -> list[Change]:
    kind: peering.Kind = "prefix" if op in {"announce", "withdraw"} else "session"
    return [Change(at, "e", "/s", place, kind, subject, op, 213232) for place, subject in enumerate(subjects)]


def networks(count: int, within: str = "2a0e:8f02::/32", length: int = 48) -> list[str]:
    return [str(each) for each in islice(ip_network(within).subnets(new_prefix=length), count)]


def stories(count: int) -> list[Row]:
    """Return what is said of as many incidents, one in ten of which goes on."""
    made = []
    for number in range(count):
        about = {"incident_id": f"inc_{number:05}", "body": "What operators write of it. " * 4}
        made += [opened(number, **about), updated("monitoring", number + 5, **about)]
        made += [resolved(number + 9, **about)] if number % 10 else []
    return rows(*made)


# --- how work grows ---------------------------------------------------------------------------------------------------


def test_work_grows_as_incidents_do() -> None:
    stored = stories(INCIDENTS)

    def work(share: int) -> int:
        some = stored[: len(stored) // share]
        return calls(lambda: plain(incidents.build(*fold(some), provider="P", now=NOW)))

    assert work(1) < work(2) * DOUBLE


def test_work_grows_as_prefixes_do_and_a_question_does_not() -> None:
    changes = told("announce", networks(PREFIXES))

    def work(share: int) -> int:
        facts = peering.Facts(changes[: len(changes) // share], None, 213232)
        return calls(lambda: plain(peering.build(facts, provider="P", now=NOW)))

    def question(share: int) -> int:
        made = peering.build(peering.Facts(changes[: len(changes) // share]), provider="P", now=NOW)
        return calls(lambda: peering.find(made, peering.network(changes[len(changes) // 4].subject)))

    assert work(1) < work(2) * DOUBLE
    assert question(1) < question(2) * 1.5


@pytest.mark.parametrize(
    "document",
    [feed_documents.status(), feed_documents.incidents(), feed_documents.peering(), feed_documents.no_incidents()],
)
def test_a_document_is_written_part_by_part_as_it_would_be_as_a_whole(document: Any) -> None:
    assert canonical(plain(document)) == canonical(document.model_dump(mode="json"))


# --- what fits --------------------------------------------------------------------------------------------------------


def session(name: str) -> Session:
    return Session(session=name, peer_asn=1, status="up", since=LONG_AGO)


def test_the_first_ones_fit_to_the_last_byte() -> None:
    parts = [session("a"), session("bb"), session("c" * 100), session("d")]
    sizes = [size(each) for each in parts]
    assert first_that_fit(parts, sum(sizes)) == parts
    assert first_that_fit(parts, sum(sizes) - 1) == parts[:3]
    assert first_that_fit(parts, sum(sizes[:3]) - 1) == parts[:2]  # what comes later is not put before
    assert first_that_fit(parts, sizes[0] - 1) == []


def sizes_of(document: BaseModel) -> list[tuple[int, int]]:
    parts = [each for _, value in document if isinstance(value, list) for each in value]
    return [(size(each), len(canonical(each.model_dump(mode="json"))) + 1) for each in parts]


def test_a_part_is_never_larger_than_it_counts_for() -> None:
    for document in (feed_documents.status(), feed_documents.peering(), feed_documents.incidents()):
        for counted, taken in sizes_of(document):
            assert counted >= taken


def test_the_signer_takes_the_largest() -> None:
    assert MOST_BYTES < MAX_CONTENT


# --- peering ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how large documents of peering may be: less than they are."""
    monkeypatch.setattr(peering, "MOST_BYTES", 60_000)
    return 60_000


def peering_of(*changes: Change, record: peering.Record | None = None) -> PeeringDocument:
    return peering.build(peering.Facts(changes, record, 213232), provider="P", now=NOW)


def test_more_prefixes_than_can_be_signed_are_there_as_far_as_they_go(small: int) -> None:
    many = networks(800, length=56)
    made = peering_of(*told("announce", many), *told("announce", ["2a0e:8f02::/32"]), *told("session_up", ["Netnod"]))
    assert small - 200 < len(canonical(plain(made))) <= small
    assert not made.is_complete
    assert [each.session for each in made.sessions] == ["Netnod"]
    assert {each.prefix for each in made.prefixes} == {"2a0e:8f02::/32", *sorted(many)[: len(made.prefixes) - 1]}
    [found] = peering.find(made, peering.network(max(many)))
    assert (found.prefix.prefix, found.match) == ("2a0e:8f02::/32", "covering")


def test_what_is_gone_goes_first_and_leaves_nothing_out(small: int) -> None:
    there, gone = networks(300), networks(800, "2a0f::/32")
    changes = [*told("withdraw", gone, at=LONG_AGO + timedelta(days=1)), *told("announce", there)]
    made = peering_of(*changes, *told("session_down", ["Netnod"], at=LONG_AGO))
    assert [each.prefix for each in made.prefixes if each.status == "announced"] == there
    assert 0 < len(made.prefixes) - len(there) < len(gone)
    assert made.is_complete
    assert len(canonical(plain(made))) <= small


def test_the_order_of_changes_decides_nothing_of_what_fits(small: int) -> None:
    changes = [*told("announce", networks(800)), *told("announce", networks(100, "10.0.0.0/8", 24))]
    assert small
    assert peering_of(*changes) == peering_of(*changes[::-1])


def test_a_record_of_many_entries_has_the_first_and_says_so() -> None:
    entries = [{"id": number} for number in range(20_000)]
    fields = allowed({"netfac_set": entries, "netixlan_set": entries[:5]})
    made = peering_of(record=peering.Record(213232, LONG_AGO, fields))
    assert len(canonical(made.net)) <= MOST_OF_SETS + 2_000
    assert not made.is_complete
    assert (len(made.net["netixlan_set"]), made.net["fac_count"]) == (5, 20_000)  # type: ignore[arg-type]  # a list
    assert peering_of(record=peering.Record(213232, LONG_AGO, allowed({"netfac_set": entries[:5]}))).is_complete


def test_no_record_is_too_large_to_be_signed() -> None:
    worst: dict[str, Any] = {
        name: next(
            (each for each in ("\u5b57" * 20_000, ["\u5b57" * 200] * 100, GREATEST) if kind.fits(each)), kind.empty
        )
        for name, kind in peering_record.NET.items()
    }
    entry = {"name": "\u5b57" * 20_000, "role": "x", "visible": "Public"}
    fields = allowed(worst | {name: [entry] * 100 for name in SETS})
    made = complete(fields, asn=1, name="P")
    assert len(made["notes"]) == 20_000
    assert len(canonical(made)) < MOST_BYTES - 500_000
    assert not is_whole(made, fields)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("notes", "x" * 20_001),
        ("website", "https://" + "x" * 2_001),
        ("info_types", ["x"] * 101),
        ("info_types", ["x" * 201]),
    ],
)
def test_a_value_beyond_all_measure_is_left_out(field: str, value: object) -> None:
    shorter = value[:-1] if len(value) > 1 else [value[0][:-1]]  # type: ignore[arg-type,index]  # texts, lists of them
    assert allowed({field: value}) == {}
    assert allowed({field: shorter}) == {field: shorter}


# --- status -----------------------------------------------------------------------------------------------------------


def status_of(components: int, **changes: Any) -> StatusDocument:
    at = NOW - timedelta(minutes=1)
    full = {(NOW - timedelta(days=number)).date(): bytes([3]) * SLOTS for number in range(90)}
    names = [f"B{number // 40:02}/{number:05}" for number in range(components)]
    latest = {name: Reported(ComponentStatus.OPERATIONAL, at) for name in names}
    latest |= {name: Reported(ComponentStatus.PARTIAL_OUTAGE, at) for name in names[30:]}
    latest["zzz"] = Reported(ComponentStatus.MAJOR_OUTAGE, at)
    declared = Declared((), [DeclaredService("panel", "Control panel")])
    facts = Facts(latest, dict.fromkeys(names, full))
    given: dict[str, Any] = {"incidents": (), "maintenances": ()} | changes
    return status.build(facts, **given, declared=declared, provider="P", now=NOW)


def test_more_components_than_can_be_signed_still_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "MOST_OF_COMPONENTS", 100_000)
    made = status_of(60)
    assert [each.id for each in made.components[:2]] == ["panel", "B00/00000"]
    assert 10 < len(made.components) < 60
    assert sum(map(size, made.components)) <= 100_000
    assert not made.is_complete
    assert made.indicator is Impact.CRITICAL  # of the one that is left out
    [whole] = [each for each in made.groups if each.id == "B00"]
    assert whole.status is ComponentStatus.PARTIAL_OUTAGE  # of some that are left out
    assert [each.id for each in made.groups] == list(
        dict.fromkeys(each.group for each in made.components if each.group)
    )
    assert status_of(5).is_complete


@pytest.mark.parametrize(("kind", "limit"), [("incidents", MOST_OF_INCIDENTS), ("maintenances", MOST_OF_MAINTENANCES)])
def test_more_open_ones_than_can_be_signed_have_the_first(kind: str, limit: int) -> None:
    example = feed_documents.incidents()
    [one] = [each for each in getattr(example, kind) if each.status in {"monitoring", "scheduled"}]
    many = [one.model_copy(update={"id": f"{number:03}", "title": "\u5b57" * 20_000}) for number in range(40)]
    made = status_of(1, **{kind: many})
    assert 5 < len(getattr(made, kind)) < 40
    assert sum(map(size, getattr(made, kind))) <= limit
    assert not made.is_complete
    first = [each.id for each in getattr(made, kind)][:2]
    assert first == (["039", "038"] if kind == "incidents" else ["000", "001"])


def test_the_parts_of_a_status_document_leave_room_for_the_rest() -> None:
    assert MOST_OF_COMPONENTS + MOST_OF_INCIDENTS + MOST_OF_MAINTENANCES <= MOST_BYTES * 7 // 8
    assert room.MOST_BYTES // 8 > 400_000  # of groups: there are no more than components


@given(st.integers(0, 40), st.integers(2_000, 30_000))
def test_no_size_is_passed_whatever_there_is(count: int, most: int) -> None:
    changes = [*told("announce", networks(count)), *told("session_up", [f"s{number}" for number in range(count)])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peering, "MOST_BYTES", most)
        made = peering_of(*changes)
    assert len(canonical(plain(made))) <= most
    assert made.is_complete is (len(made.prefixes) + len(made.sessions) == 2 * count)
