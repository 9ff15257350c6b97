"""How far away a moment is, and how a canary stands, in the words people read."""

from __future__ import annotations

from datetime import timedelta

import pytest

from feeds.canary_standing import Standing
from feeds.documents import Published
from publisher.cli.canary_pages import distance, standing
from signer.canary_check import Fault, Finding, Reason
from signer.canary_check import Standing as Worth
from tests.support.canaries import ALICE, BOB, FIRST, by, first, retirement


@pytest.mark.parametrize(
    ("away", "words"),
    [
        ({"days": 12, "hours": 23}, "in 12 days"),
        ({"days": 1}, "in 1 day"),
        ({"hours": 23, "minutes": 59}, "in 23 hours"),
        ({"seconds": 61}, "in 1 minute"),
        ({"seconds": 1}, "in 1 second"),
        ({"milliseconds": 1}, "now"),
        ({"milliseconds": -999}, "now"),
        ({"seconds": -1}, "1 second ago"),
        ({"minutes": -3}, "3 minutes ago"),
        ({"days": -400}, "400 days ago"),
    ],
)
def test_a_distance_is_in_the_largest_unit_there_is_one_of(away: dict[str, float], words: str) -> None:
    assert distance(FIRST + timedelta(**away), FIRST) == words


def test_how_it_stands_names_each_signature_and_fault() -> None:
    document = first()
    findings = (Finding(by(ALICE, document), Worth.COUNTS), Finding(by(BOB, document), Worth.NOT_PINNED))
    fault = Fault(Reason.TOO_FEW_SIGNATURES, "1 of 2 signatures")
    published = Published(1, document.content, document.sha256, FIRST + timedelta(hours=1), ())
    newest = Standing(published, document.statement, (fault,), findings, 2)
    assert list(standing(newest, 4, FIRST + timedelta(days=5))) == [
        "state       invalid",
        "newest      canary 1 of NordBastion",
        "issued at   2026-11-01T09:30:00Z, 5 days ago",
        "next due    2026-12-01T00:00:00Z, in 24 days",
        "expires at  2026-12-08T00:00:00Z, in 31 days",
        "published   2026-11-01T10:30:00Z, 4 days ago",
        f"sha256      {document.sha256}",
        "signatures  1 of 2",
        f"  A.asc: made by {ALICE} at 2026-11-01T09:31:00Z: counts",
        f"  B.asc: made by {BOB} at 2026-11-01T09:31:00Z: does not count: this key is not pinned",
        "fault: too_few_signatures: 1 of 2 signatures",
        "history     4 published",
    ]


def test_one_that_ended_has_no_deadline_and_bytes_that_are_none_have_no_dates() -> None:
    ended = retirement()
    published = Published(2, ended.content, ended.sha256, FIRST, ())
    lines = list(standing(Standing(published, ended.statement), 2, FIRST))
    assert lines[:2] == ["state       revoked", "newest      retirement of the canary of NordBastion"]
    assert not any(line.startswith(("next due", "expires at")) for line in lines)
    lines = list(standing(Standing(published), 2, FIRST))
    assert lines[:3] == [
        "state       invalid",
        "newest      number 2, whose bytes are none",
        "published   2026-11-01T09:30:00Z, now",
    ]
