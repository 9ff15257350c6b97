"""What is served of the feeds: each route with what describes it. Whoever registers them sets limits before them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Route(NamedTuple):
    """A GET (and HEAD) that is open to all.

    `path` is aiohttp's. Below the provider's base path stand those with `is_api`; they are in the OpenAPI document.
    """

    path: str
    handler: Handler
    name: str
    summary: str
    content_type: str
    is_api: bool = True
