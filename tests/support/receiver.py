"""A customer's receiver: verifies every request with the public library, answers what it is told, remembers all."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web
from standardwebhooks import Webhook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Received(NamedTuple):
    """A verified request."""

    headers: dict[str, str]
    body: bytes


class Receiver:
    """Raises nothing: a request that does not verify is answered 401 and kept in `refused`."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[Received] = []
        self.refused: list[str] = []
        self.by_message: Counter[str] = Counter()
        #: Status codes of the next answers; 204 when none is left.
        self.answers: deque[int] = deque()
        #: Headers of every answer.
        self.answer_headers: dict[str, str] = {}
        self._webhooks: list[Webhook] = []
        self._arrived = asyncio.Event()

    def trust(self, secret: str) -> None:
        """Accept what is signed with `secret`."""
        self._webhooks.append(Webhook(secret))

    async def until(self, condition: Callable[[Receiver], bool], seconds: float = 30) -> None:
        """Wait for arrivals until `condition` holds."""
        async with asyncio.timeout(seconds):
            while not condition(self):
                self._arrived.clear()
                await self._arrived.wait()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Receiver]:
        """Listen on a free loopback port."""
        app = web.Application()
        app.router.add_post("/{path:.*}", self._receive)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks"
            yield self
        finally:
            await runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        faults = []
        for webhook in self._webhooks:
            try:
                webhook.verify(body, headers)
                break
            except Exception as error:
                faults.append(str(error))
        else:
            self.refused.append("; ".join(faults) or "no secret")
            return web.Response(status=401)
        self.received.append(Received(headers, body))
        self.by_message[headers["webhook-id"]] += 1
        self._arrived.set()
        return web.Response(status=self.answers.popleft() if self.answers else 204, headers=self.answer_headers)
