"""Documents of the feeds over HTTP: exact bytes, their signature, what a client has already, and signed on demand."""

from __future__ import annotations

import base64
import gzip
import hashlib
from typing import TYPE_CHECKING

import orjson
import pytest

from feeds import feed_routes
from feeds.documents import Feed
from feeds.models import IncidentsDocument, StatusDocument
from publisher import profiles
from signer.pgp import Keyring
from tests.support import feed_documents, gpg
from tests.support.described import NORDBASTION, TINY, check
from tests.support.feed_signers import a_signer
from tests.support.feed_stage import ARMORED, Stage, a_stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pydantic import BaseModel

BASE = "/v1/transparency"
FEEDS: dict[str, Callable[[], BaseModel]] = {
    "peering": feed_documents.peering,
    "incidents": feed_documents.incidents,
    "status": feed_documents.status,
}
NAMED = {
    "status": "StatusDocument", "status.json": "StatusDocument", "incidents.json": "IncidentsDocument",
    "peering": "PeeringDocument", "peering.json": "PeeringDocument",
}  # fmt: skip


@pytest.fixture
async def stage(dsn: str) -> AsyncIterator[Stage]:
    async with a_stage(dsn) as made:
        yield made


def digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


async def test_nothing_published_yet_is_a_404_in_the_envelope(stage: Stage) -> None:
    for feed in FEEDS:
        for name in ("", ".json", ".json.asc", "/documents/1.json", "/documents/1.json.asc"):
            answer = await stage.ask("GET", f"{BASE}/{feed}{name}")
            assert (answer.status, answer.json["error"]["code"]) == (404, "not_found"), (feed, name)


async def test_the_bytes_that_were_signed_are_served_under_every_name(stage: Stage) -> None:
    for name, document in FEEDS.items():
        stored = await stage.publish(Feed(name), document())
        names = [f"{name}.json", f"{name}/documents/1.json"] + ([name] if name != "incidents" else [])
        for each in names:
            answer = await stage.ask("GET", f"{BASE}/{each}", Accept_Encoding="identity")
            assert (answer.status, answer.content) == (200, stored.content), each
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.headers["Content-Digest"] == digest(stored.content)
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert answer.headers["Vary"] == "Accept-Encoding, X-NB-Sign"
            assert answer.headers["Link"].startswith(f"<{'1' if 'documents' in each else name}.json.asc>")
            if each in NAMED:
                check(NORDBASTION, {"$ref": f"#/components/schemas/{NAMED[each]}"}, answer.json)
        for each in (f"{name}.json.asc", f"{name}/documents/1.json.asc"):
            signed = await stage.ask("GET", f"{BASE}/{each}")
            assert (signed.content, signed.headers["Content-Type"]) == (ARMORED, "application/pgp-signature")


async def test_how_long_a_cache_may_keep_it(stage: Stage) -> None:
    await stage.publish(Feed.STATUS, feed_documents.quiet_status())
    for name, control, place in (
        ("status", "public, max-age=10, stale-while-revalidate=30", "status/documents/1.json"),
        ("status.json", "public, no-cache", "status/documents/1.json"),
        ("status.json.asc", "public, no-cache", "status/documents/1.json.asc"),
        ("status/documents/1.json", "public, max-age=31536000, immutable", None),
        ("status/documents/1.json.asc", "public, max-age=31536000, immutable", None),
    ):
        answer = await stage.ask("GET", f"{BASE}/{name}")
        assert answer.headers["Cache-Control"] == control, name
        assert answer.headers.get("Content-Location") == place
        assert answer.headers["Last-Modified"] == "Fri, 20 Nov 2026 01:30:00 GMT"


