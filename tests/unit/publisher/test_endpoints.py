"""What a subscription may ask for: filters, as tables of what customers type. URLs are the egress guard's."""

from __future__ import annotations

import pytest

from consumers.catalogue import CATALOGUE
from publisher.endpoints import (
    MAX_FILTERS,
    InvalidEndpointError,
    check_account,
    check_filters,
    selectors,
)
from tests.support.jobs import an_endpoint

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
    endpoint = an_endpoint()
    narrowed = type(endpoint)(
        endpoint.account, endpoint.id, endpoint.version, endpoint.url, frozenset(filters), endpoint.keys
    )
    assert {event_type for event_type in TYPES if narrowed.wants(event_type)} == selected


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
