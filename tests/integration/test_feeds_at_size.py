"""However many facts there are, a feed takes as many queries; what stands as it did is not read again."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from ipaddress import ip_network
from itertools import islice
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from feeds import documents
from feeds.documents import Feed
from feeds.incident_facts import READ, IncidentFacts, IncidentLedger
from feeds.models import PeeringDocument
from feeds.peering_facts import STANDING, PeeringFacts
from publisher import profiles
from publisher.feed_publishing import open_feed_publishing
from tests.support.domain_events import an_event
from tests.support.feed_signers import Counting
from tests.support.incident_courses import opened, resolved, updated
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from consumers.events import Event
    from runtime.database import Pool

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
INCIDENTS, PREFIXES = 200, 1_000
#: Queries of ours, not of the driver.
OURS = re.compile("(FROM|INTO) (documents|document_signatures|incident_events|peering_|component_|feed_marks)")


def stories(count: int) -> list[Event]:
    """Return what is said of as many incidents, one in ten of which goes on."""
    made = []
    for number in range(count):
        about = {"incident_id": f"inc_{number:05}", "body": "What operators write of it. " * 4}
        made += [opened(number, **about), updated("monitoring", number + 5, **about)]
        made += [resolved(number + 9, **about)] if number % 10 else []
    return made


def networks(count: int) -> list[str]:
    return [str(each) for each in islice(ip_network("2a0e:8f02::/32").subnets(new_prefix=48), count)]


def announced(prefixes: Sequence[str]) -> Event:
    return an_event("peering.changed", changes=[{"op": "announce", "prefix": each} for each in prefixes])


class Queries(list[str]):
    """What was asked of the database."""

    async def watch(self, connection: Any) -> None:
        connection.add_query_logger(self._note)

    def _note(self, asked: Any) -> None:
        self.append(asked.query)


@pytest.fixture
def queries() -> Queries:
    return Queries()


@pytest.fixture
async def pool(dsn: str, queries: Queries) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4, setup=queries.watch) as made:
        yield made


async def tell(pool: Pool, *events: Event) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await IncidentFacts(lambda: None)(connection, events)
        await PeeringFacts(lambda: None)(connection, events)


async def test_queries_do_not_grow_with_facts_and_what_stands_is_not_read_again(pool: Pool, queries: Queries) -> None:
    clock, signer = FakeClock(NOW), Counting()
    publisher = open_feed_publishing(
        profiles.load("nordbastion"), pool=pool, signer=signer, clock=clock, on_published=lambda: None  # type: ignore[arg-type] # counts
    ).publisher  # fmt: skip

    async def asked(seconds: float) -> list[str]:
        clock.advance(seconds)
        queries.clear()
        await publisher.look()
        await asyncio.sleep(0)  # loggers are called soon
        return sorted(each for each in queries if OURS.search(each))

    told, prefixes = stories(INCIDENTS), networks(PREFIXES)
    first, second = len(stories(2)), len(stories(12))
    await tell(pool, *told[:first], announced(prefixes[:2]))
    assert await asked(0)
    await tell(pool, *told[first:second], announced(prefixes[2:3]))
    few = await asked(2)
    await tell(pool, *told[second:], announced(prefixes[3:]))
    many = await asked(2)
    assert few == many
    assert (many.count(READ), many.count(STANDING)) == (1, 1)  # the rows of incidents once for both of their feeds
    calm = await asked(61)
    assert calm
    assert not {READ, STANDING} & set(calm)
    assert not [each for each in calm if " content" in each]  # nor the document, to see that it is the same
    tomorrow = await asked(86_400)
    assert (tomorrow.count(READ), tomorrow.count(STANDING)) == (0, 1)
    async with pool.acquire() as connection:
        found = await documents.latest(connection, Feed.PEERING)
    assert found is not None
    made = PeeringDocument.model_validate_json(found.content)
    assert (len(made.prefixes), made.is_complete, made.as_of.date()) == (PREFIXES, True, clock.now().date())


async def test_a_ledger_is_read_again_when_something_was_said_and_not_before(pool: Pool, queries: Queries) -> None:
    ledger = IncidentLedger()

    async def read() -> list[str]:
        async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            return [each.status for each in (await ledger.read(connection)).incidents]

    assert await read() == []
    await tell(pool, opened(0))
    assert await read() == ["investigating"]
    queries.clear()
    assert await read() == ["investigating"]
    await asyncio.sleep(0)
    assert READ not in queries
    async with pool.acquire() as connection:  # another database in its place, as far along
        await connection.execute("TRUNCATE incident_events")
        await connection.execute("UPDATE feed_marks SET changed_at = changed_at - interval '1 day'")
    assert await read() == []
