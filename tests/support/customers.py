"""Many customers behind one listener: each endpoint has its own path and secret, and every request is kept.

`Receiver` plays one customer closely; this plays a crowd, and can tell which endpoint got which event.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import orjson
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Arrival(NamedTuple):
    """A verified request, without what differs from attempt to attempt."""

    message_id: str
    delivery_id: str
    body: bytes


class Customers:
    """Answers 204 to what verifies with the endpoint's secret, 401 to anything else."""

    def __init__(self) -> None:
        self.base = ""
        #: Verified requests, by endpoint and order number.
        self.arrivals: dict[tuple[str, str], list[Arrival]] = defaultdict(list)
        self.count = 0
        self.refused: list[str] = []
        self._secrets: dict[str, Webhook] = {}
        self._arrived = asyncio.Event()

    def url(self, name: str) -> str:
        """Return where the endpoint `name` receives."""
        return f"{self.base}/{name}"

    def trust(self, name: str, secret: str) -> None:
        """Let the endpoint `name` accept what is signed with `secret`."""
        self._secrets[name] = Webhook(secret)

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
        """Wait for arrivals until `condition` holds."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise AssertionError(f"not within {seconds:g} s: {what}; {self.count} requests so far") from None

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Customers]:
        """Listen on a free loopback port."""
        app = web.Application()
        app.router.add_post("/{name}", self._receive)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        body = await request.read()
        try:
            self._secrets[name].verify(body, dict(request.headers))
        except WebhookVerificationError as error:
            self.refused.append(f"{name}: {error}")
            return web.Response(status=401)
        order = orjson.loads(body)["data"]["order_number"]
        arrival = Arrival(request.headers["webhook-id"], request.headers["x-nb-delivery"], body)
        self.arrivals[name, order].append(arrival)
        self.count += 1
        self._arrived.set()
        return web.Response(status=204)
