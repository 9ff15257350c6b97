"""A draft follows its predecessor, and loses nothing that its maker does not know to be lost; a diff says all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signer.canary_changes import Change, Reworded, diff, vanished, words
from signer.canary_draft import DraftError, draft
from signer.statement import Affirmation, Document, Freshness
from tests.support.canaries import ALICE, BOB, FIRST, STATEMENTS, altered, answers, first, freshness, retirement

DAY = timedelta(days=1)
MONTH = FIRST + timedelta(days=29)
WARRANTS, GAG_ORDERS, SEIZURES = STATEMENTS
WEAKER = Affirmation(id="warrants", text="We like cheese.")
SETS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["yes", "no", "maybe"]), min_size=1)


def statements_of(told: dict[str, str]) -> tuple[Affirmation, ...]:
    return tuple(Affirmation(id=key, text=text) for key, text in told.items())


def test_a_first_canary_has_no_predecessor() -> None:
    made = draft(None, answers(), FIRST + timedelta(microseconds=999_999))
    assert (made.sequence, made.previous_sha256, made.issued_at) == (1, None, FIRST)
    assert (made.statements, made.acknowledged_removals) == (STATEMENTS, ())


def test_a_draft_names_its_predecessor() -> None:
    previous = first()
    made = draft(previous, answers(2), MONTH)
    assert (made.sequence, made.previous_sha256) == (2, previous.sha256)
    assert (made.statements, made.acknowledged_removals) == (STATEMENTS, ())


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"statements": (WARRANTS, GAG_ORDERS)}, ["seizures"]),
        ({"statements": (SEIZURES,)}, ["gag-orders", "warrants"]),
        ({"statements": (WEAKER, GAG_ORDERS, SEIZURES)}, ["warrants"]),
        ({"scope": "Oslo"}, ["scope"]),
        ({"jurisdictions": ("FI", "IS", "NO")}, ["jurisdictions"]),
        ({"jurisdictions": ("DE", "FI", "IS", "NO")}, ["jurisdictions"]),
    ],
)
def test_what_goes_is_acknowledged_or_the_draft_refused(changes: dict[str, Any], gone: list[str]) -> None:
    previous = first()
    with pytest.raises(DraftError, match=f"^gone, and not said to be: {', '.join(gone)}$"):
        draft(previous, answers(2, **changes), MONTH)
    with pytest.raises(DraftError, match=f"said to be: {gone[0]}$"):
        draft(previous, answers(2, **changes, removed=frozenset(gone[1:])), MONTH)
    made = draft(previous, answers(2, **changes, removed=frozenset(gone)), MONTH)
    assert list(made.acknowledged_removals) == gone


@pytest.mark.parametrize(
    "changes",
    [
        {"statements": (*STATEMENTS, Affirmation(id="more", text="More."))},
        {"statements": STATEMENTS[::-1]},
        {"jurisdictions": ("DE", "FI", "IS", "NO", "SE")},
        {"removed": frozenset({"warrants", "scope"})},
    ],
    ids=["more", "another order", "wider", "said to be gone and is not"],
)
def test_what_is_not_gone_is_not_acknowledged(changes: dict[str, Any]) -> None:
    assert draft(first(), answers(2, **changes), MONTH).acknowledged_removals == ()


@given(SETS, SETS)
def test_only_what_is_word_for_word_there_has_not_vanished(before: dict[str, str], after: dict[str, str]) -> None:
    previous = altered(first(), statements=statements_of(before)).statement
    made = altered(first(), statements=statements_of(after)).statement
    gone = vanished(previous, made)
    assert before.items() - after.items() == {(key, before[key]) for key in gone}
    found = diff(previous, made)
    assert gone == {each.id for each in found.removed} | {each.id for each in found.reworded}
    assert found.same == len(before.items() & after.items())
    assert {each.id for each in found.added} == after.keys() - before.keys()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"threshold": 4}, "threshold: is 4, of 3 signers"),
        ({"statements": ()}, "statements: there is none"),
        ({"freshness": Freshness()}, "freshness: neither a block nor a headline"),
        ({"provider": "a\nb"}, "provider: must be one line of printable characters"),
        ({"signers": ("ABC",)}, "signers: String should match pattern"),
        ({"jurisdictions": ("SE", "Sverige")}, "jurisdictions: 'Sverige' is not an ISO 3166 code, such as SE or US-NY"),
    ],
)
def test_what_makes_no_statement_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(DraftError) as caught:
        draft(None, answers(**changes), FIRST)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("now", [FIRST - DAY, FIRST, FIRST + timedelta(microseconds=999_999)])
def test_a_clock_before_the_predecessor_is_refused(now: Any) -> None:
    with pytest.raises(DraftError, match="the clock of this machine stands before"):
        draft(first(), answers(2), now)


def test_nothing_follows_a_retirement() -> None:
    with pytest.raises(DraftError, match="nothing follows it"):
        draft(retirement(), answers(2), MONTH)


def test_a_retirement_has_neither_number_nor_deadline() -> None:
    made = draft(first(), answers(2, statements=(), freshness=Freshness(), retirement="We stop."), MONTH)
    assert made.is_retirement
    assert (made.sequence, made.previous_sha256, made.next_due, made.expires_at) == (None, None, None, None)


def test_lists_come_in_order_and_once() -> None:
    made = draft(None, answers(jurisdictions=["SE", "FI", "SE"], signers=[BOB, ALICE, BOB]), FIRST)
    assert (made.jurisdictions, made.signers) == (("FI", "SE"), (ALICE, BOB))


def test_a_diff_says_what_was_added_removed_and_reworded() -> None:
    added = Affirmation(id="coercion", text="Nobody made us sign.")
    changes: dict[str, Any] = {
        "statements": (WEAKER, GAG_ORDERS, added),
        "removed": frozenset({"warrants", "seizures"}),
    }
    previous = first()
    made = draft(previous, answers(2, **changes, threshold=3, scope="All bastions"), MONTH)
    found = diff(previous.statement, made)
    assert (found.added, found.removed, found.same) == ((added,), (SEIZURES,), 1)
    assert found.reworded == (Reworded("warrants", WARRANTS.text, WEAKER.text),)
    fields = {each.name: (each.before, each.after) for each in found.fields}
    assert fields["threshold"] == ("2", "3")
    assert fields["sequence"] == ("1", "2")
    assert fields["next due"] == ("2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z")
    assert fields["acknowledged removals"] == ("", "seizures, warrants")
    assert fields.keys().isdisjoint({"provider", "scope", "jurisdictions", "signers", "retirement"})


def test_a_diff_in_words() -> None:
    previous = first()
    changes: dict[str, Any] = {"statements": (WEAKER, GAG_ORDERS), "removed": frozenset({"warrants", "seizures"})}
    made = draft(previous, answers(2, **changes, signers=(ALICE, BOB), freshness=freshness(1)), MONTH)
    assert words(diff(previous.statement, made)) == [
        "- removed    seizures: No server of ours was seized.",
        "- was        warrants: We have received no warrants.",
        "+ is now     warrants: We like cheese.",
        f"  signers: {', '.join(previous.statement.signers)} -> {ALICE}, {BOB}",
        "  acknowledged removals: none -> seizures, warrants",
        "  sequence: 1 -> 2",
        "  issued at: 2026-11-01T09:30:00Z -> 2026-11-30T09:30:00Z",
        "  next due: 2026-12-01T00:00:00Z -> 2027-01-01T00:00:00Z",
        "  expires at: 2026-12-08T00:00:00Z -> 2027-01-08T00:00:00Z",
        "  1 statement stays as it was",
    ]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"provider": "Other"}, "provider"),
        ({"scope": "Oslo"}, "scope"),
        ({"jurisdictions": ("SE",)}, "jurisdictions"),
        ({"signers": (ALICE, BOB)}, "signers"),
        ({"threshold": 1}, "threshold"),
        ({"issued_at": FIRST + DAY}, "issued at"),
        ({"freshness": Freshness(block=freshness(2).block, headlines=freshness(1).headlines)}, "block"),
        ({"freshness": Freshness(block=freshness(1).block, headlines=freshness(2).headlines)}, "headlines"),
    ],
)
def test_no_field_changes_unseen(fields: dict[str, Any], name: str) -> None:
    found = diff(first().statement, altered(first(), **fields).statement)
    assert [each.name for each in found.fields] == [name]


def test_the_end_of_a_canary_is_seen_first() -> None:
    found = diff(first().statement, retirement().statement)
    assert found.fields[0] == Change("retirement", "", "We stop.")
    assert Document.of(retirement().statement) == retirement()
