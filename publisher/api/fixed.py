"""Content that is the same as long as the process runs: made once, served with ETag, 304, HEAD and gzip."""

from __future__ import annotations

import gzip
import hashlib
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

if TYPE_CHECKING:
    from collections.abc import Mapping

GZIP = "gzip"
ANY = "*"


class Fixed:
    """Answers GET and HEAD with the same bytes."""

    def __init__(self, content: bytes, content_type: str, headers: Mapping[str, str]) -> None:
        """`content_type` is the whole header; `headers` go with every answer, the 304 too."""
        digest = hashlib.sha256(content).hexdigest()[:32]
        self._headers = {**headers, hdrs.VARY: hdrs.ACCEPT_ENCODING}
        #: Two representations need two strong tags (RFC 9110, 8.8.3).
        self._plain = (digest, content, {hdrs.CONTENT_TYPE: content_type})
        self._packed = (
            f"{digest}-{GZIP}",
            gzip.compress(content, mtime=0),
            {hdrs.CONTENT_TYPE: content_type, hdrs.CONTENT_ENCODING: GZIP},
        )

    async def serve(self, request: web.Request) -> web.Response:
        """Answer a request."""
        tag, content, described = self._packed if takes_gzip(request.headers) else self._plain
        headers = {**self._headers, hdrs.ETAG: f'"{tag}"'}
        known = {each.value for each in request.if_none_match or ()}
        if known & {ANY, tag}:
            return web.Response(status=304, headers=headers)
        return web.Response(body=content, headers=headers | described)


def takes_gzip(headers: Mapping[str, str]) -> bool:
    """Say whether a client may be sent gzip (RFC 9110, 12.5.3); what it does not name it does not get. Pure."""
    for part in headers.get(hdrs.ACCEPT_ENCODING, "").split(","):
        name, *parameters = (each.strip().lower().replace(" ", "") for each in part.split(";"))
        if name == GZIP:
            return not any(each.startswith("q=") and not each.strip("q=0.") for each in parameters)
    return False
