"""The kit in front of real applications: what callers are told, and what of it arrives in Heliograph's metrics."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from heliograph_telemetry import Caller, Limits, Profile
from heliograph_telemetry.for_aiohttp import setup
from heliograph_telemetry.for_asgi import RateLimited
from publisher import telemetry
from publisher.app import Service
from tests.support.process import ROOT, until
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from heliograph_telemetry.for_asgi import Message, Receive, Scope, Send
    from runtime.settings import Settings

FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
AIOHTTP, ASGI = FENCE.findall((ROOT / "deploy" / "telemetry" / "README.md").read_text())
TOLD = {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit-Policy", "RateLimit"}
AUTH = 10


def told(headers: Any) -> set[str]:
    return {name for name in TOLD if name in headers}


def run(example: str, **names: Any) -> dict[str, Any]:
    exec(compile(example, "README.md", "exec"), names)  # noqa: S102 - our own document
    return names


# --- aiohttp ---------------------------------------------------------------------------------------------------------


async def answer(_: web.Request) -> web.Response:
    return web.json_response({})


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"streamed")
    return response


async def raise_(_: web.Request) -> web.Response:
    raise web.HTTPConflict


async def crash(_: web.Request) -> web.Response:
    raise RuntimeError("a bug")


@pytest.fixture
async def client() -> AsyncIterator[TestClient[web.Request, web.Application]]:
    app, below = web.Application(), web.Application()
    setup(
        app,
        Limits(Profile.load("nordbastion"), clock=FakeClock()),
        caller=lambda request: Caller.key(request.headers.get("Key", "k1"), request.headers.get("Tier")),
        policy=lambda method, path: None if path == "/free" else "auth" if method == "POST" else "read",
    )
    for path, handler in {"/": answer, "/free": answer, "/stream": stream, "/raise": raise_, "/crash": crash}.items():
        app.router.add_get(path, handler)
    app.router.add_post("/", answer)
    below.router.add_get("/", answer)
    app.add_subapp("/below", below)
    async with TestClient(TestServer(app)) as made:
        yield made


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/stream", 200), ("/raise", 409), ("/crash", 500), ("/nothing", 404), ("/below/", 200)],
)
async def test_every_answer_tells(client: TestClient[web.Request, web.Application], path: str, status: int) -> None:
    async with client.get(path) as found:
        assert found.status == status
        assert told(found.headers) == TOLD
        assert found.headers["X-RateLimit-Remaining"] == "999"
        assert found.headers["RateLimit-Policy"] == '"read";q=1000;w=60'
        assert "Retry-After" not in found.headers


async def test_what_has_no_limit_tells_nothing(client: TestClient[web.Request, web.Application]) -> None:
    async with client.get("/free") as found:
        assert (found.status, told(found.headers)) == (200, set())


async def test_one_too_many_is_refused_in_the_houses_envelope(client: TestClient[web.Request, web.Application]) -> None:
    statuses = [(await client.post("/", data=b"x" * 1000)).status for _ in range(AUTH + 2)]
    assert statuses == [200] * AUTH + [429] * 2
    async with client.post("/", headers={"X-Request-ID": "mine"}) as found:
        wait = int(found.headers["Retry-After"])
        assert 0 < wait <= 120
        assert found.headers["X-RateLimit-Remaining"] == "0"
        assert found.headers["X-Request-ID"] == "mine"
        assert found.content_type == "application/json"
        assert await found.json() == {
            "error": {
                "type": "rate_limited",
                "code": "rate_limited",
                "message": f"More than 10 auth requests in 60 seconds: wait {wait} seconds.",
                "request_id": "mine",
                "doc_url": "https://nordbastion.com/api/#errors",
            }
        }
    async with client.post("/", headers={"X-Request-ID": "not an id"}) as found:
        given = found.headers["X-Request-ID"]
        assert re.fullmatch(r"req_[0-9a-f]{32}", given)
        assert (await found.json())["error"]["request_id"] == given
    async with client.post("/", headers={"Key": "k2"}) as found:
        assert found.status == 200
    async with client.post("/", headers={"Key": "k3", "Tier": "developer"}) as found:
        assert found.headers["X-RateLimit-Limit"] == str(5 * AUTH)


# --- ASGI ------------------------------------------------------------------------------------------------------------


async def app_of_asgi(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        await send({"type": f"{scope['type']}.passed"})
        return
    await receive()
    await send({"type": "http.response.start", "status": 201, "headers": [(b"own", b"1")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def ask(app: Any, method: str = "GET", kind: str = "http", **changes: Any) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": kind, "method": method, "path": "/", "headers": [], "client": ("192.0.2.1", 1)} | changes
    await app(scope, receive, send)
    return sent


def headers(sent: list[Message]) -> dict[str, str]:
    assert all(name == name.lower() for name, _ in sent[0]["headers"])
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}


async def test_an_asgi_application_is_limited_as_the_readme_shows() -> None:
    app = run(ASGI, application=app_of_asgi)["application"]
    assert isinstance(app, RateLimited)
    sent = await ask(app)
    assert [each["type"] for each in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 201
    assert headers(sent)["own"] == "1"
    assert headers(sent)["x-ratelimit-remaining"] == "999"
    assert {name.lower() for name in TOLD} <= headers(sent).keys()


async def test_one_too_many_is_refused_in_asgi_too() -> None:
    app = RateLimited(
        app_of_asgi,
        Limits(Profile.load("nordbastion"), clock=FakeClock()),
        caller=lambda _: Caller.key("k1"),
        policy=lambda *_: "auth",
    )
    for _ in range(AUTH):
        assert (await ask(app))[0]["status"] == 201
    sent = await ask(app, headers=[(b"x-request-id", b"mine")])
    start, body = sent
    assert start["status"] == 429
    assert int(headers(sent)["retry-after"]) > 0
    assert headers(sent)["content-type"] == "application/json"
    assert int(headers(sent)["content-length"]) == len(body["body"])
    assert orjson.loads(body["body"])["error"]["request_id"] == headers(sent)["x-request-id"] == "mine"
    assert (await ask(app, "HEAD"))[1]["body"] == b""


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_what_is_no_request_passes_by(kind: str) -> None:
    limits = Limits(Profile.load("nordbastion"))
    app = RateLimited(app_of_asgi, limits, caller=lambda _: Caller.key("k1"))
    assert await ask(app, kind=kind) == [{"type": f"{kind}.passed"}]
    assert limits.windows.take_all() == []


async def test_what_has_no_limit_tells_nothing_in_asgi() -> None:
    limits = Limits(Profile.load("nordbastion"))
    app = RateLimited(app_of_asgi, limits, caller=lambda _: Caller.key("k1"), policy=lambda *_: None)
    assert headers(await ask(app)) == {"own": "1"}


# --- from request to metric ------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def consuming(settings: Settings) -> AsyncIterator[Callable[[], Any]]:
    """Run the service; yield what scrapes it."""
    stop = asyncio.Event()
    async with Service(settings, {"consume"}) as service, aiohttp.ClientSession() as session:
        running = asyncio.create_task(service.run(stop))

        async def scrape() -> list[str]:
            async with session.get(f"{service.addresses.admin}/metrics") as scraped:
                return (await scraped.text()).splitlines()

        try:
            yield scrape
        finally:
            stop.set()
            assert await running == 0


async def test_requests_become_metrics_through_kafka_as_the_readme_shows(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes of an API, in one window: both count."""
    monkeypatch.setattr(telemetry, "READ", 0.05)

    async def call() -> Counter[int]:
        example = run(AIOHTTP, BOOTSTRAP=settings.kafka_bootstrap, TOPIC=settings.kafka_topic_telemetry)
        example["app"].router.add_post("/secret", answer)
        async with TestClient(TestServer(example["app"])) as client:
            return Counter([(await client.post("/secret")).status for _ in range(AUTH + 5)])

    expected = {
        'compute_api_ratelimit_decisions_total{decision="allowed",policy="read"} 0.0',
        'compute_api_component_status{component="STO/compute",status="operational"} 1.0',
        'compute_api_component_status{component="STO/compute",status="stale"} 0.0',
        'compute_api_component_status{component="panel",status="stale"} 1.0',
        'compute_api_check_value{check="queued_jobs",component="STO/compute",unit="jobs"} 3.0',
        'compute_api_last_report_timestamp_seconds{component="panel"} 0.0',
    }
    async with consuming(settings) as scrape:
        statuses = await call() + await call()
        assert set(statuses) == {200, 429}
        expected |= {
            f'compute_api_ratelimit_decisions_total{{decision="allowed",policy="auth"}} {statuses[200]}.0',
            f'compute_api_ratelimit_decisions_total{{decision="limited",policy="auth"}} {statuses[429]}.0',
        }

        async def all_told() -> bool:
            return expected <= set(await scrape())

        await until(all_told, "what was decided, and how the component is")
