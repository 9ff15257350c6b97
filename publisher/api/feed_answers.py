"""What is served of the feeds, as it leaves the API: refusals in the profile's words, signed where that is asked for.

A signed answer is made from the whole content, whatever a client has already and however it would like it packed: what
is signed is the JSON. Caches are told that there are two kinds of answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from feeds.routes import NothingHereError
from feeds.serving import CONTENT_DIGEST, REPR_DIGEST
from feeds.stream import TooManyStreamsError
from publisher.api import errors, listing
from publisher.api.errors import ApiError
from publisher.api.idempotency import Stored
from publisher.profiles.model import Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from feeds.routes import Route

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Asked with these, somebody may be told that nothing changed, or sent something packed.
CONDITIONS = (hdrs.IF_NONE_MATCH, hdrs.IF_MODIFIED_SINCE, hdrs.IF_RANGE, hdrs.RANGE, hdrs.ACCEPT_ENCODING)
#: Of the answer that was not asked for.
OF_UNSIGNED = (
    hdrs.ETAG, hdrs.LAST_MODIFIED, hdrs.CONTENT_TYPE, hdrs.CONTENT_LENGTH, hdrs.CACHE_CONTROL, CONTENT_DIGEST,
    REPR_DIGEST,
)  # fmt: skip
#: Seconds after which somebody without a stream may try again.
LATER = {"Retry-After": "60"}


def is_json(route: Route) -> bool:
    """Say whether a route's answers can be had signed: JSON of any kind. Pure."""
    kind = route.content_type.partition(";")[0].strip()
    return kind == "application/json" or kind.endswith("+json")


def of_feed(route: Route, sign: str | None) -> Handler:
    """Return what a route's handler answers; refusals and what is not there are said in the profile's words.

    `sign` is the header that asks for a signature, for routes whose answers can be had signed.
    """
    inner, checks = route.handler, route.is_api

    async def handle(request: web.Request) -> web.StreamResponse:
        if checks and request.rel_url.raw_query_string:
            listing.refuse_any(request.query, route.query)
        try:
            response = await inner(request)
            if sign is not None:
                vary(response, sign)
            return response
        except NothingHereError:
            raise errors.not_found() from None
        except TooManyStreamsError as error:
            raise _no_room(error) from None

    return handle


def vary(response: web.StreamResponse, sign: str) -> None:
    """Say on an answer that it is another one with the header `sign`."""
    headers = response.headers
    headers[hdrs.VARY] = f"{hdrs.ACCEPT_ENCODING}, {sign}" if hdrs.VARY in headers else sign


def unconditional(request: web.Request) -> web.Request:
    """Return the same request as somebody sends it who has nothing yet and unpacks nothing."""
    headers = request.headers.copy()
    for name in CONDITIONS:
        headers.popall(name, None)
    return request.clone(method=hdrs.METH_GET, headers=headers)


def to_sign(response: web.StreamResponse) -> tuple[Stored, Mapping[str, str]] | None:
    """Return what is to be signed of an answer, and its headers; None where it has no content of its own."""
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes) or response.status != 200:  # noqa: PLR2004 - OK
        return None
    headers = {name: value for name, value in response.headers.items() if name not in OF_UNSIGNED}
    return Stored(response.status, {}, response.body), headers | {hdrs.CACHE_CONTROL: "no-store"}


def _no_room(error: TooManyStreamsError) -> ApiError:
    if error.is_of_address:
        return ApiError(Fault.RATE_LIMITED, "too_many_streams", str(error), headers=LATER)
    return ApiError(Fault.UNAVAILABLE, "too_many_streams", str(error), headers=LATER)
