"""Bytes that were made beforehand, served as RFC 9110 has it: ETag, Last-Modified, 304, HEAD, gzip; with their digest.

What stands here knows no feed. Content is hashed and packed once, and a request costs little more than its headers.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from datetime import UTC
from email.utils import format_datetime
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

GZIP = "gzip"
ANY = "*"
HEAD = "HEAD"
#: RFC 9530. The first is of what is sent, so a HEAD, which sends nothing, has the second alone.
CONTENT_DIGEST, REPR_DIGEST = "Content-Digest", "Repr-Digest"


class Prepared:
    """One whole answer, known by which one it is: to GET, to HEAD, or 304 to who has it already.

    `headers` are of the type that answers have, which is what makes a copy of them cheap. `content` is what the length
    is of; it is sent where `is_sent`.
    """

    __slots__ = ("content", "headers", "is_sent", "status")

    def __init__(self, status: int, headers: Mapping[str, str], content: bytes, *, is_sent: bool) -> None:
        """Take the headers but for the length."""
        self.status = status
        self.headers = CIMultiDict({istr(name): value for name, value in headers.items()})
        self.content = content
        self.is_sent = is_sent


class _Variant(NamedTuple):
    """The answers with content in one coding."""

    tag: str
    whole: Prepared
    head: Prepared
    same: Prepared


class Fixed:
    """Answers GET and HEAD with the same bytes."""

    def __init__(
        self,
        content: bytes,
        content_type: str,
        headers: Mapping[str, str],
        *,
        modified: datetime | None = None,
        packs: bool = True,
    ) -> None:
        """`content_type` is the whole header; `headers` go with every answer, the 304 too.

        Without `modified` there is no Last-Modified, and who asks by date alone gets the content. What `packs` is sent
        in gzip to who takes that.
        """
        self.content = content
        self._modified = modified and modified.astimezone(UTC).replace(microsecond=0)
        tag = hashlib.sha256(content).hexdigest()[:32]
        described = dict(headers)
        if self._modified is not None:
            described[hdrs.LAST_MODIFIED] = format_datetime(self._modified, usegmt=True)
        if packs:
            described[hdrs.VARY] = hdrs.ACCEPT_ENCODING
        self._plain = _variant(tag, content, described, {hdrs.CONTENT_TYPE: content_type})
        #: Two representations need two strong tags (RFC 9110, 8.8.3).
        self._packed = (
            _variant(
                f"{tag}-{GZIP}",
                gzip.compress(content, mtime=0),
                described,
                {hdrs.CONTENT_TYPE: content_type, hdrs.CONTENT_ENCODING: GZIP},
            )
            if packs
            else None
        )

    async def serve(self, request: web.Request) -> web.Response:
        """Answer a request."""
        return self.answer(request)

    def answer(self, request: web.Request, headers: Mapping[str, str] | None = None) -> web.Response:
        """Answer a request; `headers` are those of this answer alone, whatever its status."""
        chosen = self.choose(request)
        made = web.Response(status=chosen.status, body=chosen.content or None, headers=chosen.headers)
        if headers:
            made.headers.update(headers)
        return made

    def choose(self, request: web.BaseRequest) -> Prepared:
        """Say which answer a request gets."""
        variant, asked = self._plain, request.headers
        if self._packed is not None and hdrs.ACCEPT_ENCODING in asked and takes_gzip(asked):
            variant = self._packed
        if (hdrs.IF_NONE_MATCH in asked or hdrs.IF_MODIFIED_SINCE in asked) and self._is_known(request, variant.tag):
            return variant.same
        return variant.head if request.method == HEAD else variant.whole

    def _is_known(self, request: web.BaseRequest, tag: str) -> bool:
        """Say whether the client has it: a tag counts, a date where there is no tag (RFC 9110, 13.2.2)."""
        if hdrs.IF_NONE_MATCH in request.headers:
            return any(each.value in {ANY, tag} for each in request.if_none_match or ())
        if self._modified is None:
            return False
        since = request.if_modified_since
        return since is not None and self._modified <= since


def takes_gzip(headers: Mapping[str, str]) -> bool:
    """Say whether a client may be sent gzip (RFC 9110, 12.5.3); what it does not name it does not get. Pure."""
    for part in headers.get(hdrs.ACCEPT_ENCODING, "").split(","):
        name, *parameters = (each.strip().lower().replace(" ", "") for each in part.split(";"))
        if name == GZIP:
            return not any(each.startswith("q=") and not each.strip("q=0.") for each in parameters)
    return False


def sha256_digest(content: bytes) -> str:
    """Return a digest as RFC 9530 writes it."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def _variant(tag: str, content: bytes, headers: Mapping[str, str], described: Mapping[str, str]) -> _Variant:
    digest = sha256_digest(content)
    same = {**headers, hdrs.ETAG: f'"{tag}"'}
    head = {**same, **described, REPR_DIGEST: digest}
    return _Variant(
        tag,
        Prepared(200, {**head, CONTENT_DIGEST: digest}, content, is_sent=True),
        Prepared(200, head, content, is_sent=False),
        Prepared(304, same, b"", is_sent=False),
    )
