"""What the operator must have named, and which signatures are kept: pure."""

from __future__ import annotations

import pytest

from feeds.canary_publishing import counting, unacknowledged
from feeds.documents import Signature
from signer.canary_check import Finding, Standing, Verdict
from tests.support.canaries import ALICE, BOB, CAROL, altered, by, first, successor

DOCUMENT = first()
MISSING = "it removes {}, and everyone will see that; if that is meant, add {}"


@pytest.mark.parametrize(
    ("said", "given", "words"),
    [
        ((), (), []),
        (("warrants",), ("warrants", "warrants"), []),
        (("warrants",), (), [MISSING.format("warrants", "--acknowledge-removed warrants")]),
        (
            ("scope", "warrants"),
            (),
            [MISSING.format("scope, warrants", "--acknowledge-removed scope --acknowledge-removed warrants")],
        ),
        ((), ("warrants", "gag"), ["--acknowledge-removed: it does not remove gag, warrants"]),
        (
            ("scope",),
            ("Scope",),
            [
                MISSING.format("scope", "--acknowledge-removed scope"),
                "--acknowledge-removed: it does not remove Scope",
            ],
        ),
    ],
)
def test_what_is_gone_must_be_named_exactly(said: tuple[str, ...], given: tuple[str, ...], words: list[str]) -> None:
    statement = altered(successor(DOCUMENT, DOCUMENT.statement.issued_at.replace(day=2)), acknowledged_removals=said)
    assert list(unacknowledged(statement.statement, given)) == words


def test_only_signatures_that_count_are_kept_by_primary_key_and_byte_for_byte() -> None:
    worth = ((CAROL, Standing.COUNTS), (ALICE, Standing.COUNTS), (BOB, Standing.NOT_PINNED), (ALICE, Standing.REPEATED))
    findings = tuple(Finding(by(key, DOCUMENT, signer=BOB), standing) for key, standing in worth)
    files = {f"{key[:1]}.asc": key.encode() for key in (ALICE, BOB, CAROL)}
    verdict = Verdict(DOCUMENT.statement, (), findings, 2)
    assert counting(verdict, files) == (Signature(ALICE, ALICE.encode()), Signature(CAROL, CAROL.encode()))
