"""What a subscription may ask for, as tables of what customers type. URLs are the egress guard's."""

from __future__ import annotations

import re
from typing import Any

import pytest

from consumers.catalogue import CATALOGUE
from publisher.delivery.backoff import Policy
from publisher.delivery.egress import Rules, UrlFault
from publisher.subscriptions import (
    DEFAULT_POLICY,
    MAX_FILTERS,
    Asked,
    InvalidEndpointError,
    Terms,
    check,
    check_account,
    check_description,
    check_filters,
    check_overlap,
    selectors,
)
from runtime import settings

TYPES = list(CATALOGUE)


# --- filters ---------------------------------------------------------------------------------------------------------


def _selected(*filters: str) -> set[str]:
    return {event_type for event_type in TYPES if not selectors(event_type).isdisjoint(filters)}


@pytest.mark.parametrize(
    ("filters", "selected"),
    [
        (["server.power.on"], {"server.power.on"}),
        (["server.power.*"], {"server.power.on", "server.power.off"}),
        (["server.*"], {event_type for event_type in TYPES if event_type.startswith("server.")}),
        (["*"], set(TYPES)),
        (["canary.updated", "peering.*"], {"canary.updated", "peering.changed"}),
        (["account.balance.*"], {"account.balance.low"}),
    ],
)
def test_a_filter_selects_its_types_and_no_others(filters: list[str], selected: set[str]) -> None:
    assert check_filters(filters) == filters
    assert _selected(*filters) == selected


def test_server_star_selects_all_eight() -> None:
    assert len(_selected("server.*")) == 8


@pytest.mark.parametrize("event_type", TYPES)
def test_every_type_of_the_catalogue_is_a_filter(event_type: str) -> None:
    assert check_filters([event_type]) == [event_type]
    assert _selected(event_type) == {event_type}


@pytest.mark.parametrize(
    "unknown",
    [
        "",
        "server",
        "server.",
        "server.power",
        "server.power.on.*",
        "server*",
        "*.power.on",
        "**",
        "Server.*",
        "server.exploded",
        " *",
    ],
)
def test_a_filter_that_selects_nothing_is_refused_by_name(unknown: str) -> None:
    with pytest.raises(InvalidEndpointError) as caught:
        check_filters(["server.*", unknown])
    assert str(caught.value) == f"events: {unknown!r} is no event type, no `type.*` and not `*`"


def test_repeated_filters_count_once() -> None:
    assert check_filters(["*", "server.*", "*"]) == ["*", "server.*"]


@pytest.mark.parametrize("count", [0, MAX_FILTERS + 1])
def test_one_to_a_hundred_filters(count: int) -> None:
    with pytest.raises(InvalidEndpointError, match=r"^events: give 1 to 100 filters$"):
        check_filters([f"type.{number}" for number in range(count)])


def test_as_many_filters_as_there_are_types_is_fine() -> None:
    assert check_filters(TYPES * 10) == TYPES


# --- accounts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("account", ["a", "acct_1", "NB-1042", "user@example.org", "a:b.c-d_e", "x" * 100])
def test_an_account_id(account: str) -> None:
    assert check_account(account) == account


@pytest.mark.parametrize("account", ["", "x" * 101, "-a", ".a", "a b", "a|b", "a/b", "a\n", "é", "a\x00"])
def test_what_is_no_account_id(account: str) -> None:
    with pytest.raises(InvalidEndpointError, match=r"^account: is not an account id$"):
        check_account(account)


# --- schedules -------------------------------------------------------------------------------------------------------

TERMS = Terms(Policy(3, 3600, 15), max_retries=5, max_window=7200)


@pytest.mark.parametrize(
    ("retries", "window", "policy"),
    [
        (None, None, Policy(3, 3600, 15)),
        (0, None, Policy(0, 3600, 15)),
        (5, None, Policy(5, 3600, 15)),
        (None, 7200, Policy(3, 7200, 15)),
        (2, 46, Policy(2, 46, 15)),
        (0, 1, Policy(0, 1, 15)),
    ],
)
def test_a_schedule_within_the_terms(retries: int | None, window: int | None, policy: Policy) -> None:
    TERMS.check_bounds(retries, window)
    TERMS.check_fit(retries, window)
    assert TERMS.policy_of(retries, window) == policy


@pytest.mark.parametrize(
    ("retries", "window", "says"),
    [
        (-1, None, "retries: must be 0 to 5"),
        (6, None, "retries: must be 0 to 5"),
        (None, 0, "window: must be 1 to 7200 seconds"),
        (0, 7201, "window: must be 1 to 7200 seconds"),
        (2, 45, "window: 3 attempts of up to 15 s do not fit into a window of 45 s"),
        (None, 60, "window: 4 attempts of up to 15 s do not fit into a window of 60 s"),
    ],
)
def test_a_schedule_beyond_the_terms_names_field_and_limit(retries: int | None, window: int | None, says: str) -> None:
    with pytest.raises(InvalidEndpointError) as caught:
        check(**_asked(retries=retries, window=window))
    assert str(caught.value) == says


def test_retries_that_do_not_fit_into_the_operators_window_are_the_field_that_is_wrong() -> None:
    short = Terms(Policy(1, 61, 15))
    with pytest.raises(
        InvalidEndpointError, match=r"^retries: 5 attempts of up to 15 s do not fit into a window of 61 s"
    ):
        short.check_fit(4, None)


