"""What may be an endpoint: URLs and filters, as tables of what customers type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.catalogue import CATALOGUE
from publisher.endpoints import (
    MAX_FILTERS,
    MAX_URL_CHARS,
    InvalidEndpointError,
    check_account,
    check_filters,
    check_url,
    selectors,
)
from tests.support.jobs import an_endpoint

TYPES = list(CATALOGUE)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://receiver.example", "https://receiver.example"),
        ("https://receiver.example/", "https://receiver.example/"),
        ("HTTPS://Receiver.Example/Hooks", "https://receiver.example/Hooks"),
        ("https://receiver.example:8443/a/b?c=d&e=%20f", "https://receiver.example:8443/a/b?c=d&e=%20f"),
        ("https://receiver.example:443/", "https://receiver.example/"),
        ("https://receiver.example/a#fragment", "https://receiver.example/a"),
        ("https://receiver.example/#", "https://receiver.example/"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://192.0.2.7/x", "https://192.0.2.7/x"),
        ("https://[2001:db8::7]:8443/x", "https://[2001:db8::7]:8443/x"),
        ("https://receiver.example/%2e%2e/x", "https://receiver.example/x"),
    ],
)
@pytest.mark.parametrize("allow", [False, True])
def test_an_https_url_is_an_endpoint_wherever_the_service_runs(url: str, kept: str, *, allow: bool) -> None:
    assert str(check_url(url, allow_loopback_http=allow)) == kept


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8000/hooks", "http://localhost/hooks", "http://LOCALHOST:8000/", "http://[::1]:8000/hooks"],
)
def test_http_to_loopback_is_for_developers(url: str) -> None:
    assert check_url(url, allow_loopback_http=True).scheme == "http"
    with pytest.raises(InvalidEndpointError, match=r"^url: must begin with https://$"):
        check_url(url, allow_loopback_http=False)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://receiver.example/", "must begin with https://"),
        ("http://127.0.0.2/", "must begin with https://"),
        ("http://127.0.0.1.example/", "must begin with https://"),
        ("http://localhost.example/", "must begin with https://"),
        ("http://[::ffff:127.0.0.1]/", "must begin with https://"),
        ("http://192.168.1.1/", "must begin with https://"),
        ("ftp://receiver.example/", "must begin with https://"),
        ("ws://localhost/", "must begin with https://"),
        ("//receiver.example/x", "must begin with https://"),
        ("https://user@receiver.example/", "must not carry a user or password"),
        ("https://user:password@receiver.example/", "must not carry a user or password"),
        ("https://:password@receiver.example/", "must not carry a user or password"),
        ("https://receiver.example:443@evil.example/", "must not carry a user or password"),
        ("", "has no host"),
        ("receiver.example", "has no host"),
        ("https://", "has no host"),
        ("https:///hooks", "has no host"),
        ("https:receiver.example", "has no host"),
        ("file:///etc/passwd", "has no host"),
        ("javascript:alert(1)", "has no host"),
        (" https://receiver.example/", "printable ASCII characters without spaces"),
        ("https://receiver.example/ ", "printable ASCII characters without spaces"),
        ("https://receiver.example/a b", "printable ASCII characters without spaces"),
        ("https://receiver.example/\r\nx-evil: 1", "printable ASCII characters without spaces"),
        ("https://receiver.example/\t", "printable ASCII characters without spaces"),
        ("https://receiver.example/\x00", "printable ASCII characters without spaces"),
        ("https://receiver.example/\x7f", "printable ASCII characters without spaces"),
        ("https://bücher.example/", "printable ASCII characters without spaces"),
        ("https://receiver.example/é", "printable ASCII characters without spaces"),
        ("https://receiver.example\u3002evil.example/", "printable ASCII characters without spaces"),
        ("https://receiver.example:99999/", "Port out of range"),
        ("https://receiver.example:port/", "port can't be converted"),
        ("https://[::1/", "Invalid IPv6 URL"),
        ("https://good.example\\@evil.example/", "backslash"),
        ("https://xn--/", "its host is not a domain name"),
        ("https://xn--a-ecp.example/", "its host is not a domain name"),
    ],
)
def test_what_cannot_be_an_endpoint_is_refused_with_its_reason(url: str, says: str) -> None:
    with pytest.raises(InvalidEndpointError) as caught:
        check_url(url, allow_loopback_http=True)
    text = str(caught.value)
    assert text.startswith("url: ")
    assert says in text
    assert "\n" not in text


def test_a_url_has_a_length_limit() -> None:
    longest = "https://receiver.example/".ljust(MAX_URL_CHARS, "a")
    assert len(str(check_url(longest, allow_loopback_http=False))) == MAX_URL_CHARS
    with pytest.raises(InvalidEndpointError, match="at most 2048"):
        check_url(longest + "a", allow_loopback_http=False)


_PIECES = st.sampled_from(["https://", "http://", "xn--", "a", ".", ":", "@", "/", "[", "]", "%", "1", "#", "?", "\\"])


@given(st.one_of(st.text(max_size=60), st.lists(_PIECES, max_size=12).map("".join)))
def test_any_text_is_an_endpoint_or_refused(url: str) -> None:
    try:
        accepted = check_url(url, allow_loopback_http=False)
    except InvalidEndpointError:
        return
    assert accepted.scheme == "https"
    assert accepted.raw_host
    assert accepted.raw_user is None
    assert not accepted.raw_fragment
    assert str(accepted).isascii()


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
