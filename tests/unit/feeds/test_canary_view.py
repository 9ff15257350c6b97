"""What is served of a canary, and for how long it holds, from its standing and a moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds import canary
from feeds.canary_standing import Standing
from publisher.api.transparency_models import Canary, CanaryRecord, CanarySummary
from signer.canary_check import Fault, Reason
from signer.canary_dates import State
from signer.statement import moment_text
from tests.support import canaries
from tests.support.published_canaries import PUBLISHED_AFTER, believed

if TYPE_CHECKING:
    from collections.abc import Callable

moment = datetime.fromisoformat
URL = "https://api.provider.example/v1/transparency/canary/history"
FIRST = canaries.first(moment("2026-11-01T09:30:00Z"))
GOOD = believed(FIRST)
assert GOOD.published is not None
SECOND = canaries.successor(
    FIRST, moment("2026-11-28T10:00:00Z"), statements=canaries.STATEMENTS[:2], removed=frozenset({"seizures"})
)
CHANGED = believed(SECOND)
ENDED = believed(canaries.retirement(moment("2026-11-20T12:00:00Z")))
REVOKED = believed(FIRST, faults=(Fault(Reason.TOO_FEW_SIGNATURES, ""), Fault(Reason.REVOKED_KEY, "")))
TAMPERED = believed(FIRST, faults=(Fault(Reason.TOO_FEW_SIGNATURES, "0 of 2"),))
UNREADABLE = Standing(GOOD.published)

#: A standing, a moment, its state, and when that ends.
STATES = [
    (Standing(), "2026-11-01T09:30:00Z", "missing", None),
    (GOOD, "2026-11-01T09:19:59Z", "invalid", "2026-11-01T09:20:00Z"),
    (GOOD, "2026-11-01T09:20:00Z", "current", "2026-11-24T00:00:00Z"),
    (GOOD, "2026-11-23T23:59:59Z", "current", "2026-11-24T00:00:00Z"),
    (GOOD, "2026-11-24T00:00:00Z", "due", "2026-12-01T00:00:00Z"),
    (GOOD, "2026-11-30T23:59:59Z", "due", "2026-12-01T00:00:00Z"),
    (GOOD, "2026-12-01T00:00:00Z", "overdue", "2026-12-08T00:00:00Z"),
    (GOOD, "2026-12-08T00:00:00Z", "expired", None),
    (GOOD, "2031-01-01T00:00:00Z", "expired", None),
    (CHANGED, "2026-11-28T10:00:00Z", "changed", "2027-01-01T00:00:00Z"),
    (CHANGED, "2026-12-26T00:00:00Z", "changed", "2027-01-01T00:00:00Z"),
    (CHANGED, "2027-01-01T00:00:00Z", "overdue", "2027-01-08T00:00:00Z"),
    (ENDED, "2026-11-20T12:00:00Z", "revoked", None),
    (ENDED, "2030-01-01T00:00:00Z", "revoked", None),
    (REVOKED, "2026-11-02T00:00:00Z", "revoked", None),
    (REVOKED, "2027-11-02T00:00:00Z", "revoked", None),
    (TAMPERED, "2026-11-02T00:00:00Z", "invalid", None),
    (UNREADABLE, "2026-11-02T00:00:00Z", "invalid", None),
]


@pytest.mark.parametrize(("standing", "now", "state", "ends"), STATES)
def test_a_view_says_how_it_stands_and_until_when(standing: Standing, now: str, state: str, ends: str | None) -> None:
    shown = canary.view(standing, moment(now), URL)
    assert (shown["state"], shown["state_until"]) == (state, ends)
    assert shown["history_url"] == URL
    Canary.model_validate_json(orjson.dumps(shown))


def test_every_state_is_among_them() -> None:
    assert {state for _, _, state, _ in STATES} == set(State)


def test_a_view_of_nothing_is_null() -> None:
    shown = canary.view(Standing(), moment("2026-11-01T00:00:00Z"), URL)
    assert shown.pop("state") == "missing"
    assert shown.pop("history_url") == URL
    assert shown.pop("faults") == []
    assert set(shown.values()) == {None}


def test_a_view_shows_the_statement_and_what_was_signed() -> None:
    shown = canary.view(GOOD, moment("2026-11-02T00:00:00Z"), URL)
    assert orjson.loads(shown["signed"]["document"]) == shown["statement"]
    assert shown["signed"]["document"].encode() == FIRST.content
    assert shown["signed"]["sha256"] == FIRST.sha256
    assert shown["signed"]["threshold"] == 2
    assert [each["fingerprint"] for each in shown["signed"]["signatures"]] == list(FIRST.statement.signers)
    assert shown["signed"]["signatures"][0]["armored"] == "of " + canaries.ALICE
    assert {name: shown[name] for name in ("number", "sequence", "issued_at", "next_due", "expires_at")} == {
        "number": 1,
        "sequence": 1,
        "issued_at": "2026-11-01T09:30:00Z",
        "next_due": "2026-12-01T00:00:00Z",
        "expires_at": "2026-12-08T00:00:00Z",
    }
    assert shown["published_at"] == "2026-11-01T09:32:00Z"


def test_one_that_has_ended_has_a_number_and_no_deadline() -> None:
    shown = canary.view(ENDED, moment("2026-12-01T00:00:00Z"), URL)
    assert (shown["number"], shown["sequence"], shown["next_due"], shown["expires_at"]) == (2, None, None, None)
    assert shown["statement"]["retirement"] == "We stop."
    assert shown["faults"] == []


FAULTS = [
    (GOOD, []),
    (Standing(), []),
    (REVOKED, ["too_few_signatures", "revoked_key"]),
    (believed(FIRST, faults=TAMPERED.faults * 2), ["too_few_signatures"]),
    (UNREADABLE, ["no_pinned_keys"]),
]


@pytest.mark.parametrize(("standing", "codes"), FAULTS)
def test_faults_are_codes_each_once(standing: Standing, codes: list[str]) -> None:
    assert canary.faults(standing) == codes
    assert set(codes) <= set(canary.FAULTS)


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"\xff\xfe", "malformed"), (b"{}", "malformed"), (FIRST.content + b" ", "not_canonical")],
)
def test_bytes_that_are_no_statement_are_shown_and_named(content: bytes, code: str) -> None:
    assert GOOD.published is not None
    broken = Standing(type(GOOD.published)(1, content, "0" * 64, GOOD.published.published_at, ()))
    shown = canary.view(broken, moment("2026-11-02T00:00:00Z"), URL)
    assert (shown["state"], shown["faults"], shown["statement"]) == ("invalid", [code], None)
    assert shown["signed"]["document"] == content.decode("utf-8", "replace")
    assert shown["signed"]["threshold"] is None
    Canary.model_validate_json(orjson.dumps(shown))


def test_a_canary_that_was_ended_is_told_from_one_whose_keys_were_revoked() -> None:
    shown = [canary.view(each, moment("2026-12-02T00:00:00Z"), URL) for each in (ENDED, REVOKED)]
    assert [(each["state"], each["retirement"]) for each in shown] == [("revoked", "We stop."), ("revoked", None)]
    assert canary.view(Standing(), moment("2026-12-02T00:00:00Z"), URL)["retirement"] is None


@pytest.mark.parametrize(
    ("standing", "is_retirement", "removals"), [(GOOD, False, []), (CHANGED, False, ["seizures"]), (ENDED, True, [])]
)
def test_the_history_says_what_was_removed_and_what_was_ended(
    standing: Standing, removals: list[str], *, is_retirement: bool
) -> None:
    assert standing.published is not None
    for made in (canary.summary, canary.record):
        shown = made(standing.published, is_latest=True)
        assert (shown["is_retirement"], shown["acknowledged_removals"]) == (is_retirement, removals)


def test_of_what_is_not_readable_the_history_does_not_say_what_it_removed() -> None:
    assert GOOD.published is not None
    shown = canary.summary(replace(GOOD.published, content=b"{}"), is_latest=True)
    assert (shown["is_retirement"], shown["acknowledged_removals"]) == (False, None)
    CanarySummary.model_validate_json(orjson.dumps(shown))


def test_a_line_and_a_record_of_the_history_have_no_state() -> None:
    assert GOOD.published is not None
    for made, model in ((canary.summary, CanarySummary), (canary.record, CanaryRecord)):
        shown = made(GOOD.published, is_latest=False)
        assert "state" not in shown
        assert (shown["number"], shown["is_latest"], shown["signers"]) == (1, False, list(FIRST.statement.signers))
        model.model_validate_json(orjson.dumps(shown))
    assert canary.record(GOOD.published, is_latest=True)["signed"]["threshold"] == FIRST.statement.threshold


# --- how long it holds ------------------------------------------------------------------------------------------------

#: A standing, a moment, for how long the view may be kept then, and since when it is what it is.
AGES = [
    (Standing(), "2026-11-01T00:00:00Z", 60, None),
    (GOOD, "2026-11-02T00:00:00Z", 60, "2026-11-01T09:32:00Z"),
    (GOOD, "2026-11-23T23:58:59Z", 60, "2026-11-01T09:32:00Z"),
    (GOOD, "2026-11-23T23:59:00Z", 60, "2026-11-01T09:32:00Z"),
    (GOOD, "2026-11-23T23:59:01Z", 59, "2026-11-01T09:32:00Z"),
    (GOOD, "2026-11-23T23:59:59Z", 1, "2026-11-01T09:32:00Z"),
    (GOOD, "2026-11-23T23:59:59.500000Z", 0, "2026-11-01T09:32:00Z"),
    (GOOD, "2026-11-24T00:00:00Z", 60, "2026-11-24T00:00:00Z"),
    (GOOD, "2026-12-01T00:00:00Z", 60, "2026-12-01T00:00:00Z"),
    (GOOD, "2026-12-07T23:59:30Z", 30, "2026-12-01T00:00:00Z"),
    (GOOD, "2027-12-07T23:59:30Z", 60, "2026-12-08T00:00:00Z"),
    (CHANGED, "2026-12-24T23:59:50Z", 60, "2026-11-28T10:02:00Z"),
    (CHANGED, "2026-12-31T23:59:50Z", 10, "2026-11-28T10:02:00Z"),
    (ENDED, "2027-12-31T23:59:50Z", 60, "2026-11-20T12:02:00Z"),
    (TAMPERED, "2026-11-23T23:59:59Z", 60, None),
    (REVOKED, "2026-11-23T23:59:59Z", 60, None),
    (UNREADABLE, "2026-11-23T23:59:59Z", 60, None),
    (GOOD, "2026-11-01T09:19:50Z", 10, None),
]


@pytest.mark.parametrize(("standing", "now", "age", "since"), AGES)
def test_a_view_is_kept_for_a_minute_and_never_beyond_its_state(
    standing: Standing, now: str, age: int, since: str | None
) -> None:
    at = moment(now)
    assert canary.max_age(canary.until(standing, at), at) == age
    found = canary.modified(standing, at)
    assert (found and moment_text(found)) == since


def test_nothing_was_modified_later_than_now() -> None:
    assert canary.modified(GOOD, moment("2026-11-01T09:31:00Z")) == moment("2026-11-01T09:31:00Z")


STANDINGS = st.datetimes(datetime(2023, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 - bounds
    lambda issued: believed(canaries.first(issued))
)


@given(STANDINGS, st.timedeltas(timedelta(days=-2), timedelta(days=60)), st.floats(0, 1, exclude_max=True))
def test_what_is_kept_is_right_until_it_is_thrown_away(standing: Standing, later: timedelta, part: float) -> None:
    assert standing.statement is not None
    now = standing.statement.issued_at + later
    ends = canary.until(standing, now)
    kept = now + part * timedelta(seconds=canary.max_age(ends, now))
    assert standing.state(kept) is standing.state(now)
    assert ends is None or standing.state(ends) is not standing.state(now)


@given(STANDINGS, st.timedeltas(timedelta(days=0), timedelta(days=60)))
def test_what_was_not_modified_since_is_the_same(standing: Standing, later: timedelta) -> None:
    assert standing.statement is not None
    now = standing.statement.issued_at + PUBLISHED_AFTER + later
    since = canary.modified(standing, now)
    assert since is not None
    assert since <= now
    assert standing.state(since) is standing.state(now)


STEPS: list[tuple[Callable[[datetime], datetime], str]] = [
    (lambda due: due - timedelta(days=7, microseconds=1), "current"),
    (lambda due: due - timedelta(days=7), "due"),
    (lambda due: due - timedelta(microseconds=1), "due"),
    (lambda due: due, "overdue"),
    (lambda due: due + timedelta(days=7, microseconds=-1), "overdue"),
    (lambda due: due + timedelta(days=7), "expired"),
]


@pytest.mark.parametrize(
    ("issued", "due"),
    [
        ("2027-01-31T12:00:00Z", "2027-03-01T00:00:00Z"),
        ("2027-02-01T12:00:00Z", "2027-03-01T00:00:00Z"),
        ("2028-02-01T12:00:00Z", "2028-03-01T00:00:00Z"),
        ("2028-02-22T00:00:00Z", "2028-03-01T00:00:00Z"),
        ("2028-02-23T00:00:00Z", "2028-04-01T00:00:00Z"),
        ("2027-02-22T00:00:00Z", "2027-04-01T00:00:00Z"),
        ("2026-12-31T23:59:59Z", "2027-02-01T00:00:00Z"),
    ],
)
def test_time_passes_across_the_ends_of_months_and_leap_years(issued: str, due: str) -> None:
    standing = believed(canaries.first(moment(issued)))
    for step, state in STEPS:
        shown = canary.view(standing, step(moment(due)), URL)
        assert (shown["next_due"], shown["state"]) == (due, state)
