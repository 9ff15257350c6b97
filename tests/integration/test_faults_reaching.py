"""The fault table, receivers that cannot be reached: names that do not resolve, TLS that is not right.

Each through the whole worker: the class the attempt gets, the retry that follows, and nobody else held up.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import ssl
import warnings
from typing import TYPE_CHECKING

import aiohttp
import pytest
from yarl import URL

from publisher.delivery import transport as transport_module
from publisher.delivery.outcome import Result
from publisher.delivery.transport import Transport
from publisher.subscriptions import DEFAULT_POLICY
from tests.support import misbehaving as kit
from tests.support.certificates import Authority
from tests.support.egress import LOOPBACK
from tests.support.jobs import a_job, an_endpoint
from tests.support.name_server import a_name_server
from tests.support.transports import USER_AGENT, a_transport, attempt
from tests.support.workers import a_worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from publisher.delivery.egress import Rules
    from tests.support.name_server import NameServer
    from tests.support.workers import Bench


@contextlib.asynccontextmanager
async def _transport(
    monkeypatch: pytest.MonkeyPatch, rules: Rules = LOOPBACK
) -> AsyncIterator[tuple[Transport, NameServer]]:
    """Yield a transport with the resolver of production, which asks a name server of the test's."""
    async with a_name_server() as names:
        ours = functools.partial(
            aiohttp.AsyncResolver, nameservers=["127.0.0.1"], udp_port=names.port, tcp_port=kit.port_of_nobody()
        )
        with monkeypatch.context() as patched:
            patched.setattr(aiohttp, "AsyncResolver", ours)
            async with Transport(rules, timeout=10, response_bytes=100, user_agent=USER_AGENT) as transport:
                yield transport, names


@contextlib.asynccontextmanager
async def _resolving(
    monkeypatch: pytest.MonkeyPatch, rules: Rules = LOOPBACK
) -> AsyncIterator[tuple[Bench, NameServer]]:
    """Yield a running worker with such a transport."""
    async with (
        _transport(monkeypatch, rules) as (transport, names),
        a_worker(transport=transport, drain_timeout=0) as bench,
    ):
        bench.start()
        yield bench, names


def _add(bench: Bench, url: object, number: int = 1) -> None:
    bench.queue.add(a_job(f"dlv_{number}", endpoint=an_endpoint(str(url), endpoint_id=f"we_{number}")))
    bench.worker.wake()


async def _unrelated_goes_through(bench: Bench) -> None:
    async with kit.receiving(kit.answers(kit.FINAL)) as lively:
        _add(bench, lively.url, 99)
        await bench.queue.until(lambda queue: queue.states()["dlv_99"] == "delivered")


# --- NXDOMAIN, SERVFAIL, 30 s DNS, `a..b`: class dns, retried; the worker lives ---------------------------------------


@pytest.mark.parametrize("host", ["nxdomain.acme.com", "servfail.acme.com", "a..b", f"{'a' * 64}.acme.com"])
async def test_nxdomain_servfail_and_what_is_no_name_are_dns_and_retried(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _resolving(monkeypatch) as (bench, names):
        _add(bench, f"https://{host}/hooks")
        for number in (1, 2):
            await bench.queue.until(lambda queue, number=number: len(queue.rows["dlv_1"].attempts) == number)  # type: ignore[misc]  # mypy infers no default arguments
            assert bench.queue.states()["dlv_1"] == "retry"
            await bench.later("dlv_1")
        await bench.queue.until(lambda queue: len(queue.rows["dlv_1"].attempts) == 3)
        assert {(each.result, each.status) for each in bench.queue.rows["dlv_1"].attempts} == {(Result.DNS, None)}
        assert set(names.asked) == ({host} if host.startswith(("nxdomain", "servfail")) else set())
        await _unrelated_goes_through(bench)


async def test_30_s_dns_is_dns_and_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "DNS_TIMEOUT", 0.75)
    monkeypatch.setattr(transport_module, "DNS_TRIES", 1)
    async with _resolving(monkeypatch) as (bench, names):
        _add(bench, "https://silent.acme.com/hooks")
        await names.until(lambda n: "silent.acme.com" in n.asked)
        await _unrelated_goes_through(bench)
        assert bench.queue.states()["dlv_1"] == "leased"  # still waiting for its answer
        await bench.queue.until(lambda queue: queue.states()["dlv_1"] == "retry")
        [finished] = bench.queue.rows["dlv_1"].attempts
        assert (finished.result, finished.status) == (Result.DNS, None)


