"""The way of a request, top to bottom: `Pipeline.serve` for what has a route, `Pipeline.outermost` around everything.

    request id -> who (credential) -> how often (limit) -> may it (scope) -> what (query, body)
    -> once (Idempotency-Key) and handler, in one transaction -> envelope -> signature -> headers

Everything is checked before the database is asked for the resource, so that an answer says nothing about what
exists: another's webhook and none at all are the same 404, and a wrong scope is the same 403 for both.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry

from publisher.api import errors, feed_answers, listing, signing
from publisher.api.bodies import read_json
from publisher.api.call import Access, Call, Mode
from publisher.api.deprecations import deprecation_headers
from publisher.api.errors import ApiError
from publisher.api.idempotency import Once, Stored, key_of
from publisher.api.limits import texts_of
from publisher.api.metrics import ApiMetrics
from publisher.api.request_ids import request_id
from publisher.api.request_log import RequestLog, named
from publisher.profiles import templates
from publisher.profiles.model import Fault, LimitClass
from runtime.lifecycle import reason_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from publisher.api.auth import Authenticator
    from publisher.api.call import Client, Operation, Principal, Reply, Services
    from publisher.api.idempotency import Idempotency
    from publisher.api.limits import Limiter
    from publisher.api.signing import ResponseSigner
    from publisher.profiles.model import Headers

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

logger = logging.getLogger(__name__)

JSON = "application/json"
NO_CONTENT = 204


class _Told:
    """What every answer to a request has in its headers, errors too: its id, its limit, its operation's end."""

    __slots__ = ("notice", "request_id", "standing")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.standing: dict[str, str] | None = None
        self.notice: Mapping[str, str] = {}


_TOLD = web.RequestKey("heliograph_told", _Told)


