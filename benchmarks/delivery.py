"""Kafka record to recorded 2xx, everything on this machine, against the bare client loop: CPU and throughput.

A backlog of events is produced first, so the broker's producer is not part of the load. CPU is read between the
first tenth of the deliveries and the last sample, so start-up and warm-up are left out. Baseline runs before and
after, the mean counts: the machine is shared.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from benchmarks.sink import nginx
from benchmarks.stage import PATIENCE, Row, Stage, row, stage

if TYPE_CHECKING:
    from collections.abc import Mapping

ACCOUNTS = [f"acct_{number}" for number in range(200)]
CONCURRENCY = 64
SAMPLE_SECONDS = 0.25
WARM_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Sample:
    """Deliveries recorded so far, and CPU seconds of each part, at a moment."""

    at: float
    delivered: float
    cpu: dict[str, float]


async def measure(events: int) -> dict[str, Row]:
    """Return the results by the contract's keys."""
    before = await baseline(events)
    async with stage() as opened:
        await opened.subscribe(ACCOUNTS)
        first, last = await drain(opened, events)
    after = await baseline(events)
    bare = {name: (before[name] + after[name]) / 2 for name in before}
    count = last.delivered - first.delivered
    cpu = {name: (last.cpu[name] - first.cpu[name]) / count * 1e6 for name in last.cpu}
    per_second = rate(first, last)
    results = {
        "cpu_per_delivery_ratio": row(cpu["service"] / bare["cpu_us"], "ratio", bare["cpu_us"], count),
        "throughput_ratio": row(per_second / bare["per_second"], "ratio", bare["per_second"], count),
        "deliveries_per_second": row(per_second, "1/s", bare["per_second"], count),
    }
    for name, value in cpu.items():
        results[f"cpu_us_per_delivery_{name}"] = row(value, "us", bare["cpu_us"], count)
    return results


def rate(first: Sample, last: Sample) -> float:
    """Return deliveries a second between two samples."""
    return (last.delivered - first.delivered) / (last.at - first.at)


async def baseline(requests: int) -> dict[str, float]:
    """Run the bare loop once, in a process of its own."""
    async with nginx() as sink:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.baseline", sink.url, str(requests), str(CONCURRENCY),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await child.communicate()
    figures: dict[str, float] = orjson.loads(output)
    print(f"  bare loop: {figures['cpu_us']:.0f} us CPU per request, {figures['per_second']:.0f}/s", flush=True)
    return figures


async def drain(
    opened: Stage,
    events: int,
    *,
    module: str = "publisher",
    workers: int | None = None,
    settings: Mapping[str, object] | None = None,
) -> tuple[Sample, Sample]:
    """Produce a backlog, let the service work it off; return samples at the first tenth and at the end."""
    await opened.produce(ACCOUNTS, events)
    done_before = await opened.delivered()
    async with opened.service(module, workers=workers, **(settings or {})) as service:
        before = await opened.requests()
        samples: list[Sample] = []
        async with asyncio.timeout(PATIENCE):
            while len(samples) < 2 or samples[-1].delivered < events:  # noqa: PLR2004 - the first and the last
                await asyncio.sleep(SAMPLE_SECONDS)
                arrived = await opened.requests() - before
                if arrived < WARM_SHARE * events or (samples and arrived < events):
                    continue
                recorded = await opened.delivered() - done_before
                samples.append(Sample(asyncio.get_running_loop().time(), recorded, opened.cpu(service)))
    return samples[0], samples[-1]
