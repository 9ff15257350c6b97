"""Signers for tests: the agent in this process or as a child, on a socket with a short path, and clients of it."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from runtime.clock import SystemClock
from signer import agent
from signer.client import SignerClient
from signer.metrics import SignerMetrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from signer.metrics import Result
    from signer.protocol import Kind


@contextlib.contextmanager
def socket_path() -> Iterator[Path]:
    """Yield where a socket may be, in a folder for us alone."""
    with tempfile.TemporaryDirectory(prefix="hgs-") as folder:
        yield Path(folder) / "signer.sock"


@contextlib.asynccontextmanager
async def serving(socket: Path, home: Path, fingerprint: str, **options: Any) -> AsyncIterator[None]:
    """Run an agent in this process; stop it at the end. Raises what it raises at its start."""
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(
        agent.serve(socket=socket, home=home, fingerprint=fingerprint, stop=stop, ready=ready.set, **options)
    )
    begun = asyncio.create_task(ready.wait())
    await asyncio.wait([running, begun], return_when=asyncio.FIRST_COMPLETED)
    try:
        if ready.is_set():
            yield
    finally:
        begun.cancel()
        stop.set()
        await running


class Asking(SignerClient):
    """A client, with its metrics to look at."""

    def __init__(self, socket: Path, *, timeout: float = 10.0) -> None:
        self.registry = CollectorRegistry()
        super().__init__(socket, metrics=SignerMetrics(self.registry), clock=SystemClock(), timeout=timeout)

    def counted(self, kind: Kind, result: Result) -> float:
        """Return how often asking ended so."""
        return self.registry.get_sample_value("heliograph_signatures_total", {"kind": kind, "result": result}) or 0.0
