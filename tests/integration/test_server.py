"""The server against clients that are slow, many, or do not speak HTTP, on real sockets.

All of it on asyncio's loop, and what leans on the loop's transports again on uvloop, which production runs.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from typing import TYPE_CHECKING

import pytest
import uvloop
from aiohttp import web

from publisher.api.protocol import Bounds
from publisher.api.server import OTHER_FILES, most_connections, within_files
from runtime.settings import load
from tests.support.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.serving import Said, Served

#: What must not come back, nor be logged.
MARK = b"hunter2"
HELLO = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
QUICK = Bounds(head=0.05, idle=30, send=0.05, linger=0.05)
MIB = 2**20


async def hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


async def page(_: web.Request) -> web.Response:
    return web.Response(text="<p>hello", content_type="text/html")


async def explorer(_: web.Request) -> web.Response:
    headers = {"Content-Security-Policy": "default-src 'self'"}
    return web.Response(text="<p>hello", content_type="text/html", headers=headers)


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def halves(request: web.Request) -> web.Response:
    """Say when the first two bytes are there."""
    first = await request.content.readexactly(2)
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return web.Response(body=first + await request.content.readexactly(2))


async def crash(_: web.Request) -> web.Response:
    raise ZeroDivisionError(MARK.decode())


async def much(_: web.Request) -> web.Response:
    return web.Response(body=bytes(64 * MIB))


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"a")
    await response.write_eof()
    return response


async def half(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"a")
    raise ZeroDivisionError


def an_app() -> web.Application:
    app = web.Application()
    app.router.add_get("/hello", hello)
    app.router.add_get("/page", page)
    app.router.add_get("/explorer", explorer)
    app.router.add_get("/crash", crash)
    app.router.add_get("/much", much)
    app.router.add_get("/stream", stream)
    app.router.add_get("/half", half)
    app.router.add_post("/echo", echo)
    app.router.add_post("/halves", halves)
    return app


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(an_app()) as made:
        yield made


@pytest.fixture
async def quick() -> AsyncIterator[Served]:
    """Little patience: for clients that are slower."""
    async with serving(an_app(), bounds=QUICK) as made:
        yield made


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn, for what announces itself to nobody: a server that has noticed."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)


def assert_dressed(said: Said, status: int, code: str) -> None:
    """Fail unless an answer is a whole error in the house style."""
    assert (said.status, said.error["code"]) == (status, code)
    assert said.headers["Content-Type"] == "application/json"
    assert said.headers["X-Request-ID"] == said.error["request_id"]
    assert said.error["request_id"].startswith("req_")
    assert_safe(said)


def assert_safe(said: Said) -> None:
    assert "Server" not in said.headers
    assert said.headers["X-Content-Type-Options"] == "nosniff"
    assert said.headers["Referrer-Policy"] == "no-referrer"
    assert MARK not in said.body
    assert "python" not in str(said).lower()


# --- slow ------------------------------------------------------------------------------------------------------------


async def test_who_says_nothing_is_left(quick: Served) -> None:
    async with quick.line() as line:
        assert await line.rest() == b""


@pytest.mark.parametrize("before", [b"", HELLO, HELLO * 3], ids=["at once", "after a request", "after three"])
async def test_who_never_ends_a_head_is_left(quick: Served, before: bytes) -> None:
    async with quick.line() as line:
        line.send(before)
        for _ in range(before.count(HELLO)):
            assert (await line.answer()).status == 200
        hung_up = asyncio.create_task(line.rest())
        line.send(b"GET /hello HTTP/1.1\r\nHost: x\r\n")
        async with asyncio.timeout(10):
            while not hung_up.done():
                line.send(b"x: y\r\n")
                await asyncio.wait((hung_up,), timeout=0.005)
        assert hung_up.result() == b""


async def test_a_head_in_pieces_is_a_head(served: Served) -> None:
    async with served.line() as line:
        for byte in HELLO + HELLO:
            line.send(bytes([byte]))
            await line.writer.drain()
        assert [(await line.answer()).status, (await line.answer()).status] == [200, 200]
        [connection] = served.connections()
        assert connection._head_timer is None
        assert connection._head_bytes == 0
        line.send(HELLO[:5])
        await until(lambda: connection._head_bytes == 5)
        timer = connection._head_timer
        line.send(HELLO[5:9])
        await until(lambda: connection._head_bytes == 9)
        assert connection._head_timer is timer is not None


async def test_between_requests_and_within_a_body_no_head_is_late(served: Served) -> None:
    async with served.line() as line:
        line.send(HELLO)
        await line.answer()
        [connection] = served.connections()
        assert connection._head_timer is None
        connection.data_received(b"")  # as aiohttp does when it reads on
        assert connection._head_timer is None
        line.send(b"POST /halves HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        await line.answer()  # 100 Continue: the handler has begun
        line.send(b"ab")
        await line.answer()  # 100 Continue again: it has the first half
        assert connection._head_timer is None
        line.send(b"cd")
        assert (await line.answer()).body == b"abcd"


async def test_who_is_silent_between_requests_is_left_after_a_while() -> None:
    async with serving(an_app(), bounds=Bounds(idle=0.05)) as served, served.line() as line:
        line.send(HELLO)
        assert (await line.answer()).status == 200
        assert await line.rest() == b""


async def test_who_does_not_read_the_answer_is_left(quick: Served) -> None:
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)  # noqa: FBT003 - the standard library's signature
        loop = asyncio.get_running_loop()
        await loop.sock_connect(slow, ("127.0.0.1", quick.port))
        await loop.sock_sendall(slow, b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: quick.listener.open == 1)
        await until(lambda: quick.listener.open == 0)


async def test_who_reads_a_long_answer_gets_all_of_it(quick: Served) -> None:
    async with quick.line() as line:
        line.send(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
        assert len((await line.answer()).body) == 64 * MIB


async def test_who_has_read_it_is_not_watched_any_more(served: Served) -> None:
    async with served.line() as line:
        line.send(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: any(each._send_timer is not None for each in served.connections()))
        await line.answer()
        [connection] = served.connections()
        await until(lambda: connection._send_timer is None)
        line.send(HELLO)
        assert (await line.answer()).body == b"hello"


async def test_who_leaves_takes_the_timers_along(served: Served) -> None:
    async with served.line() as line:
        await until(lambda: served.listener.open == 1)
        [silent] = served.connections()
        assert silent._head_timer is not None
    async with served.line() as line:
        line.send(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: any(each._send_timer is not None for each in served.connections()))
        slow = next(each for each in served.connections() if each._send_timer is not None)
        line.writer.transport.abort()
    await until(lambda: served.listener.open == 0)
    assert silent._head_timer is slow._send_timer is None


async def test_a_body_nobody_reads_is_not_waited_for(quick: Served) -> None:
    async with quick.line() as line:
        line.send(b"GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        assert (await line.answer()).body == b"hello"
        assert await line.rest() == b""


# --- not HTTP --------------------------------------------------------------------------------------------------------

MALFORMED = {
    "garbage": MARK + b"\x00\xff\x01\r\n\r\n",
    "no such version": b"GET / HTTP/9.9\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": bytes.fromhex("1603010200010001fc0303"),
    "a NUL in a name": b"GET / HTTP/1.1\r\nHost: x\r\nX\x00Y: hunter2\r\n\r\n",
    "a NUL in a value": b"GET / HTTP/1.1\r\nHost: x\r\nX: hunter2\x00\r\n\r\n",
    "a line end within a value": b"GET / HTTP/1.1\r\nHost: x\r\nX: hunter2\rY: z\r\n\r\n",
    "a line without a colon": b"GET / HTTP/1.1\r\nHost: x\r\nhunter2\r\n\r\n",
    "a long value": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + MARK + b"x" * 20_000 + b"\r\n\r\n",
    "a long name": b"GET / HTTP/1.1\r\nHost: x\r\n" + MARK + b"x" * 20_000 + b": y\r\n\r\n",
    "a long path": b"GET /" + MARK + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: hunter2\r\n" % i for i in range(200)) + b"\r\n",
    "a length past counting": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "a length below nothing": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
    "a length and chunks": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "a space before the colon": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length : 1\r\n\r\na",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_not_http_is_refused_in_the_house_style(
    served: Served, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with served.line() as line:
            line.send(sent)
            said = await line.answer()
            assert_dressed(said, 400, "malformed_request")
            assert await line.rest() == b""
        assert (await served.ask(HELLO)).status == 200
    assert MARK.decode() not in caplog.text
    assert "Traceback" not in caplog.text
    assert "127.0.0.1" not in caplog.text


async def test_it_is_refused_after_a_good_request_too(served: Served) -> None:
    async with served.line() as line:
        line.send(HELLO)
        assert (await line.answer()).body == b"hello"
        line.send(b"\x00\r\n\r\n")
        assert_dressed(await line.answer(), 400, "malformed_request")
        assert await line.rest() == b""


async def test_a_head_may_not_be_long_altogether() -> None:
    part = b"".join(b"X: %s\r\n" % (b"x" * 400) for _ in range(20))
    async with serving(an_app(), bounds=Bounds(head_bytes=2 * len(part))) as served, served.line() as line:
        line.send(b"GET / HTTP/1.1\r\n")
        await until(lambda: served.listener.open == 1)
        [connection] = served.connections()
        await until(lambda: connection._waiter is not None)
        line.send(part)
        await until(lambda: connection._head_bytes >= len(part))
        line.send(part + b"X: y\r\n")
        assert_dressed(await line.answer(), 400, "malformed_request")
        assert await line.rest() == b""


async def test_as_long_as_it_may_be_a_head_is_a_head() -> None:
    head = HELLO.removesuffix(b"\r\n") + b"X: " + b"x" * 400
    async with serving(an_app(), bounds=Bounds(head_bytes=len(head))) as served, served.line() as line:
        for _ in range(3):
            line.send(head)
            await until(lambda: [c._head_bytes for c in served.connections()] == [len(head)])
            line.send(b"\r\n\r\n")
            assert (await line.answer()).status == 200
            assert [c._head_bytes for c in served.connections()] == [0]


@pytest.mark.parametrize("count", [100, 101])
async def test_there_may_be_a_hundred_headers(served: Served, count: int) -> None:
    others = b"".join(b"X-%d: y\r\n" % number for number in range(count - 1))
    head = b"GET /hello HTTP/1.1\r\nHost: x\r\n" + others + b"\r\n"
    assert (await served.ask(head)).status == (200 if count == 100 else 400)


@pytest.mark.parametrize(("length", "status"), [(8000, 200), (8300, 400)])
async def test_a_header_has_about_eight_thousand_bytes(served: Served, length: int, status: int) -> None:
    said = await served.ask(b"GET /hello HTTP/1.1\r\nHost: x\r\nX: " + b"x" * length + b"\r\n\r\n")
    assert said.status == status


@pytest.mark.parametrize("size", [b"zz", b"-1", b"fffffffffffffffffffff"])
async def test_a_chunk_of_no_size_ends_the_connection(served: Served, size: bytes) -> None:
    async with served.line() as line:
        line.send(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\nabc\r\n0\r\n\r\n"
        )
        assert b"abc" not in await line.rest()
    assert (await served.ask(HELLO)).status == 200


async def test_a_crash_around_the_routes_says_nothing(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    async with served.line() as line:
        line.send(b"GET /crash HTTP/1.1\r\nHost: x\r\n\r\n")
        assert_dressed(await line.answer(), 500, "internal_error")
        assert await line.rest() == b""
    assert "crashed outside of its route" in caplog.text
    assert "127.0.0.1" not in caplog.text


async def test_a_crash_within_an_answer_cuts_it_off(served: Served) -> None:
    async with served.line() as line:
        line.send(b"GET /half HTTP/1.1\r\nHost: x\r\n\r\n")
        raw = await line.rest()
    assert raw.endswith(b"\r\n1\r\na\r\n")
    assert raw.count(b"HTTP/1.1") == 1


async def test_a_listener_without_a_profile_answers_in_a_few_words() -> None:
    async with serving(an_app(), is_public=False) as served:
        said = await served.ask(b"\x00\r\n\r\n")
    assert (said.status, said.body) == (400, b"Bad Request")
    assert_safe(said)


# --- HTTP as it should be --------------------------------------------------------------------------------------------


async def test_requests_in_a_row_are_answered_in_order(served: Served) -> None:
    async with served.line() as line:
        posts = [b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n%02d" % number for number in range(50)]
        line.send(b"".join(posts))
        assert [(await line.answer()).body for _ in posts] == [b"%02d" % number for number in range(50)]


async def test_http_1_0_closes_unless_asked_not_to(served: Served) -> None:
    async with served.line() as line:
        line.send(b"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        said = await line.answer()
        assert (said.status, said.headers["Connection"]) == (200, "keep-alive")
        line.send(b"GET /hello HTTP/1.0\r\n\r\n")
        assert (await line.answer()).body == b"hello"
        assert await line.rest() == b""


async def test_connection_close_closes(served: Served) -> None:
    async with served.line() as line:
        line.send(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await line.answer()).headers["Connection"] == "close"
        assert await line.rest() == b""


async def test_a_body_is_asked_for_where_the_client_waits_for_that(served: Served) -> None:
    async with served.line() as line:
        line.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        async with asyncio.timeout(10):
            assert await line.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.send(b"ab")
        said = await line.answer()
    assert said.body == b"ab"
    assert_safe(said)


async def test_another_expectation_is_refused_in_the_house_style(served: Served) -> None:
    said = await served.ask(b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: hunter2\r\nContent-Length: 2\r\n\r\nab")
    assert_dressed(said, 400, "expectation_failed")


# --- what every answer has -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/hello", "/page", "/none", "/stream"])
async def test_every_answer_says_how_it_may_be_used(served: Served, path: str) -> None:
    async with served.line() as line:
        line.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        raw = await line.rest()
    head = raw.partition(b"\r\n\r\n")[0].lower()
    assert b"\r\nserver:" not in head
    assert b"\r\nx-content-type-options: nosniff" in head
    assert b"\r\nreferrer-policy: no-referrer" in head
    assert b"strict-transport-security" not in head
    assert (b"\r\nx-frame-options: deny" in head) == (path == "/page")
    assert (b"\r\ncontent-security-policy: default-src 'none'; " in head) == (path == "/page")


async def test_a_page_may_have_a_policy_of_its_own(served: Served) -> None:
    said = await served.ask(b"GET /explorer HTTP/1.1\r\nHost: x\r\n\r\n")
    assert said.headers.getall("Content-Security-Policy") == ["default-src 'self'"]


@pytest.mark.parametrize("sent", [HELLO, b"\x00\r\n\r\n", b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_who_comes_over_https_is_told_to_stay_there(sent: bytes) -> None:
    async with serving(an_app(), is_https=True) as served:
        assert (await served.ask(sent)).headers["Strict-Transport-Security"] == "max-age=31536000"


# --- many ------------------------------------------------------------------------------------------------------------


async def test_more_connections_than_there_is_room_for_are_closed_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    async with serving(an_app(), connections=2) as served:
        for crowds in (1, 2):
            async with served.line() as first, served.line() as second:
                for line in (first, second):
                    line.send(HELLO)
                    assert (await line.answer()).status == 200
                for _ in range(3):
                    async with served.line() as third:
                        third.send(HELLO)
                        assert await third.rest() == b""
                first.send(HELLO)
                assert (await first.answer()).status == 200
            assert caplog.text.count("2 connections are open: further ones are closed at once") == crowds
            await until(lambda: served.listener.open == 0)


@pytest.mark.parametrize(
    ("wished", "files", "kept", "connections"),
    [
        (10_000, 65_536, 700, 10_000),
        (10_000, 1024, 700, 324),
        (10_000, 1024, 2000, 102),  # delivery asks for more than there is: a tenth is for clients all the same
        (50, 1024, 700, 50),
        (10_000, 4, 700, 1),
    ],
)
def test_what_delivery_opens_is_left_to_it(wished: int, files: int, kept: int, connections: int) -> None:
    assert within_files(wished, files=files, kept=kept) == connections


def test_the_limit_of_open_files_is_this_processs(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(environ={"HELIOGRAPH_MAX_IN_FLIGHT": "512", "HELIOGRAPH_DATABASE_POOL": "8"})
    for files, connections in ((1024, 1024 - 512 - 8 - OTHER_FILES), (resource.RLIM_INFINITY, 10_000)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert most_connections(settings) == connections


# --- on uvloop -------------------------------------------------------------------------------------------------------


def test_uvloop_hangs_up_as_asyncio_does(caplog: pytest.LogCaptureFixture) -> None:
    async def all_of_it() -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        async with serving(an_app(), bounds=QUICK, connections=1) as quick:
            await test_who_says_nothing_is_left(quick)
            await test_who_never_ends_a_head_is_left(quick, HELLO)
            await test_who_does_not_read_the_answer_is_left(quick)
            await test_who_reads_a_long_answer_gets_all_of_it(quick)
        async with serving(an_app()) as served:
            await test_what_is_not_http_is_refused_in_the_house_style(served, MALFORMED["garbage"], caplog)
        await test_more_connections_than_there_is_room_for_are_closed_at_once(caplog)

    uvloop.run(all_of_it())
