"""One HTTP exchange against real sockets that misbehave: what each comes to, and what is never done.

transport.py stands on parts of aiohttp that are not documented API. These tests are what holds it there: whatever
its docstring claims has a test here, on asyncio's loop, and on uvloop (which production runs) the whole table again.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
import tracemalloc
from typing import TYPE_CHECKING

import pytest
import uvloop
from yarl import URL

from publisher.delivery import transport as transport_module
from publisher.delivery.outcome import Result
from tests.support import misbehaving as kit
from tests.support.certificates import Authority
from tests.support.jobs import BODY
from tests.support.transports import HEADERS, USER_AGENT, a_transport, attempt, post

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHORT = 0.25
LIMIT = 1000
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"


# --- what each kind of receiver comes to -----------------------------------------------------------------------------

RECEIVERS: dict[str, tuple[kit.Behaviour, Result]] = {
    "answers": (kit.answers(kit.FINAL), Result.OK),
    "answers with an error": (kit.answers(kit.sized(b"no", status="500 Oh")), Result.SERVER_ERROR),
    "says gone": (kit.answers(kit.sized(b"", status="410 Gone")), Result.GONE),
    "interim answers, then a final one": (kit.answers(INTERIM * 3 + HINTS + kit.FINAL), Result.OK),
    "silent": (kit.hangs, Result.TIMEOUT),
    "drips its head": (kit.drips(b"HTTP/1.1 200 OK\r\nx: a"), Result.TIMEOUT),
    "drips its body": (kit.drips(b"HTTP/1.1 200 OK\r\n\r\na"), Result.TIMEOUT),
    "floods interim answers": (kit.floods(b"", INTERIM * 500), Result.PROTOCOL),
    "one endless header": (kit.floods(b"HTTP/1.1 200 OK\r\nx: ", b"a" * 1000), Result.PROTOCOL),
    "endless headers": (kit.floods(b"HTTP/1.1 200 OK\r\n", b"x: a\r\n" * 2000), Result.PROTOCOL),
    "endless status line": (kit.floods(b"HTTP/1.1 200 ", b"a" * 1000), Result.PROTOCOL),
    "bad status line": (kit.answers(b"HTTP/1.1 abc\r\n\r\n"), Result.PROTOCOL),
    "speaks something else": (kit.answers(b"SSH-2.0-OpenSSH_9.9\r\n"), Result.PROTOCOL),
    "breaks its first chunk": (kit.answers(CHUNKED + b"ZZ\r\n"), Result.PROTOCOL),
    "switches protocols": (kit.answers(SWITCHING), Result.PROTOCOL),
    "closes without an answer": (kit.closes, Result.CONNECT),
    "resets": (kit.resets, Result.CONNECT),
    "closes within the head": (kit.answers_and_closes(b"HTTP/1.1 200 OK\r\nx:"), Result.CONNECT),
    "truncates its body": (kit.answers_and_closes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart"), Result.OK),
    "truncates a chunk": (kit.answers_and_closes(CHUNKED + b"64\r\npart"), Result.OK),
    "breaks its second chunk": (kit.sends_apart(CHUNKED + b"4\r\npart\r\n", b"ZZ\r\n"), Result.OK),
    "resets within its body": (kit.resets_within_the_body, Result.OK),
    "says no length": (kit.answers_and_closes(b"HTTP/1.1 200 OK\r\n\r\nbody"), Result.OK),
    "huge body": (kit.floods(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n", b"a" * 65536), Result.OK),
    "endless chunks": (kit.floods(CHUNKED, b"5\r\nabcde\r\n" * 2000), Result.OK),
    "gzip bomb": (kit.answers(kit.bomb(50_000_000)), Result.OK),
}


async def _result_of(
    behaviour: kit.Behaviour, tls: ssl.SSLContext | None = None, *, expected: Result | None = None
) -> tuple[Result, int]:
    """Return what one attempt comes to, and how many requests the receiver saw; patient but where a timeout is due."""
    transport = a_transport(timeout=SHORT if expected is Result.TIMEOUT else 10, response_bytes=LIMIT)
    async with asyncio.timeout(20), kit.receiving(behaviour, tls=tls) as receiver, transport:
        return await attempt(transport, receiver.url), len(receiver.requests)


@pytest.mark.parametrize("name", RECEIVERS)
async def test_a_receiver_gets_one_request_and_its_result(name: str) -> None:
    behaviour, result = RECEIVERS[name]
    assert await _result_of(behaviour, expected=result) == (result, 1)


def test_on_the_loop_production_runs_every_receiver_gets_the_same() -> None:
    async def all_of_them() -> dict[str, tuple[Result, int]]:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        return {name: await _result_of(behaviour, expected=result) for name, (behaviour, result) in RECEIVERS.items()}

    assert uvloop.run(all_of_them()) == {name: (result, 1) for name, (_, result) in RECEIVERS.items()}


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder: Path = tmp_path_factory.mktemp("certificates")
    return Authority(folder)


@pytest.fixture
def _trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the connector trust the test authority, and nothing about verification change."""
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", authority.client())


