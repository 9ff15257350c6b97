"""The running service as monitoring finds it: a real Prometheus scrapes it, and no customer becomes a series."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from consumers import broker
from consumers.encode import cloud_event
from publisher.secrets import Owner, Vault
from tests.support.api import Caller, Running, running
from tests.support.jobs import KEY, SECRET
from tests.support.prometheus import complaints, needs_prometheus, prometheus
from tests.support.receiver import Receiver

if TYPE_CHECKING:
    from runtime.settings import Settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
ROLES = ("consume", "deliver", "api")
TYPE = "server.power.on"
ACCOUNTS, ENDPOINTS, DELIVERIES = 1_000, 5_000, 500

#: What the contract names, as Prometheus has it; the telemetry of the compute API has tests of its own.
NAMES = {
    "heliograph_events_ingested_total", "heliograph_deliveries_total", "heliograph_attempts_total",
    "heliograph_attempt_duration_seconds_bucket", "heliograph_delivery_latency_seconds_bucket",
    "heliograph_queue_deliveries", "heliograph_queue_oldest_due_timestamp_seconds", "heliograph_endpoints",
    "heliograph_kafka_lag_records", "heliograph_kafka_last_record_timestamp_seconds",
    "heliograph_kafka_rebalances_total", "heliograph_dead_letters_total",
    "heliograph_canary_issued_timestamp_seconds", "heliograph_canary_next_due_timestamp_seconds",
    "heliograph_canary_expiry_timestamp_seconds", "heliograph_canary_state",
    "heliograph_feed_published_timestamp_seconds", "heliograph_signatures_total",
    "heliograph_signature_duration_seconds_bucket", "heliograph_http_requests_total",
    "heliograph_http_request_duration_seconds_bucket", "heliograph_ratelimit_decisions_total",
    "heliograph_build_info", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
    "python_gc_collections_total",
}  # fmt: skip


def documented() -> set[str]:
    """Return the series of `docs/metrics.md`: a histogram is three."""
    names = set(re.findall(r"^\| `(heliograph_\w+)`", DOCUMENT.read_text(), re.MULTILINE))
    histograms = {name for name in names if re.search("_(duration|latency)_seconds$", name)}
    return (names - histograms) | {f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum")}


async def emit(settings: Settings, account: str, number: int) -> None:
    producer = broker.KafkaProducer(settings)
    await producer.start()
    try:
        await producer.send(
            cloud_event(
                settings.kafka_topic_events, TYPE, time=datetime(2026, 11, 1, tzinfo=UTC), source="/test",
                account=account, event_id=f"e{each}",
            )
            for each in range(number)
        )  # fmt: skip
    finally:
        await producer.stop()


async def subscribe(here: Running, account: str, receiver: Receiver) -> str:
    answer = await here.caller(account)("POST", "/v1/webhooks", {"url": receiver.url, "events": ["*"]})
    assert answer.status == 201, answer
    receiver.trust(answer.json["secret"])
    webhook_id: str = answer.json["id"]
    return webhook_id


def series(here: Running) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Return the series there are, but for those of partitions, which come and go with them."""
    return {
        (sample.name, frozenset(sample.labels.items()))
        for family in here.service.registry.collect()
        for sample in family.samples
        if "partition" not in sample.labels
    }


def counted(here: Running, name: str, **labels: str) -> float:
    value = here.service.registry.get_sample_value(name, labels)
    assert value is not None, (name, labels)
    return value


async def until(here: Running, expected: float, name: str, **labels: str) -> None:
    async with asyncio.timeout(30):
        while counted(here, name, **labels) != expected:  # noqa: ASYNC110 - a counter announces itself to nobody
            await asyncio.sleep(0.02)


async def scraped(here: Running, accept: str = "") -> bytes:
    answer = await Caller(here.admin, here.nobody.session)("GET", "/metrics", Accept=accept)
    assert answer.status == 200
    return answer.content


