"""Bodies as they come over a wire: too long, too slow, cut off, compressed, mislabelled, or not expected at all."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pytest
from aiohttp import web

from publisher.api import models
from publisher.api.bodies import read_json
from publisher.api.errors import ApiError
from publisher.api.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

MOST = 4096
PATIENT, HASTY = 30.0, 0.05
BY_NAME = {operation.name: operation for operation in OPERATIONS}
NEW = b'{"url": "https://example.com/hooks", "events": ["*"]}'
JSON = {"Content-Type": "application/json"}


class Answer(NamedTuple):
    status: int
    body: Any


class Server:
    """Reads a body for the operation its path names; remembers what it raised. `/slow/…` has little patience."""

    def __init__(self) -> None:
        self.port = 0
        self.raised: asyncio.Queue[ApiError] = asyncio.Queue()

    async def handle(self, request: web.Request) -> web.Response:
        within = HASTY if request.match_info["pace"] == "slow" else PATIENT
        operation = BY_NAME[request.match_info["operation"]]
        try:
            content, model = await read_json(request, operation, most=MOST, within=within)
        except ApiError as error:
            self.raised.put_nowait(error)
            return web.json_response({"fault": error.fault, "code": error.code}, status=400)
        return web.json_response({"content": content, "model": model.model_dump() if model else None})

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Connection(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def post(self, operation: str, body: bytes = b"", **headers: str) -> Answer:
        async with self.connected() as connection:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            await connection.head(operation, **{"Content-Length": str(len(body)), **names})
            await connection.send(body)
            return await connection.answer()


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self, operation: str, pace: str = "fast", **headers: str) -> None:
        lines = [f"POST /{pace}/{operation} HTTP/1.1", "Host: x", *(f"{name}: {headers[name]}" for name in headers)]
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def send(self, some: bytes) -> None:
        self.writer.write(some)
        await self.writer.drain()

    async def chunk(self, some: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(some), some))

    async def answer(self) -> Answer:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        body = await self.reader.readexactly(int(length.partition(b":")[2]))
        return Answer(int(head.split()[1]), orjson.loads(body))


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_post("/{pace}/{operation}", made.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


def refused(answer: Answer) -> tuple[str, str]:
    assert answer.status == 400
    return answer.body["fault"], answer.body["code"]


def parts(body: bytes, size: int) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


async def test_a_body_is_what_it_says_and_what_the_operation_makes_of_it(server: Server) -> None:
    answer = await server.post("create_webhook", NEW, **JSON)
    assert answer.body["content"] == orjson.loads(NEW)
    assert answer.body["model"] == models.NewWebhook.model_validate_json(NEW).model_dump()


async def test_a_body_in_chunks_is_put_together(server: Server) -> None:
    async with server.connected() as connection:
        await connection.head("create_webhook", **JSON, **{"Transfer-Encoding": "chunked"})
        for part in parts(NEW, 7):
            await connection.chunk(part)
        await connection.chunk(b"")
        assert (await connection.answer()).body["content"] == orjson.loads(NEW)


# --- how long, how slow ----------------------------------------------------------------------------------------------


async def test_a_body_may_have_as_many_bytes_as_are_allowed_and_no_more(server: Server) -> None:
    longest = NEW + b" " * (MOST - len(NEW))
    assert (await server.post("create_webhook", longest, **JSON)).status == 200
    assert refused(await server.post("create_webhook", longest + b" ", **JSON)) == ("too_large", "body_too_large")


async def test_what_says_that_it_is_too_long_is_refused_before_it_comes(server: Server) -> None:
    async with server.connected() as connection:
        await connection.head("create_webhook", **JSON, **{"Content-Length": str(MOST + 1)})
        assert refused(await connection.answer()) == ("too_large", "body_too_large")


async def test_chunks_are_counted_while_they_come(server: Server) -> None:
    async with server.connected() as connection:
        await connection.head("create_webhook", **JSON, **{"Transfer-Encoding": "chunked"})
        for _ in range(MOST // 512):
            await connection.chunk(b" " * 512)
        assert server.raised.empty()
        await connection.chunk(b" ")
        assert refused(await connection.answer()) == ("too_large", "body_too_large")


async def test_a_body_that_does_not_come_in_time_is_not_waited_for(server: Server) -> None:
    async with server.connected() as connection:
        await connection.head("create_webhook", "slow", **JSON, **{"Content-Length": str(len(NEW))})
        await connection.send(NEW[:-1])
        assert refused(await connection.answer()) == ("timeout", "body_timeout")


@pytest.mark.parametrize("framing", [{"Content-Length": str(len(NEW))}, {"Transfer-Encoding": "chunked"}])
async def test_a_client_that_goes_away_in_its_body_leaves_no_trace(
    framing: dict[str, str], server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with server.connected() as connection:
        await connection.head("create_webhook", **JSON, **framing)
        await connection.send(b"4\r\nfour\r\n4\r\nfo" if "Transfer-Encoding" in framing else NEW[:-1])
    async with asyncio.timeout(10):
        raised = await server.raised.get()
    assert (raised.fault, raised.code) == ("malformed", "incomplete_body")
    assert caplog.records == []


async def test_the_connection_is_fit_for_another_request_after_a_refusal(server: Server) -> None:
    async with server.connected() as connection:
        for _ in range(2):
            await connection.head("create_webhook", **JSON, **{"Content-Length": "4"})
            await connection.send(b"[1]\n")
            assert refused(await connection.answer()) == ("malformed", "invalid_json")


# --- what it says it is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/json; charset=UTF-8",
        'Application/JSON;charset="utf-8"',
        "application/json;charset=utf8",
        "application/json; version=1",
    ],
)
async def test_json_in_utf_8_is_taken(content_type: str, server: Server) -> None:
    assert (await server.post("create_webhook", NEW, Content_Type=content_type)).status == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "application/merge-patch+json",
        "application/jsonp",
        "application/x-www-form-urlencoded",
        "text/json",
        "application/json, text/plain",
    ],
)
async def test_anything_else_is_not(content_type: str, server: Server) -> None:
    answer = await server.post("create_webhook", NEW, Content_Type=content_type)
    assert refused(answer) == ("unsupported_media", "unsupported_media_type")


async def test_a_body_without_a_type_is_not_taken_for_json(server: Server) -> None:
    assert refused(await server.post("create_webhook", NEW)) == ("unsupported_media", "unsupported_media_type")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "x-unknown", "identity, gzip"])
async def test_a_compressed_body_is_not_inflated(encoding: str, server: Server) -> None:
    bomb = gzip.compress(b" " * 2**20)
    answer = await server.post("create_webhook", bomb, **JSON, Content_Encoding=encoding)
    assert refused(answer) == ("unsupported_media", "unsupported_content_encoding")


async def test_what_is_said_not_to_be_compressed_is_taken(server: Server) -> None:
    assert (await server.post("create_webhook", NEW, **JSON, Content_Encoding="Identity")).status == 200


# --- whether there is one --------------------------------------------------------------------------------------------


async def test_a_body_that_has_to_be_there_is_missed(server: Server) -> None:
    assert refused(await server.post("create_webhook", b"", **JSON)) == ("malformed", "missing_body")
    assert refused(await server.post("create_webhook")) == ("malformed", "missing_body")


async def test_where_a_body_is_optional_none_is_an_empty_object(server: Server) -> None:
    defaults = {"content": {}, "model": models.Rotation().model_dump()}
    assert (await server.post("rotate_secret")).body == defaults
    assert (await server.post("rotate_secret", b"{}", **JSON)).body == defaults
    async with server.connected() as connection:
        await connection.head("rotate_secret", **{"Transfer-Encoding": "chunked"})
        await connection.chunk(b"")
        assert (await connection.answer()).body == defaults


async def test_an_optional_body_is_checked_when_it_comes(server: Server) -> None:
    assert (await server.post("rotate_secret", b'{"overlap": 5}', **JSON)).body["model"] == {"overlap": 5.0}
    assert refused(await server.post("rotate_secret", b"{}")) == ("unsupported_media", "unsupported_media_type")


@pytest.mark.parametrize("body", [b"", b"{}", b" {\r\n\t} "])
async def test_where_none_is_taken_an_empty_one_does_no_harm(body: bytes, server: Server) -> None:
    assert (await server.post("test_webhook", body)).body == {"content": None, "model": None}


@pytest.mark.parametrize("body", [b'{"a":1}', b"[]", b"null", b"{}{}", b"x"])
async def test_where_none_is_taken_any_other_is_refused(body: bytes, server: Server) -> None:
    assert refused(await server.post("test_webhook", body, **JSON)) == ("refused", "body_not_expected")


async def test_where_none_is_taken_it_is_bounded_all_the_same(server: Server) -> None:
    assert refused(await server.post("test_webhook", b" " * (MOST + 1))) == ("too_large", "body_too_large")
    async with server.connected() as connection:
        await connection.head("test_webhook", "slow", **{"Content-Length": "2"})
        await connection.send(b"{")
        assert refused(await connection.answer()) == ("timeout", "body_timeout")
