"""The Statuspage API over HTTP: what browsers, caches and probes ask, and a program of others that reads it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from feeds import statuspage_routes
from feeds.pages import Site
from feeds.serving import Fixed
from feeds.statuspage import ANSWERS, Statuspage
from feeds.statuspage_routes import routes
from tests.support import feed_documents
from tests.support.feed_documents import Shelf, latest, shelf
from tests.support.feed_site import a_site
from tests.support.statuspage_answers import SHAPES

if TYPE_CHECKING:
    from collections.abc import Mapping

SITE = Site("NordBastion", "https://nordbastion.example/", "https://status.nordbastion.example", "/v1")
PATHS = sorted(ANSWERS)
EXPORTER = Path(sys.executable).with_name("statuspage-prometheus-exporter")
SECONDS = 60


async def test_every_answer_is_there_for_everyone(dsn: str) -> None:
    async with a_site(dsn, lambda _: routes(shelf(), SITE)) as ask:
        for path in PATHS:
            whole = await ask("GET", f"/api/v2/{path}")
            assert whole.status == 200
            SHAPES[path].model_validate_json(whole.content)
            assert whole.headers["Content-Type"] == "application/json"
            assert whole.headers["Access-Control-Allow-Origin"] == "*"
            assert whole.headers["Cache-Control"] == "public, max-age=10"
            assert whole.headers["Last-Modified"] == "Fri, 20 Nov 2026 01:30:00 GMT"
            head = await ask("HEAD", f"/api/v2/{path}")
            assert (head.status, head.content) == (200, b"")
            for name in ("ETag", "Content-Length", "Content-Type", "Last-Modified"):
                assert head.headers[name] == whole.headers[name]
            same = await ask("GET", f"/api/v2/{path}", If_None_Match=whole.headers["ETag"])
            assert (same.status, same.content) == (304, b"")
            assert (await ask("GET", f"/api/v2/{path}?_=1763602200")).content == whole.content
        assert (await ask("GET", "/api/v2/subscribers.json")).status == 404
        assert (await ask("POST", "/api/v2/summary.json", {})).status == 405


@pytest.mark.parametrize("missing", ["incidents", "status"])
async def test_nothing_is_said_before_both_documents_are_published(missing: str, dsn: str) -> None:
    held = shelf()
    setattr(held, missing, None)
    async with a_site(dsn, lambda _: routes(held, SITE)) as ask:
        for path in PATHS:
            refused = await ask("GET", f"/api/v2/{path}")
            assert refused.status == 404
            assert refused.json["error"]["type"] == "not_found"
        setattr(held, missing, getattr(shelf(), missing))
        assert (await ask("GET", "/api/v2/summary.json")).status == 200


async def test_an_answer_is_made_once_for_both_documents_and_anew_for_another(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    class CountedPage(Statuspage):
        def __init__(self, *given: Any) -> None:
            made.append("page")
            super().__init__(*given)

    class CountedAnswer(Fixed):
        def __init__(self, *given: Any, **more: Any) -> None:
            made.append("answer")
            super().__init__(*given, **more)

    monkeypatch.setattr(statuspage_routes, "Statuspage", CountedPage)
    monkeypatch.setattr(statuspage_routes, "Fixed", CountedAnswer)
    held = Shelf(latest(feed_documents.status()), latest(feed_documents.many_incidents(1_000)))
    async with a_site(dsn, lambda _: routes(held, SITE)) as ask:
        for _ in range(3):
            for path in PATHS:
                await ask("GET", f"/api/v2/{path}")
                await ask("HEAD", f"/api/v2/{path}")
        assert (made.count("page"), made.count("answer")) == (1, len(PATHS))
        for change in ("incidents", "status"):
            made.clear()
            document = getattr(feed_documents, change)()
            setattr(held, change, latest(document, number=2))
            for _ in range(3):
                await ask("GET", "/api/v2/summary.json")
            assert (made.count("page"), made.count("answer")) == (1, 1)


async def test_another_document_shows_at_once(dsn: str) -> None:
    held = Shelf(latest(feed_documents.quiet_status()), latest(feed_documents.no_incidents()))
    async with a_site(dsn, lambda _: routes(held, SITE)) as ask:
        before = await ask("GET", "/api/v2/summary.json")
        assert before.json["incidents"] == []
        later = feed_documents.NOW.replace(hour=2)
        held.incidents = latest(feed_documents.incidents(), number=2, published_at=later)
        after = await ask("GET", "/api/v2/summary.json", If_None_Match=before.headers["ETag"])
        assert [each["status"] for each in after.json["incidents"]] == ["monitoring"]
        assert after.headers["Last-Modified"] == "Fri, 20 Nov 2026 02:30:00 GMT"
        held.status = latest(feed_documents.status(), number=2)
        assert (await ask("GET", "/api/v2/status.json")).json["status"]["indicator"] == "minor"


class Exported:
    """What the exporter made of a page."""

    def __init__(self, text: str) -> None:
        self._samples = [each for family in text_string_to_metric_families(text) for each in family.samples]

    def of(self, name: str) -> list[tuple[Mapping[str, str], float]]:
        return [(each.labels, each.value) for each in self._samples if each.name == f"statuspage_{name}"]


async def exported(url: str, folder: Path) -> Exported:
    """Have the exporter look at a page once, as it is installed, and read what it writes for Prometheus."""
    services = folder / "services.json"
    services.write_bytes(orjson.dumps({"nb": {"name": "NordBastion", "url": f"{url}/api/v2/summary.json"}}))
    written = folder / "statuspage.prom"
    child = await asyncio.create_subprocess_exec(
        EXPORTER,
        cwd=folder,
        env={"RUN_MODE": "once", "SERVICES_JSON_PATH": str(services), "METRICS_TEXTFILE_PATH": str(written)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(SECONDS):
            said, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 0, said.decode()
    return Exported(written.read_text())


async def test_an_exporter_that_is_not_ours_reads_the_page(dsn: str, tmp_path: Path) -> None:
    held = shelf()
    async with a_site(dsn, lambda _: routes(held, SITE)) as ask:
        first = await exported(ask.url, tmp_path)
        assert first.of("probe_check") == [({"service_name": "NordBastion"}, 1.0)]
        assert first.of("service_status") == [({"service_name": "NordBastion"}, 0.0)]
        [(incident, _)] = first.of("incident_info")
        assert incident["incident_name"] == "Packet loss towards Helsinki"
        assert incident["impact"] == "minor"
        assert incident["affected_components"] == "Network (Helsinki)"
        assert incident["shortlink"].endswith("/status/incidents/inc_2026_1120")
        planned = {labels["maintenance_name"] for labels, _ in first.of("maintenance_info")}
        assert planned == {"Core router upgrade in Oslo", "Storage firmware in Reykjavik"}
        shown = {labels["component_name"]: value for labels, value in first.of("component_status")}
        assert len(shown) == 20
        down = {name for name, value in shown.items() if not value}
        assert down == {"Helsinki", "Network (Helsinki)", "Oslo", "Network (Oslo)"}

        held.status, held.incidents = latest(feed_documents.quiet_status()), latest(feed_documents.no_incidents())
        later = await exported(ask.url, tmp_path)
        assert later.of("service_status") == [({"service_name": "NordBastion"}, 1.0)]
        assert all(value == 1 for _, value in later.of("component_status"))
