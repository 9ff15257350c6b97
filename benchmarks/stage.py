"""What benchmarks of delivery stand on: real servers, the service as a process of its own, a receiver, a producer.

PostgreSQL (durable: fsync on) and the broker are the embedded ones, the service is started exactly as
`heliograph serve` starts it, the receiver is nginx. CPU is read from the kernel, progress from nginx, which answers
for next to nothing; latencies are computed from what the service recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import aiohttp
import orjson
import psutil

from benchmarks.sink import nginx
from consumers import broker
from consumers.encode import cloud_event
from publisher.embedded import embedded_settings
from publisher.endpoints import Directory
from publisher.ids import Ids
from runtime import embedded
from runtime import settings as runtime_settings
from runtime.clock import SystemClock
from runtime.database import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from benchmarks.sink import Sink
    from runtime.database import Pool
    from runtime.settings import Settings

PATIENCE = 300.0
CHUNK = 1000
#: Seconds between two small batches of a paced load.
BEAT = 0.005

Row = dict[str, object]


def row(value: float, unit: str, baseline: float, n: float) -> Row:
    """Return a result as the contract writes it."""
    return {"value": round(value, 3), "unit": unit, "baseline": round(baseline, 3), "n": int(n)}


class Stage:
    """A set of servers, without the service yet."""

    def __init__(self, settings: Settings, pool: Pool, sink: Sink, session: aiohttp.ClientSession) -> None:
        """Taken from `stage`."""
        self.settings = settings
        self.pool = pool
        self.sink = sink
        self._session = session
        self._producer: broker.KafkaProducer | None = None
        #: Where the service that was started last has its admin listener.
        self.admin: str | None = None

    async def subscribe(self, accounts: Sequence[str], url: str | None = None) -> list[str]:
        """Give each account an endpoint at `url`, nginx when none is given; return their ids."""
        directory = Directory.of(self.settings, Ids(SystemClock()))
        made = []
        async with self.pool.acquire() as connection:
            for account in accounts:
                endpoint_id, _ = await directory.register(
                    connection, account=account, url=url or self.sink.url, events=["server.*"]
                )
                made.append(endpoint_id)
        return made

    async def produce(self, accounts: Sequence[str], events: int) -> None:
        """Produce so many events, each account in turn, as fast as the broker takes them."""
        for start in range(0, events, CHUNK):
            await self._send(accounts, start, min(CHUNK, events - start))

    async def pace(self, accounts: Sequence[str], rate: float, seconds: float) -> int:
        """Produce `rate` events a second for so long, in small batches; return how many that were."""
        loop = asyncio.get_running_loop()
        begun, sent = loop.time(), 0
        while (elapsed := loop.time() - begun) < seconds:
            count = int(elapsed * rate) - sent
            if count > 0:
                await self._send(accounts, sent, count)
                sent += count
            await asyncio.sleep(BEAT)
        return sent

    async def announce(self, event_type: str) -> None:
        """Produce one public event."""
        async with contextlib.AsyncExitStack() as stack:
            producer = broker.KafkaProducer(self.settings)
            await producer.start()
            stack.push_async_callback(producer.stop)
            await producer.send(
                [cloud_event(self.settings.kafka_topic_events, event_type, time=datetime.now(UTC), source="/benchmark")]
            )

    async def _send(self, accounts: Sequence[str], start: int, count: int) -> None:
        if self._producer is None:
            self._producer = broker.KafkaProducer(self.settings, linger_ms=5)
            await self._producer.start()
        await self._producer.send(
            cloud_event(
                self.settings.kafka_topic_events,
                "server.provisioned",
                time=datetime.now(UTC),
                source="/benchmark",
                account=accounts[number % len(accounts)],
            )
            for number in range(start, start + count)
        )

    @contextlib.asynccontextmanager
    async def service(
        self, module: str = "publisher", *, workers: int | None = None, **settings: object
    ) -> AsyncIterator[int]:
        """Run the service, started from `module`, with so many `workers`; yield its process id once it is ready."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HELIOGRAPH_")},
            "HELIOGRAPH_DATABASE_URL": self.settings.dsn(),
            "HELIOGRAPH_KAFKA_SESSION_TIMEOUT": "3",
            "HELIOGRAPH_API_LISTEN": "127.0.0.1:0",
            "HELIOGRAPH_ADMIN_LISTEN": "127.0.0.1:0",
            "HELIOGRAPH_LOG_LEVEL": "error",
            **{f"HELIOGRAPH_{name.upper()}": str(value) for name, value in settings.items()},
        }
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, "serve", *(() if workers is None else ("--workers", str(workers))),
            env=environment, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert child.stdout is not None  # noqa: S101 - asked for above
            ready = orjson.loads(await child.stdout.readline())
            assert ready["ready"]  # noqa: S101 - the line says nothing else
            self.admin = ready["admin"]
            yield child.pid
        finally:
            child.terminate()
            await child.wait()

    async def requests(self) -> int:
        """Return how many requests nginx has served; each call is one of them."""
        async with self._session.get(self.sink.status_url) as response:
            return int((await response.text()).split()[9])

    async def delivered(self, endpoint_ids: Sequence[str] | None = None) -> int:
        """Return how many deliveries are recorded as delivered, to some endpoints or all."""
        where = " AND endpoint_id = ANY ($1::text[])" if endpoint_ids is not None else ""
        query = f"SELECT count(*) FROM deliveries WHERE state = 'delivered'{where}"  # noqa: S608 - ours
        count: int = await self.pool.fetchval(query, *([list(endpoint_ids)] if endpoint_ids is not None else []))
        return count

    async def moment(self) -> str:
        """Return the database's present millisecond as ids begin with it."""
        milliseconds: int = await self.pool.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        return f"{milliseconds:012x}"

    def cpu(self, service: int) -> dict[str, float]:
        """Return CPU seconds by part; PostgreSQL's processes come and go with its connections."""
        groups = {
            "service": [psutil.Process(service)],
            "sink": [psutil.Process(self.sink.pid), *psutil.Process(self.sink.pid).children()],
        }
        for child in psutil.Process().children():
            for part, name in (("postgres", "postgres"), ("broker", "tansu")):
                if child.name().startswith(name):
                    groups[part] = [child, *child.children()]
        return {part: sum(map(_cpu, processes)) for part, processes in groups.items()}

    async def close(self) -> None:
        """Stop producing."""
        if self._producer is not None:
            await self._producer.stop()


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Start the servers."""
    given = runtime_settings.load(environ={}, log_level="error")
    embedded.POSTGRES_OPTIONS |= {
        "track_commit_timestamp": "on",
        # A server that has run for a while recycles its WAL segments; a new one would fill each with zeros first,
        # which holds up one commit every two seconds at full rate.
        "wal_init_zero": "off",
    }
    async with (
        nginx() as sink,
        embedded_settings(given) as complete,
        aiohttp.ClientSession() as session,
        await open_pool(complete, size=2) as pool,
    ):
        opened = Stage(complete, pool, sink, session)
        try:
            yield opened
        finally:
            await opened.close()


async def until_quiet(opened: Stage, endpoint_ids: Sequence[str], count: int) -> None:
    """Wait until `count` deliveries to `endpoint_ids` are recorded."""
    async with asyncio.timeout(PATIENCE):
        while await opened.delivered(endpoint_ids) < count:  # noqa: ASYNC110 - it is another process we wait for
            await asyncio.sleep(0.1)


def _cpu(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0
