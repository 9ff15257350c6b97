"""The transport as far as it goes without a socket: names and the head of a request. The rest: tests/integration."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest
from yarl import URL

from publisher.delivery import transport as transport_module
from publisher.delivery.outcome import Result
from tests.support.transports import a_transport, attempt

SHORT = 0.1


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://receiver.example/x", "receiver.example"),
        ("https://receiver.example:443/x", "receiver.example"),
        ("https://receiver.example:8443/x", "receiver.example:8443"),
        ("http://127.0.0.1:80/x", "127.0.0.1"),
        ("http://[::1]:8000/x", "[::1]:8000"),
    ],
)
async def test_the_host_header_names_a_port_only_when_it_is_not_the_scheme_s(url: str, host: str) -> None:
    async with a_transport() as transport:
        head = transport._prepare(URL(url)).head.decode().lower()
        assert f"\r\nhost: {host}\r\n" in head
        assert head.startswith("post /x http/1.1\r\n")


async def test_prepared_urls_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "ROUTES", 2)
    async with a_transport() as transport:
        for path in ("/a", "/b", "/c", "/a"):
            assert transport._prepare(URL(f"https://receiver.example{path}")).head.startswith(f"POST {path} ".encode())
        assert [url.path for url in transport._routes] == ["/c", "/a"]


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [socket.gaierror(socket.EAI_NONAME, "not known"), socket.gaierror(socket.EAI_AGAIN, "try again")], ids=str
)
async def test_a_name_that_does_not_resolve_is_a_dns_failure(
    error: socket.gaierror, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    async with a_transport() as transport:
        assert await attempt(transport, URL("https://receiver.example/")) is Result.DNS


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
async def test_a_name_no_resolver_takes_is_a_dns_failure(host: str) -> None:
    async with a_transport() as transport:
        assert await attempt(transport, URL(f"https://{host}/")) is Result.DNS


async def test_a_resolver_that_hangs_ends_with_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [over.wait(30)])
    try:
        async with a_transport(timeout=SHORT) as transport, asyncio.timeout(10):
            assert await attempt(transport, URL("https://receiver.example/")) in {Result.TIMEOUT, Result.DNS}
    finally:
        over.set()
