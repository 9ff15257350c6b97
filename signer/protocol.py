"""What is said on the signer's socket: one request and one reply a connection, each a frame.

A frame is its length (four bytes, big-endian) and that many bytes of MessagePack, decoded strictly into one of the
types below: there is no way to ask for anything else than they name. Nothing here signs, and nothing here may import
what does: clients run in the process that faces the internet.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotations
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import asyncio

#: Bytes of what is signed at once.
MAX_CONTENT = 4 * 2**20
#: Room for the rest of a request; and for a reply, which may hold a clear-signed text of nothing but dashes.
MAX_REQUEST, MAX_REPLY = MAX_CONTENT + 1024, 2 * MAX_CONTENT + 65_536
_LENGTH = 4
#: What a signing process says on stdout when it listens; its parent waits for it.
READY = b"ready\n"


class Kind(StrEnum):
    """What is signed; a label of the metrics."""

    FEED_DOCUMENT = "feed-document"
    RESPONSE = "response"


class SignDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="feed-document"):
    """A document of a feed, signed detached."""

    content: bytes


class SignResponse(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="response"):
    """An answer of the API, signed because its caller wished so: detached, or as a clear-signed text."""

    content: bytes
    is_clear: bool = False


class AskPublicKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="public-key"):
    """The certificate everybody verifies with."""


class AskHealth(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="health"):
    """Whether it would sign."""


class Signed(msgspec.Struct, frozen=True, tag="signed"):
    """The armored signature, or the clear-signed document."""

    content: bytes


class PublicKey(msgspec.Struct, frozen=True, tag="public-key"):
    """The feed key's certificate, armored; `signer` is the key in it that signs now."""

    armored: bytes
    primary: str
    signer: str
    expires_at: datetime | None


class Health(msgspec.Struct, frozen=True, tag="health"):
    """The signing key, until when it can sign, and how many requests are under way."""

    signer: str
    expires_at: datetime | None
    is_expired: bool
    under_way: int


class Refusal(StrEnum):
    """Why there is no signature."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    #: Not a text that clear-signing carries unchanged.
    NOT_CLEAR_SIGNABLE = "not_clear_signable"
    BUSY = "busy"
    FAILED = "failed"


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """No signature; `text` is a sentence for people."""

    reason: Refusal
    text: str


SignRequest = SignDocument | SignResponse
Request = SignDocument | SignResponse | AskPublicKey | AskHealth
Reply = Signed | PublicKey | Health | Refused

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


class FrameError(Exception):
    """What came is no frame of this protocol; `reason` is the refusal it is worth."""

    def __init__(self, reason: Refusal, text: str) -> None:
        """`text` repeats nothing of what came."""
        super().__init__(text)
        self.reason = reason


def encode(message: Request | Reply) -> bytes:
    """Return a message as a frame."""
    body = _encoder.encode(message)
    return len(body).to_bytes(_LENGTH) + body


async def read_request(reader: asyncio.StreamReader) -> Request:
    """Read a request; raises `FrameError`, and `asyncio.IncompleteReadError` when the other side has gone."""
    body = await _read(reader, MAX_REQUEST)
    try:
        request = _requests.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise FrameError(Refusal.MALFORMED, "this is no request to a signer") from None
    if isinstance(request, SignDocument | SignResponse) and len(request.content) > MAX_CONTENT:
        raise FrameError(Refusal.TOO_LARGE, f"more than {MAX_CONTENT} bytes are not signed at once")
    return request


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """Read a reply; raises as `read_request` does."""
    body = await _read(reader, MAX_REPLY)
    try:
        return _replies.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise FrameError(Refusal.MALFORMED, "this is no reply of a signer") from None


async def _read(reader: asyncio.StreamReader, most: int) -> bytes:
    length = int.from_bytes(await reader.readexactly(_LENGTH))
    if length > most:
        raise FrameError(Refusal.TOO_LARGE, f"a frame has {most} bytes at most")
    return await reader.readexactly(length)
