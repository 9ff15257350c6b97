"""Who tests may call, what names lead to, and the corpus of places that others were tricked into calling."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp.abc import AbstractResolver

from publisher.delivery.egress import Rules
from runtime import settings

if TYPE_CHECKING:
    from aiohttp.abc import ResolveResult

CORPUS: dict[str, Any] = orjson.loads((Path(__file__).parents[1] / "corpora" / "egress.json").read_bytes())
LOOPBACK = Rules.parse(allow=settings.LOOPBACK)


class Answers(AbstractResolver):
    """A resolver that says what it is told."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: tuple[str, ...] = addresses
        self.closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            {"hostname": host, "host": address, "port": port, "family": family, "proto": 0, "flags": 0}
            for address in self.addresses
        ]

    async def close(self) -> None:
        self.closed = True
