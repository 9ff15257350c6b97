"""A deprecation is three headers on every answer of its operation, and has to name one there is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from publisher import profiles
from publisher.api.deprecations import check_deprecations, deprecation_headers
from publisher.api.operations import OPERATIONS
from publisher.profiles import ProfileError
from publisher.profiles.model import Deprecation

if TYPE_CHECKING:
    from publisher.profiles import Profile

TINY = profiles.load(str(Path(__file__).parents[2] / "support" / "profiles" / "tiny.toml"))
SINCE = datetime(2026, 7, 1, tzinfo=UTC)


def with_deprecations(*deprecations: Deprecation) -> Profile:
    return TINY.model_copy(update={"deprecations": list(deprecations)})


def of(operation: str, sunset: datetime = datetime(2027, 7, 1, tzinfo=UTC)) -> Deprecation:
    return Deprecation(operation=operation, since=SINCE, sunset=sunset, link="https://tiny.example/changes")


def test_the_headers_are_those_of_the_provider_s_page() -> None:
    assert deprecation_headers(with_deprecations(of("get_webhook")), "get_webhook") == {
        "Deprecation": "true",
        "Sunset": "Thu, 01 Jul 2027 00:00:00 GMT",
        "Link": '<https://tiny.example/changes>; rel="deprecation"',
    }


def test_a_sunset_elsewhere_is_told_in_gmt() -> None:
    sunset = datetime(2027, 7, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    headers = deprecation_headers(with_deprecations(of("get_webhook", sunset)), "get_webhook")
    assert headers["Sunset"] == "Thu, 01 Jul 2027 00:00:00 GMT"


def test_what_stays_says_nothing() -> None:
    assert deprecation_headers(TINY, "list_recoveries")
    for operation in OPERATIONS:
        if operation.name != "list_recoveries":
            assert deprecation_headers(TINY, operation.name) == {}


def test_deprecations_of_operations_there_are_pass() -> None:
    check_deprecations(profiles.load("nordbastion"))
    check_deprecations(TINY)
    check_deprecations(with_deprecations(*(of(operation.name) for operation in OPERATIONS)))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ("get_webhooks",),
            "deprecations.0.operation: there is no operation 'get_webhooks' (there is: create_webhook, ",
        ),
        (("get_webhook", "none"), "deprecations.1.operation: there is no operation 'none'"),
        (("get_webhook", "get_webhook"), "deprecations.1.operation: 'get_webhook' stands there twice"),
    ],
)
def test_any_other_is_refused_in_one_line(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(ProfileError) as caught:
        check_deprecations(with_deprecations(*map(of, names)))
    assert str(caught.value).startswith(f"HELIOGRAPH_PROFILE: tiny: {words}")
    assert "\n" not in str(caught.value)
