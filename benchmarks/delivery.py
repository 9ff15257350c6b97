"""Kafka record to recorded 2xx, everything on this machine, against the bare client loop: CPU and throughput.

The service runs as a process of its own, exactly as `heliograph serve` starts it, on an embedded PostgreSQL
(durable: fsync on) and the embedded broker; a backlog of events is produced first, so the broker's producer is
not part of the load. CPU is read from the kernel between the first tenth of the deliveries and the last sample,
so start-up and warm-up are left out. Baseline runs before and after, the mean counts: the machine is shared.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import aiohttp
import orjson
import psutil

from benchmarks.sink import nginx
from consumers import broker
from consumers.encode import cloud_event
from publisher.delivery.egress import Rules
from publisher.embedded import embedded_settings
from publisher.endpoints import Directory
from publisher.ids import Ids
from publisher.secrets import Vault
from runtime import settings as runtime_settings
from runtime.clock import SystemClock
from runtime.database import open_pool

if TYPE_CHECKING:
    from benchmarks.sink import Sink
    from runtime.settings import Settings

ACCOUNTS = 200
CONCURRENCY = 64
SAMPLE_SECONDS = 0.25
WARM_SHARE = 0.1
PATIENCE = 300.0
CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Sample:
    """Deliveries recorded so far, and CPU seconds of each process, at a moment."""

    at: float
    delivered: float
    cpu: dict[str, float]


async def measure(events: int) -> dict[str, dict[str, object]]:
    """Return the results by the contract's keys."""
    async with nginx() as sink:
        before = await _baseline(sink, events)
        samples = await _end_to_end(sink, events)
        after = await _baseline(sink, events)
    baseline = {name: (before[name] + after[name]) / 2 for name in before}
    first = samples[0]
    last = samples[-1]
    count = last.delivered - first.delivered
    cpu = {name: (last.cpu[name] - first.cpu[name]) / count * 1e6 for name in last.cpu}
    per_second = count / (last.at - first.at)
    results: dict[str, dict[str, object]] = {
        "cpu_per_delivery_ratio": _row(cpu["service"] / baseline["cpu_us"], "ratio", baseline["cpu_us"], count),
        "throughput_ratio": _row(per_second / baseline["per_second"], "ratio", baseline["per_second"], count),
        "deliveries_per_second": _row(per_second, "1/s", baseline["per_second"], count),
    }
    for name, value in cpu.items():
        results[f"cpu_us_per_delivery_{name}"] = _row(value, "us", baseline["cpu_us"], count)
    return results


def _row(value: float, unit: str, baseline: float, count: float) -> dict[str, object]:
    return {"value": round(value, 3), "unit": unit, "baseline": round(baseline, 1), "n": int(count)}


async def _baseline(sink: Sink, requests: int) -> dict[str, float]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.baseline", sink.url, str(requests), str(CONCURRENCY),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await child.communicate()
    figures: dict[str, float] = orjson.loads(output)
    print(f"  bare loop: {figures['cpu_us']:.0f} us CPU per request, {figures['per_second']:.0f}/s", flush=True)
    return figures


async def _end_to_end(sink: Sink, events: int) -> list[Sample]:
    given = runtime_settings.load(environ={}, log_level="warning")
    async with embedded_settings(given) as settings:
        await _subscribe(settings, sink)
        await _produce(settings, events)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HELIOGRAPH_")},
            "HELIOGRAPH_DATABASE_URL": settings.dsn(),
            "HELIOGRAPH_KAFKA_SESSION_TIMEOUT": "3",
            "HELIOGRAPH_API_LISTEN": "127.0.0.1:0",
            "HELIOGRAPH_ADMIN_LISTEN": "127.0.0.1:0",
            "HELIOGRAPH_LOG_LEVEL": "warning",
        }
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "publisher", "serve", env=environment, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert child.stdout is not None  # noqa: S101 - asked for above
            ready = orjson.loads(await child.stdout.readline())
            assert ready["ready"]  # noqa: S101 - the line says nothing else
            return await _watch(settings, child.pid, sink, events)
        finally:
            child.terminate()
            await child.wait()


async def _watch(settings: Settings, service: int, sink: Sink, events: int) -> list[Sample]:
    """Sample at the first tenth and when every delivery is recorded.

    Progress is read from the sink, which answers for next to nothing; a scrape of the service would be measured
    with it. The end is what the database says.
    """
    loop = asyncio.get_running_loop()
    samples: list[Sample] = []
    pool = await open_pool(settings, size=1)
    async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE):
        before = await _requests(session, sink)
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            arrived = await _requests(session, sink) - before
            if arrived < WARM_SHARE * events or (samples and arrived < events):
                continue
            recorded: int = await pool.fetchval("SELECT count(*) FROM deliveries WHERE state = 'delivered'")
            cpu = {part: sum(map(_cpu, processes)) for part, processes in _groups(service, sink).items()}
            samples.append(Sample(loop.time(), recorded, cpu))
            if recorded >= events:
                break
    await pool.close()
    return samples


def _groups(service: int, sink: Sink) -> dict[str, list[psutil.Process]]:
    """Return the processes to charge, by part; PostgreSQL's come and go with its connections."""
    groups = {
        "service": [psutil.Process(service)],
        "sink": [psutil.Process(sink.pid), *psutil.Process(sink.pid).children()],
    }
    for child in psutil.Process().children():
        for part, name in (("postgres", "postgres"), ("broker", "tansu")):
            if child.name().startswith(name):
                groups[part] = [child, *child.children()]
    return groups


async def _requests(session: aiohttp.ClientSession, sink: Sink) -> int:
    """Return how many requests the sink has served; each call is one of them."""
    async with session.get(sink.status_url) as response:
        return int((await response.text()).split()[9])


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _subscribe(settings: Settings, sink: Sink) -> None:
    pool = await open_pool(settings, size=1)
    directory = Directory(Vault(settings.keys()), Ids(SystemClock()), Rules.of(settings))
    async with pool.acquire() as connection:
        for account in range(ACCOUNTS):
            await directory.register(connection, account=f"acct_{account}", url=sink.url, events=["server.*"])
    await pool.close()


async def _produce(settings: Settings, events: int) -> None:
    producer = broker.KafkaProducer(settings, linger_ms=5)
    await producer.start()
    for start in range(0, events, CHUNK):
        await producer.send(
            cloud_event(
                settings.kafka_topic_events,
                "server.provisioned",
                time=datetime.now(UTC),
                source="/benchmark",
                account=f"acct_{number % ACCOUNTS}",
            )
            for number in range(start, min(start + CHUNK, events))
        )
    await producer.stop()