@pytest.mark.parametrize(
    ("retries", "window", "policy"),
    [
        (10, None, Policy(5, 3600, 15)),
        (None, 86_400, Policy(3, 7200, 15)),
        (10, 86_400, Policy(5, 7200, 15)),
        (1, 600, Policy(1, 600, 15)),
        (10, 80, Policy(3, 3600, 15)),  # five retries do not fit into 80 seconds: the operator's schedule
    ],
)
def test_limits_that_were_lowered_cut_down_what_was_chosen_before(
    retries: int | None, window: int | None, policy: Policy
) -> None:
    assert TERMS.policy_of(retries, window) == policy


def test_an_operators_own_schedule_is_not_bound_by_what_endpoints_may_choose() -> None:
    assert Terms(Policy(8, 90_000, 15), max_retries=2, max_window=60).policy_of(None, None) == Policy(8, 90_000, 15)


def test_terms_are_the_settings_and_the_defaults_are_theirs() -> None:
    made = settings.load(environ={}, retries=4, window=500, attempt_timeout=5, max_retries=7, max_window=900)
    assert Terms.of(made) == Terms(Policy(4, 500, 5), 7, 900)
    assert Terms.of(settings.load(environ={})) == Terms()
    assert Terms().policy_of(None, None) is DEFAULT_POLICY


# --- everything else -------------------------------------------------------------------------------------------------


def _asked(**changes: Any) -> dict[str, Any]:
    asked = {"account": "acct_1", "url": "https://receiver.example/hooks", "events": ["*"]}
    return {"rules": Rules.parse(), "terms": TERMS, **asked, **changes}


def test_what_is_asked_for_is_returned_as_it_is_stored() -> None:
    asked = check(**_asked(url="HTTPS://Receiver.example/hooks", events=["*", "*"], description="x" * 256, retries=1))
    assert asked == Asked("acct_1", "https://receiver.example/hooks", ["*"], "x" * 256, 1, None, "hmac-sha256")
    assert check(**_asked(algorithm="ed25519")).algorithm == "ed25519"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"account": "a|b"}, "account: is not an account id"),
        ({"url": "http://receiver.example/"}, "url: must begin with https://"),
        ({"url": "https://receiver.example/\x00"}, "url: must be https://"),
        ({"events": []}, "events: give 1 to 100 filters"),
        ({"description": "x" * 257}, "description: must be at most 256 characters"),
        ({"retries": 6}, "retries: must be 0 to 5"),
        ({"window": -1}, "window: must be 1 to 7200 seconds"),
        ({"algorithm": "rsa"}, "algorithm: must be hmac-sha256 or ed25519"),
        ({"algorithm": ""}, "algorithm: must be hmac-sha256 or ed25519"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidEndpointError) as caught:
        check(**_asked(**changes))
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize("description", ["a\x00b", "\ud800", "\udfff tail"])
def test_a_description_the_database_cannot_hold_is_refused_before_it_gets_there(description: str) -> None:
    with pytest.raises(InvalidEndpointError, match=r"^description: holds a character that cannot be stored"):
        check_description(description)


@pytest.mark.parametrize("description", ["", "a\nb", "\ue000 \U0010ffff \x01"])
def test_any_other_text_is_a_description(description: str) -> None:
    assert check_description(description) == description


@pytest.mark.parametrize("seconds", [0, 0.5, 86_400, 604_800])
def test_an_overlap(seconds: float) -> None:
    assert check_overlap(seconds) == seconds


@pytest.mark.parametrize("seconds", [-1, -0.001, 604_801, float("inf"), float("nan")])
def test_what_is_no_overlap(seconds: float) -> None:
    with pytest.raises(InvalidEndpointError, match=r"^overlap: must be 0 to 604800 seconds$"):
        check_overlap(seconds)


# --- refusals as programs read them ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field", "reason", "fault"),
    [
        ({"url": "http://receiver.example/"}, "url", "must begin with https://", UrlFault.SCHEME),
        ({"events": []}, "events", "give 1 to 100 filters", None),
        ({"retries": 6}, "retries", "must be 0 to 5", None),
    ],
)
def test_a_refusal_names_field_reason_and_what_is_wrong_with_a_url(
    changes: dict[str, Any], field: str, reason: str, fault: UrlFault | None
) -> None:
    with pytest.raises(InvalidEndpointError) as caught:
        check(**_asked(**changes))
    assert (caught.value.field, caught.value.reason, caught.value.fault) == (field, reason, fault)
    assert str(caught.value) == f"{field}: {reason}"


@pytest.mark.parametrize("each", ["*", "server.*", "server.power.*", "server.power.on", "canary.updated"])
def test_of_some_types_a_filter_has_to_select_one(each: str) -> None:
    assert check_filters([each], ("server.power.on", "canary.updated")) == [each]


@pytest.mark.parametrize("each", ["server.power.off", "topup.*", "incident.opened"])
def test_a_filter_for_other_types_is_refused_by_name(each: str) -> None:
    with pytest.raises(InvalidEndpointError, match=rf"^events: '{re.escape(each)}' is no event type"):
        check_filters(["*", each], ("server.power.on", "canary.updated"))
