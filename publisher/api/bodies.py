"""Reading a body: JSON of at most 256 KiB, all there within ten seconds, and what the operation takes.

A body is read before it is judged, so that a refusal leaves the connection fit for the next request. What is too
long, too slow or compressed is not read to its end: aiohttp would inflate it, and thirty bytes can be thirty
megabytes.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from publisher.api import validation
from publisher.api.errors import ApiError
from publisher.api.validation import FlawError, Kind
from publisher.profiles.model import Fault

if TYPE_CHECKING:
    from pydantic import BaseModel

    from publisher.api.call import Operation

MAX_BYTES = 256 * 1024
#: Where no body is taken there is no reason to hold one.
MAX_BYTES_OF_NOTHING = 1024
SECONDS = 10.0

JSON = "application/json"
CHARSETS = {None, "utf-8", "utf8"}
SPACE = b" \t\r\n"
NOTHING = b"{}"


async def read_json(
    request: web.Request, operation: Operation, *, most: int = MAX_BYTES, within: float = SECONDS
) -> tuple[object, Any]:
    """Return the parsed JSON and the operation's model of it, both None where the operation takes no body.

    At most `most` bytes are read, for at most `within` seconds. Where a body is optional, none is `{}`; where none is
    taken, `{}` is none. Raises `ApiError`: timeout, too_large, unsupported_media, malformed, refused.
    """
    if operation.body is None:
        most = min(most, MAX_BYTES_OF_NOTHING)
    raw = await _read(request, most, within) if request.body_exists else b""
    if operation.body is None:
        if raw.translate(None, SPACE) not in {b"", NOTHING}:
            raise ApiError(Fault.REFUSED, "body_not_expected", "This takes no body.")
        return None, None
    if raw:
        _check_type(request)
    elif operation.is_body_optional:
        raw = NOTHING
    else:
        raise ApiError(Fault.MALFORMED, "missing_body", "There is no body; it must be a JSON object.")
    return parse(raw, operation.body)


def parse(raw: bytes, model: type[BaseModel]) -> tuple[dict[str, Any], Any]:
    """Return a body's JSON object and the model of it. Pure.

    Raises `ApiError`: malformed with the place in the text, refused with the field. A member that stands twice is
    malformed: two readers of such a text may see two different things.
    """
    try:
        content = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _malformed(f"not JSON: {error.msg}, at line {error.lineno}, column {error.colno}") from None
    if not isinstance(content, dict):
        raise _malformed("not a JSON object")
    try:
        made = validation.of_json(model, raw, content)
    except FlawError as flaw:
        raise _refused(flaw) from None
    # Only now: what has passed the model is small, so the slower parser has little to do.
    json.loads(raw, object_pairs_hook=_each_once)
    return content, made


async def _read(request: web.Request, most: int, within: float) -> bytes:
    if any(each.strip().lower() != "identity" for each in request.headers.getall("Content-Encoding", ())):
        raise ApiError(Fault.UNSUPPORTED_MEDIA, "unsupported_content_encoding", "The body must not be compressed.")
    if (request.content_length or 0) > most:
        raise _too_large(most)
    body = bytearray()
    limit = asyncio.timeout(within)
    try:
        async with limit:
            while part := await request.content.readany():
                body += part
                if len(body) > most:
                    raise _too_large(most)
    except (
        OSError,
        web.RequestPayloadError,
        HttpProcessingError,
    ):  # a TimeoutError is the first, broken chunks the rest
        if limit.expired():
            raise ApiError(
                Fault.TIMEOUT, "body_timeout", f"The body must be there within {within:g} seconds."
            ) from None
        # Nobody is there to read it. It is the caller's fault, so no log line either.
        raise ApiError(Fault.MALFORMED, "incomplete_body", "The body does not end where it says.") from None
    return bytes(body)


def _check_type(request: web.Request) -> None:
    charset = request.charset
    if request.content_type != JSON or (charset.lower() if charset else None) not in CHARSETS:
        raise ApiError(Fault.UNSUPPORTED_MEDIA, "unsupported_media_type", f"The body must be {JSON}, in UTF-8.")


def _too_large(most: int) -> ApiError:
    return ApiError(Fault.TOO_LARGE, "body_too_large", f"The body must have at most {most} bytes.")


def _malformed(what: str) -> ApiError:
    return ApiError(Fault.MALFORMED, "invalid_json", f"The body is {what}.")


def _refused(flaw: FlawError) -> ApiError:
    if flaw.kind is Kind.NESTED:
        return _malformed(flaw.reason.removeprefix("is "))
    codes = {Kind.MISSING: "missing_field", Kind.UNKNOWN: "unknown_field", Kind.INVALID: f"invalid_{flaw.path[0]}"}
    return ApiError(Fault.REFUSED, codes[flaw.kind], f"{flaw.field}: {flaw.reason}", field=flaw.field)


def _each_once(members: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(members)
    if len(made) < len(members):
        [(twice, _)] = Counter(name for name, _ in members).most_common(1)
        raise _malformed(f"ambiguous: it has {validation.shown(twice)!r} twice")
    return made