CERTIFICATES: list[tuple[Callable[[Authority], ssl.SSLContext], str]] = [
    (Authority.expired, "certificate has expired"),
    (Authority.not_yet_valid, "certificate is not yet valid"),
    (Authority.of_another_host, "certificate is not valid for '127.0.0.1'"),
    (Authority.self_signed, "self-signed certificate"),
]


@pytest.mark.usefixtures("_trusted")
async def test_a_good_certificate_is_accepted_and_its_connection_reused(authority: Authority) -> None:
    async with kit.receiving(kit.answers(kit.FINAL), tls=authority.good()) as receiver, a_transport() as transport:
        assert [await attempt(transport, receiver.url) for _ in range(3)] == [Result.OK] * 3
        assert (receiver.connections, len(receiver.requests)) == (1, 3)


@pytest.mark.usefixtures("_trusted")
@pytest.mark.parametrize(("certificate", "reason"), CERTIFICATES)
async def test_a_bad_certificate_gets_no_request(
    certificate: Callable[[Authority], ssl.SSLContext], reason: str, authority: Authority
) -> None:
    async with (
        kit.receiving(kit.answers(kit.FINAL), tls=certificate(authority)) as receiver,
        a_transport() as transport,
    ):
        with pytest.raises(Exception, match=reason):
            await post(transport, receiver.url)
        assert await attempt(transport, receiver.url) is Result.TLS
        assert receiver.requests == []


@pytest.mark.usefixtures("_trusted")
def test_certificates_are_judged_the_same_on_uvloop(authority: Authority) -> None:
    servers = [Authority.good, *(certificate for certificate, _ in CERTIFICATES)]

    async def results() -> list[tuple[Result, int]]:
        return [await _result_of(kit.answers(kit.FINAL), make(authority)) for make in servers]

    assert uvloop.run(results()) == [(Result.OK, 1), *[(Result.TLS, 0)] * len(CERTIFICATES)]


@pytest.mark.usefixtures("_trusted")
async def test_who_speaks_first_is_called_once(authority: Authority) -> None:
    tls = authority.good()
    tls.maximum_version = ssl.TLSVersion.TLSv1_2  # the server's is the last word of the handshake: the greeting is next
    rude = kit.receiving(kit.hangs, tls=tls, greeting=b"220 mail.example ESMTP\r\n")
    async with rude as receiver, a_transport() as transport:
        assert await attempt(transport, receiver.url) is Result.PROTOCOL
        assert receiver.connections == 1


async def test_an_authority_nobody_trusts_is_refused(authority: Authority) -> None:
    assert await _result_of(kit.answers(kit.FINAL), authority.good()) == (Result.TLS, 0)