async def test_head_tags_and_dates(stage: Stage) -> None:
    await stage.publish(Feed.STATUS, feed_documents.quiet_status())
    for name in ("status", "status.json", "status.json.asc", "status/documents/1.json"):
        whole = await stage.ask("GET", f"{BASE}/{name}", Accept_Encoding="identity")
        head = await stage.ask("HEAD", f"{BASE}/{name}", Accept_Encoding="identity")
        assert (head.status, head.content, head.headers["ETag"]) == (200, b"", whole.headers["ETag"])
        assert head.headers["Content-Length"] == str(len(whole.content))
        tag = whole.headers["ETag"]
        same = await stage.ask("GET", f"{BASE}/{name}", If_None_Match=tag, Accept_Encoding="identity")
        assert (same.status, same.content) == (304, b"")
        dated = await stage.ask("GET", f"{BASE}/{name}", If_Modified_Since=whole.headers["Last-Modified"])
        assert dated.status == 304
        assert (await stage.ask("POST", f"{BASE}/{name}")).status == 405
        refused = await stage.ask("GET", f"{BASE}/{name}?x=1")
        assert (refused.status, refused.json["error"]["code"]) == (422, "unknown_parameter")


async def test_another_document_takes_its_place_and_the_old_one_stays(stage: Stage) -> None:
    old = await stage.publish(Feed.STATUS, feed_documents.quiet_status())
    first = await stage.ask("GET", f"{BASE}/status")
    new = await stage.publish(Feed.STATUS, feed_documents.status())
    second = await stage.ask("GET", f"{BASE}/status", If_None_Match=first.headers["ETag"])
    assert (second.status, second.content) == (200, new.content)
    assert second.headers["Content-Location"] == "status/documents/2.json"
    assert (await stage.ask("GET", f"{BASE}/status/documents/1.json")).content == old.content


async def test_a_large_document_comes_packed_to_who_takes_that(stage: Stage) -> None:
    stored = await stage.publish(Feed.INCIDENTS, feed_documents.many_incidents(200))
    assert len(stored.content) > feed_routes.LARGE
    answer = await stage.ask("GET", f"{BASE}/incidents.json", Accept_Encoding="gzip")
    assert answer.content == stored.content  # the client has unpacked it
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Content-Digest"] == digest(gzip.compress(stored.content, mtime=0))


async def test_requests_cost_no_database(stage: Stage) -> None:
    await stage.publish(Feed.STATUS, feed_documents.status())
    await stage.publish(Feed.INCIDENTS, feed_documents.incidents())
    await stage.pool.execute("ALTER TABLE documents RENAME TO away")
    for name in ("status", "status.json", "status.json.asc", "incidents", f"incidents/{feed_documents.OPEN.id}"):
        assert (await stage.ask("GET", f"{BASE}/{name}")).status == 200, name


@pytest.mark.parametrize("number", ["0", "01", "2", "x", "-1", "99999999999999999999", "%D9%A1"])
async def test_numbers_there_are_not_are_a_404(stage: Stage, number: str) -> None:
    await stage.publish(Feed.STATUS, feed_documents.status())
    for ending in ("json", "json.asc"):
        assert (await stage.ask("GET", f"{BASE}/status/documents/{number}.{ending}")).status == 404


# --- the list of incidents --------------------------------------------------------------------------------------------


async def ids(stage: Stage, query: str = "") -> list[str]:
    answer = await stage.ask("GET", f"{BASE}/incidents?{query}")
    assert answer.status == 200, answer.content
    return [each["id"] for each in answer.json["data"]]


