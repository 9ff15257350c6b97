"""From Kafka to the reader: what control plane and compute API say becomes signed documents, pages and feeds."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import feedparser
import orjson
import pytest

from consumers import broker
from consumers.broker import Outgoing
from consumers.catalogue import CATALOGUE
from consumers.encode import cloud_event
from feeds.statuspage import ANSWERS
from feeds.statuspage_routes import BASE
from tests.support import gpg
from tests.support.api import running
from tests.support.process import ROOT, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.settings import Settings
    from tests.support.api import Caller

INCIDENT = "inc_2026_1107"


@pytest.fixture(scope="module")
def home() -> Iterator[gpg.Home]:
    with gpg.home() as made:
        made.make()
        yield made


async def say(settings: Settings, *records: Outgoing) -> None:
    producer = broker.KafkaProducer(settings)
    await producer.start()
    try:
        await producer.send(records)
    finally:
        await producer.stop()


def event(settings: Settings, kind: str, **changes: Any) -> Outgoing:

    data = CATALOGUE[kind].EXAMPLE | changes
    return cloud_event(settings.kafka_topic_events, kind, time=datetime.now(UTC), source="/cp", data=data)


def report(settings: Settings, component: str, status: str) -> Outgoing:
    told = {
        "type": "health.report",
        "component": component,
        "status": status,
        "checks": [],
        "time": datetime.now(UTC).isoformat(),
    }
    return Outgoing(settings.kafka_topic_telemetry, component.encode(), orjson.dumps(told), ())


async def test_facts_become_documents_that_everybody_can_verify(settings: Settings, home: gpg.Home) -> None:
    [fingerprint] = home.fingerprints()
    signing = {"feed_key": fingerprint, "gnupghome": str(home.path)}
    async with running(settings, "consume", "api", "sign", **signing) as service:
        get = service.nobody
        await until(lambda: is_there(get, "/v1/transparency/status.json"), "the first documents")
        await say(
            settings,
            event(settings, "incident.resolved"),  # before it was opened
            event(settings, "incident.opened"),
            event(settings, "peering.changed"),
            report(settings, "STO/compute", "major_outage"),
        )

        async def all_told() -> bool:
            incidents = (await get("GET", "/v1/transparency/incidents.json")).json.get("incidents", [])
            prefixes = (await get("GET", "/v1/transparency/peering.json")).json.get("prefixes", [])
            components = (await get("GET", "/v1/transparency/status.json")).json.get("components", [])
            worst = {each["id"]: each["status"] for each in components}
            is_whole = any(each["title"] and each["resolved_at"] for each in incidents)
            return is_whole and bool(prefixes) and worst.get("STO/compute") == "major_outage"

        await until(all_told, "every fact in its document")
        certificate = home.public(fingerprint)
        for feed in ("incidents", "peering", "status"):
            content = (await get("GET", f"/v1/transparency/{feed}.json")).content
            signature = (await get("GET", f"/v1/transparency/{feed}.json.asc")).content
            assert gpg.sequoia_detached(content, signature, certificate)[0] == fingerprint
        listed = (await get("GET", "/v1/transparency/incidents?filter[status]=resolved")).json
        assert [each["id"] for each in listed["data"]] == [INCIDENT]
        assert (await get("GET", f"/v1/transparency/incidents/{INCIDENT}")).json["resolved_at"]
        found = await get("GET", "/v1/transparency/peering/prefixes?filter[prefix]=185.243.217.40")
        assert [each["prefix"] for each in found.json["data"]] == ["185.243.217.0/24"]
        summary = (await get("GET", "/api/v2/summary.json")).json
        assert summary["status"]["indicator"] != "none"
        atom = feedparser.parse((await get("GET", "/history.atom")).content)
        assert atom.entries[0].title == "Packet loss towards Helsinki"
        for path in documented():
            assert (await get("HEAD", path)).status == 200, f"docs/feeds.md names {path}"
        for page, words in {
            "/status/": "Major outage",
            f"/status/incidents/{INCIDENT}": "Packet loss towards Helsinki",
            "/warrant-canary/": "canary",
            "/peering/": "185.243.217.0/24",
        }.items():
            answer = await get("GET", page)
            assert answer.status == 200
            assert words.lower() in answer.content.decode().lower()


async def test_the_stream_tells_of_a_new_document(settings: Settings, home: gpg.Home) -> None:
    [fingerprint] = home.fingerprints()
    signing = {"feed_key": fingerprint, "gnupghome": str(home.path)}
    async with running(settings, "consume", "api", "sign", **signing) as service:
        get = service.nobody
        await until(lambda: is_there(get, "/v1/transparency/status.json"), "the first documents")
        async with get.session.get(f"{get.url}/v1/transparency/stream") as stream:
            await say(settings, event(settings, "incident.opened"))
            told = set()
            async with asyncio.timeout(30):
                async for line in stream.content:
                    if line.startswith(b"event: "):
                        told.add(line.removeprefix(b"event: ").strip().decode())
                    if {"incidents", "status"} <= told:
                        break


async def test_nothing_unsigned_is_served_without_a_signer(settings: Settings) -> None:
    async with running(settings, "consume", "api") as service:
        await say(settings, event(settings, "incident.opened"))
        for feed in ("incidents", "peering", "status"):
            assert (await service.nobody("GET", f"/v1/transparency/{feed}.json")).status == 404


def documented() -> set[str]:
    """Return every address the document of the feeds names."""
    named = set(re.findall(r"`(/[^` ]+)`", (ROOT / "docs" / "feeds.md").read_text())) - {"/v1", BASE + "*.json"}
    signed = {each for each in named if re.fullmatch(r"/v1/transparency/\w+\.json", each)}
    assert len(signed) == 3
    return named | {f"{each}.asc" for each in signed} | {BASE + each for each in ANSWERS}


async def is_there(get: Caller, path: str) -> bool:
    return (await get("GET", path)).status == 200
