"""Headers as people save them, and what they say of a body: its digest, its PGP signature. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import TYPE_CHECKING

import orjson

from publisher.cli.verify_outcome import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
CONTENT_DIGEST = "content-digest"
#: `X-NB-Signature` of NordBastion; the prefix is each provider's own.
_SIGNATURE = re.compile(r"x-[a-z0-9-]*signature")
#: RFC 9110, 5.1 and 5.5: a token, a colon, a value.
_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")
_STATUS = re.compile(r"HTTP/[0-9.]+ ")
#: RFC 9530, 2, in the syntax of RFC 8941, 3.3.5.
_DIGEST = re.compile(r"\s*(sha-256|sha-512)=:([A-Za-z0-9+/=]*):\s*(?:;.*)?")


class HeaderError(ValueError):
    """Headers cannot be read; the text is one line and says where."""


def parse(content: bytes) -> dict[str, str]:
    """Return headers by lower-case name; raises `HeaderError`.

    A line each, as `curl -D` writes them (of several answers the last), or a JSON object. Names may stand once only:
    of two values nobody knows which one the sender meant.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise HeaderError("is not text") from None
    pairs = _of_json(text) if text.lstrip().startswith("{") else _of_lines(text)
    found: dict[str, str] = {}
    for name, value in pairs:
        if name.lower() in found and name.lower() in {WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE}:
            raise HeaderError(f"{name.lower()} stands there twice")
        found[name.lower()] = f"{found[name.lower()]}, {value}" if name.lower() in found else value
    return found


def _of_json(text: str) -> list[tuple[str, str]]:
    try:
        read = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise HeaderError("begins like JSON and is none") from None
    if not all(isinstance(value, str) for value in read.values()):
        raise HeaderError("has a header whose value is not a text")
    return list(read.items())


def _of_lines(text: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.removesuffix("\r")
        if _STATUS.match(bare):
            pairs = []
        elif bare.strip():
            found = _LINE.fullmatch(bare)
            if found is None:
                raise HeaderError(f"line {number} is not a header: {shown(bare)!r}")
            pairs.append((found[1], found[2]))
    return pairs


def signature_header(headers: Mapping[str, str]) -> str | None:
    """Return the name of the header with a PGP signature, None where there is none; raises `HeaderError` for two."""
    named = [name for name in headers if _SIGNATURE.fullmatch(name)]
    if len(named) > 1:
        raise HeaderError(f"has several signatures: {', '.join(sorted(named))}")
    return named[0] if named else None


def decoded(value: str) -> bytes | None:
    """Return what a base64 text stands for, None where it is none."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None


def digest_fault(value: str, content: bytes) -> str:
    """Say what is wrong with a `Content-Digest` of these bytes; empty where a digest that is known here fits."""
    found = [match for part in value.split(",") if (match := _DIGEST.fullmatch(part))]
    if not found:
        return "Content-Digest has neither sha-256 nor sha-512"
    for match in found:
        name = match[1]
        actual = hashlib.new(name.replace("-", ""), content).digest()
        if not hmac.compare_digest(actual, decoded(match[2]) or b""):
            return f"Content-Digest names another {name} than that of these bytes"
    return ""
