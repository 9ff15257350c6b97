"""Credentials in a real database, put there as a follower of the topic would."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from consumers import credentials
from consumers.credential_records import Credential, decode
from consumers.credentials import Credentials
from tests.support.fake_broker import FIRST_TIMESTAMP, Stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.clock import Clock
    from runtime.database import Connection, Pool

TOPIC = "controlplane.credentials"


def written(credential_id: str, value: bytes | None, offset: int, **where: Any) -> tuple[Stored, Credential]:
    """Return a record and what it says; partition 0 and a time that grows with the offset, unless told otherwise."""
    full = {"partition": 0, "timestamp": FIRST_TIMESTAMP + offset, **where}
    record = Stored(TOPIC, offset=offset, key=credential_id.encode(), value=value, headers=(), **full)
    return record, decode(record)


async def put(connection: Connection, reading: int, *found: tuple[Stored, Credential]) -> None:
    """Write records into a reading."""
    await credentials.put(connection, reading, [record for record, _ in found], found)


async def publish(pool: Pool, **values: bytes | None) -> None:
    """Read a topic that says this, from its beginning to its end."""
    async with pool.acquire() as connection:
        reading = await credentials.take_up(connection, TOPIC)
        start = reading.bookmarks[0].offset if reading.bookmarks else 0
        found = [written(name, value, offset) for offset, (name, value) in enumerate(values.items(), start)]
        await put(connection, reading.number, *found)
        assert await credentials.make_current(connection, reading.number)


async def found(pool: Pool, clock: Clock, credential_id: str) -> Credential | None:
    """Look a credential up, whatever anybody has in mind."""
    return await Credentials(pool.acquire, clock, keeps=False).get(credential_id)


class Watched:
    """A pool's connections: how many were asked for, and a gate that keeps them until it is opened again.

    What was read through a connection before the gate was shut is held back with it.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.has_read = asyncio.Event()

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        self.asked += 1
        async with self._pool.acquire() as connection:
            yield connection
            self.has_read.set()
            await self.gate.wait()
