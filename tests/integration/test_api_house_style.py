"""The same routes in another provider's clothes: what the profile says is all that changes, and all of it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.api import a_record, a_token, publish_credentials, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.settings import Settings
    from tests.support.api import Running

TINY = str(Path(__file__).parents[1] / "support" / "profiles" / "tiny.toml")
KEY = "tiny_k1_sesame"
NEW = {"url": "https://example.com/hooks", "events": ["server.*"]}


@pytest.fixture
async def tiny(settings: Settings) -> AsyncIterator[Running]:
    await publish_credentials(settings, {"k1": a_record(secret=KEY.rpartition("_")[2], scopes=["touch"])})
    async with running(settings, profile=TINY) as api:
        yield api


async def test_the_base_and_the_credential_headers(tiny: Running) -> None:
    assert (await tiny.nobody("GET", "/api/v2/webhooks", X_Api_Token=KEY)).status == 200
    assert (await tiny.nobody("GET", "/api/v2/webhooks", Authorization=f"Token {KEY}")).status == 200
    assert (await tiny.nobody("GET", "/api/v2/webhooks", Authorization=f"Bearer {KEY}")).status == 401
    assert (await tiny.nobody("GET", "/v1/webhooks", X_Api_Token=KEY)).status == 404
    token = a_token(scope="look")
    assert (await tiny.nobody("GET", "/api/v2/webhooks", X_Api_Token=token)).status == 200
    assert (await tiny.nobody("POST", "/api/v2/webhooks", NEW, X_Api_Token=token)).status == 403


async def test_envelopes_errors_and_headers(tiny: Running) -> None:
    caller = tiny.nobody.with_(X_Api_Token=KEY)
    made = await caller("POST", "/api/v2/webhooks", NEW)
    assert made.status == 201
    assert list(made.json) == ["success", "data"]
    webhook = made.json["data"]
    assert made.headers["Location"] == f"/api/v2/webhooks/{webhook['id']}"
    assert "X-Correlation-ID" in made.headers
    assert "X-Request-ID" not in made.headers
    assert made.headers["RateLimit-Limit"] == "60"
    assert "X-RateLimit-Limit" not in made.headers
    assert "RateLimit-Policy" not in made.headers
    refused = await caller("POST", "/api/v2/webhooks", {"url": "http://example.com/", "events": ["server.*"]})
    assert refused.status == 400
    [error] = refused.json["errors"]
    assert error["code"] == "VALIDATION_ERROR"
    assert error["field"] == "url"
    missing = await caller("GET", "/api/v2/webhooks/we_nothing")
    assert missing.json["errors"][0].keys() == {"code", "detail", "message"}
    replayed = [await caller("POST", "/api/v2/webhooks", NEW, X_Idempotency_Key="once") for _ in range(2)]
    assert replayed[0].content == replayed[1].content
    assert replayed[1].headers["X-Idempotency-Replayed"] == "true"


async def test_lists_offsets_and_plain_filters(tiny: Running) -> None:
    caller = tiny.nobody.with_(X_Api_Token=KEY)
    for _ in range(2):
        assert (await caller("POST", "/api/v2/webhooks", NEW)).status == 201
    assert (await caller("POST", "/api/v2/webhooks", NEW)).status == 400  # two are what this tier may have
    page = (await caller("GET", "/api/v2/webhooks?offset=1&limit=1&status=active")).json
    assert list(page) == ["success", "results", "total_result_count", "has_previous", "has_next"]
    assert len(page["results"]) == 1
    assert (page["total_result_count"], page["has_previous"], page["has_next"]) == (2, True, False)
    for unknown in ("page=1", "per_page=1", "filter[status]=active"):
        assert (await caller("GET", f"/api/v2/webhooks?{unknown}")).status == 400, unknown


async def test_only_what_the_provider_offers_can_be_subscribed(tiny: Running) -> None:
    caller = tiny.nobody.with_(X_Api_Token=KEY)
    types = (await caller("GET", "/api/v2/webhooks/event-types")).json["results"]
    assert {each["type"].partition(".")[0] for each in types} == {"server"}
    refused = await caller("POST", "/api/v2/webhooks", {**NEW, "events": ["topup.*"]})
    assert refused.status == 400
    assert "topup.*" in refused.json["errors"][0]["message"]


async def test_what_is_deprecated_says_so_on_every_answer(tiny: Running) -> None:
    caller = tiny.nobody.with_(X_Api_Token=KEY)
    webhook = (await caller("POST", "/api/v2/webhooks", NEW)).json["data"]["id"]
    answer = await caller("GET", f"/api/v2/webhooks/{webhook}/recoveries")
    assert answer.status == 200
    assert answer.headers["Deprecation"] == "true"
    assert answer.headers["Sunset"] == "Tue, 01 Dec 2026 00:00:00 GMT"
    assert '<https://tiny.example/docs/changes#recoveries>; rel="deprecation"' in answer.headers["Link"]
    refused = await caller("GET", "/api/v2/webhooks/we_nothing/recoveries")
    assert (refused.status, refused.headers["Deprecation"]) == (404, "true")
    assert "Deprecation" not in (await caller("GET", "/api/v2/webhooks")).headers