class Pipeline:
    """What every request goes through; one for each process."""

    def __init__(
        self,
        services: Services,
        *,
        authenticator: Authenticator,
        limiter: Limiter,
        idempotency: Idempotency,
        client_of: Callable[[web.Request], Client],
        signer: ResponseSigner | None = None,
        metrics: ApiMetrics | None = None,
        log: RequestLog | None = None,
    ) -> None:
        """`client_of` says who is at the other end of a request; without a `signer` nothing can be had signed."""
        self._services = services
        self._profile = services.profile
        self._authenticator = authenticator
        self._limiter = limiter
        self._idempotency = idempotency
        self._client_of = client_of
        self._signer = signer
        self._metrics = metrics or ApiMetrics(CollectorRegistry())
        self._log = log or RequestLog(services.profile)
        self._told = texts_of(services.profile.limits)

    # --- around everything ----------------------------------------------------------------------------------------

    def middleware(self) -> Any:  # noqa: ANN401 - aiohttp's own type is private
        """Return `outermost` as aiohttp wants it."""

        @web.middleware
        async def outermost(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self.outermost(request, handler)

        return outermost

    async def outermost(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer whatever happens, and put on every answer what every answer has."""
        clock = self._services.clock
        started = clock.monotonic()
        names = self._profile.headers
        known = request_id(request.headers.get(names.request_id), self._services.ids)
        said = request[_TOLD] = _Told(known)
        method, route = named(request)
        span = self._log.begun(method, route)
        try:
            response = await self._known(request, handler)
        except Exception as error:  # whatever it was, a caller gets an answer
            response = self._failed(request, error)
        headers = response.headers
        headers[names.request_id] = known
        if said.standing is not None:
            headers.update(said.standing)
        for name, value in said.notice.items():
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        seconds = clock.monotonic() - started
        self._metrics.answered(request, response.status, seconds)
        self._log.ended(method, route, span, response.status, seconds, known)
        return response

    async def _known(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer what has a route; for the rest a limit counts too."""
        missed = request.match_info.http_exception
        if missed is None:
            return await handler(request)
        await self._count(request, LimitClass.READ, None)
        if isinstance(missed, web.HTTPMethodNotAllowed):
            allowed = ", ".join(sorted(missed.allowed_methods))
            raise ApiError(
                Fault.METHOD_NOT_ALLOWED,
                "method_not_allowed",
                f"{request.method} is not what this route takes: {allowed}.",
                headers={"Allow": allowed},
            )
        raise errors.not_found()

    def _failed(self, request: web.Request, error: Exception) -> web.Response:
        answer = errors.of_exception(error)
        known = request[_TOLD].request_id
        if answer.fault is Fault.CRASHED:
            logger.error("request %s crashed", known, exc_info=error)
        elif answer.fault is Fault.UNAVAILABLE and not isinstance(error, ApiError):
            logger.warning("request %s was not answered (%s)", known, reason_of(error))
        status, body = errors.body_of(answer, self._profile, known)
        response = _response(status, orjson.dumps(body), answer.headers)
        if answer.fault in {Fault.TIMEOUT, Fault.TOO_LARGE}:
            response.force_close()  # what is left of the body is not read
        return response

    # --- what has a route -----------------------------------------------------------------------------------------

    def serve(self, operation: Operation) -> Handler:
        """Return what aiohttp calls for an operation."""
        notice = deprecation_headers(self._profile, operation.name)

        async def handle(request: web.Request) -> web.Response:
            request[_TOLD].notice = notice
            return await self._serve(request, operation)

        return handle

    def counted(self, handler: Handler, *, sign: str | None = None) -> Handler:
        """Return a handler of something that is open to all and always the same: only a limit stands before it.

        `sign` is the header that asks for a signature, where answers can be had signed.
        """

        async def handle(request: web.Request) -> web.StreamResponse:
            if sign is not None and sign in request.headers:
                return await self._signed(request, handler)
            await self._count(request, LimitClass.READ, None)
            return await handler(request)

        return handle

    async def _signed(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Have what is open to all signed, as `feed_answers.py` says."""
        names = self._profile.headers
        await self._count(request, signing.counts_as(LimitClass.READ, request.headers, names), None)
        wish = signing.wish_of(request.headers, names, self._signer)
        response = await handler(feed_answers.unconditional(request))
        found = feed_answers.to_sign(response)
        if wish is None or self._signer is None or found is None:
            return response
        stored, headers = found
        made = await signing.sign(self._signer, wish, stored.body, names, is_public=True)
        signed = made.response(stored.status, headers)
        if wish == signing.DETACHED:
            signed.content_type = response.content_type
        return signed

    async def _serve(self, request: web.Request, operation: Operation) -> web.Response:
        principal = await self._admit(request, operation)
        wish = signing.wish_of(request.headers, self._profile.headers, self._signer)
        if wish is not None and self._signer is not None and operation.mode not in {Mode.READ, Mode.MEMORY}:
            await self._signer.health()  # or what was asked for would be done, and its answer lost
        call = Call(
            services=self._services,
            request_id=request[_TOLD].request_id,
            path=request.match_info,
            principal=principal,
            asked=listing.parse(request.query, operation, self._profile.lists),
        )
        content, call.body = await read_json(request, operation)
        key = key_of(request.headers, self._profile.headers) if request.method == "POST" else None
        once = Once.of(call, key, request.method, request.path, content) if key and principal else None
        dressing = _Dressing(self._signer, wish, self._profile.headers)
        stored = await self._perform(operation, call, once, request, dressing)
        for tell in call.afterwards:
            tell()
        return await self._dressed(stored, dressing)

    async def _admit(self, request: web.Request, operation: Operation) -> Principal | None:
        """Say who calls; raise unless they may, and not too often. What is wrong with a credential counts as well."""
        client = self._client_of(request)
        counts_as = signing.counts_as(operation.counts_as, request.headers, self._profile.headers)
        if operation.access is Access.PUBLIC:
            await self._count(request, counts_as, None)
            return None
        try:
            principal = await self._authenticator.principal(request.headers, client)
        except ApiError:
            await self._count(request, counts_as, None)
            raise
        await self._count(request, counts_as, principal)
        credentials = self._profile.credentials
        enough = credentials.read if operation.access is Access.READ else credentials.write
        if principal.scopes.isdisjoint(enough):
            raise ApiError(
                Fault.FORBIDDEN, "insufficient_scope", f"This needs a credential with the scope {' or '.join(enough)}."
            )
        return principal

    async def _count(self, request: web.Request, counts_as: LimitClass, principal: Principal | None) -> None:
        """Count a request against its key, or its address; raise when it is one too many."""
        limits = self._profile.limits
        subject = f"key:{principal.kind}:{principal.id}" if principal else f"address:{self._client_of(request).address}"
        rate = limits.tier(principal.tier if principal else None).rate
        standing = await self._limiter.hit(counts_as, subject, rate)
        request[_TOLD].standing = standing.headers(self._told)
        self._metrics.decided(counts_as, is_allowed=standing.is_allowed)
        if not standing.is_allowed:
            raise ApiError(
                Fault.RATE_LIMITED,
                "rate_limited",
                f"More than {standing.limit} {counts_as} requests in {limits.window} seconds: "
                f"wait {standing.retry_after} seconds.",
            )

    async def _perform(
        self, operation: Operation, call: Call, once: Once | None, request: web.Request, dressing: _Dressing
    ) -> Stored:
        """Have the handler do it, once; return what is to be answered.

        What is done in a transaction is signed before its end: without a signature it is not done.
        """
        connections = self._services.connections

        async def handled() -> Stored:
            stored = self._rendered(operation, call, await operation.handler(call), request)
            if operation.mode is Mode.CHANGE:
                await dressing.sign(stored)
            return stored

        if operation.mode is Mode.MEMORY:
            return await handled()
        if operation.mode is Mode.REMOTE:
            if once is None:
                return await handled()
            return await self._idempotency.apart(connections, once, handled)
        if operation.mode is Mode.READ:
            async with connections.acquire(call.counted_for) as call.held:
                return await handled()
        async with self._idempotency.turn(once), connections.transaction(call.account) as call.held:
            if once is None:
                return await handled()
            return await self._idempotency.within(call.connection, once, handled)

    # --- the answer -----------------------------------------------------------------------------------------------

    def _rendered(self, operation: Operation, call: Call, reply: Reply, request: web.Request) -> Stored:
        """Put a reply into the profile's envelope."""
        headers: dict[str, str] = {}
        if reply.location is not None:
            headers["Location"] = self._profile.base + reply.location
        if reply.items is not None:
            body = templates.fill(self._profile.lists.body, listing.values(call.query, reply.items))
            headers |= listing.links(request.rel_url, call.query, reply.items, self._profile.lists)
        elif reply.item is not None:
            body = templates.fill(self._profile.responses.item, {"item": reply.item})
        else:
            return Stored(NO_CONTENT, headers, b"")
        return Stored(operation.status, headers, orjson.dumps(body, option=orjson.OPT_UTC_Z))

    async def _dressed(self, stored: Stored, dressing: _Dressing) -> web.Response:
        """Put an answer's headers on, and sign it if that is wished for."""
        headers = {"Cache-Control": "no-store", **stored.headers}
        if stored.is_replay:
            headers[self._profile.headers.replayed] = "true"
        await dressing.sign(stored)
        return dressing.response(stored, headers)


class _Dressing:
    """One answer's signature: made when it is known what is answered, at the latest before it is."""

    def __init__(self, signer: ResponseSigner | None, wish: str | None, names: Headers) -> None:
        self._signer = signer
        self._wish = wish
        self._names = names
        self._made: tuple[bytes, signing.Signed] | None = None

    async def sign(self, stored: Stored) -> None:
        """Sign an answer's body if that is wished for, and has not been done; raises what the signer raises."""
        if self._wish is None or self._signer is None or not stored.body:
            return
        if self._made is None or self._made[0] != stored.body:
            self._made = stored.body, await signing.sign(self._signer, self._wish, stored.body, self._names)

    def response(self, stored: Stored, headers: Mapping[str, str]) -> web.Response:
        """Return the answer, in its signed form if there is one."""
        if self._made is None:
            return _response(stored.status, stored.body, headers)
        return self._made[1].response(stored.status, headers)


def _response(status: int, body: bytes, headers: Mapping[str, str]) -> web.Response:
    made = web.Response(status=status, body=body or None, headers=headers)
    if body:
        made.content_type = JSON
    return made
