"""Answers on demand as PGP-signed documents: how they are wrapped. Who signs is behind `ResponseSigner`.

`1` asks for the body as a clear-signed document (`text/plain`), `detached` for the body as it is with its signature,
base64, in a header, and a `Content-Digest` (RFC 9530). Without a signer the wish is answered 503: an answer that was
asked for signed never comes unsigned. Clear-signed JSON is indented: gpg cuts lines at some twenty thousand bytes.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import orjson
from aiohttp import web

from feeds.serving import sha256_digest
from publisher.api.errors import NO_SIGNER, ApiError
from publisher.profiles.model import Fault, LimitClass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from publisher.profiles.model import Headers

CLEAR, DETACHED = "1", "detached"


class ResponseSigner(Protocol):
    """Signs with the feed key; each raises `signer.client.SignerError` when it cannot."""

    async def health(self) -> object:
        """Return when the signer answers."""
        ...

    async def clearsign(self, content: bytes, *, is_public: bool = False) -> bytes:
        """Return `content` as a clear-signed PGP message; what `is_public` may be kept."""
        ...

    async def detach(self, content: bytes, *, is_public: bool = False) -> bytes:
        """Return the armored detached signature of `content`; what `is_public` may be kept."""
        ...


def wish_of(headers: Mapping[str, str], names: Headers, signer: ResponseSigner | None) -> str | None:
    """Return how an answer is to be signed, None when it is not; raises `ApiError` for what cannot be had.

    Asked before anything is done: a POST must not have had its effect when its answer is refused.
    """
    wish = headers.get(names.sign) if names.sign else None
    if wish is None:
        return None
    if wish not in {CLEAR, DETACHED}:
        raise ApiError(Fault.MALFORMED, "invalid_header", f"{names.sign} must be {CLEAR} or {DETACHED}.")
    if signer is None:
        raise ApiError(Fault.UNAVAILABLE, *NO_SIGNER)
    return wish


def counts_as(own: LimitClass, headers: Mapping[str, str], names: Headers) -> LimitClass:
    """Return what a request counts as: a signature is dear, so what is only read counts as a change with one."""
    is_wished = names.sign is not None and names.sign in headers
    return LimitClass.WRITE if is_wished and own is LimitClass.READ else own


@dataclass(frozen=True, slots=True)
class Signed:
    """A body in its signed form, with the headers that say so."""

    body: bytes
    content_type: str
    charset: str | None
    headers: Mapping[str, str]

    def response(self, status: int, headers: Mapping[str, str]) -> web.Response:
        """Return it as an answer."""
        return web.Response(
            status=status,
            body=self.body,
            headers={**headers, **self.headers},
            content_type=self.content_type,
            charset=self.charset,
        )


async def sign(signer: ResponseSigner, wish: str, body: bytes, names: Headers, *, is_public: bool = False) -> Signed:
    """Sign a JSON body as `wish` says; raises what the signer raises. What `is_public` is signed once for many."""
    if wish == CLEAR:
        content = await signer.clearsign(_indented(body), is_public=is_public)
        return Signed(content, "text/plain", "utf-8", {})
    assert names.signature is not None  # noqa: S101 - the profile's check: it goes with `sign`
    signature = base64.b64encode(await signer.detach(body, is_public=is_public)).decode()
    return Signed(body, "application/json", None, {names.signature: signature, "Content-Digest": sha256_digest(body)})


def _indented(body: bytes) -> bytes:
    return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2)
