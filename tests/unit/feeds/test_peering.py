"""What stands, since when: whatever order changes come in; and what a prefix or an address finds among them."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds import peering
from feeds.models import PeeringDocument, Prefix
from feeds.peering import MOST_GONE, Change, Facts, Found, Record, Standing, build, find, standing
from signer.canonical import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from feeds.peering import Network

T0 = datetime(2026, 11, 20, tzinfo=UTC)
NOW = T0 + timedelta(hours=12)
A, B, NAME = "185.243.217.0/24", "2a0e:8f02:f001::/48", "Netnod Stockholm GREEN"


def at(minutes: int) -> datetime:
    return T0 + timedelta(minutes=minutes)


def change(minutes: int, op: str, subject: str = A, *, asn: int | None = None, **changes: Any) -> Change:
    kind = "session" if subject == NAME else "prefix"
    made = Change(at(minutes), f"e{minutes}", "/cp", 0, kind, subject, op, asn)  # type: ignore[arg-type] # one of two
    return made._replace(**changes)


def stands(*changes: Change, subject: str = A) -> Standing | None:
    return next((each for (_, name), each in standing(changes).items() if name == subject), None)


# --- since ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([(1, "announce")], ("announced", 1)),
        ([(1, "withdraw")], ("withdrawn", 1)),
        ([(1, "announce"), (2, "announce"), (3, "announce")], ("announced", 1)),
        ([(1, "announce"), (2, "withdraw")], ("withdrawn", 2)),
        ([(1, "announce"), (2, "withdraw"), (3, "withdraw"), (4, "announce"), (5, "announce")], ("announced", 4)),
        ([(1, "announce"), (2, "flapped"), (3, "announce")], ("announced", 1)),
        ([(1, "announce"), (2, "session_down")], ("announced", 1)),
    ],
)
def test_a_state_holds_since_the_change_that_began_it(told: list[tuple[int, str]], expected: tuple[str, int]) -> None:
    changes = [change(minutes, op) for minutes, op in told]
    for order in (changes, changes[::-1]):
        found = stands(*order)
        assert found is not None
        assert (found.status, found.since) == (expected[0], at(expected[1]))


def test_words_that_are_not_known_make_no_state() -> None:
    assert stands(change(1, "flapped")) is None
    assert stands(change(1, "announce", NAME), subject=NAME) is None


def test_of_one_moment_the_event_s_id_and_then_the_place_decide() -> None:
    first, second = change(1, "announce", event_id="a"), change(1, "withdraw", event_id="b")
    assert stands(second, first) == Standing("withdrawn", at(1), None)
    first, second = change(1, "withdraw", place=0), change(1, "announce", place=1)
    assert stands(second, first) == Standing("announced", at(1), None)


def test_the_as_that_was_named_last_stays() -> None:
    assert stands(change(1, "announce", asn=1), change(2, "withdraw")) == Standing("withdrawn", at(2), 1)
    assert stands(change(1, "announce", asn=1), change(2, "announce", asn=2)) == Standing("announced", at(1), 2)


CHANGES = st.lists(
    st.builds(
        change,
        st.integers(0, 5),
        st.sampled_from(["announce", "withdraw", "session_up", "session_down", "else"]),
        st.sampled_from([A, B, NAME]),
        asn=st.none() | st.integers(1, 3),
        event_id=st.sampled_from("ab"),
        place=st.integers(0, 3),
    ),
    max_size=12,
    unique_by=lambda each: (each.event_id, each.place),
)


@given(CHANGES, st.randoms(use_true_random=False))
def test_any_interleaving_ends_in_the_same_bytes(changes: list[Change], rng: Random) -> None:
    def content(order: list[Change]) -> bytes:
        made = build(Facts(order, None, 1), provider="P", now=NOW)
        return canonical(made.model_dump(mode="json"))

    shuffled = changes.copy()
    rng.shuffle(shuffled)
    assert content(changes) == content(shuffled)


# --- the document -----------------------------------------------------------------------------------------------------


def test_the_document_is_in_order_and_says_everything() -> None:
    changes = [
        change(5, "announce", "185.243.217.0/25"),
        change(5, "announce", B, asn=213232),
        change(1, "announce", A, asn=213232),
        change(2, "announce", "9.0.0.0/8"),
        change(3, "session_up", NAME, asn=6939),
        change(4, "session_down", NAME),
    ]
    made = build(Facts(changes, Record(213232, at(3), {"aka": "NB"}), 1), provider="NordBastion", now=NOW)
    assert [each.prefix for each in made.prefixes] == ["9.0.0.0/8", A, "185.243.217.0/25", B]
    assert [each.origin_asn for each in made.prefixes] == [None, 213232, None, 213232]
    [session] = made.sessions
    assert (session.session, session.peer_asn, session.status, session.since) == (NAME, 6939, "down", at(4))
    assert (made.net["asn"], made.net["aka"], made.net["name"]) == (213232, "NB", "NordBastion")
    assert PeeringDocument.model_validate_json(canonical(made.model_dump(mode="json"))) == made


def test_without_a_record_the_as_is_the_one_that_was_told_of_last() -> None:
    assert build(Facts((), None, 213232), provider="P", now=NOW).net["asn"] == 213232
    assert build(Facts(), provider="P", now=NOW).net["asn"] is None


@pytest.mark.parametrize(
    ("minutes", "record", "expected"),
    [
        ([], None, 0),
        ([-5], None, 0),
        ([-5, 30], None, 30),
        ([30], 40, 40),
        ([30], 20, 30),
        ([30, 2000], None, 30),
        ([30], 2000, 30),
    ],
)
def test_it_is_as_of_the_day_or_the_last_thing_that_happened(
    minutes: list[int], record: int | None, expected: int
) -> None:
    changes = [change(each, "announce", f"10.0.{number}.0/24") for number, each in enumerate(minutes)]
    facts = Facts(changes, None if record is None else Record(1, at(record), {}), 1)
    for now in (NOW, NOW + timedelta(hours=5), NOW.astimezone()):
        assert build(facts, provider="P", now=now).as_of == at(expected)


def test_a_repetition_makes_no_new_document() -> None:
    once = [change(1, "announce")]
    assert build(Facts(once, None, 1), provider="P", now=NOW) == build(
        Facts([*once, change(2, "announce")], None, 1), provider="P", now=NOW
    )


def test_of_what_is_gone_the_newest_stay() -> None:
    networks = list(islice(ipaddress.ip_network("10.0.0.0/8").subnets(new_prefix=24), MOST_GONE + 2))
    changes = [change(number, "withdraw", str(each)) for number, each in enumerate(networks)]
    changes[0] = change(0, "announce", str(networks[0]))
    made = build(Facts(changes, None, 1), provider="P", now=NOW)
    assert [each.prefix for each in made.prefixes] == [str(networks[0]), *map(str, networks[2:])]


# --- finding ----------------------------------------------------------------------------------------------------------


def document(*prefixes: tuple[str, str]) -> PeeringDocument:
    changes = [change(1, op, subject) for subject, op in prefixes]
    return build(Facts(changes, None, 1), provider="P", now=NOW)


RECORD = document(
    ("0.0.0.0/0", "withdraw"),
    ("10.0.0.0/8", "announce"),
    ("10.0.0.0/16", "withdraw"),
    ("10.0.0.0/24", "announce"),
    ("10.0.1.0/24", "withdraw"),
    ("10.1.0.0/16", "announce"),
    ("::/0", "announce"),
    ("2a0e::/32", "announce"),
    ("2a0e:0:1::/48", "announce"),
)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("10.0.0.0/24", ["exact 10.0.0.0/24"]),
        ("10.0.0.7", ["covering 10.0.0.0/24"]),
        ("10.0.1.0/24", ["covering 10.0.0.0/8", "exact 10.0.1.0/24"]),
        ("10.0.1.9", ["covering 10.0.0.0/8"]),
        (
            "10.0.0.0/16",
            ["covering 10.0.0.0/8", "exact 10.0.0.0/16", "more_specific 10.0.0.0/24", "more_specific 10.0.1.0/24"],
        ),
        (
            "10.0.0.0/15",
            [
                "covering 10.0.0.0/8",
                "more_specific 10.0.0.0/16",
                "more_specific 10.0.0.0/24",
                "more_specific 10.0.1.0/24",
                "more_specific 10.1.0.0/16",
            ],
        ),
        ("10.255.0.0/16", ["covering 10.0.0.0/8"]),
        ("11.0.0.0/8", []),
        ("2a0e:0:1::1", ["covering 2a0e:0:1::/48"]),
        ("2a0e:0:2::/48", ["covering 2a0e::/32"]),
        ("::/0", ["exact ::/0", "more_specific 2a0e::/32", "more_specific 2a0e:0:1::/48"]),
        ("ffff::1", ["covering ::/0"]),
    ],
)
def test_a_question_finds_itself_what_covers_it_and_what_is_within(wanted: str, expected: list[str]) -> None:
    assert [f"{each.match} {each.prefix.prefix}" for each in find(RECORD, ipaddress.ip_network(wanted))] == expected


def by_looking_at_each(held: PeeringDocument, wanted: Network) -> list[Found]:
    """Find the slow way."""

    def networks() -> Iterable[tuple[Prefix, Network]]:
        for each in held.prefixes:
            network = ipaddress.ip_network(each.prefix)
            if network.version == wanted.version:
                yield each, network

    exact = [Found(each, "exact") for each, network in networks() if network == wanted]
    within = [
        Found(each, "more_specific")
        for each, network in networks()
        if network != wanted and network.subnet_of(wanted)  # type: ignore[arg-type] # of one family
    ]
    around = [
        Found(each, "covering")
        for each, network in networks()
        if network != wanted and wanted.subnet_of(network) and each.status == "announced"  # type: ignore[arg-type] # of one family
    ]
    is_announced = any(each.prefix.status == "announced" for each in exact)
    return [*([] if is_announced else around[-1:]), *exact, *within]


def networks_of(family: type[ipaddress.IPv4Network | ipaddress.IPv6Network], bits: int) -> st.SearchStrategy[Network]:
    return st.builds(
        lambda number, length: family((number << (bits - 5), length), strict=False),
        st.integers(0, 31),
        st.integers(0, 6) | st.just(bits),
    )


NETWORKS = networks_of(ipaddress.IPv4Network, 32) | networks_of(ipaddress.IPv6Network, 128)


@given(st.dictionaries(NETWORKS, st.sampled_from(["announce", "withdraw"]), max_size=20), NETWORKS)
def test_it_finds_what_looking_at_each_finds(held: dict[Network, str], wanted: Network) -> None:
    made = document(*((str(network), op) for network, op in held.items()))
    assert find(made, wanted) == by_looking_at_each(made, wanted)


def test_among_thousands_few_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = islice(ipaddress.ip_network("2a0e:8f00::/29").subnets(new_prefix=48), 5_000)
    made = document(*((str(each), "announce") for each in networks))
    looked_at: list[Prefix] = []
    order = peering._order

    def counted(prefix: Prefix) -> tuple[int, int, int]:
        looked_at.append(prefix)
        return order(prefix)

    monkeypatch.setattr(peering, "_order", counted)
    [found] = find(made, ipaddress.ip_network("2a0e:8f00:1234::7"))
    assert (found.match, found.prefix.prefix) == ("covering", "2a0e:8f00:1234::/48")
    assert 0 < len(looked_at) < 50