async def test_a_plain_answer_to_a_tls_handshake_is_not_taken_for_one() -> None:
    heard: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1))
        writer.write(kit.FINAL)
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server, a_transport() as transport:
        url = URL(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/hooks")
        assert await attempt(transport, url) is Result.TLS
    assert heard == [b"\x16"]  # a handshake, and no second try in clear


async def test_a_handshake_that_never_ends_ends_with_the_attempt() -> None:
    async with kit.receiving(kit.hangs) as receiver, a_transport(timeout=SHORT) as transport, asyncio.timeout(10):
        assert await attempt(transport, receiver.url.with_scheme("https")) is Result.TIMEOUT
        assert receiver.requests == []


# --- what is sent ----------------------------------------------------------------------------------------------------


async def test_a_request_is_the_contracts_headers_and_the_very_bytes() -> None:
    async with kit.receiving(kit.answers(kit.FINAL)) as receiver, a_transport() as transport:
        url = receiver.url.with_path("/a b/c").with_query("d=%20&e=/?")
        await post(transport, url)
        line, fields, body = kit.parsed(receiver.requests[0])
        assert line == f"POST {url.raw_path_qs} HTTP/1.1"
        assert fields == sorted(
            [
                ("host", f"127.0.0.1:{receiver.url.port}"),
                ("content-type", "application/json"),
                ("content-length", str(len(BODY))),
                ("user-agent", USER_AGENT),
                *HEADERS.items(),
            ]
        )
        assert body == BODY


@pytest.mark.parametrize("body", [b"", b"\x00\xff\r\n\r\n", "é😀".encode(), b"x" * 300_000], ids=len)
async def test_any_body_arrives_as_it_is(body: bytes) -> None:
    async with kit.receiving(kit.answers(kit.FINAL)) as receiver, a_transport() as transport:
        await post(transport, receiver.url, body)
        assert kit.parsed(receiver.requests[0])[2] == body


async def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{kit.port_of_nobody()}")
        monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{kit.port_of_nobody()}")
    assert await _result_of(kit.answers(kit.FINAL)) == (Result.OK, 1)


async def test_cookies_are_not_kept() -> None:
    async with (
        kit.receiving(kit.answers(kit.sized(b"", "set-cookie: a=b; path=/"))) as receiver,
        a_transport() as transport,
    ):
        for _ in range(2):
            await post(transport, receiver.url)
        assert b"cookie" not in b"".join(receiver.requests).lower()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_not_followed(status: int) -> None:
    async with kit.receiving(kit.answers(kit.FINAL)) as elsewhere:
        there = kit.sized(b"", f"location: {elsewhere.url}", status=f"{status} Elsewhere")
        assert await _result_of(kit.answers(there)) == (Result.REDIRECT, 1)
        assert (elsewhere.connections, elsewhere.requests) == (0, [])


# --- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT, LIMIT + 1, 100_000])
@pytest.mark.parametrize("response_bytes", [LIMIT, 0])
async def test_at_most_so_much_of_an_answer_is_kept(size: int, response_bytes: int) -> None:
    content = bytes(number % 251 for number in range(size))
    transport = a_transport(response_bytes=response_bytes)
    async with kit.receiving(kit.answers(kit.sized(content))) as receiver, transport:
        for _ in range(2):
            assert (await post(transport, receiver.url)).body == content[:response_bytes]


@pytest.mark.parametrize("name", ["huge body", "endless chunks", "gzip bomb", "endless headers"])
async def test_no_answer_costs_more_memory_than_it_may(name: str) -> None:
    behaviour, result = RECEIVERS[name]
    async with kit.receiving(behaviour) as receiver, a_transport() as transport:
        tracemalloc.start()
        try:
            assert await attempt(transport, receiver.url) is result
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 2 * 2**20


BOMB = kit.bomb(1_000_000)


@pytest.mark.parametrize(
    ("behaviour", "kept"),
    [
        (kit.answers(BOMB), BOMB.partition(b"\r\n\r\n")[2]),
        (RECEIVERS["says no length"][0], b"body"),
        (RECEIVERS["truncates its body"][0], b"part"),
        (RECEIVERS["truncates a chunk"][0], b"part"),
        (RECEIVERS["breaks its second chunk"][0], b"part"),
        (kit.resets_within_the_body, b"part"),
    ],
)
async def test_an_answer_is_kept_as_it_came_and_as_far_as_it_came(behaviour: kit.Behaviour, kept: bytes) -> None:
    async with kit.receiving(behaviour) as receiver, a_transport() as transport:
        assert (await post(transport, receiver.url)).body == kept


async def test_a_reset_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    assert await _result_of(kit.resets_within_the_body) == (Result.OK, 1)
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    ("headers", "kept"), [([], None), (["Retry-After: 120"], "120"), (["retry-after: soon", "retry-after: 2"], "soon")]
)
async def test_retry_after_is_handed_on_as_it_came(headers: list[str], kept: str | None) -> None:
    answer = kit.sized(b"busy", *headers, status="503 Busy")
    async with kit.receiving(kit.answers(answer)) as receiver, a_transport() as transport:
        response = await post(transport, receiver.url)
        assert (response.status, response.retry_after, response.body) == (503, kept, b"busy")