async def test_names_that_are_never_answered_keep_no_other_name_from_being_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More of them than any pool of threads: what is looked up behind them is not."""
    count = 100
    async with kit.receiving(kit.hangs) as receiver:
        assert receiver.url.port is not None
        rules = dataclasses.replace(LOOPBACK, ports=frozenset({443, receiver.url.port}))
        async with _transport(monkeypatch, rules) as (transport, names):
            stuck = [asyncio.create_task(attempt(transport, URL(f"https://silent.x{n}.com/"))) for n in range(count)]
            await names.until(lambda n: len(set(n.asked)) >= count)
            good = asyncio.create_task(attempt(transport, URL(f"https://here.acme.com:{receiver.url.port}/")))
            await receiver.until(lambda r: r.connections == 1)
            assert not any(task.done() for task in stuck)
            for task in (*stuck, good):
                task.cancel()
            await asyncio.gather(*stuck, good, return_exceptions=True)


def test_a_name_server_that_never_answers_is_given_up_within_the_attempt() -> None:
    """A resolver doubles its patience at each try; all of them fit, so that the class is `dns` and not `timeout`."""
    longest = sum(transport_module.DNS_TIMEOUT * 2**number for number in range(transport_module.DNS_TRIES))
    assert longest < DEFAULT_POLICY.attempt_timeout


async def test_a_name_that_resolves_again_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: through this very name server a good name leads to its receiver (which here speaks no TLS)."""
    async with kit.receiving(kit.hangs) as receiver:
        assert receiver.url.port is not None
        rules = dataclasses.replace(LOOPBACK, ports=frozenset({receiver.url.port}))
        async with _resolving(monkeypatch, rules) as (bench, names):
            _add(bench, f"https://here.acme.com:{receiver.url.port}/hooks")
            await names.until(lambda n: "here.acme.com" in n.asked)
            await receiver.until(lambda r: r.connections == 1 and r.ended == 0)


# --- expired, wrong-host, self-signed TLS, TLS 1.1: class tls, never downgraded ---------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder: Path = tmp_path_factory.mktemp("certificates")
    return Authority(folder)


@pytest.fixture
def _trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the connector trust the test authority, and nothing about verification change."""
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", authority.client())


def _at_most_tls_1_1(context: ssl.SSLContext) -> ssl.SSLContext:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


SERVERS: dict[str, Callable[[Authority], ssl.SSLContext]] = {
    "expired": Authority.expired,
    "wrong host": Authority.of_another_host,
    "self-signed": Authority.self_signed,
    "TLS 1.1 only": lambda authority: _at_most_tls_1_1(authority.good()),
}


@pytest.mark.usefixtures("_trusted")
@pytest.mark.parametrize("name", SERVERS)
async def test_expired_wrong_host_self_signed_and_old_tls_are_tls_and_never_downgraded(
    name: str, authority: Authority
) -> None:
    """Every connection of every attempt begins with a handshake, none gets a request, and the delivery is retried."""
    server = kit.Handshakes(SERVERS[name](authority))
    with server:
        async with a_transport() as transport, a_worker(transport=transport) as bench:
            bench.start()
            _add(bench, server.url)
            for number in (1, 2):
                await bench.queue.until(lambda queue, number=number: len(queue.rows["dlv_1"].attempts) == number)  # type: ignore[misc]  # the same
                assert bench.queue.states()["dlv_1"] == "retry"
                await bench.later("dlv_1")
            await bench.queue.until(lambda queue: len(queue.rows["dlv_1"].attempts) == 3)
            assert {each.result for each in bench.queue.rows["dlv_1"].attempts} == {Result.TLS}
            assert server.requests == []
            assert server.first_bytes == [b"\x16"] * 3
            await _unrelated_goes_through(bench)


async def test_the_old_server_is_one_that_an_old_client_can_talk_to(authority: Authority) -> None:
    """Guard the fixture: what refuses TLS 1.1 is our side."""
    old = _at_most_tls_1_1(authority.client())
    with kit.Handshakes(SERVERS["TLS 1.1 only"](authority)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.url.port, ssl=old)
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.1"
        writer.write(b"hello")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        writer.close()
        with contextlib.suppress(ConnectionError):  # the server has hung up by then, or not
            await writer.wait_closed()
    assert server.requests == [b"hello"]