async def test_incidents_are_a_list_of_the_house(stage: Stage) -> None:
    document = feed_documents.incidents()
    await stage.publish(Feed.INCIDENTS, document)
    answer = await stage.ask("GET", f"{BASE}/incidents?per_page=2&page=2&filter[kind]=incident")
    assert answer.json["meta"] == {"page": 2, "per_page": 2, "total": 4, "total_pages": 2, "is_complete": True}
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    for each in answer.json["data"]:
        check(NORDBASTION, {"$ref": "#/components/schemas/Reported"}, each)
    began = [each["started_at"] for each in (await stage.ask("GET", f"{BASE}/incidents")).json["data"]]
    assert began == sorted(began, reverse=True)
    assert len(began) == len(document.incidents) + len(document.maintenances)
    assert await ids(stage, "sort=started_at") == (await ids(stage))[::-1]
    updated = (await stage.ask("GET", f"{BASE}/incidents?sort=-updated_at&fields=updated_at")).json["data"]
    assert updated == sorted(updated, key=lambda each: each["updated_at"], reverse=True)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("filter[status]=monitoring", {"inc_2026_1120"}),
        ("filter[status]=scheduled", {"mnt_2026_0032"}),
        ("filter[component]=billing", {"inc_2026_1031"}),
        ("filter[component]=HEL/network", {"inc_2026_1120", "inc_2026_1107"}),
        ("filter[component]=HEL", {"inc_2026_1120", "inc_2026_1107"}),
        ("filter[component]=HE", set()),
        ("filter[impact]=critical", {"inc_2026_0919"}),
        ("filter[impact]=maintenance", {"mnt_2026_0029", "mnt_2026_0031", "mnt_2026_0032"}),
        ("filter[kind]=maintenance&filter[component]=REK", {"mnt_2026_0032"}),
        ("filter[since]=2026-11-20T01:02:00Z", {"mnt_2026_0031", "mnt_2026_0032"}),
        ("filter[since]=2026-11-07T04:12:00Z&filter[until]=2026-11-07T04:12:00Z", {"inc_2026_1107"}),
        ("filter[until]=2026-09-19T21:39:59Z", set()),
    ],
)
async def test_incidents_can_be_filtered(stage: Stage, query: str, expected: set[str]) -> None:
    await stage.publish(Feed.INCIDENTS, feed_documents.incidents())
    assert set(await ids(stage, query)) == expected


async def test_an_incident_of_a_whole_bastion_is_about_each_of_its_components(stage: Stage) -> None:
    [some, *rest] = feed_documents.incidents().incidents
    whole = some.model_copy(update={"id": "whole", "components": ["STO"]})
    document = feed_documents.incidents().model_copy(update={"incidents": [whole, *rest], "maintenances": []})
    await stage.publish(Feed.INCIDENTS, document)
    for component in ("STO", "STO/network", "STO/anything"):
        assert "whole" in await ids(stage, f"filter[component]={component}")
    for component in ("STOCKHOLM/network", "S", "sto", "network", "HEL/network"):
        assert "whole" not in await ids(stage, f"filter[component]={component}")


@pytest.mark.parametrize("query", ["filter[status]=over", "filter[kind]=x", "filter[since]=1", "state=open"])
async def test_what_cannot_be_asked_is_refused(stage: Stage, query: str) -> None:
    await stage.publish(Feed.INCIDENTS, feed_documents.incidents())
    assert (await stage.ask("GET", f"{BASE}/incidents?{query}")).status == 422


async def test_one_incident_has_all_its_updates(stage: Stage) -> None:
    document = feed_documents.incidents()
    await stage.publish(Feed.INCIDENTS, document)
    shown = (await stage.ask("GET", f"{BASE}/incidents/inc_2026_0919")).json
    [meant] = [each for each in document.incidents if each.id == "inc_2026_0919"]
    assert [each["body"] for each in shown["updates"]] == [each.body for each in meant.updates]
    assert (shown["kind"], shown["status"], shown["resolved_at"]) == ("incident", "postmortem", "2026-09-19T23:30:00Z")
    planned = (await stage.ask("GET", f"{BASE}/incidents/mnt_2026_0032")).json
    assert (planned["kind"], planned["impact"]) == ("maintenance", "maintenance")
    assert (planned["started_at"], planned["resolved_at"]) == (planned["scheduled_for"], None)
    assert (await stage.ask("GET", f"{BASE}/incidents/inc_0")).status == 404


async def test_another_provider_has_it_in_its_own_style(dsn: str) -> None:
    async with a_stage(dsn, profile=profiles.load(TINY)) as stage:
        await stage.publish(Feed.INCIDENTS, feed_documents.incidents())
        await stage.publish(Feed.STATUS, feed_documents.status())
        listed = (await stage.ask("GET", "/api/v2/transparency/incidents?limit=1")).json
        assert (listed["success"], listed["total_result_count"]) == (True, 7)
        assert (await stage.ask("GET", "/api/v2/transparency/status")).status == 200


