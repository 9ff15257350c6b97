"""A scrape, written one family at a time: two thousand series in one go would keep every delivery waiting.

The encoders are prometheus-client's; between two families the event loop has its turn.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry, Metric

#: What ends an OpenMetrics exposition, and each part of one.
END = b"# EOF\n"


class Scrape(NamedTuple):
    """A body and what it is."""

    body: bytes
    content_type: str


class _Part(Collector):
    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


async def scrape(registry: CollectorRegistry, accept: str) -> Scrape:
    """Return everything on `registry` in the format that `accept`, the request's header, asks for.

    All values are of one moment.
    """
    encode, content_type = choose_encoder(accept)
    end = END if content_type.startswith("application/openmetrics-text") else b""
    parts = []
    for family in list(registry.collect()):
        parts.append(encode(_Part(family)).removesuffix(end))
        await asyncio.sleep(0)
    return Scrape(b"".join(parts) + end, content_type)