@needs_prometheus
async def test_a_real_prometheus_scrapes_the_service_and_knows_what_it_did(settings: Settings, tmp_path: Path) -> None:
    """Some seconds: two servers that are not ours start, and scrape."""
    async with Receiver().listening() as receiver, running(settings, *ROLES) as here:
        async with prometheus(tmp_path, here.admin.removeprefix("http://")) as watching:
            await watching.until("up", 1)
            webhook_id = await subscribe(here, "acct_1", receiver)
            await emit(settings, "acct_1", 3)
            await receiver.until(lambda r: len(r.received) == 3)
            await here.caller("acct_2")("GET", f"/v1/webhooks/{webhook_id}")
            await here.nobody("GET", f"/{webhook_id}")
            await watching.until(f'heliograph_deliveries_total{{type="{TYPE}",outcome="delivered"}}', 3)
            assert await watching.value("sum(heliograph_deliveries_total)") == 3
            assert await watching.value(f'heliograph_events_ingested_total{{type="{TYPE}",result="new"}}') == 3
            assert await watching.query("heliograph_attempts_total > 0") == {(("result", "2xx"),): 3}
            assert await watching.value('heliograph_delivery_latency_seconds_count{attempt="first"}') == 3
            assert await watching.value('heliograph_attempt_duration_seconds_bucket{result="2xx",le="30.0"}') == 3
            webhook = "/v1/webhooks/{webhook_id}"
            await watching.until(f'heliograph_http_requests_total{{method="GET",route="{webhook}",status="404"}}', 1)
            assert (
                await watching.value('heliograph_http_requests_total{route="unmatched",status="404",method="GET"}') == 1
            )
            asked = 'heliograph_http_request_duration_seconds_count{method="POST",route="/v1/webhooks"}'
            assert await watching.value(asked) == 1
            assert await watching.value('heliograph_ratelimit_decisions_total{policy="write",decision="allowed"}') == 1
            assert await watching.value("sum(heliograph_ratelimit_decisions_total)") == 3
            assert await watching.value('heliograph_canary_state{state="missing"}') == 1
            assert len(await watching.query("heliograph_build_info")) == 1
            names = await watching.names()
            assert not NAMES - names
            assert not [name for name in names if name.endswith("_created")]
        plain, openmetrics = await scraped(here), await scraped(here, OPENMETRICS)
    assert await complaints(plain) == ""
    assert documented() == {name for name in names if name.startswith("heliograph_")}
    families = list(parse_openmetrics(openmetrics.decode()))  # type: ignore[no-untyped-call]  # the library's
    assert not [family.name for family in families if not family.documentation or family.name.endswith("_created")]


@needs_prometheus
async def test_what_is_not_in_order_would_be_noticed() -> None:
    assert await complaints(b"# HELP badlyNamed A counter\n# TYPE badlyNamed counter\nbadlyNamed 1\n")


SEALED = """
INSERT INTO endpoint_secrets (account_id, endpoint_id, version, key_id, sealed) VALUES ($1, $2, 1, $3, $4)
"""
FILL = """
WITH made AS (SELECT n, 'acct_' || n % $1::integer AS account_id, 'we_' || lpad(n::text, 32, '0') AS id
              FROM generate_series(0, $2::integer - 1) AS n)
INSERT INTO endpoints (account_id, id, url, events) SELECT account_id, id, $3 || n, '{*}' FROM made
RETURNING account_id, id
"""
PENDING = """
WITH given AS (
    SELECT account_id, id AS endpoint_id, replace(id, 'we_', 'msg_') AS message_id FROM endpoints WHERE id < $1
), stored AS (
    INSERT INTO messages (account_id, id, type, body) SELECT account_id, message_id, $2, '{}' FROM given
)
INSERT INTO queue (account_id, id, endpoint_id, message_id, type, state, due_at)
SELECT account_id, replace(message_id, 'msg_', 'dlv_'), endpoint_id, message_id, $2, 'pending', now() FROM given
"""


async def test_a_thousand_customers_change_no_series(settings: Settings) -> None:
    """A few seconds: a consumer joins, and hundreds of deliveries are made."""
    vault = Vault(settings.keys())
    async with Receiver().listening() as receiver, running(settings, *ROLES) as here:
        await subscribe(here, "acct_first", receiver)
        await emit(settings, "acct_first", 1)
        await until(here, 1, "heliograph_deliveries_total", type=TYPE, outcome="delivered")
        before = series(here)
        connection = await asyncpg.connect(settings.dsn())
        endpoints = await connection.fetch(FILL, ACCOUNTS, ENDPOINTS, f"{receiver.url}/of-a-customer-")
        receiving = sorted(endpoints, key=lambda row: row["id"])[:DELIVERIES]
        receiver.trust(SECRET)
        await connection.executemany(
            SEALED,
            [(account, each, *vault.seal(KEY, Owner(account, each, 1))) for account, each in receiving],
        )
        await connection.execute(PENDING, f"we_{DELIVERIES:032}", TYPE)
        await until(here, 1 + DELIVERIES, "heliograph_deliveries_total", type=TYPE, outcome="delivered")
        for number in range(20):
            await here.caller(f"acct_{number}")("GET", f"/v1/webhooks/we_{number:032}/stats")
            await here.caller(f"acct_{number}")("GET", f"/v1/of-a-customer-{number}")
        await connection.close()
        after = series(here)
        whole = (await scraped(here)).decode()
    assert after == before
    values = {value for _, labels in after for _, value in labels}
    assert not [value for value in values if any(part in value for part in ("acct", "we_", "127.0.0.1", "customer"))]
    assert not [part for part in ("acct_", "we_0", "dlv_", "msg_", receiver.url, "of-a-customer") if part in whole]
