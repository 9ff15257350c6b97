"""The process itself: how soon it is ready, how much memory it takes under full load, and whether that grows."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys

import psutil

from benchmarks.delivery import ACCOUNTS
from benchmarks.stage import Row, Stage, row, stage

MEGABYTE = 1024 * 1024
STARTS = 3
SAMPLE_SECONDS = 1.0
#: Events produced ahead of what is delivered: the service always has more to do, the broker's memory stays bounded.
AHEAD = 20_000


async def ready() -> dict[str, Row]:
    """Return seconds from nothing to ready with --embedded, the median of some starts."""
    loop = asyncio.get_running_loop()
    times = []
    for _ in range(STARTS):
        begun = loop.time()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HELIOGRAPH_")}
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "publisher", "serve", "--embedded",
            env={**environment, "HELIOGRAPH_LOG_LEVEL": "error"}, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert child.stdout is not None  # noqa: S101 - asked for above
        await child.stdout.readline()
        times.append(loop.time() - begun)
        child.terminate()
        await child.wait()
    return {"ready_seconds": row(statistics.median(times), "s", min(times), STARTS)}


async def memory(minutes: float) -> dict[str, Row]:
    """Return the largest resident size under full load, and by how much it grows in the second half."""
    async with stage() as opened:
        await opened.subscribe(ACCOUNTS)
        async with opened.service() as service:
            feeding = asyncio.create_task(_feed(opened))
            try:
                sizes = await _sample(psutil.Process(service), minutes * 60)
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
        delivered = await opened.delivered()
    half = sizes[len(sizes) // 2 :]
    growth = statistics.linear_regression(range(len(half)), half).slope * 60 / SAMPLE_SECONDS
    return {
        "rss_mb": row(max(sizes), "MB", sizes[0], delivered),
        "rss_growth_mb_per_minute": row(growth, "MB/min", minutes, delivered),
    }


async def _feed(opened: Stage) -> None:
    produced, before = 0, await opened.requests()
    while True:
        if produced - (await opened.requests() - before) < AHEAD:
            await opened.produce(ACCOUNTS, AHEAD // 4)
            produced += AHEAD // 4
        else:
            await asyncio.sleep(0.1)


async def _sample(process: psutil.Process, seconds: float) -> list[float]:
    sizes = []
    for _ in range(max(2, int(seconds / SAMPLE_SECONDS))):
        await asyncio.sleep(SAMPLE_SECONDS)
        sizes.append(process.memory_info().rss / MEGABYTE)
    return sizes
