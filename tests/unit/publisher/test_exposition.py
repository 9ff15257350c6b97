"""A scrape written in turns says what the library would write in one go, in both formats."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from publisher.exposition import scrape

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
#: What Prometheus sends: the first it can have is what it gets.
OF_PROMETHEUS = (
    f"{OPENMETRICS},application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
ACCEPTED = ["", "*/*", "text/plain", "text/html", OPENMETRICS, "application/openmetrics-text", OF_PROMETHEUS]

disable_created_metrics()  # type: ignore[no-untyped-call]  # as the service does


@pytest.fixture
def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Counter("requests", "Requests", ("result",), registry=made).labels("2xx").inc()
    Gauge("waiting", "What waits", registry=made).set(7)
    Histogram("duration_seconds", "How long", registry=made).observe(0.3)
    return made


@pytest.mark.parametrize("accept", ACCEPTED)
async def test_it_is_what_the_library_writes_in_one_go(registry: CollectorRegistry, accept: str) -> None:
    encode, content_type = choose_encoder(accept)
    made = await scrape(registry, accept)
    assert made.body == encode(registry)
    assert made.content_type == content_type
    assert made.body.count(b"# EOF\n") == content_type.startswith("application/openmetrics-text")


async def test_all_values_are_of_one_moment_whatever_happens_meanwhile(registry: CollectorRegistry) -> None:
    late = Gauge("z_last", "Written last", registry=registry)
    scraping = asyncio.create_task(scrape(registry, ""))
    turns = 0
    while not scraping.done():
        late.inc()
        turns += 1
        await asyncio.sleep(0)
    assert turns > len(list(registry.collect()))
    assert b"z_last 1.0\n" in scraping.result().body


async def test_nothing_registered_is_an_empty_scrape() -> None:
    assert (await scrape(CollectorRegistry(), "")).body == b""
    assert (await scrape(CollectorRegistry(), OPENMETRICS)).body == b"# EOF\n"
