"""`make bench`: run every benchmark, print a table, write benchmarks/results.json."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import uvloop

from benchmarks import api, backlog, delivery, feeds, latency, observability, process, scale
from benchmarks.sink import SinkMissingError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.stage import Row

RESULTS = Path(__file__).parent / "results.json"
#: From the public contract, and what being observed may cost: a ratio or figure and whether more or less is better.
TARGETS = {
    "cpu_per_delivery_ratio": ("<=", 1.35),
    "throughput_ratio": (">=", 0.6),
    "latency_p50_ms": ("<=", 10),
    "latency_p99_ms": ("<=", 50),
    "isolation_p99_ratio": ("<=", 1.5),
    "backlog_throughput_ratio": (">=", 0.9),
    "feed_get_ratio": (">=", 0.8),
    "rss_mb": ("<=", 200),
    "ready_seconds": ("<=", 5),
    "metrics_throughput_ratio": (">=", 0.95),
    "traces_throughput_ratio": (">=", 0.85),
}
#: Where the maximum rate is not measured in the same run, half of this is half of it.
ASSUMED_RATE = 2000.0


def main() -> int:
    """Measure; missed targets are shown, not punished: a benchmark reports."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--events", type=int, default=50_000, help="deliveries to measure throughput with")
    parser.add_argument("--seconds", type=float, default=30, help="length of a run that measures latency")
    parser.add_argument("--minutes", type=float, default=10, help="length of the run that measures memory")
    parser.add_argument(
        "only",
        nargs="*",
        help="delivery latency isolation backlog fan-out workers cold-start observability api signing canary feeds "
        "coalescing ready memory; all when none",
    )
    arguments = parser.parse_args()
    results: dict[str, Row] = orjson.loads(RESULTS.read_bytes()) if arguments.only and RESULTS.exists() else {}

    def half_rate() -> Awaitable[dict[str, Row]]:
        measured = results.get("deliveries_per_second", {}).get("value", ASSUMED_RATE)
        return latency.at_half_rate(float(str(measured)), arguments.seconds)

    benchmarks: dict[str, Callable[[], Awaitable[dict[str, Row]]]] = {
        "delivery": lambda: delivery.measure(arguments.events),
        "latency": half_rate,
        "isolation": lambda: latency.isolation(arguments.seconds),
        "backlog": lambda: backlog.measure(arguments.events),
        "fan-out": lambda: scale.fan_out(arguments.events),
        "workers": lambda: scale.workers(arguments.events),
        "cold-start": lambda: scale.cold_start(arguments.events),
        "observability": lambda: observability.measure(arguments.events),
        "api": lambda: api.measure(arguments.seconds / 6),
        "signing": feeds.signing,
        "canary": lambda: feeds.canary(arguments.seconds / 6),
        "feeds": lambda: feeds.status(arguments.seconds / 6),
        "coalescing": lambda: feeds.coalescing(arguments.seconds / 6),
        "ready": process.ready,
        "memory": lambda: process.memory(arguments.minutes),
    }
    if unknown := set(arguments.only) - set(benchmarks):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    for name in arguments.only or benchmarks:
        try:
            measured = uvloop.run(_run(benchmarks[name]))
        except SinkMissingError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        for key, result in measured.items():
            print(_line(key, result), flush=True)
        results.update(measured)
        RESULTS.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2) + b"\n")
    return 0


async def _run(benchmark: Callable[[], Awaitable[dict[str, Row]]]) -> dict[str, Row]:
    return await benchmark()


def _line(key: str, result: Row) -> str:
    comparison, target = TARGETS.get(key, ("", None))
    goal = ""
    if target is not None:
        value = float(str(result["value"]))
        is_met = value <= target if comparison == "<=" else value >= target
        goal = f"target {comparison} {target}: {'met' if is_met else 'MISSED'}"
    return f"{key:32} {result['value']:>10} {result['unit']:6} {goal}"


if __name__ == "__main__":
    sys.exit(main())
