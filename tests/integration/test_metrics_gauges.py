"""The figures that are counted in the database: what waits, since when, and how endpoints stand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from consumers import announcements
from consumers.announcements import Announcement
from publisher.delivery.gate import Gate, Limits
from publisher.gauges import ENDPOINT_STATES, LANES, Counted, Gauges, count
from publisher.queue import LIVE_STATES
from tests.support.histories import Histories, histories
from tests.support.jobs import a_job, an_endpoint
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOTHING: dict[str, datetime | None] = {"first": None, "retry": None}


@pytest.fixture
async def past(dsn: str) -> AsyncIterator[Histories]:
    async with histories(dsn) as made:
        yield made


async def counted(
    past: Histories, *, unavailable: list[str] | None = None, circuits: list[str] | None = None
) -> Counted:
    async with past.pool.acquire() as connection:
        return await count(connection, unavailable=unavailable or [], open_circuits=circuits or [])


async def since(past: Histories, delivery_id: str, length: timedelta) -> datetime:
    due_at: datetime = await past.pool.fetchval(
        "UPDATE queue SET due_at = now() - $2::interval WHERE id = $1 RETURNING due_at", delivery_id, length
    )
    return due_at


async def test_an_empty_database_has_every_state_at_nothing(past: Histories) -> None:
    assert await counted(past) == (
        dict.fromkeys(LIVE_STATES, 0), NOTHING, dict.fromkeys(ENDPOINT_STATES, 0), (0, None)
    )  # fmt: skip


async def test_deliveries_are_counted_by_state_and_what_is_due_by_lane(past: Histories) -> None:
    endpoint_id = await past.endpoint()
    pending = [await past.add(endpoint_id, "pending") for _ in range(3)]
    retries = [await past.add(endpoint_id, "retry") for _ in range(2)]
    abandoned = await past.add(endpoint_id, "leased")
    await past.add(endpoint_id, "delivered")
    first = await since(past, pending[1], timedelta(minutes=7))
    retry = await since(past, retries[0], timedelta(minutes=2))
    found = await counted(past)
    assert found.deliveries == {"pending": 3, "leased": 1, "retry": 2}
    assert found.oldest_due == {"first": first, "retry": retry}
    lease_end = await since(past, abandoned, timedelta(minutes=9))
    assert (await counted(past)).oldest_due == {"first": lease_end, "retry": retry}
    await past.execute("UPDATE queue SET tried = 1, attempts = 1 WHERE id = $1", abandoned)
    assert (await counted(past)).oldest_due == {"first": first, "retry": lease_end}


async def test_what_is_due_later_is_not_due(past: Histories) -> None:
    await past.add(await past.endpoint(), "retry", due_in=3600)
    found = await counted(past)
    assert (found.deliveries["retry"], found.oldest_due) == (1, NOTHING)


async def test_what_its_endpoint_keeps_waiting_is_not_due_for_us(past: Histories) -> None:
    slow, quick = await past.endpoint(), await past.endpoint()
    await since(past, await past.add(slow, "pending"), timedelta(hours=3))
    recent = await since(past, await past.add(quick, "pending"), timedelta(seconds=5))
    assert (await counted(past, unavailable=[slow])).oldest_due == {"first": recent, "retry": None}
    assert (await counted(past, unavailable=[slow])).deliveries["pending"] == 2


async def test_endpoints_are_in_one_state_each(past: Histories) -> None:
    made = [await past.endpoint() for _ in range(6)]
    await past.execute("UPDATE endpoints SET status = 'paused' WHERE id = ANY ($1::text[])", made[:2])
    await past.execute("UPDATE endpoints SET status = 'disabled', disabled_reason = 'gone' WHERE id = $1", made[2])
    found = await counted(past, circuits=[made[0], made[2], made[3], "we_removed"])
    assert found.endpoints == {"active": 2, "paused": 2, "open_circuit": 1, "disabled": 1}


async def test_a_count_is_what_is_scraped(past: Histories) -> None:
    registry, clock = CollectorRegistry(), FakeClock(datetime(2026, 11, 1, tzinfo=UTC))
    gate = Gate(Limits(minimum=2), clock)
    gauges = Gauges(registry, past.pool, gate, clock)
    expected = {
        ("heliograph_queue_deliveries", "state", LIVE_STATES),
        ("heliograph_queue_oldest_due_timestamp_seconds", "lane", LANES),
        ("heliograph_endpoints", "state", ENDPOINT_STATES),
    }
    for name, label, values in expected:
        assert [registry.get_sample_value(name, {label: each}) for each in values] == [0] * len(values), name
    broken, well = await past.endpoint(), await past.endpoint()
    await since(past, await past.add(broken, "pending"), timedelta(hours=1))
    due_at = await since(past, await past.add(well, "pending"), timedelta(minutes=1))
    for number in range(2):
        job = a_job(f"dlv_{number}", endpoint=an_endpoint(endpoint_id=broken))
        gate.hold(job)
        gate.start(job, is_fresh=False)
        gate.end(job, is_fresh=False, succeeded=False)
        gate.let_go(job)
    async with past.pool.acquire() as connection:
        await announcements.announce(connection, [Announcement("canary.due", None, "canary", {})])
    await gauges.count()
    oldest = registry.get_sample_value("heliograph_queue_oldest_due_timestamp_seconds", {"lane": "first"})
    assert oldest == due_at.timestamp()
    clock.advance(31)  # a probe is due, which is one delivery and not the pile behind it
    await gauges.count()
    assert registry.get_sample_value("heliograph_queue_oldest_due_timestamp_seconds", {"lane": "first"}) == oldest
    assert registry.get_sample_value("heliograph_queue_deliveries", {"state": "pending"}) == 2
    states = {state: registry.get_sample_value("heliograph_endpoints", {"state": state}) for state in ENDPOINT_STATES}
    assert states == {"active": 1, "paused": 0, "open_circuit": 1, "disabled": 0}
    assert registry.get_sample_value("heliograph_announcements_waiting") == 1
    made_at = await past.pool.fetchval("SELECT created_at FROM announcements")
    assert registry.get_sample_value("heliograph_announcements_oldest_timestamp_seconds") == made_at.timestamp()
    assert registry.get_sample_value("heliograph_queue_counted_timestamp_seconds") == clock.unix()
    await past.execute("DELETE FROM queue")
    await past.execute("DELETE FROM announcements")
    await gauges.count()
    assert registry.get_sample_value("heliograph_queue_oldest_due_timestamp_seconds", {"lane": "first"}) == 0
    assert registry.get_sample_value("heliograph_announcements_oldest_timestamp_seconds") == 0
