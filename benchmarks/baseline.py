"""The yardstick: a tuned bare aiohttp client loop that signs and sends the same requests, and does nothing else.

Tuned as `reference` loops are: uvloop, no cookie jar, no session timers, no automatic headers, prebuilt URL, one
`asyncio.timeout` per request. Runs in a process of its own: `python -m benchmarks.baseline URL COUNT CONCURRENCY`
prints one JSON object.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
import sys
import time
import uuid
from datetime import UTC, datetime

import aiohttp
import orjson
import uvloop
from yarl import URL

from consumers.events import ServerProvisioned
from publisher.delivery.request import body

WARM_UP = 1000


async def main(url: str, count: int, concurrency: int) -> dict[str, float]:
    """Send `count` requests, `concurrency` at a time; return CPU seconds and wall seconds for each."""
    target = URL(url)
    key = os.urandom(32)
    data = orjson.dumps(ServerProvisioned.EXAMPLE)
    content = body(f"msg_{uuid.uuid4().hex}", "server.provisioned", datetime(2026, 11, 1, tzinfo=UTC), 42, data)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    )

    async def send(number: int) -> None:
        message_id = f"msg_{number:032x}"
        timestamp = str(int(time.time()))
        signed = b"%b.%b.%b" % (message_id.encode(), timestamp.encode(), content)
        headers = {
            "content-type": "application/json",
            "user-agent": "Heliograph/0.1.0 (+http://localhost:8080)",
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}",
            "x-nb-event": "server.provisioned",
            "x-nb-delivery": f"dlv_{number:032x}",
            "x-nb-attempt": "1",
        }
        async with (
            asyncio.timeout(15),
            session.post(target, data=content, headers=headers, allow_redirects=False) as response,
        ):
            await response.read()
            assert response.status == 204  # noqa: PLR2004, S101 - a benchmark of errors would be worthless

    async def run(numbers: range) -> None:
        remaining = iter(numbers)

        async def worker() -> None:
            for number in remaining:
                await send(number)

        await asyncio.gather(*(worker() for _ in range(concurrency)))

    async with session:
        await run(range(WARM_UP))
        cpu, wall = time.process_time(), time.perf_counter()
        await run(range(count))
        return {
            "cpu_us": (time.process_time() - cpu) / count * 1e6,
            "per_second": count / (time.perf_counter() - wall),
        }


if __name__ == "__main__":
    result = uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    print(orjson.dumps(result).decode())