# --- connections -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        kit.FINAL,
        kit.sized(b"a" * LIMIT),
        kit.sized(b"no", status="500 Oh"),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        CHUNKED + b"4\r\npart\r\n0\r\n\r\n",
        INTERIM + kit.FINAL,
    ],
    ids=["sized", "at the limit", "an error", "204", "chunked", "after 100"],
)
async def test_a_well_behaved_receiver_s_connection_is_reused(answer: bytes) -> None:
    async with kit.receiving(kit.answers(answer)) as receiver, a_transport(response_bytes=LIMIT) as transport:
        for path in ("/a", "/b", "/a"):
            await post(transport, receiver.url.with_path(path))
        assert (receiver.connections, len(receiver.requests)) == (1, 3)


@pytest.mark.parametrize(
    "answer",
    [
        kit.sized(b"ok", "connection: close"),
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        kit.sized(b"a" * 300_000),
        kit.FINAL * 2,
    ],
    ids=["asked to close", "HTTP/1.0", "more than was read", "two answers to one request"],
)
async def test_a_connection_that_is_not_clean_is_not_reused(answer: bytes) -> None:
    async with kit.receiving(kit.answers(answer)) as receiver, a_transport(response_bytes=LIMIT) as transport:
        assert [await attempt(transport, receiver.url) for _ in range(3)] == [Result.OK] * 3
        assert (receiver.connections, len(receiver.requests)) == (3, 3)


@pytest.mark.parametrize("ends", [kit.closes, kit.resets], ids=["closed", "reset"])
async def test_stale_connections_are_replaced_at_once_however_many_there_are(ends: kit.Behaviour) -> None:
    behaviour = kit.first_then(kit.answers(kit.FINAL), ends)
    async with kit.receiving(behaviour) as receiver, a_transport() as transport:
        await asyncio.gather(*(post(transport, receiver.url) for _ in range(3)))
        assert (receiver.connections, len(receiver.requests)) == (3, 3)
        assert await attempt(transport, receiver.url) is Result.OK
        assert (receiver.connections, len(receiver.requests)) == (4, 7)  # all three were stale; the fourth is new


async def test_an_idle_connection_the_receiver_has_closed_is_not_tried() -> None:
    async with kit.receiving(kit.answers_and_closes(kit.FINAL)) as receiver, a_transport() as transport:
        for count in (1, 2):
            assert await attempt(transport, receiver.url) is Result.OK
            await receiver.until(lambda r, count=count: r.ended == count)  # type: ignore[misc]
        assert (receiver.connections, len(receiver.requests)) == (2, 2)


async def test_an_answer_nobody_asked_for_is_not_the_next_attempt_s() -> None:
    sent = asyncio.Event()

    async def answers_again_later(conversation: kit.Conversation) -> None:
        await conversation.send(kit.FINAL)
        if conversation.number == 1 and not sent.is_set():
            await asyncio.sleep(0.01)  # a segment of its own, when the connection is back in the pool
            await conversation.send(kit.sized(b"", status="410 Gone"))
            sent.set()

    async with kit.receiving(answers_again_later) as receiver, a_transport() as transport:
        assert await attempt(transport, receiver.url) is Result.OK
        async with asyncio.timeout(5):
            await sent.wait()
        await asyncio.sleep(0.01)
        assert await attempt(transport, receiver.url) is Result.OK


async def test_idle_connections_are_closed_by_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "KEEPALIVE", 0.02)
    async with kit.receiving(kit.answers(kit.FINAL)) as receiver, a_transport() as transport:
        await post(transport, receiver.url)
        await receiver.until(lambda r: r.ended == 1)


async def test_a_receiver_that_hangs_holds_up_nobody_else() -> None:
    lively_one, transport = kit.receiving(kit.answers(kit.FINAL)), a_transport(timeout=30)
    async with kit.receiving(kit.hangs) as silent, lively_one as lively, transport:
        stuck = [asyncio.create_task(post(transport, silent.url)) for _ in range(150)]
        await silent.until(lambda r: len(r.requests) == len(stuck))
        async with asyncio.timeout(5):
            assert await attempt(transport, lively.url) is Result.OK
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        await silent.until(lambda r: r.ended == len(stuck))  # what is given up is hung up


async def test_leaving_closes_every_connection() -> None:
    async with kit.receiving(kit.answers(kit.FINAL)) as receiver:
        async with a_transport() as transport:
            await asyncio.gather(*(post(transport, receiver.url) for _ in range(3)))
        await receiver.until(lambda r: r.ended == r.connections == 3)
