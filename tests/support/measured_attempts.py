"""A process that makes attempts and says how much memory they took.

    python -m tests.support.measured_attempts POLITE URL COUNT

A process of its own, on the loop production runs, so that neither the receiver nor the test runner is measured.
The kernel's high-water mark of resident memory is what counts: a peak between two looks does not escape it.
Writing 5 to /proc/self/clear_refs sets it back to what is resident now. Before that comes a warm-up at a receiver
that behaves (POLITE), so that modules and pools are there when the measuring begins; what an odd answer takes is not.
"""

from __future__ import annotations

import asyncio
import gc
import re
import sys
from pathlib import Path

import orjson
import uvloop
from yarl import URL

from tests.support.transports import a_transport, post

WARM_UP = 20


def peak_kib() -> int:
    """Return the high-water mark of this process's resident memory."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    assert found is not None
    return int(found[1])


async def measured(polite: URL, url: URL, count: int) -> dict[str, object]:
    """Make `count` attempts at `url` after the warm-up; return what they kept and how far the mark rose, in KiB."""
    async with a_transport(timeout=30) as transport:
        for _ in range(WARM_UP):
            await post(transport, polite)
        gc.collect()
        await asyncio.to_thread(Path("/proc/self/clear_refs").write_text, "5")
        before = peak_kib()
        answers = [await post(transport, url) for _ in range(count)]
        grown = peak_kib() - before
    return {
        "grown_kib": grown,
        "statuses": [answer.status for answer in answers],
        "kept": [len(answer.body) for answer in answers],
    }


if __name__ == "__main__":
    print(orjson.dumps(uvloop.run(measured(URL(sys.argv[1]), URL(sys.argv[2]), int(sys.argv[3])))).decode())  # noqa: T201 - its answer
