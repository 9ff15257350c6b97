"""A real Prometheus that scrapes what a test runs, and is asked what it has."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from runtime.embedded import free_port
from tests.support.process import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

#: Both programs are in Debian's package, which `make prometheus` has.
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None or PROMTOOL is None, reason="prometheus and promtool are not installed: make prometheus"
)

#: Seconds: often, so that a test need not wait.
INTERVAL = 0.25
CONFIG = """
global: {{scrape_interval: {interval:.0f}ms, scrape_timeout: {interval:.0f}ms}}
scrape_configs:
  - job_name: heliograph
    static_configs: [{{targets: ["{target}"]}}]
"""

Series = dict[tuple[tuple[str, str], ...], float]


class Prometheus:
    """A server that runs."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def query(self, expression: str) -> Series:
        """Return the instant vector of an expression: labels without the name and the target's -> value."""
        said = await self._get("query", query=expression)
        return {
            tuple(sorted((k, v) for k, v in each["metric"].items() if k not in {"__name__", "job", "instance"})): float(
                each["value"][1]
            )
            for each in said["result"]
        }

    async def value(self, expression: str) -> float | None:
        """Return the value of an expression that is one series; None while there is none."""
        found = await self.query(expression)
        assert len(found) <= 1, found
        return next(iter(found.values()), None)

    async def names(self) -> set[str]:
        """Return the names of all metrics it has."""
        return set(await self._get("label/__name__/values"))

    async def until(self, expression: str, expected: float) -> None:
        """Wait until an expression has a value."""

        async def holds() -> bool:
            return await self.value(expression) == expected

        await until(holds, f"{expression} == {expected:g}")

    async def _get(self, what: str, **parameters: str) -> Any:
        async with self._session.get(f"{self._url}/api/v1/{what}", params=parameters) as response:
            said = await response.json()
        assert said["status"] == "success", said
        return said["data"]


@contextlib.asynccontextmanager
async def prometheus(folder: Path, target: str) -> AsyncIterator[Prometheus]:
    """Run a Prometheus that scrapes `target`, host and port; its data and log are in `folder`."""
    assert PROMETHEUS is not None
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.format(interval=INTERVAL * 1000, target=target))
    address = f"127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(
            PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}", stdout=log, stderr=log,
        )  # fmt: skip
    async with aiohttp.ClientSession() as session:

        async def is_ready() -> bool:
            assert child.returncode is None, (folder / "prometheus.log").read_text()
            try:
                async with session.get(f"http://{address}/-/ready") as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        try:
            await until(is_ready, "Prometheus is ready")
            yield Prometheus(f"http://{address}", session)
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()


async def complaints(exposition: bytes) -> str:
    """Return what `promtool check metrics` has against an exposition; nothing when it is in order."""
    assert PROMTOOL is not None
    child = await asyncio.create_subprocess_exec(
        PROMTOOL, "check", "metrics",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await child.communicate(exposition)
    return "" if child.returncode == 0 else said.decode()
