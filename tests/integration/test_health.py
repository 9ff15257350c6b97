"""The health and metrics routes as monitors ask for them: in full on the admin listener, status alone in public."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry, Counter, disable_created_metrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from migrations import runner
from publisher import readiness
from publisher.admin import admin_app
from publisher.api.app import health_routes
from publisher.delivery.outcome import Result
from publisher.health import Health, Observed, Status
from publisher.metrics import PublisherMetrics
from runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Client = TestClient[web.Request, web.Application]

disable_created_metrics()  # type: ignore[no-untyped-call]  # as the service does

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
REASON = "database at db.internal:5432 refused: password of heliograph"


@contextlib.asynccontextmanager
async def asking(app: web.Application) -> AsyncIterator[Client]:
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.fixture
def reasons() -> dict[str, str]:
    """What is wrong, by check; tests put it there."""
    return {"database:responseTime": "", "intake:progress": ""}


@pytest.fixture
def health(reasons: dict[str, str]) -> Health:
    checks = Health()
    checks.started()  # what the process does before is a test's of its own

    def add(name: str) -> None:
        async def check() -> None:
            if reasons[name]:
                raise ConnectionError(reasons[name])

        checks.add(name, check)

    for name in reasons:
        add(name)
    return checks


@pytest.fixture
def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    PublisherMetrics(made, profile="nordbastion")
    return made


@pytest.fixture
async def admin(registry: CollectorRegistry, health: Health) -> AsyncIterator[Client]:
    async with asking(admin_app(registry, health)) as client:
        yield client


@pytest.fixture
async def public(health: Health) -> AsyncIterator[Client]:
    app = web.Application()
    app.add_routes(health_routes(health))
    async with asking(app) as client:
        yield client


async def _get(client: Client, path: str) -> tuple[int, dict[str, Any]]:
    response = await client.get(path)
    assert response.content_type == "application/health+json"
    return response.status, orjson.loads(await response.read())


async def _checks(client: Client, path: str) -> tuple[int, str, dict[str, tuple[str, str | None]]]:
    """Return what the operator is told: code, status, and of each check status and output."""
    code, document = await _get(client, path)
    return (
        code,
        document["status"],
        {name: (each["status"], each.get("output")) for name, [each] in document["checks"].items()},
    )


# --- metrics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", [None, "*/*", "text/plain", "text/html,application/xhtml+xml,*/*;q=0.8"])
async def test_metrics_are_prometheus_text_for_whoever_asks(admin: Client, accept: str | None) -> None:
    response = await admin.get("/metrics", headers={"Accept": accept} if accept else {})
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    families = {family.name: family for family in parse_prometheus(await response.text())}
    results = {sample.labels["result"] for sample in families["heliograph_attempts"].samples}
    assert results == set(Result)
    assert "heliograph_build_info" in families


async def test_metrics_are_openmetrics_for_who_can_read_them(admin: Client) -> None:
    response = await admin.get("/metrics", headers={"Accept": OPENMETRICS})
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=")
    text = await response.text()
    assert text.endswith("# EOF\n")
    families = {family.name: family for family in parse_openmetrics(text)}  # type: ignore[no-untyped-call]
    assert families["heliograph_deliveries"].type == "counter"
    assert not any("_created" in sample.name for family in families.values() for sample in family.samples)


async def test_metrics_are_those_of_the_moment(admin: Client, registry: CollectorRegistry) -> None:
    counter = Counter("moments", "Counted by this test", registry=registry)
    for number in (0, 1):
        assert f"moments_total {number}.0\n" in await (await admin.get("/metrics")).text()
        counter.inc()


# --- admin health ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/readyz", "/health"])
async def test_all_is_well(admin: Client, path: str) -> None:
    passed = {"database:responseTime": ("pass", None), "intake:progress": ("pass", None)}
    assert await _checks(admin, path) == (200, "pass", passed)


@pytest.mark.parametrize("path", ["/readyz", "/health"])
async def test_one_failed_check_is_a_503_that_says_which_and_why(
    admin: Client, path: str, reasons: dict[str, str]
) -> None:
    reasons["database:responseTime"] = REASON
    failed = {"database:responseTime": ("fail", REASON), "intake:progress": ("pass", None)}
    assert await _checks(admin, path) == (503, "fail", failed)
    reasons["database:responseTime"] = ""
    assert (await _get(admin, path))[0] == 200


async def test_a_warning_is_told_and_the_process_is_ready(admin: Client, public: Client, health: Health) -> None:
    async def impaired() -> None:
        raise ConnectionError(REASON)

    health.add("signer:responseTime", impaired, otherwise=Status.WARN)
    code, status, checks = await _checks(admin, "/readyz")
    assert (code, status, checks["signer:responseTime"]) == (200, "warn", ("warn", REASON))
    assert await _get(public, "/health/ready") == (200, {"status": "warn"})


async def test_liveness_is_the_event_loop_alone(
    admin: Client, public: Client, health: Health, reasons: dict[str, str]
) -> None:
    reasons["database:responseTime"] = REASON
    assert await _checks(admin, "/livez") == (200, "pass", {})
    late = [0.1]
    health.watch_loop(lambda: Observed(late[0], "s"), limit=10.0)
    assert await _checks(admin, "/livez") == (200, "pass", {"eventLoop:lag": ("pass", None)})
    assert await _get(public, "/health/live") == (200, {"status": "pass"})
    late[0] = 12.34
    stuck = {"eventLoop:lag": ("fail", "the event loop was busy for 12.3 s")}
    assert await _checks(admin, "/livez") == (503, "fail", stuck)
    assert await _get(public, "/health/live") == (503, {"status": "fail"})


async def test_startup_is_over_once_and_for_all() -> None:
    health = Health()

    async def away() -> None:
        raise ConnectionError(REASON)

    starting = {"service:startup": ("fail", "the service is starting")}
    async with asking(admin_app(CollectorRegistry(), health)) as admin:
        for path in ("/startupz", "/readyz", "/health"):
            assert await _checks(admin, path) == (503, "fail", starting)
        assert await _checks(admin, "/livez") == (200, "pass", {})
        health.started()
        health.add("database:responseTime", away)
        assert await _checks(admin, "/startupz") == (200, "pass", {})
        assert (await _checks(admin, "/readyz"))[0] == 503


async def test_no_cache_keeps_what_the_operator_is_told(admin: Client) -> None:
    for path in ("/livez", "/readyz", "/startupz", "/health"):
        assert (await admin.get(path)).headers["Cache-Control"] == "no-store"


# --- the checks on real parts ----------------------------------------------------------------------------------------


async def test_the_database_is_asked_for_an_answer_and_for_its_schema(dsn: str) -> None:
    health, clock = Health(), SystemClock()
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        readiness.watch_database(health, pool, clock)
        found = (await health.report()).findings
        assert {name: each.status for name, each in found.items()} == {
            "database:responseTime": "pass",
            "database:migration": "pass",
        }
        assert found["database:migration"].observed == (runner.head(), None)
        for version, status in (("0001", "fail"), ("9999", "pass")):  # a later release's schema is fit for this one
            await pool.execute("UPDATE alembic_version SET version_num = $1", version)
            migration = (await health.report()).findings["database:migration"]
            assert (migration.status, migration.observed) == (status, (version, None))
            assert ("heliograph migrate" in migration.output) is (status == "fail")
        await pool.execute("DROP TABLE alembic_version")
        assert (await health.report()).findings["database:migration"].observed == ("none", None)


# --- public health ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
async def test_the_public_gets_the_status_and_nothing_else(public: Client, path: str, reasons: dict[str, str]) -> None:
    assert await _get(public, path) == (200, {"status": "pass"})
    reasons["intake:progress"] = REASON
    assert await _get(public, path) == (503, {"status": "fail"})


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz", "/startupz"])
async def test_the_admin_routes_are_not_public(public: Client, path: str) -> None:
    assert (await public.get(path)).status == 404
