"""Limits as a caller meets them: told on every answer, errors too, per key or address, and shared where that is set."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import pytest

from publisher import profiles
from publisher.api.limits import Limiter
from tests.support.api import a_record, publish_credentials, running
from tests.support.redis_server import redis_server

if TYPE_CHECKING:
    from pathlib import Path

    from runtime.settings import Settings
    from tests.support.api import Answer

READ, WRITE, AUTH = 12, 6, 3
WINDOW = 3600
NEW: dict[str, Any] = {"url": "https://example.com/hooks", "events": ["*"]}


@pytest.fixture
def few(tmp_path: Path) -> str:
    """NordBastion's profile with small limits in a long window."""
    text = (profiles.FOLDER / "nordbastion.toml").read_text()
    for old, new in {
        "read = 1000, write = 100, auth = 10": f"read = {READ}, write = {WRITE}, auth = {AUTH}",
        "window = 60": f"window = {WINDOW}",
        "rate = 5.0": "rate = 2.0",
    }.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = tmp_path / "few.toml"
    path.write_text(text)
    return str(path)


def told(answer: Answer) -> tuple[int, int]:
    """Return limit and what remains; check that both ways of telling it agree, and that times are to come."""
    headers = answer.headers
    limit, remaining = int(headers["X-RateLimit-Limit"]), int(headers["X-RateLimit-Remaining"])
    policy, quota, window = headers["RateLimit-Policy"].split(";")
    assert (quota, window) == (f"q={limit}", f"w={WINDOW}")
    assert headers["RateLimit"].startswith(f"{policy};r={remaining};t=")
    reset = int(headers["X-RateLimit-Reset"])
    assert time.time() - 1 < reset < time.time() + 2 * WINDOW
    if answer.status == 429:
        assert int(headers["Retry-After"]) >= reset - time.time() - 1
    else:
        assert "Retry-After" not in headers
    return limit, remaining


async def test_every_answer_tells_and_one_too_many_is_refused(settings: Settings, few: str) -> None:
    async with running(settings, profile=few) as api:
        caller = api.caller()
        paths = ["/v1/webhooks", "/v1/webhooks/we_nothing", "/v1/webhooks?page=0", "/v1/webhooks/event-types"]
        for number in range(READ):
            answer = await caller("GET", paths[number % len(paths)])
            assert told(answer) == (READ, READ - number - 1)
            assert answer.status in {200, 404, 422}
        for _ in range(3):
            refused = await caller("GET", "/v1/webhooks")
            assert (refused.status, refused.json["error"]["code"]) == (429, "rate_limited")
            assert told(refused) == (READ, 0)
        assert told(await caller("POST", "/v1/webhooks", NEW)) == (WRITE, WRITE - 1)  # a class of its own
        assert (await api.nobody("GET", "/health/ready")).status == 200


async def test_keys_and_addresses_are_counted_apart(settings: Settings, few: str) -> None:
    await publish_credentials(
        settings, {name: a_record(tier=tier) for name, tier in {"a": None, "b": "developer"}.items()}
    )
    async with running(settings, profile=few, trusted_proxies="127.0.0.1/32") as api:
        a, b = (api.nobody.bearer(f"nb_live_{name}_s3cret") for name in "ab")
        assert told(await a("GET", "/v1/webhooks")) == (READ, READ - 1)
        assert told(await a("GET", "/v1/webhooks")) == (READ, READ - 2)
        assert told(await b("GET", "/v1/webhooks")) == (2 * READ, 2 * READ - 1)
        assert told(await api.caller(sid="one")("GET", "/v1/webhooks")) == (READ, READ - 1)
        assert told(await api.caller(sid="two")("GET", "/v1/webhooks")) == (READ, READ - 1)
        strangers = [api.nobody.with_(X_Forwarded_For=address) for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1")]
        for stranger in strangers:
            for number, (method, path, status) in enumerate(
                [("GET", "/v1/webhooks", 401), ("GET", "/nothing", 404), ("PUT", "/v1/webhooks", 405),
                 ("GET", "/v1/openapi.json", 200), ("GET", "/v1/docs", 200)]
            ):  # fmt: skip
                answer = await stranger(method, path)
                assert answer.status == status
                assert told(answer) == (READ, READ - number - 1), (method, path)
        neighbour = api.nobody.with_(X_Forwarded_For="2001:db8::2")  # of the same /64
        assert told(await neighbour("GET", "/nothing")) == (READ, READ - 6)


async def test_guessing_keys_is_limited_by_address(settings: Settings, few: str) -> None:
    async with running(settings, profile=few) as api:
        answers = [await api.nobody.bearer(f"nb_live_{number}_guess")("GET", "/v1/webhooks") for number in range(20)]
        assert Counter(answer.status for answer in answers) == {401: READ, 429: 20 - READ}
        assert (await api.caller()("GET", "/v1/webhooks")).status == 200  # who has one is not in their way


async def test_a_rotation_counts_as_the_sensitive_thing_it_is(settings: Settings, few: str) -> None:
    async with running(settings, profile=few) as api:
        caller = api.caller()
        webhook = (await caller("POST", "/v1/webhooks", NEW)).json["id"]
        statuses = [(await caller("POST", f"/v1/webhooks/{webhook}/secret")).status for _ in range(AUTH + 2)]
        assert statuses == [200] * AUTH + [429] * 2


async def test_of_many_at_once_as_many_pass_as_may(settings: Settings, few: str) -> None:
    async with running(settings, profile=few) as api:
        caller = api.caller()
        answers = await asyncio.gather(*(caller("GET", "/v1/webhooks") for _ in range(60)))
        assert Counter(answer.status for answer in answers) == {200: READ, 429: 60 - READ}


async def test_two_services_with_one_store_have_one_limit(
    settings: Settings, few: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cast("Any", Limiter.__init__).__kwdefaults__, "patience", 30.0)  # a busy machine is not away
    async with redis_server() as server:
        store = {"profile": few, "ratelimit_store": server.url}
        async with running(settings, **store) as one, running(settings, **store) as other:
            answers = await asyncio.gather(
                *(api.caller()("GET", "/v1/webhooks") for _ in range(30) for api in (one, other))
            )
            assert Counter(answer.status for answer in answers) == {200: READ, 429: 60 - READ}
        async with server.client() as client:
            for key in await client.keys():
                assert b"127.0.0.1" not in key
                assert b"session" not in key
                assert 0 < await client.ttl(key) <= 2 * WINDOW
