"""Who may make a reader believe a canary: m distinct pinned primary keys, over these bytes, in this chain, in time."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from signer.canary_check import Predecessor, Reason, Signed, Standing, Verdict, check, check_chain
from signer.canary_dates import SKEW
from signer.statement import Affirmation, Document
from tests.support.canaries import (
    ALICE,
    BOB,
    CAROL,
    FIRST,
    MALLORY,
    STATEMENTS,
    altered,
    by,
    first,
    freshness,
    retirement,
    successor,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

PINNED = (ALICE, BOB, CAROL)
MONTH = FIRST + timedelta(days=29)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
SUBKEY = "D" * 40
PREVIOUS = first()
NEXT = successor(PREVIOUS, MONTH)


def judged(
    document: Document,
    signatures: Sequence[Signed] | None = None,
    *,
    pinned: Sequence[str] = PINNED,
    threshold: int = 2,
    now: datetime | None = None,
    previous: Document | Predecessor = Predecessor.UNKNOWN,
) -> Verdict:
    given_signatures = [by(ALICE, document), by(BOB, document)] if signatures is None else signatures
    at = now or document.statement.issued_at + HOUR
    return check(document.content, given_signatures, pinned=pinned, threshold=threshold, now=at, previous=previous)


def reasons(verdict: Verdict) -> list[Reason]:
    return [each.reason for each in verdict.faults]


def standings(verdict: Verdict) -> list[Standing]:
    return [each.standing for each in verdict.signatures]


@pytest.mark.parametrize(
    ("document", "previous"),
    [
        (PREVIOUS, Predecessor.NONE),
        (PREVIOUS, Predecessor.UNKNOWN),
        (NEXT, PREVIOUS),
        (NEXT, Predecessor.UNKNOWN),
        (retirement(), PREVIOUS),
        (retirement(), NEXT),
        (retirement(), Predecessor.UNKNOWN),
    ],
)
def test_what_is_as_it_should_be_is_good(document: Document, previous: Document | Predecessor) -> None:
    verdict = judged(document, previous=previous)
    assert verdict == Verdict(document.statement, (), verdict.signatures, 2)
    assert verdict.is_good
    assert verdict.counted == 2


# --- signatures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signatures", "expected"),
    [
        ([], []),
        ([by(ALICE, NEXT)], [Standing.COUNTS]),
        ([by(ALICE, NEXT), by(ALICE, NEXT)], [Standing.COUNTS, Standing.REPEATED]),
        ([by(ALICE, NEXT), by(ALICE, NEXT, signer=SUBKEY)], [Standing.COUNTS, Standing.REPEATED]),
        ([by(ALICE, NEXT, signer=SUBKEY), by(ALICE, NEXT, signer=MALLORY)], [Standing.COUNTS, Standing.REPEATED]),
        ([by(ALICE, NEXT), by(MALLORY, NEXT)], [Standing.COUNTS, Standing.NOT_PINNED]),
        ([by(ALICE, NEXT), by(MALLORY, NEXT, signer=BOB)], [Standing.COUNTS, Standing.NOT_PINNED]),
        ([by(ALICE, NEXT), Signed("b.asc", problem="no")], [Standing.COUNTS, Standing.NOT_GOOD]),
        ([by(ALICE, NEXT), by(BOB, NEXT, problem="no")], [Standing.COUNTS, Standing.NOT_GOOD]),
        ([by(ALICE, NEXT), Signed("b.asc", BOB, BOB)], [Standing.COUNTS, Standing.NOT_GOOD]),
        ([by(ALICE, NEXT), by(BOB, NEXT, after=-601)], [Standing.COUNTS, Standing.BEFORE_ISSUED]),
        ([by(ALICE, NEXT), by(BOB, NEXT, after=3600 + 601)], [Standing.COUNTS, Standing.FROM_THE_FUTURE]),
    ],
    ids=[
        *("none", "one", "one twice", "one with a subkey too", "two subkeys of one", "an unpinned one"),
        *("a pinned subkey of an unpinned one", "a bad one", "bad whoever it says", "no time", "too early", "too late"),
    ],
)
def test_too_few_are_too_few(signatures: list[Signed], expected: list[Standing]) -> None:
    verdict = judged(NEXT, signatures)
    assert reasons(verdict) == [Reason.TOO_FEW_SIGNATURES]
    assert standings(verdict) == expected
    assert verdict.counted == len(expected[:1])


@pytest.mark.parametrize("after", [-600, 3600 + 600])
def test_clocks_may_differ_a_little(after: float) -> None:
    assert judged(NEXT, [by(ALICE, NEXT, after=after), by(BOB, NEXT)]).is_good


def test_a_subkey_signs_for_its_primary_key() -> None:
    assert judged(NEXT, [by(ALICE, NEXT, signer=SUBKEY), by(BOB, NEXT)]).is_good


def test_pinning_a_subkey_pins_nobody() -> None:
    verdict = judged(NEXT, [by(ALICE, NEXT, signer=SUBKEY), by(BOB, NEXT)], pinned=(SUBKEY, BOB, CAROL))
    assert standings(verdict) == [Standing.NOT_PINNED, Standing.COUNTS]
    assert reasons(verdict) == [Reason.UNPINNED_SIGNER, Reason.TOO_FEW_SIGNATURES]


def test_a_pinned_key_that_the_statement_does_not_name_does_not_count() -> None:
    document = first(signers=(ALICE, BOB))
    verdict = judged(document, [by(ALICE, document), by(CAROL, document)])
    assert standings(verdict) == [Standing.COUNTS, Standing.NOT_A_SIGNER]
    assert reasons(verdict) == [Reason.TOO_FEW_SIGNATURES]


def test_a_statement_cannot_bring_its_own_signers() -> None:
    document = first(signers=(ALICE, BOB, MALLORY))
    assert reasons(judged(document)) == [Reason.UNPINNED_SIGNER]


def test_a_statement_may_ask_for_more_signatures_than_the_reader() -> None:
    document = first(threshold=3)
    verdict = judged(document)
    assert (reasons(verdict), verdict.needed) == ([Reason.TOO_FEW_SIGNATURES], 3)
    assert judged(document, [by(each, document) for each in PINNED]).is_good


def test_a_statement_cannot_ask_for_fewer() -> None:
    document = first(threshold=1)
    verdict = judged(document, [by(ALICE, document)])
    assert (reasons(verdict), verdict.needed) == ([Reason.TOO_FEW_SIGNATURES], 2)


def test_a_revoked_key_is_named_where_its_signature_is_missed() -> None:
    revoked = Signed("b.asc", problem="the key that signed has been revoked", is_revoked=True)
    assert reasons(judged(NEXT, [by(ALICE, NEXT), revoked])) == [Reason.TOO_FEW_SIGNATURES, Reason.REVOKED_KEY]
    enough = judged(NEXT, [by(ALICE, NEXT), revoked, by(CAROL, NEXT)])
    assert enough.is_good
    assert standings(enough) == [Standing.COUNTS, Standing.REVOKED, Standing.COUNTS]


@given(st.lists(st.sampled_from([ALICE, BOB, CAROL, MALLORY]), max_size=8), st.integers(2, 3))
def test_only_distinct_pinned_keys_are_counted(primaries: list[str], threshold: int) -> None:
    verdict = judged(NEXT, [by(each, NEXT) for each in primaries], threshold=threshold)
    distinct = set(primaries) & set(PINNED)
    assert verdict.counted == len(distinct)
    assert verdict.is_good == (len(distinct) >= threshold)


# --- bytes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", Reason.MALFORMED),
        (rfc8785.dumps(json.loads(NEXT.content) | {"surplus": 1}), Reason.MALFORMED),
        (json.dumps(json.loads(NEXT.content)).encode(), Reason.NOT_CANONICAL),
        (NEXT.content + b"\n", Reason.NOT_CANONICAL),
    ],
)
def test_bytes_that_are_no_statement_have_one_fault(content: bytes, reason: Reason) -> None:
    verdict = check(content, [], pinned=PINNED, threshold=2, now=MONTH, previous=PREVIOUS)
    assert (reasons(verdict), verdict.statement, verdict.is_good) == ([reason], None, False)


# --- dates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (FIRST, []),
        (FIRST - SKEW, []),
        (FIRST - SKEW - SECOND, [Reason.FROM_THE_FUTURE]),
        (PREVIOUS.statement.next_due, [Reason.OVERDUE]),
        (PREVIOUS.statement.expires_at, [Reason.EXPIRED]),
    ],
)
def test_a_canary_is_good_in_its_time(now: datetime, expected: list[Reason]) -> None:
    signatures = [by(ALICE, PREVIOUS, after=-500), by(BOB, PREVIOUS, after=-500)]
    assert reasons(judged(PREVIOUS, signatures, now=now)) == expected


def test_one_that_lasts_too_long_is_refused() -> None:
    document = altered(PREVIOUS, expires_at=FIRST + timedelta(days=46))
    assert reasons(judged(document)) == [Reason.BAD_DATES]


def test_a_retirement_does_not_get_old() -> None:
    assert judged(retirement(), now=FIRST + timedelta(days=3650), previous=NEXT).is_good
    early = judged(retirement(), [by(ALICE, retirement(), after=-500), by(BOB, retirement(), after=-500)], now=FIRST)
    assert early.is_good
    assert reasons(judged(retirement(), now=FIRST - HOUR)) == [Reason.TOO_FEW_SIGNATURES, Reason.FROM_THE_FUTURE]


# --- chain --------------------------------------------------------------------------------------------------------


def gone(*left: Affirmation, said: tuple[str, ...] = (), **fields: Any) -> Document:
    return altered(NEXT, statements=left or STATEMENTS, acknowledged_removals=said, **fields)


@pytest.mark.parametrize(
    ("document", "previous", "expected"),
    [
        (NEXT, Predecessor.NONE, [Reason.WRONG_SEQUENCE]),
        (retirement(), Predecessor.NONE, [Reason.BROKEN_CHAIN]),
        (PREVIOUS, PREVIOUS, [Reason.WRONG_SEQUENCE, Reason.BROKEN_CHAIN, Reason.NOT_NEWER, Reason.STALE_PROOFS]),
        (NEXT, NEXT, [Reason.WRONG_SEQUENCE, Reason.BROKEN_CHAIN, Reason.NOT_NEWER, Reason.STALE_PROOFS]),
        (altered(NEXT, sequence=3), PREVIOUS, [Reason.WRONG_SEQUENCE]),
        (altered(NEXT, previous_sha256="0" * 64), PREVIOUS, [Reason.BROKEN_CHAIN]),
        (NEXT, first(FIRST + SECOND), [Reason.BROKEN_CHAIN]),
        (altered(NEXT, issued_at=FIRST), PREVIOUS, [Reason.BAD_DATES, Reason.NOT_NEWER]),
        (altered(NEXT, freshness=freshness(1)), PREVIOUS, [Reason.STALE_PROOFS]),
        (altered(NEXT, freshness=freshness(0)), PREVIOUS, []),
        (altered(NEXT, provider="Other"), PREVIOUS, [Reason.ANOTHER_CANARY]),
        (retirement(provider="Other"), PREVIOUS, [Reason.ANOTHER_CANARY]),
        (retirement(scope="Oslo"), PREVIOUS, [Reason.ANOTHER_CANARY]),
        (NEXT, retirement(), [Reason.AFTER_RETIREMENT]),
        (retirement(), retirement(), [Reason.AFTER_RETIREMENT]),
        (gone(*STATEMENTS[1:]), PREVIOUS, [Reason.VANISHED]),
        (gone(*STATEMENTS[1:], said=("seizures",)), PREVIOUS, [Reason.VANISHED, Reason.NOT_VANISHED]),
        (gone(*STATEMENTS[1:], said=("warrants",)), PREVIOUS, []),
        (gone(Affirmation(id="warrants", text="Hm."), *STATEMENTS[1:]), PREVIOUS, [Reason.VANISHED]),
        (gone(Affirmation(id="warrants", text="Hm."), *STATEMENTS[1:], said=("warrants",)), PREVIOUS, []),
        (gone(said=("warrants",)), PREVIOUS, [Reason.NOT_VANISHED]),
        (gone(scope="Oslo"), PREVIOUS, [Reason.VANISHED]),
        (gone(scope="Oslo", said=("scope",)), PREVIOUS, []),
        (gone(jurisdictions=("SE",)), PREVIOUS, [Reason.VANISHED]),
        (gone(jurisdictions=("SE",), said=("jurisdictions",)), PREVIOUS, []),
    ],
)
def test_the_chain_holds_or_says_where_it_breaks(
    document: Document, previous: Document | Predecessor, expected: list[Reason]
) -> None:
    assert reasons(judged(document, previous=previous)) == expected


def test_a_later_block_alone_is_fresh_and_so_is_another_headline() -> None:
    old, new = freshness(1), freshness(2)
    for fresh in (
        {"block": new.block, "headlines": ()},
        {"block": None, "headlines": new.headlines},
        {"block": old.block, "headlines": new.headlines},
        {"block": new.block, "headlines": old.headlines},
    ):
        document = altered(NEXT, freshness=old.model_copy(update=fresh))
        assert judged(document, previous=PREVIOUS).is_good
    stale = altered(NEXT, freshness=old.model_copy(update={"block": freshness(0).block}))
    assert reasons(judged(stale, previous=PREVIOUS)) == [Reason.STALE_PROOFS]


# --- a whole chain ------------------------------------------------------------------------------------------------


def signed(*documents: Document) -> list[tuple[bytes, list[Signed]]]:
    return [(each.content, [by(ALICE, each), by(BOB, each)]) for each in documents]


def grown(length: int) -> list[Document]:
    chain = [PREVIOUS]
    while len(chain) < length:
        due = chain[-1].statement.next_due
        assert due is not None
        chain.append(successor(chain[-1], due - timedelta(days=len(chain) % 7)))
    return chain


def test_years_of_canaries_are_good_whatever_the_months() -> None:
    chain = grown(60)
    verdicts = check_chain(signed(*chain), pinned=PINNED, threshold=2, now=chain[-1].statement.issued_at + HOUR)
    assert len(verdicts) == 60
    assert all(each.is_good for each in verdicts)


def test_a_late_canary_does_not_spoil_the_chain_and_the_last_must_be_in_time() -> None:
    late = successor(PREVIOUS, FIRST + timedelta(days=100))
    chain = signed(PREVIOUS, late)
    assert late.statement.expires_at is not None
    in_time = check_chain(chain, pinned=PINNED, threshold=2, now=late.statement.issued_at + HOUR)
    too_late = check_chain(chain, pinned=PINNED, threshold=2, now=late.statement.expires_at)
    assert [reasons(each) for each in in_time] == [[], []]
    assert [reasons(each) for each in too_late] == [[], [Reason.EXPIRED]]


def test_a_signature_that_came_days_later_counts_in_the_chain() -> None:
    chain = signed(PREVIOUS, NEXT)
    chain[0] = (PREVIOUS.content, [by(ALICE, PREVIOUS), by(BOB, PREVIOUS, after=10 * 86_400)])
    assert all(each.is_good for each in check_chain(chain, pinned=PINNED, threshold=2, now=MONTH + HOUR))


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([0, 2], [[], [Reason.WRONG_SEQUENCE, Reason.BROKEN_CHAIN]]),
        ([1, 2], [[Reason.WRONG_SEQUENCE], []]),
        ([0, 1, 1], [[], [], [Reason.WRONG_SEQUENCE, Reason.BROKEN_CHAIN, Reason.NOT_NEWER, Reason.STALE_PROOFS]]),
    ],
    ids=["one is missing", "the first is missing", "one is replayed"],
)
def test_a_chain_with_a_link_too_few_or_too_many(order: list[int], expected: list[list[Reason]]) -> None:
    documents = grown(3)
    now = documents[order[-1]].statement.issued_at + HOUR
    verdicts = check_chain(signed(*(documents[each] for each in order)), pinned=PINNED, threshold=2, now=now)
    assert [reasons(each) for each in verdicts] == expected


def test_a_chain_ends_where_it_is_no_canary() -> None:
    chain = [*signed(PREVIOUS), (b"{}", []), *signed(NEXT)]
    verdicts = check_chain(chain, pinned=PINNED, threshold=2, now=MONTH + HOUR)
    assert [reasons(each) for each in verdicts] == [[], [Reason.MALFORMED]]


def test_a_retirement_made_beforehand_ends_the_chain() -> None:
    chain = grown(3)
    now = chain[-1].statement.issued_at + HOUR
    ended = check_chain(signed(*chain, retirement()), pinned=PINNED, threshold=2, now=now)
    assert all(each.is_good for each in ended)
    revived = check_chain(signed(*chain, retirement(), chain[-1]), pinned=PINNED, threshold=2, now=now)
    assert reasons(revived[-1]) == [Reason.AFTER_RETIREMENT]


def test_a_fault_says_where_it_shows() -> None:
    [fault] = judged(altered(NEXT, sequence=7), previous=PREVIOUS).faults
    assert str(fault) == "wrong_sequence: sequence is 7, must be 2"