# --- signed on demand -------------------------------------------------------------------------------------------------


async def test_every_json_route_can_be_had_signed(dsn: str) -> None:
    with gpg.home() as home:
        fingerprint = home.make()
        certificate = home.public(fingerprint)
        async with (
            a_signer(home, fingerprint) as signer,
            a_stage(dsn, signer=signer) as stage,
            Keyring() as keyring,
        ):
            await keyring.import_certificates(certificate)
            stored = await stage.publish(Feed.STATUS, feed_documents.status())
            await stage.publish(Feed.INCIDENTS, feed_documents.incidents())
            plain = await stage.ask("GET", f"{BASE}/status")
            for name in ("status", "status.json", "status/documents/1.json"):
                answer = await stage.ask(
                    "GET", f"{BASE}/{name}", X_NB_Sign="detached", If_None_Match=plain.headers["ETag"],
                    Accept_Encoding="gzip",
                )  # fmt: skip
                assert (answer.status, answer.content) == (200, stored.content), name
                signature = base64.b64decode(answer.headers["X-NB-Signature"])
                assert gpg.sequoia_detached(answer.content, signature, certificate)[0] == fingerprint
                assert answer.headers["Content-Digest"] == digest(answer.content)
                assert answer.headers["Cache-Control"] == "no-store"
                assert "ETag" not in answer.headers
                assert "Content-Encoding" not in answer.headers
                assert answer.headers["X-RateLimit-Limit"] == "100"
            clear = await stage.ask("GET", f"{BASE}/status", X_NB_Sign="1")
            assert clear.headers["Content-Type"] == "text/plain; charset=utf-8"
            text, made_by = await keyring.read_clearsigned(clear.content)
            assert (orjson.loads(text), made_by.primary) == (orjson.loads(stored.content), fingerprint)
            StatusDocument.model_validate_json(text)
            listed = await stage.ask("GET", f"{BASE}/incidents", X_NB_Sign="detached")
            assert listed.headers["X-NB-Signature"]
            head = await stage.ask("HEAD", f"{BASE}/status", X_NB_Sign="detached")
            assert (head.status, head.content) == (200, b"")
            bad = await stage.ask("GET", f"{BASE}/status", X_NB_Sign="yes")
            assert (bad.status, bad.json["error"]["code"]) == (400, "invalid_header")
            ignored = await stage.ask("GET", f"{BASE}/status.json.asc", X_NB_Sign="1")
            assert (ignored.content, ignored.headers["X-RateLimit-Limit"]) == (ARMORED, "1000")


async def test_without_a_signer_it_is_never_unsigned(stage: Stage) -> None:
    await stage.publish(Feed.STATUS, feed_documents.status())
    for wish in ("1", "detached"):
        answer = await stage.ask("GET", f"{BASE}/status", X_NB_Sign=wish)
        assert (answer.status, answer.json["error"]["code"]) == (503, "signing_unavailable")


async def test_a_document_this_version_cannot_read_leaves_the_last_one_in_its_place(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    good = await stage.publish(Feed.INCIDENTS, feed_documents.incidents())
    await stage.store(Feed.INCIDENTS, b'{"type":"incidents/2"}')
    await stage.publish(Feed.STATUS, feed_documents.status())
    assert caplog.text.count("incidents 2 cannot be read by this version") == 1
    assert (await stage.ask("GET", f"{BASE}/incidents.json")).content == good.content
    assert (await stage.ask("GET", f"{BASE}/status")).status == 200
    newer = await stage.publish(Feed.INCIDENTS, feed_documents.no_incidents())
    assert (await stage.ask("GET", f"{BASE}/incidents.json")).content == newer.content
    assert stage.watch.incidents is not None
    assert isinstance(stage.watch.incidents.document, IncidentsDocument)
