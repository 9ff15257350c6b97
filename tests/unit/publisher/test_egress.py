"""The egress guard's decisions, on the whole corpus of hosts and URLs that others were tricked with."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.delivery.egress import RefusedUrlError, Rules, UrlFault, VettedResolver
from publisher.delivery.outcome import BlockedError
from tests.support.egress import CORPUS, Answers

PRODUCTION = Rules.parse()
DEVELOPMENT = Rules.parse(allow=["127.0.0.0/8", "::1/128"])


def addr_info(address: str) -> tuple[Any, ...]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 443))


@pytest.mark.parametrize("url", CORPUS["refuse_at_registration"])
def test_the_corpus_is_refused_at_registration(url: str) -> None:
    with pytest.raises(RefusedUrlError):
        PRODUCTION.check_url(url)


@pytest.mark.parametrize("url", CORPUS["allow"])
def test_the_corpus_is_allowed_at_registration(url: str) -> None:
    assert str(PRODUCTION.check_url(url)) == url


@pytest.mark.parametrize(("host", "addresses"), CORPUS["refuse_at_connect"].items())
async def test_the_corpus_is_refused_by_the_resolver(host: str, addresses: list[str]) -> None:
    with pytest.raises(BlockedError):
        await VettedResolver(PRODUCTION, Answers(*addresses)).resolve(host, 443)


@pytest.mark.parametrize("addresses", [each for each in CORPUS["refuse_at_connect"].values() if each])
def test_the_corpus_is_refused_at_the_socket(addresses: list[str]) -> None:
    assert not all(PRODUCTION.may_call(address) for address in addresses)
    bad = next(address for address in addresses if not PRODUCTION.may_call(address))
    with pytest.raises(BlockedError):
        PRODUCTION.make_socket(addr_info(bad))


@pytest.mark.parametrize("addresses", CORPUS["allow"].values())
async def test_the_corpus_is_allowed_at_connect(addresses: list[str]) -> None:
    answers = await VettedResolver(PRODUCTION, Answers(*addresses)).resolve("acme.com", 443)
    assert [answer["host"] for answer in answers] == addresses
    for address in addresses:
        PRODUCTION.make_socket(addr_info(address)).close()


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("https://acme.com/" + "x" * 2048, UrlFault.TOO_LONG),
        ("https://user@acme.com/", UrlFault.MALFORMED),
        ("https://acme.com/#x", UrlFault.MALFORMED),
        ("https://acme.com/ü", UrlFault.MALFORMED),
        ("https://acme.com/\x7f", UrlFault.MALFORMED),
        ("http://acme.com/", UrlFault.SCHEME),
        ("https://acme.com:444/", UrlFault.PORT),
        ("https://acme.com:65536/", UrlFault.PORT),
        ("https://acme/", UrlFault.HOST),
        ("https://xn--a-ecp.acme.com/", UrlFault.NAME),
        ("https://acme.com./", UrlFault.NAME),
        ("https://-a.acme.com/", UrlFault.NAME),
        ("https://acme.test/", UrlFault.HOST),
        ("https://10.0.0.1/", UrlFault.ADDRESS),
        ("https://[2001:4860:4860:0:0:0:0:8888]/", UrlFault.ADDRESS),
    ],
)
def test_a_refusal_says_why_in_a_closed_vocabulary(url: str, fault: UrlFault) -> None:
    with pytest.raises(RefusedUrlError) as refused:
        PRODUCTION.check_url(url)
    assert refused.value.fault is fault


@pytest.mark.parametrize(
    "url", ["https://93.184.216.34/", "https://[2001:4860:4860::8888]:8443/x?y=1", "HTTPS://Acme.COM"]
)
def test_public_literals_and_any_case_are_allowed(url: str) -> None:
    PRODUCTION.check_url(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9999/hooks", "http://localhost:1/", "https://[::1]:65535/"])
def test_development_may_call_what_its_allow_list_names(url: str) -> None:
    DEVELOPMENT.check_url(url)
    with pytest.raises(RefusedUrlError):
        PRODUCTION.check_url(url)


@pytest.mark.parametrize(
    "url", ["http://acme.com/", "http://10.0.0.1/", "https://acme.com:444/", "http://a.localhost/"]
)
def test_development_is_no_looser_with_anything_else(url: str) -> None:
    with pytest.raises(RefusedUrlError):
        DEVELOPMENT.check_url(url)


def test_operators_deny_what_is_theirs() -> None:
    rules = Rules.parse(deny=["185.243.217.0/24", "2a0e:8f02:f001::/48"])
    assert not rules.may_call("185.243.217.40")
    assert not rules.may_call("2a0e:8f02:f001::40")
    assert rules.may_call("185.243.218.40")


async def test_the_resolver_closes_the_one_it_asks() -> None:
    inner = Answers("93.184.216.34")
    await VettedResolver(PRODUCTION, inner).close()
    assert inner.closed


@given(st.ip_addresses())
def test_nothing_private_is_ever_called(address: Any) -> None:
    if PRODUCTION.may_call(str(address)):
        assert address.is_global
        assert not address.is_multicast


_PIECES = st.sampled_from(["https://", "http://", "xn--", "a", ".", ":", "@", "/", "[", "]", "%", "1", "#", "?", "\\"])


@given(st.one_of(st.text(max_size=80).map("https://".__add__), st.lists(_PIECES, max_size=12).map("".join)))
def test_any_text_is_refused_or_points_where_every_parser_says(url: str) -> None:
    try:
        parsed = PRODUCTION.check_url(url)
    except RefusedUrlError:
        return
    assert parsed.scheme == "https"
    assert parsed.raw_user is None
    assert not parsed.raw_fragment
    assert parsed.host is not None
    assert parsed.host in url.lower()
