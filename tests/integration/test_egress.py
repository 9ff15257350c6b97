"""The egress guard where it stands: in the transport, at every attempt, on real sockets."""

from __future__ import annotations

import pytest
from yarl import URL

from publisher.delivery import transport as transport_module
from publisher.delivery.egress import Rules
from publisher.delivery.outcome import Result
from publisher.delivery.transport import Transport
from tests.support import misbehaving as kit
from tests.support.egress import CORPUS, LOOPBACK, Answers
from tests.support.transports import USER_AGENT, a_transport, attempt


def a_transport_to(answers: Answers, rules: Rules) -> Transport:
    return Transport(rules, timeout=5, response_bytes=100, user_agent=USER_AGENT, make_resolver=lambda: answers)


@pytest.mark.parametrize(("host", "addresses"), CORPUS["refuse_at_connect"].items())
async def test_a_name_that_leads_to_a_private_address_is_blocked(host: str, addresses: list[str]) -> None:
    async with a_transport_to(Answers(*addresses), Rules.parse()) as transport:
        assert await attempt(transport, URL(f"https://{host}/")) is Result.BLOCKED


@pytest.mark.parametrize("literal", ["127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1"])
async def test_an_address_literal_is_blocked_although_no_resolver_sees_it(literal: str) -> None:
    answers = Answers("93.184.216.34")
    async with a_transport_to(answers, Rules.parse()) as transport:
        assert await attempt(transport, URL(f"https://{literal}/")) is Result.BLOCKED


async def test_the_socket_decides_even_where_the_url_was_let_through() -> None:
    rules = Rules.parse()
    async with a_transport_to(Answers("93.184.216.34"), rules) as transport:
        assert transport._connector is not None
        transport._connector._resolver = Answers("127.0.0.1")  # a resolver that was not vetted
        assert await attempt(transport, URL("https://hooks.acme.com/")) is Result.BLOCKED


async def test_rebinding_vetted_at_first_and_private_at_the_second_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "DNS_CACHE", 0)
    answers = Answers("127.0.0.1")  # allowed here, as a public address is elsewhere
    async with kit.receiving(kit.answers(kit.FINAL)) as receiver, a_transport_to(answers, LOOPBACK) as transport:
        url = receiver.url.with_host("localhost")
        assert await attempt(transport, url) is Result.OK
        answers.addresses = ("10.0.0.1",)
        assert await attempt(transport, url) is Result.BLOCKED
        answers.addresses = ("127.0.0.1", "10.0.0.1")
        assert await attempt(transport, url) is Result.BLOCKED
        assert len(receiver.requests) == 1


async def test_connections_are_reused_only_while_their_address_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with kit.receiving(kit.answers(kit.FINAL)) as receiver, a_transport() as transport:
        for _ in range(3):
            assert await attempt(transport, receiver.url) is Result.OK
        assert receiver.connections == 1
        monkeypatch.setattr(transport_module, "DNS_CACHE", 0)
        for _ in range(2):
            assert await attempt(transport, receiver.url) is Result.OK
        assert receiver.connections == 3
