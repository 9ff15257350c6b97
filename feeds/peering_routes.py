"""The peering record where PeeringDB's clients look for it, in PeeringDB's envelope: `/api/net?asn=`.

It is the `net` of the signed document, so both say the same. What is wrong is said as PeeringDB says it as well: its
clients know no house style. An AS that is not ours is a 404 there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import orjson
from aiohttp import hdrs, web

from feeds.routes import Route
from feeds.serving import Fixed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feeds.feed_watch import Documents, Latest
    from feeds.models import PeeringDocument

PATH = "/api/net"
JSON = "application/json"
ASN, DEPTH = "asn", "depth"
#: An AS as people write it, or its number alone.
NUMBER = re.compile(r"(?:AS)?([0-9]{1,10})", re.IGNORECASE)
HEADERS: Mapping[str, str] = {
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
    hdrs.CACHE_CONTROL: "public, max-age=60",
    "X-Content-Type-Options": "nosniff",
}
NOT_FOUND = "Entity not found"


class _Made(NamedTuple):
    latest: Latest[PeeringDocument]
    fixed: Fixed


def routes(watch: Documents) -> list[Route]:
    """Return the routes; they stand at the root, where PeeringDB has them."""
    served = _Served(watch)
    return [Route(PATH, served.net, "peeringdb-net", "The network's record, as PeeringDB has it.", JSON, is_api=False)]


class _Served:
    def __init__(self, watch: Documents) -> None:
        self._watch = watch
        self._made: _Made | None = None

    async def net(self, request: web.Request) -> web.Response:
        """Answer with the record, or with the one of the AS that is asked for.

        The sets are always there, whatever `depth` says; other parameters are refused rather than ignored.
        """
        for name in request.query:
            if name not in {ASN, DEPTH}:
                return _refusal(400, f"Unknown parameter: there is {ASN}")
        latest = self._watch.peering
        wanted = request.query.getall(ASN, [])
        numbers = [int(match[1]) for match in map(NUMBER.fullmatch, wanted) if match]
        if len(wanted) > 1 or len(numbers) < len(wanted):
            return _refusal(400, f"{ASN} must be a number, given once")
        own = latest and latest.document.net.get(ASN)
        if latest is None or own is None or numbers not in ([], [own]):
            return _refusal(404, NOT_FOUND)
        if self._made is None or self._made.latest is not latest:
            content = orjson.dumps({"data": [latest.document.net], "meta": {}})
            self._made = _Made(latest, Fixed(content, JSON, HEADERS, modified=latest.published.published_at))
        return self._made.fixed.answer(request)


def _refusal(status: int, error: str) -> web.Response:
    content = orjson.dumps({"data": [], "meta": {"error": error}})
    return web.Response(
        status=status, body=content, content_type=JSON, headers={**HEADERS, hdrs.CACHE_CONTROL: "no-store"}
    )
