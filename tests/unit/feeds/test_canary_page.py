"""What the page of the canary shows of a standing at a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from feeds.canary_page import ABSENT, UNJUDGED, Left, Past, left, past, signers, suffixes, values
from feeds.canary_standing import Standing
from signer.canary_check import Finding, Signed
from signer.canary_check import Standing as Worth
from tests.support import canaries
from tests.support.canaries import ALICE, BOB, CAROL, MALLORY
from tests.support.published_canaries import believed

FIRST = canaries.first()
DUE, EXPIRES = datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 8, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (DUE - timedelta(days=3), Left(3, 0)),
        (DUE - timedelta(days=3) + SECOND, Left(2, 0)),
        (DUE - timedelta(days=2), Left(2, 0)),
        (DUE - timedelta(days=2) + SECOND, Left(0, 47)),
        (DUE - timedelta(hours=1), Left(0, 1)),
        (DUE - SECOND, Left(0, 0)),
        (DUE, Left(7, 0)),  # overdue: until it expires
        (EXPIRES - SECOND, Left(0, 0)),
        (EXPIRES, Left(0, 0)),
    ],
)
def test_the_time_that_is_left_is_told_in_days_and_at_the_end_in_hours(now: datetime, expected: Left) -> None:
    assert left(believed(FIRST), now) == expected


@pytest.mark.parametrize("standing", [Standing(), believed(canaries.retirement())])
def test_what_has_no_deadline_has_no_time_left(standing: Standing) -> None:
    assert left(standing, canaries.FIRST) == Left(0, 0)


def test_every_signer_is_shown_with_what_the_signature_is_worth() -> None:
    findings = tuple(
        Finding(Signed("", each), worth)
        for each, worth in ((ALICE, Worth.COUNTS), (BOB, Worth.NOT_GOOD), (MALLORY, Worth.NOT_A_SIGNER))
    )
    standing = believed(FIRST, signatures=findings)
    assert standing.published is not None
    alice, bob, _ = standing.published.signatures
    stored = (alice, bob, alice._replace(fingerprint=MALLORY))
    published = type(standing.published)(1, b"", "", canaries.FIRST, stored)
    shown = signers(believed(FIRST, signatures=findings, published=published))
    assert [(each.fingerprint, each.standing, each.file) for each in shown] == [
        (ALICE, "counts", f"canary.json.{ALICE[-16:]}.asc"),
        (BOB, "not_good", f"canary.json.{BOB[-16:]}.asc"),
        (CAROL, ABSENT, None),
        (MALLORY, "not_a_signer", f"canary.json.{MALLORY[-16:]}.asc"),
    ]
    assert suffixes(published) == [f".{each[-16:]}.asc" for each in (ALICE, BOB, MALLORY)]


def test_without_pinned_keys_no_signature_has_been_judged() -> None:
    standing = believed(FIRST, statement=None)
    assert {each.standing for each in signers(standing)} == {UNJUDGED}
    assert values(standing, (), canaries.FIRST)["is_believed"] is False


def test_where_there_is_none_there_is_nothing_to_show() -> None:
    shown = values(Standing(), (), canaries.FIRST)
    assert (shown["state"], shown["signers"], shown["suffixes"], shown["faults"]) == ("missing", [], [], [])


def test_a_line_of_the_history_says_what_can_be_read() -> None:
    published = believed(FIRST).published
    assert published is not None
    assert past(published) == Past(1, canaries.FIRST, DUE, is_retirement=False, signatures=3, sha256=FIRST.sha256)
    ended = believed(canaries.retirement(), number=2).published
    assert ended is not None
    assert (past(ended).is_retirement, past(ended).next_due) == (True, None)
    broken = type(published)(3, b"none", "0" * 64, canaries.FIRST, ())
    assert past(broken) == Past(3, None, None, is_retirement=False, signatures=0, sha256="0" * 64)
