"""Limits in front of an ASGI application (ASGI 3): Starlette, FastAPI, Django, Quart, Litestar."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from heliograph_telemetry.callers import by_method

if TYPE_CHECKING:
    from heliograph_telemetry.callers import Caller
    from heliograph_telemetry.limits import Limits

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class RateLimited:
    """An application that is asked as often as its callers may; websockets and its lifespan pass by, uncounted."""

    def __init__(
        self,
        app: App,
        limits: Limits,
        *,
        caller: Callable[[Scope], Caller],
        policy: Callable[[str, str], str | None] = by_method,
    ) -> None:
        """`caller` says whose a request is; `policy` takes method and path, None from it means no limit."""
        self._app = app
        self._limits = limits
        self._caller = caller
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        counts_as = self._policy(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if counts_as is None:
            await self._app(scope, receive, send)
            return
        profile = self._limits.profile
        decision = self._limits.decide(counts_as, self._caller(scope), _header(scope, profile.request_id_header))
        told = [(name.lower().encode(), value.encode()) for name, value in decision.headers.items()]
        if decision.refusal is not None:
            body = decision.refusal
            about = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": profile.status, "headers": [*about, *told]})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
            return

        async def send_and_tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *told]}
            await send(message)

        await self._app(scope, receive, send_and_tell)


def _header(scope: Scope, name: str) -> str | None:
    wanted = name.lower().encode()
    for key, value in scope["headers"]:
        if key.lower() == wanted:
            text: str = value.decode("latin-1")
            return text
    return None
