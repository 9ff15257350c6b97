"""`make bench`: run every benchmark, print a table, write benchmarks/results.json."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import orjson
import uvloop

from benchmarks import delivery
from benchmarks.sink import SinkMissingError

RESULTS = Path(__file__).parent / "results.json"
#: From the public contract: a ratio or figure and whether more or less is better.
TARGETS = {
    "cpu_per_delivery_ratio": ("<=", 1.35),
    "throughput_ratio": (">=", 0.6),
}


def main() -> int:
    """Measure; missed targets are shown, not punished: a benchmark reports."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--events", type=int, default=30_000, help="deliveries to measure")
    arguments = parser.parse_args()
    try:
        results = uvloop.run(delivery.measure(arguments.events))
    except SinkMissingError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    for key, row in results.items():
        comparison, target = TARGETS.get(key, ("", None))
        goal = ""
        if target is not None:
            value = float(str(row["value"]))
            is_met = value <= target if comparison == "<=" else value >= target
            goal = f"target {comparison} {target}: {'met' if is_met else 'MISSED'}"
        print(f"{key:32} {row['value']:>10} {row['unit']:6} {goal}")
    RESULTS.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
