"""What a customer may ask for: URL, filters, schedule, algorithm. Decides; knows no table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumers.catalogue import CATALOGUE, prefixes
from publisher.delivery.backoff import Policy
from publisher.delivery.egress import RefusedUrlError
from publisher.secrets import ALGORITHMS, HMAC

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from publisher.delivery.egress import Rules, UrlFault
    from runtime.settings import Settings

MAX_FILTERS = 100
#: What the table holds.
MAX_DESCRIPTION = 256
#: Seconds: whoever needs longer than a week to put a new secret in place should get a second endpoint.
MAX_OVERLAP = 7 * 86_400
DEFAULT_POLICY = Policy(retries=3, window=3600, attempt_timeout=15)

_SELECTORS = {event_type: frozenset(prefixes(event_type)) for event_type in CATALOGUE}


class InvalidEndpointError(ValueError):
    """What was asked for cannot be an endpoint: `field` is wrong, for `reason`; `fault` is why a URL is refused."""

    def __init__(self, field: str, reason: str, *, fault: UrlFault | None = None) -> None:
        """Say both in the text, for people."""
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Terms:
    """The operator's schedule, and how far endpoints may depart from it: `max_window` is seconds."""

    policy: Policy = DEFAULT_POLICY
    max_retries: int = 10
    max_window: float = 86_400

    @classmethod
    def of(cls, settings: Settings) -> Terms:
        """Return the terms of a configuration."""
        policy = Policy(settings.retries, settings.window, settings.attempt_timeout)
        return cls(policy, settings.max_retries, settings.max_window)

    def check_bounds(self, retries: int | None, window: int | None) -> None:
        """Raise `InvalidEndpointError` for what is beyond the operator's limits; None is the operator's own."""
        if retries is not None and not 0 <= retries <= self.max_retries:
            raise InvalidEndpointError("retries", f"must be 0 to {self.max_retries}")
        if window is not None and not 1 <= window <= self.max_window:
            raise InvalidEndpointError("window", f"must be 1 to {self.max_window:.15g} seconds")

    def check_fit(self, retries: int | None, window: int | None) -> None:
        """Raise `InvalidEndpointError` for a window in which the attempts alone do not fit."""
        try:
            self._chosen(retries, window)
        except ValueError as error:
            raise InvalidEndpointError("retries" if window is None else "window", str(error)) from None

    def policy_of(self, retries: int | None, window: int | None) -> Policy:
        """Return the schedule of an endpoint that chose these once.

        Limits may have been lowered since: what it chose is cut down to them, and where its attempts do not fit any
        more it follows the operator's schedule.
        """
        try:
            return self._chosen(retries, window)
        except ValueError:
            return self.policy

    def _chosen(self, retries: int | None, window: int | None) -> Policy:
        if retries is None and window is None:
            return self.policy
        return Policy(
            self.policy.retries if retries is None else min(retries, self.max_retries),
            self.policy.window if window is None else min(window, self.max_window),
            self.policy.attempt_timeout,
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """A subscription that may be: checked, the URL in its canonical form, the filters without repetitions."""

    account: str
    url: str
    events: list[str]
    description: str
    retries: int | None
    window: int | None
    algorithm: str


def check(
    rules: Rules,
    terms: Terms,
    *,
    account: str,
    url: str,
    events: Sequence[str],
    description: str = "",
    retries: int | None = None,
    window: int | None = None,
    algorithm: str = HMAC,
) -> Asked:
    """Return what was asked for, checked; `window` is seconds. Raises `InvalidEndpointError` naming the field."""
    check_account(account)
    checked_url = check_url(rules, url)
    filters = check_filters(events)
    check_description(description)
    terms.check_bounds(retries, window)
    terms.check_fit(retries, window)
    if algorithm not in ALGORITHMS:
        raise InvalidEndpointError("algorithm", f"must be {' or '.join(ALGORITHMS)}")
    return Asked(account, checked_url, filters, description, retries, window, algorithm)


def selectors(event_type: str) -> frozenset[str]:
    """Return the filters that select a type of the catalogue."""
    return _SELECTORS[event_type]


def check_account(account: str) -> str:
    """Return `account`; raise `InvalidEndpointError` when it cannot be an account id."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,99}", account):
        raise InvalidEndpointError("account", "is not an account id")
    return account


def check_url(rules: Rules, url: str) -> str:
    """Return `url` as it is stored; raise `InvalidEndpointError` when `rules` refuse it."""
    try:
        return str(rules.check_url(url))
    except RefusedUrlError as error:
        raise InvalidEndpointError("url", str(error), fault=error.fault) from error


def check_filters(filters: Sequence[str], types: Collection[str] = CATALOGUE) -> list[str]:
    """Return `filters` without repetitions; raise `InvalidEndpointError` for one that selects none of `types`."""
    unique = list(dict.fromkeys(filters))
    if not 1 <= len(unique) <= MAX_FILTERS:
        raise InvalidEndpointError("events", f"give 1 to {MAX_FILTERS} filters")
    known = frozenset[str]().union(*map(selectors, types))
    for each in unique:
        if each not in known:
            raise InvalidEndpointError("events", f"{each!r} is no event type, no `type.*` and not `*`")
    return unique


def check_description(description: str) -> str:
    """Return `description`; raise `InvalidEndpointError` when it is too long or no text PostgreSQL can store."""
    if len(description) > MAX_DESCRIPTION:
        raise InvalidEndpointError("description", f"must be at most {MAX_DESCRIPTION} characters")
    if re.search("[\x00\ud800-\udfff]", description):
        raise InvalidEndpointError(
            "description", "holds a character that cannot be stored (NUL or half a surrogate pair)"
        )
    return description


def check_overlap(seconds: float) -> float:
    """Return how long old secrets go on signing; raise `InvalidEndpointError` when that is too long or negative."""
    if not 0 <= seconds <= MAX_OVERLAP:
        raise InvalidEndpointError("overlap", f"must be 0 to {MAX_OVERLAP} seconds")
    return seconds
