"""The transport as far as it goes without a socket: names and the head of a request. The rest: tests/integration."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from aiohttp.abc import AbstractResolver
from yarl import URL

from publisher.delivery import transport as transport_module
from publisher.delivery.outcome import Result
from publisher.delivery.transport import Transport
from tests.support.egress import LOOPBACK
from tests.support.misbehaving import port_of_nobody
from tests.support.transports import a_transport, attempt

if TYPE_CHECKING:
    from aiohttp.abc import ResolveResult


@pytest.mark.parametrize(
    ("url", "path", "host"),
    [
        ("https://receiver.example/x?y", "/x?y", "receiver.example"),
        ("https://receiver.example:443/x", "/x", "receiver.example"),
        ("https://receiver.example:8443/x", "/x", "receiver.example:8443"),
        ("https://receiver.example", "/", "receiver.example"),
        ("https://receiver.example?y", "/?y", "receiver.example"),
        ("http://127.0.0.1:80/x", "/x", "127.0.0.1"),
        ("http://[::1]:8000/x", "/x", "[::1]:8000"),
    ],
)
async def test_the_head_names_the_path_and_a_port_only_when_it_is_not_the_scheme_s(
    url: str, path: str, host: str
) -> None:
    async with a_transport() as transport:
        head = transport._prepare(URL(url)).head.decode()
        assert f"\r\nhost: {host}\r\n" in head
        assert head.startswith(f"POST {path} HTTP/1.1\r\n")


async def test_prepared_urls_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "ROUTES", 2)
    async with a_transport() as transport:
        for path in ("/a", "/b", "/c", "/a"):
            assert transport._prepare(URL(f"https://receiver.example{path}")).head.startswith(f"POST {path} ".encode())
        assert [url.path for url in transport._routes] == ["/c", "/a"]


# --- names -----------------------------------------------------------------------------------------------------------


class Resolver(AbstractResolver):
    """Raises `error`, or never answers where there is none."""

    def __init__(self, error: OSError | None) -> None:
        self.asked: list[str] = []
        self._error = error

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del port, family
        self.asked.append(host)
        if self._error is not None:
            raise self._error
        await asyncio.Event().wait()
        return []

    async def close(self) -> None:
        pass


def _resolving_with(resolver: Resolver) -> Transport:
    return Transport(LOOPBACK, timeout=0.1, response_bytes=0, user_agent="x", make_resolver=lambda: resolver)


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (socket.gaierror(socket.EAI_NONAME, "not known"), Result.DNS),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), Result.DNS),
        (OSError(None, "DNS server returned general failure"), Result.DNS),
        (None, Result.TIMEOUT),  # it hangs, and ends with the attempt
    ],
    ids=str,
)
async def test_a_name_that_does_not_resolve_has_its_result(error: OSError | None, result: Result) -> None:
    resolver = Resolver(error)
    async with _resolving_with(resolver) as transport, asyncio.timeout(5):
        assert await attempt(transport, URL("https://receiver.example/")) is result
    assert resolver.asked == ["receiver.example"]


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
async def test_a_name_no_resolver_takes_is_a_dns_failure(host: str) -> None:
    async with a_transport() as transport:
        assert await attempt(transport, URL(f"https://{host}/")) is Result.DNS


async def test_nobody_listening_is_a_connect_failure() -> None:
    async with a_transport() as transport:
        assert await attempt(transport, URL(f"http://127.0.0.1:{port_of_nobody()}/")) is Result.CONNECT
