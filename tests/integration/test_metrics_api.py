"""What the running API counts: requests by route, what limits decided, and what a removal cancels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from publisher import profiles
from publisher.api.operations import OPERATIONS
from tests.support.api import Running, running
from tests.support.histories import TYPE, Histories, histories

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.settings import Settings

WEBHOOK = "/v1/webhooks/{webhook_id}"
REQUESTS, DURATIONS = "heliograph_http_requests_total", "heliograph_http_request_duration_seconds_count"
DECISIONS, DELIVERIES = "heliograph_ratelimit_decisions_total", "heliograph_deliveries_total"


@pytest.fixture
async def here(settings: Settings) -> AsyncIterator[Running]:
    async with running(settings) as opened:
        yield opened


@pytest.fixture
async def past(dsn: str) -> AsyncIterator[Histories]:
    async with histories(dsn) as made:
        yield made


def counted(here: Running, name: str, **labels: str) -> float | None:
    return here.service.registry.get_sample_value(name, labels)


def routes(here: Running) -> set[str]:
    families = here.service.registry.collect()
    return {sample.labels["route"] for family in families for sample in family.samples if "route" in sample.labels}


async def test_every_route_is_there_before_the_first_request_and_no_request_makes_another(here: Running) -> None:
    base = profiles.load("nordbastion").base
    before = routes(here)
    assert {base + operation.path for operation in OPERATIONS} <= before
    assert {"unmatched", "/", "/status", "/api/v2/*", "/badges/*", "/health/*", "/v1/docs/*"} <= before
    assert len(before) < 60
    for path in (
        "/v1/webhooks/we_1",
        "/status/",
        "/status",
        "/badges/nobody.svg",
        "/v1/docs",
        "/nowhere",
        "/health/live",
    ):
        await here.nobody("GET", path)
    assert routes(here) == before
    assert counted(here, REQUESTS, method="GET", route=WEBHOOK, status="401") == 1
    assert counted(here, REQUESTS, method="GET", route="/health/*", status="200") == 1
    assert counted(here, REQUESTS, method="GET", route="unmatched", status="404") == 1


async def test_a_request_is_counted_with_its_status_and_timed(here: Running) -> None:
    caller = here.caller()
    await caller("GET", "/v1/webhooks")
    await caller("HEAD", "/v1/webhooks")
    await caller("POST", "/v1/webhooks", {"url": "https://receiver.example/hooks"})
    await caller("PUT", "/v1/webhooks")
    found = {
        each: counted(here, REQUESTS, method=each[0], route=each[1], status=each[2])
        for each in [
            ("GET", "/v1/webhooks", "200"), ("HEAD", "/v1/webhooks", "200"), ("POST", "/v1/webhooks", "422"),
            ("PUT", "unmatched", "405"), ("POST", "/v1/webhooks", "201"),
        ]
    }  # fmt: skip
    assert list(found.values()) == [1, 1, 1, 1, 0]
    assert counted(here, DURATIONS, method="GET", route="/v1/webhooks") == 1
    assert counted(here, DURATIONS, method="POST", route="/v1/webhooks") == 1


async def test_limits_say_what_they_decided(here: Running) -> None:
    caller = here.caller()
    for _ in range(12):
        await caller("POST", f"{WEBHOOK.replace('{webhook_id}', 'we_1')}/secret", {})
    assert counted(here, DECISIONS, policy="auth", decision="allowed") == 10
    assert counted(here, DECISIONS, policy="auth", decision="limited") == 2
    assert counted(here, DECISIONS, policy="write", decision="allowed") == 0
    assert counted(here, REQUESTS, method="POST", route=f"{WEBHOOK}/secret", status="429") == 2


async def test_what_waited_for_a_removed_webhook_is_counted_as_cancelled(here: Running, past: Histories) -> None:
    webhook_id = await past.endpoint()
    for state in ("pending", "pending", "retry", "leased", "dropped"):
        await past.add(webhook_id, state)
    await past.add(webhook_id, "pending", event_type="topup.confirmed")
    stranger, owner = here.caller("acct_2"), here.caller()
    assert [(await each("DELETE", f"/v1/webhooks/{webhook_id}")).status for each in (stranger, owner, owner)] == [
        404, 204, 404
    ]  # fmt: skip
    assert counted(here, DELIVERIES, type=TYPE, outcome="cancelled") == 3
    assert counted(here, DELIVERIES, type="topup.confirmed", outcome="cancelled") == 1
    assert counted(here, DELIVERIES, type=TYPE, outcome="dropped") == 0
