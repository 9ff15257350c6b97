"""Frames of the signer's socket: what is said comes through, what is something else is refused by name."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signer import protocol
from signer.protocol import FrameError, Refusal

MOMENT = datetime(2026, 11, 1, tzinfo=UTC)


def reader_of(content: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(loop=asyncio.get_running_loop())
    reader.feed_data(content)
    reader.feed_eof()
    return reader


@pytest.mark.parametrize(
    "request_",
    [
        protocol.SignDocument(b"\x00{}"),
        protocol.SignDocument(bytes(protocol.MAX_CONTENT)),
        protocol.SignResponse(b"{}"),
        protocol.SignResponse(b"{}", is_clear=True),
        protocol.AskPublicKey(),
        protocol.AskHealth(),
    ],
    ids=lambda request: type(request).__name__,
)
async def test_a_request_comes_through(request_: protocol.Request) -> None:
    assert await protocol.read_request(reader_of(protocol.encode(request_))) == request_


@pytest.mark.parametrize(
    "reply",
    [
        protocol.Signed(b"-" * (2 * protocol.MAX_CONTENT)),
        protocol.PublicKey(b"x", "A", "B", MOMENT),
        protocol.Health("B", None, is_expired=False, under_way=3),
        protocol.Refused(Refusal.BUSY, "later"),
    ],
    ids=lambda reply: type(reply).__name__,
)
async def test_a_reply_comes_through(reply: protocol.Reply) -> None:
    assert await protocol.read_reply(reader_of(protocol.encode(reply))) == reply


def framed(message: object) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4) + body


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (framed({"type": "canary", "content": b"x"}), Refusal.MALFORMED),
        (framed({"type": "feed-document"}), Refusal.MALFORMED),
        (framed({"type": "feed-document", "content": 1}), Refusal.MALFORMED),
        (framed({"type": "feed-document", "content": b"x", "key": "A"}), Refusal.MALFORMED),
        (framed({"type": "response", "content": b"x", "is_clear": 1}), Refusal.MALFORMED),
        (framed([]), Refusal.MALFORMED),
        (bytes(4), Refusal.MALFORMED),
        (b"GET / HTTP/1.1\r\n\r\n", Refusal.TOO_LARGE),
        ((protocol.MAX_REQUEST + 1).to_bytes(4), Refusal.TOO_LARGE),
        (protocol.encode(protocol.SignDocument(bytes(protocol.MAX_CONTENT + 1))), Refusal.TOO_LARGE),
    ],
)
async def test_what_is_no_request_is_refused(content: bytes, reason: Refusal) -> None:
    with pytest.raises(FrameError) as refused:
        await protocol.read_request(reader_of(content))
    assert refused.value.reason is reason


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    async def read() -> None:
        with pytest.raises((FrameError, asyncio.IncompleteReadError)):
            await protocol.read_request(reader_of(len(content).to_bytes(4) + content[:-1]))
        with pytest.raises((FrameError, asyncio.IncompleteReadError)):
            await protocol.read_reply(reader_of(b"\x00" + content))

    asyncio.run(read())
