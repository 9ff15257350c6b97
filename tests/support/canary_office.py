"""Who signs canaries and who publishes them: keys of every kind in one home, the public ones in a folder, a database.

Everything happens in 2024, by a clock that moves when told to: keys and signatures are made by it too.
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from feeds import canary_publishing, canary_standing, documents
from feeds.canary_publishing import RefusedError
from feeds.documents import Feed
from publisher.fanout import FanOut
from publisher.ids import Ids
from publisher.intake import everything_waits, nobody
from signer.canary_judge import Pins
from tests.support import canaries
from tests.support.directories import a_directory, register
from tests.support.gpg import FOREVER, Home, home
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from consumers.loop import Handler
    from feeds.canary_publishing import Publication
    from feeds.documents import Published
    from signer.canary_check import Reason
    from signer.canary_dates import State
    from signer.statement import Document

    Connection = asyncpg.Connection[asyncpg.Record]

KEYS_MADE = datetime(2024, 1, 1, tzinfo=UTC)
#: When the first canary is issued, and published an hour later.
ISSUED = datetime(2024, 11, 1, 9, 30, tzinfo=UTC)
NOW = ISSUED + timedelta(hours=1)
PUBLIC_URL = "https://heliograph.example"
LOCATION = f"{PUBLIC_URL}/v1/transparency/canary"


def as_gpg(moment: datetime) -> str:
    """Return a moment as gpg takes it."""
    return f"{moment:%Y%m%dT%H%M%S}"


def faults(error: RefusedError) -> list[Reason]:
    """Return why a verdict was against it."""
    assert error.verdict is not None
    return [each.reason for each in error.verdict.faults]


def standings(error: RefusedError) -> list[str]:
    """Return what each signature was worth."""
    assert error.verdict is not None
    return [str(each.standing) for each in error.verdict.signatures]


@dataclass(frozen=True)
class Office:
    """Alice has a primary key that only certifies and two subkeys that sign; Carol's key expires at the end of October.

    Mallory is a stranger, whose public key is in the folder all the same.
    """

    home: Home
    folder: Path
    alice: str
    subkeys: tuple[str, str]
    bob: str
    carol: str
    mallory: str

    def pins(self, *keys: str, threshold: int = 2) -> Pins:
        """Pin `keys`, or Alice, Bob and Carol."""
        return Pins(keys or (self.alice, self.bob, self.carol), threshold, self.folder)

    def first(self, now: datetime = ISSUED, **changes: Any) -> Document:
        """Return a first canary."""
        return canaries.first(now, **(self._signers() | changes))

    def successor(self, previous: Document, now: datetime, **changes: Any) -> Document:
        """Return the one after `previous`."""
        return canaries.successor(previous, now, **(self._signers() | changes))

    def retirement(self, **changes: Any) -> Document:
        """Return a retirement, signed long before."""
        return canaries.retirement(**({"now": ISSUED - timedelta(days=90)} | self._signers() | changes))

    def signed(self, content: bytes, *keys: str, at: datetime | None = None) -> dict[str, bytes]:
        """Sign with `keys`, or a subkey of Alice's and Bob's key; return signatures by name."""
        keys = keys or (self.subkeys[0], self.bob)
        moment = as_gpg(at or ISSUED + timedelta(minutes=5))
        return {f"{number}.asc": self.home.sign(content, key=key, at=moment) for number, key in enumerate(keys)}

    def _signers(self) -> dict[str, Any]:
        return {"signers": (self.alice, self.bob, self.carol)}


@contextlib.contextmanager
def office() -> Iterator[Office]:
    """Make the keys."""
    made = as_gpg(KEYS_MADE)
    with home() as keys, tempfile.TemporaryDirectory(prefix="hgp-") as folder:
        alice = keys.make("Alice <a@provider.example>", usage="cert", expires=FOREVER, at=made)
        subkeys = (
            keys.add_subkey(alice, expires=FOREVER, at=made),
            keys.add_subkey(alice, expires=FOREVER, at=made),
        )
        bob = keys.make("Bob <b@provider.example>", expires=FOREVER, at=made)
        carol = keys.make("Carol <c@provider.example>", expires="300d", at=made)
        mallory = keys.make("Mallory <m@evil.example>", expires=FOREVER, at=made)
        for number, key in enumerate((alice, bob, carol, mallory)):
            Path(folder, f"{number}.asc").write_bytes(keys.public(key))
        yield Office(keys, Path(folder), alice, subkeys, bob, carol, mallory)


class Press:
    """A database to publish into, with a fan-out as the command line has it."""

    def __init__(self, connection: Connection, office: Office) -> None:
        self.connection = connection
        self.office = office
        self.clock = FakeClock(NOW)
        self.directory = a_directory()
        self.woken = 0
        self.fan_out = FanOut(
            directory=self.directory,
            ids=Ids(self.clock),
            rng=Random(1),
            lease_seconds=30.0,
            choose=everything_waits,
            submit=nobody,
            wake=self._wake,
            full=frozenset,
        )

    def _wake(self) -> None:
        self.woken += 1

    async def subscribe(self, *filters: str, account: str) -> str:
        """Register an endpoint; return its id."""
        endpoint_id, _ = await register(self.directory, self.connection, account=account, events=filters)
        return endpoint_id

    async def publish(
        self,
        document: Document | bytes,
        signatures: Mapping[str, bytes] | None = None,
        *,
        acknowledged: tuple[str, ...] = (),
        pins: Pins | None = None,
        announce: Handler | None = None,
        connection: Connection | None = None,
    ) -> Publication:
        """Publish as the command line does, with signatures of Alice and Bob when none are given."""
        content = document if isinstance(document, bytes) else document.content
        return await canary_publishing.publish(
            connection or self.connection,
            content,
            self.office.signed(content, at=self.clock.now()) if signatures is None else signatures,
            pins=pins or self.office.pins(),
            acknowledged=acknowledged,
            clock=self.clock,
            announce=announce or self.fan_out,
            source=PUBLIC_URL,
            location=LOCATION,
        )

    async def second(self, days: float = 25, **changes: Any) -> tuple[Document, Document]:
        """Publish a first canary; return it, and the one after it, not published yet, issued `days` later, now."""
        first = self.office.first()
        await self.publish(first)
        self.clock.advance(days * 86_400)
        return first, self.office.successor(first, self.clock.now() - timedelta(minutes=30), **changes)

    async def refused(self, *arguments: Any, **options: Any) -> RefusedError:
        """Publish what must be refused, and see that nothing came of it."""
        before = await self._left()
        with pytest.raises(RefusedError) as caught:
            await self.publish(*arguments, **options)
        assert await self._left() == before
        return caught.value

    async def _left(self) -> tuple[int, list[str]]:
        return await documents.count(self.connection, Feed.CANARY), await self.deliveries()

    async def state(self, pins: Pins | None = None) -> State:
        """Return how the newest canary stands."""
        now = self.clock.now()
        return (await canary_standing.read(self.connection, pins or self.office.pins(), now)).state(now)

    async def newest(self) -> Published | None:
        """Return what is stored last."""
        return await documents.latest(self.connection, Feed.CANARY)

    async def deliveries(self) -> list[str]:
        """Return which endpoints are told of something, each as often as it is."""
        return [row[0] for row in await self.connection.fetch("SELECT endpoint_id FROM queue ORDER BY endpoint_id")]

    async def tamper(self, statement: str, *arguments: object) -> None:
        """Change rows as somebody who owns the database can."""
        for table in ("documents", "document_signatures"):
            await self.connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await self.connection.execute(statement, *arguments)


@contextlib.asynccontextmanager
async def press(dsn: str, office: Office) -> AsyncIterator[Press]:
    """Open a connection to a database with nothing in it."""
    connection = await asyncpg.connect(dsn)
    try:
        yield Press(connection, office)
    finally:
        await connection.close()
