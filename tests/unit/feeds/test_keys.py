"""What a key is for and what it is worth: tables over made-up certificates."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from feeds.key_routes import directory
from feeds.keys import SOON, Duties, Role, State, ranked, shown, state
from signer.certificates import Certificate, Subkey
from signer.published import PublishedKey
from signer.wkd import Mailbox, user_ids

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
FEED, NEXT, FORMER, ALICE, BOB, OTHER, SUBKEY = (digit * 40 for digit in "123ABF9")
DUTIES = Duties(FEED, (BOB, ALICE), 1)


def packet(kind: int, body: bytes) -> bytes:
    return bytes([0xC0 | kind, len(body)]) + body


def key(
    fingerprint: str, name: str, *, age: int = 100, subkeys: tuple[Subkey, ...] = (), **changes: Any
) -> PublishedKey:
    """Return a key made `age` days ago; of one that is revoked gpg tells no names."""
    given: dict[str, Any] = {"expires_at": None, "is_revoked": False, "can_sign": False} | changes
    certificate = Certificate(
        fingerprint=fingerprint,
        keygrip=fingerprint,
        created_at=NOW - timedelta(days=age),
        user_ids=() if given["is_revoked"] else (name,),
        subkeys=subkeys,
        **given,
    )
    binary = packet(6, fingerprint.encode()) + packet(13, name.encode())
    return PublishedKey(certificate, f"armored {fingerprint}".encode(), binary)


def subkey(fingerprint: str = SUBKEY, *, age: int = 100, **changes: Any) -> Subkey:
    given: dict[str, Any] = {"expires_at": None, "is_revoked": False, "can_sign": True} | changes
    return Subkey(fingerprint=fingerprint, keygrip=fingerprint, created_at=NOW - timedelta(days=age), **given)


PRESENT = key(FEED, "Feeds <feeds@p.example>", subkeys=(subkey(),))
EVERYTHING = [
    key(OTHER, "Releases <releases@p.example>"),
    key(FORMER, "Old feeds <Feeds@P.example>", age=900),
    key(ALICE, "Alice <feeds@p.example>"),
    key(BOB, "Bob <bob@p.example>"),
    key(NEXT, "New feeds <feeds@p.example>", age=1),
    PRESENT,
]


def test_roles_stand_in_the_order_of_the_page_and_signers_as_they_are_pinned() -> None:
    assert [(each.role, each.place, each.fingerprint) for each in shown(EVERYTHING, DUTIES, NOW)] == [
        (Role.FEED, 0, FEED),
        (Role.NEXT_FEED, 0, NEXT),
        (Role.CANARY, 1, BOB),
        (Role.CANARY, 2, ALICE),
        (Role.FORMER_FEED, 0, FORMER),
        (Role.OTHER, 0, OTHER),
    ]


def test_the_feed_key_may_be_named_by_its_subkey() -> None:
    assert shown([PRESENT], replace(DUTIES, feed=SUBKEY), NOW)[0].role is Role.FEED


def test_of_several_predecessors_the_last_comes_first() -> None:
    older, newer = (key(each, "Old <feeds@p.example>", age=age) for each, age in ((FORMER, 900), (OTHER, 500)))
    assert [each.fingerprint for each in shown([older, newer, PRESENT], DUTIES, NOW)] == [FEED, OTHER, FORMER]


@pytest.mark.parametrize("feed", [None, NEXT])
def test_without_the_feed_key_no_key_is_its_predecessor(feed: str | None) -> None:
    keys = [each for each in EVERYTHING if each.certificate.fingerprint != NEXT]
    roles = [each.role for each in shown(keys, replace(DUTIES, feed=feed), NOW)]
    assert roles == [Role.CANARY, Role.CANARY, Role.OTHER, Role.OTHER, Role.OTHER]


def test_a_revoked_key_keeps_its_names_and_is_never_the_next_one() -> None:
    revoked = key(NEXT, "New feeds <feeds@p.example>", age=1, is_revoked=True)
    found = shown([PRESENT, revoked], DUTIES, NOW)[1]
    assert (found.role, found.state, found.user_ids) == (
        Role.FORMER_FEED,
        State.REVOKED,
        ("New feeds <feeds@p.example>",),
    )


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (None, State.VALID),
        (31, State.VALID),
        (30, State.SOON),
        (1, State.SOON),
        (0, State.EXPIRED),
        (-1, State.EXPIRED),
    ],
)
def test_a_key_expires_at_its_moment_and_soon_before(days: int | None, expected: State) -> None:
    ends = None if days is None else NOW + timedelta(days=days)
    assert timedelta(days=30) == SOON
    assert state(subkey(expires_at=ends), NOW) is expected
    assert state(subkey(expires_at=ends, is_revoked=True), NOW) is State.REVOKED


@pytest.mark.parametrize(
    ("own", "of_parent", "expected"),
    [
        ({}, {}, State.VALID),
        ({}, {"expires_at": NOW}, State.EXPIRED),
        ({"expires_at": NOW + timedelta(days=900)}, {"expires_at": NOW + timedelta(days=9)}, State.SOON),
        ({"expires_at": NOW + timedelta(days=9)}, {"expires_at": NOW + timedelta(days=900)}, State.SOON),
        ({}, {"is_revoked": True}, State.REVOKED),
    ],
)
def test_a_subkey_is_worth_no_more_than_its_key(own: Any, of_parent: Any, expected: State) -> None:
    assert state(subkey(**own), NOW, subkey(FEED, **of_parent)) is expected


def test_subkeys_that_sign_are_shown_the_newest_first() -> None:
    several = (subkey("4" * 40, age=9), subkey("5" * 40, can_sign=False), subkey("6" * 40, age=1))
    [found] = shown([key(FEED, "Feeds", subkeys=several)], DUTIES, NOW)
    assert [each.fingerprint for each in found.subkeys] == ["6" * 40, "4" * 40]


def test_all_have_to_sign_where_no_number_says_otherwise() -> None:
    assert Duties(FEED, (ALICE, BOB)).needed == 2
    assert DUTIES.needed == 1


def names(found: bytes) -> list[str]:
    return list(user_ids(found))


def test_an_address_has_the_key_that_is_on_top_of_the_page() -> None:
    others = [each for each in EVERYTHING if each.certificate.fingerprint != ALICE]
    found = directory(others, DUTIES)
    assert set(found) == {Mailbox(local, "p.example").place for local in ("feeds", "bob", "releases")}
    assert found[Mailbox("feeds", "p.example").place] == PRESENT.binary
    assert names(found[Mailbox("bob", "p.example").place]) == ["Bob <bob@p.example>"]


def test_revoked_keys_follow_the_one_that_is_not() -> None:
    revoked = key(FORMER, "Old feeds <feeds@p.example>", age=900, is_revoked=True)
    valid = key(OTHER, "Older feeds <feeds@p.example>", age=999)
    found = directory([valid, revoked, PRESENT], DUTIES)
    assert found == {Mailbox("feeds", "p.example").place: PRESENT.binary + revoked.binary}


def test_a_key_that_is_revoked_is_there_alone_too() -> None:
    revoked = key(FEED, "Feeds <feeds@p.example>", is_revoked=True)
    assert directory([revoked], DUTIES) == {Mailbox("feeds", "p.example").place: revoked.binary}


def test_a_key_without_an_address_is_in_no_directory() -> None:
    assert directory([key(FEED, "Feeds")], DUTIES) == {}
    assert [role.name for role, _ in ranked([key(FEED, "Feeds"), key(OTHER, "Feeds")], DUTIES)] == ["FEED", "OTHER"]
