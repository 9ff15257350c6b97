"""A customer's own numbers of a webhook: counted from the log, bounded, and nobody else's."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from publisher import stats
from publisher.log import id_range
from tests.support.desk import a_desk
from tests.support.histories import Histories, histories

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.desk import Desk


class Place(NamedTuple):
    """A desk, and a past to look back on."""

    desk: Desk
    past: Histories

    async def stats(self, webhook_id: str) -> dict[str, Any]:
        answer = await self.desk("GET", f"/webhooks/{webhook_id}/stats")
        assert answer.status == 200, answer
        said: dict[str, Any] = answer.json
        return said | {each["range"]: each for each in said["ranges"]}


@pytest.fixture
async def place(dsn: str) -> AsyncIterator[Place]:
    async with contextlib.AsyncExitStack() as stack:
        yield Place(await stack.enter_async_context(a_desk(dsn)), await stack.enter_async_context(histories(dsn)))


def ago(**length: float) -> datetime:
    return datetime.now(UTC) - timedelta(**length)


async def test_deliveries_are_counted_by_range_outcome_and_last_result(place: Place) -> None:
    past = place.past
    ours, other = await past.endpoint(), await past.endpoint()
    for minutes, state, result in [
        (5, "delivered", None), (6, "delivered", None), (7, "dropped", "timeout"), (8, "cancelled", None),
        (90, "dropped", "5xx"), (91, "delivered", None),
        (60 * 26, "delivered", None), (60 * 24 * 8, "dropped", "tls"),
    ]:  # fmt: skip
        await past.add(ours, state, at=ago(minutes=minutes), last_result=result)
    await past.add(other, "dropped", at=ago(minutes=5))
    for state in ("pending", "pending", "retry", "leased"):
        await past.add(ours, state, at=ago(minutes=1))
    said = await place.stats(ours)
    assert said["webhook_id"] == ours
    assert [each["range"] for each in said["ranges"]] == ["hour", "day", "week"]
    assert said["hour"]["outcomes"] == {"delivered": 2, "dropped": 1, "cancelled": 1}
    assert said["hour"]["results"] == {"2xx": 2, "timeout": 1}
    assert said["day"]["outcomes"] == {"delivered": 3, "dropped": 2, "cancelled": 1}
    assert said["day"]["results"] == {"2xx": 3, "timeout": 1, "5xx": 1}
    assert said["week"]["outcomes"] == {"delivered": 4, "dropped": 2, "cancelled": 1}
    assert all(said[name]["is_complete"] for name in ("hour", "day", "week"))
    assert said["waiting"] == {"pending": 2, "sending": 1, "retrying": 1}


async def test_latency_is_of_what_arrived_and_the_last_moments_are_the_newest(place: Place) -> None:
    past = place.past
    webhook_id = await past.endpoint()
    for number in range(1, 101):
        delivery_id = await past.add(webhook_id, "delivered", at=ago(minutes=5))
        await past.execute(
            "UPDATE deliveries SET ended_at = created_at + make_interval(secs => $2) WHERE id = $1", delivery_id, number
        )
    dropped = await past.add(webhook_id, "dropped", at=ago(minutes=50))
    said = await place.stats(webhook_id)
    assert said["hour"]["latency"] == pytest.approx({"p50": 50.5, "p95": 95.05, "p99": 99.01})
    ended = await past.pool.fetch("SELECT max(ended_at) FROM deliveries GROUP BY state ORDER BY state")
    assert [datetime.fromisoformat(said[name]) for name in ("last_delivered_at", "last_dropped_at")] == [
        row[0] for row in ended
    ]
    await past.execute("DELETE FROM deliveries WHERE id <> $1", dropped)
    alone = await place.stats(webhook_id)
    assert (alone["hour"]["latency"], alone["last_delivered_at"]) == (None, None)


async def test_a_new_webhook_has_nothing_to_count(place: Place) -> None:
    said = await place.stats(await place.past.endpoint())
    for each in said["ranges"]:
        assert each["outcomes"] == {"delivered": 0, "dropped": 0, "cancelled": 0}
        assert (each["results"], each["latency"], each["is_complete"]) == ({}, None, True)
    assert (said["last_delivered_at"], said["last_dropped_at"]) == (None, None)
    assert said["waiting"] == {"pending": 0, "sending": 0, "retrying": 0}


async def test_anothers_webhook_and_none_at_all_are_the_same_404(place: Place) -> None:
    webhook_id = await place.past.endpoint()
    await place.past.add(webhook_id, "dropped")
    stranger = place.desk.of("acct_2")
    answers = [
        await stranger("GET", f"/webhooks/{webhook_id}/stats"),
        await stranger("GET", "/webhooks/we_absent/stats"),
        await place.desk("GET", "/webhooks/we_%00/stats"),
    ]
    assert [answer.status for answer in answers] == [404, 404, 404]
    assert answers[0].json == answers[1].json == answers[2].json


async def test_no_account_reads_anothers_numbers_below_the_route_either(place: Place) -> None:
    webhook_id = await place.past.endpoint()
    for state in ("dropped", "pending"):
        await place.past.add(webhook_id, state, at=ago(minutes=5))
    async with place.past.pool.acquire() as connection:
        for account in ("acct_2", "no account"):
            found = await stats.of_endpoint(connection, account, webhook_id, now=datetime.now(UTC))
            assert found.ended["week"].outcomes["dropped"] == 0
            assert found.waiting == {"pending": 0, "leased": 0, "retry": 0}


BULK = """
WITH made AS (
    SELECT n, 'dlv_' || lpad(to_hex((extract(epoch FROM now() - n * interval '1 s') * 1000)::bigint), 12, '0')
              || lpad(to_hex(n), 20, '0') AS id
    FROM generate_series(1, $2::integer) AS n
)
INSERT INTO deliveries (account_id, id, endpoint_id, message_id, type, state, attempts, last_result, created_at)
SELECT 'acct_1', id, $1, 'msg_1', 'server.power.on', 'delivered', 1, '2xx', now() FROM made
"""


async def test_of_a_long_log_the_newest_are_counted_and_it_is_said(place: Place) -> None:
    webhook_id = await place.past.endpoint()
    await place.past.execute(BULK, webhook_id, 12_000)
    said = await place.stats(webhook_id)
    assert said["day"]["outcomes"]["delivered"] == said["week"]["outcomes"]["delivered"] == 10_000
    assert 3_590 <= said["hour"]["outcomes"]["delivered"] <= 3_600
    assert [each["is_complete"] for each in said["ranges"]] == [True, False, False]


async def test_the_log_is_read_by_its_index_however_much_of_others_is_in_it(place: Place) -> None:
    webhook_id = await place.past.endpoint()
    await place.past.execute(BULK, webhook_id, 100)
    for _ in range(4):
        await place.past.execute(BULK, await place.past.endpoint(), 10_000)
    async with place.past.pool.acquire() as connection:
        await connection.execute("ANALYZE deliveries")
        since = [id_range(datetime.now(UTC) - length, None)[0] for length in stats.RANGES.values()]
        plan = await connection.fetch(
            f"EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off, BUFFERS off) {stats.ENDED}",
            "acct_1", webhook_id, since[-1], "dlv_g", list(stats.RANGES), since, stats.QUANTILES,
        )  # fmt: skip
    removed = [
        int(number) for number in re.findall(r"Rows Removed by Filter: (\d+)", "\n".join(row[0] for row in plan))
    ]
    assert sum(removed) < 1000
