"""What being observed costs: throughput with metrics, and with traces beside them, against neither; and a scrape.

The three take turns on the same servers, so that what else the machine does meets all of them. With metrics means that
somebody scrapes, three times as often as `deploy/prometheus` does. CPU of the service per delivery says the same with
less noise. A scrape is timed while the service has more to do than it can, and charged while it has nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import psutil

from benchmarks.delivery import ACCOUNTS, drain, rate
from benchmarks.sink import nginx
from benchmarks.stage import Row, Stage, row, stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

#: Turns of each; the first of all warms the servers up and does not count.
ROUNDS = 3
#: Seconds between two scrapes under load; and how many are charged.
EVERY, CHARGED = 5.0, 100
SAMPLED = 0.1
#: What Prometheus asks for.
ACCEPT = {"Accept": "application/openmetrics-text; version=1.0.0"}


@dataclass(slots=True)
class Figures:
    """What the turns of one variant gave: deliveries a second, and CPU microseconds of the service for each."""

    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    scrapes: list[float] = field(default_factory=list)


async def measure(events: int) -> dict[str, Row]:
    """Return the results of `events` deliveries in each turn."""
    async with stage() as opened, nginx() as collector, aiohttp.ClientSession(headers=ACCEPT) as session:
        await opened.subscribe(ACCOUNTS)
        endpoint = collector.url.removesuffix("/hooks")
        variants: dict[str, dict[str, Any]] = {
            "off": {"module": "benchmarks.unmetered"},
            "metrics": {},
            "traces": {"settings": {"otlp_endpoint": endpoint, "trace_sample": SAMPLED}},
        }
        figures = {name: Figures() for name in variants}
        await drain(opened, events // 2)
        for turn in range(ROUNDS):
            for name in list(variants)[:: 1 if turn % 2 else -1]:
                await _turn(opened, session, events, variants[name], figures[name], is_scraped=name != "off")
        charged = await _charge(opened, session)
    return _rows(figures, events * ROUNDS) | charged


async def _turn(
    opened: Stage,
    session: aiohttp.ClientSession,
    events: int,
    options: Mapping[str, Any],
    figures: Figures,
    *,
    is_scraped: bool,
) -> None:
    async with _scraping(opened, session, figures.scrapes) if is_scraped else contextlib.nullcontext():
        first, last = await drain(opened, events, **options)
    count = last.delivered - first.delivered
    figures.rates.append(rate(first, last))
    figures.cpu_us.append((last.cpu["service"] - first.cpu["service"]) / count * 1e6)


@contextlib.asynccontextmanager
async def _scraping(opened: Stage, session: aiohttp.ClientSession, times: list[float]) -> AsyncIterator[None]:
    """Scrape every so often, from the start of the service on; put the milliseconds of each into `times`."""
    opened.admin = None

    async def scrape() -> None:
        while True:
            await asyncio.sleep(EVERY)
            if opened.admin is not None:
                with contextlib.suppress(aiohttp.ClientError):  # it has just ended
                    times.append((await _scrape(opened.admin, session))[0])

    task = asyncio.create_task(scrape())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _scrape(admin: str, session: aiohttp.ClientSession) -> tuple[float, bytes]:
    """Return the milliseconds of a scrape, and what it was."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with session.get(f"{admin}/metrics") as response:
        body = await response.read()
    return (loop.time() - begun) * 1000, body


async def _charge(opened: Stage, session: aiohttp.ClientSession) -> dict[str, Row]:
    """Return what a scrape costs a service that has nothing else to do."""
    async with opened.service() as service:
        assert opened.admin is not None  # noqa: S101 - it is ready
        process = psutil.Process(service)
        await asyncio.sleep(EVERY)  # starting costs too
        times, before, body = [], process.cpu_times(), b""
        for _ in range(CHARGED):
            milliseconds, body = await _scrape(opened.admin, session)
            times.append(milliseconds)
        after = process.cpu_times()
    cpu = (after.user + after.system - before.user - before.system) / CHARGED * 1000
    lines = sum(not line.startswith(b"#") for line in body.splitlines())
    return {
        "scrape_cpu_ms": row(cpu, "ms", statistics.median(times), CHARGED),
        "scrape_series": row(lines, "series", len(body), 1),
    }


def _rows(figures: Mapping[str, Figures], n: int) -> dict[str, Row]:
    off = figures["off"]
    base_rate, base_cpu = statistics.median(off.rates), statistics.median(off.cpu_us)
    rows = {}
    for name in ("metrics", "traces"):
        found = figures[name]
        rows[f"{name}_throughput_ratio"] = row(statistics.median(found.rates) / base_rate, "ratio", base_rate, n)
        rows[f"{name}_cpu_ratio"] = row(statistics.median(found.cpu_us) / base_cpu, "ratio", base_cpu, n)
    loaded = figures["metrics"].scrapes
    rows["scrape_ms"] = row(statistics.median(loaded), "ms", max(loaded), len(loaded))
    return rows
