"""The canary over HTTP: every state, the exact bytes, each signature, and what a client that has it already is told."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from feeds import canary_routes
from feeds.canary_watch import CanaryWatch
from publisher import profiles
from publisher.api.transparency_models import Canary
from signer.statement import signature_name
from tests.support.described import NORDBASTION, TINY, check
from tests.support.feed_site import PUBLIC_URL, a_site
from tests.support.gpg import sequoia_detached
from tests.support.published_canaries import Council, council, tamper
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from feeds.routes import Route
    from runtime.database import Pool
    from signer.statement import Document
    from tests.support.api import Answer, Caller

moment = datetime.fromisoformat
ISSUED = moment("2026-11-01T09:30:00Z")
PATH = "/v1/transparency/canary"
SHOWN = "/transparency/canary"
COMMON = {"Access-Control-Allow-Origin": "*", "X-Content-Type-Options": "nosniff"}


@pytest.fixture(scope="module")
def signers() -> Iterator[Council]:
    with council() as made:
        yield made


@dataclass
class Site:
    """The canary's routes, with a clock that can be moved."""

    ask: Caller
    clock: FakeClock
    pool: Pool
    signers: Council
    watch: CanaryWatch

    async def publish(self, document: Document, **changes: Any) -> None:
        async with self.pool.acquire() as connection:
            await self.signers.publish(connection, document, **changes)
        await self.watch.load()

    def go(self, text: str) -> None:
        self.clock.advance((moment(text) - self.clock.now()).total_seconds())

    async def view(self) -> dict[str, Any]:
        """Return the view, held against its description."""
        answer = await self.ask("GET", PATH)
        assert answer.status == 200, answer.content
        check(NORDBASTION, {"$ref": "#/components/schemas/Canary"}, answer.json)
        Canary.model_validate_json(answer.content)
        shown: dict[str, Any] = answer.json
        return shown


@contextlib.asynccontextmanager
async def a_canary_site(dsn: str, signers: Council, **changes: Any) -> AsyncIterator[Site]:
    clock = FakeClock(ISSUED + timedelta(hours=1))
    held: list[tuple[Pool, CanaryWatch]] = []

    def routes(pool: Pool) -> list[Route]:
        watch = CanaryWatch(pool, signers.pins(), clock)
        held.append((pool, watch))
        return canary_routes.routes(watch, pool, clock, url=f"{PUBLIC_URL}/v1")

    async with a_site(dsn, routes, **changes) as ask:
        [(pool, watch)] = held
        await watch.load()
        yield Site(ask, clock, pool, signers, watch)


@pytest.fixture
async def site(dsn: str, signers: Council) -> AsyncIterator[Site]:
    async with a_canary_site(dsn, signers) as made:
        yield made


def digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


# --- states -----------------------------------------------------------------------------------------------------------


async def test_no_canary_is_200_and_missing_and_has_no_bytes(site: Site) -> None:
    shown = await site.view()
    assert (shown["state"], shown["signed"]) == ("missing", None)
    assert shown["history_url"] == f"{PUBLIC_URL}{PATH}/history"
    assert "Last-Modified" not in (await site.ask("GET", PATH)).headers
    for path in (".json", ".json.asc", f".json.{'A' * 16}.asc", "/history/1", "/history/1.json", "/history/1.json.asc"):
        answer = await site.ask("GET", PATH + path)
        assert (answer.status, answer.json["error"]["code"]) == (404, "not_found"), path
    assert (await site.ask("GET", f"{PATH}/history")).json["data"] == []


async def test_time_travels_through_the_view_across_months_and_a_leap_year(site: Site) -> None:
    site.go("2028-01-31T09:00:00Z")
    await site.publish(site.signers.first(moment("2028-01-31T08:00:00Z")))
    tags = set()
    for text, state, age in (
        ("2028-01-31T09:00:00Z", "current", 60),
        ("2028-02-22T23:59:45Z", "current", 15),
        ("2028-02-23T00:00:00Z", "due", 60),
        ("2028-02-29T23:59:59Z", "due", 1),
        ("2028-03-01T00:00:00Z", "overdue", 60),
        ("2028-03-07T23:59:00Z", "overdue", 60),
        ("2028-03-08T00:00:00Z", "expired", 60),
        ("2030-01-01T00:00:00Z", "expired", 60),
    ):
        site.go(text)
        answer = await site.ask("GET", PATH)
        assert (answer.status, answer.json["state"]) == (200, state), text
        assert answer.json["statement"] is not None
        assert answer.headers["Cache-Control"] == f"public, max-age={age}, must-revalidate"
        tags.add(answer.headers["ETag"])
    assert len(tags) == 4


async def test_one_that_dropped_a_statement_is_changed_and_one_that_ended_is_revoked(site: Site) -> None:
    first = site.signers.first()
    await site.publish(first)
    later = ISSUED + timedelta(days=25)
    second = site.signers.successor(
        first, later, statements=first.statement.statements[1:], removed=frozenset({"warrants"})
    )
    site.go("2026-11-26T12:00:00Z")
    await site.publish(second)
    shown = await site.view()
    assert (shown["state"], shown["sequence"]) == ("changed", 2)
    assert shown["statement"]["acknowledged_removals"] == ["warrants"]
    await site.publish(site.signers.retirement(), published_at=moment("2026-11-26T12:00:00Z"))
    shown = await site.view()
    assert (shown["state"], shown["sequence"], shown["number"], shown["next_due"]) == ("revoked", None, 3, None)
    assert [each["number"] for each in (await site.ask("GET", f"{PATH}/history")).json["data"]] == [3, 2, 1]


async def test_a_tampered_row_is_invalid_and_still_there(site: Site) -> None:
    first = site.signers.first()
    await site.publish(first)
    before = await site.ask("GET", PATH)
    changed = first.content.replace(b"no warrants", b"ten warrants")
    async with site.pool.acquire() as connection:
        await tamper(connection, 1, changed)
    await site.watch.load()
    shown = await site.view()
    assert (shown["state"], shown["state_until"], shown["faults"]) == ("invalid", None, ["too_few_signatures"])
    assert shown["signed"]["document"].encode() == changed
    since = before.headers["Last-Modified"]
    assert (await site.ask("GET", PATH, If_Modified_Since=since)).status == 200
    assert (await site.ask("GET", f"{PATH}.json")).content == changed
    async with site.pool.acquire() as connection:
        await tamper(connection, 1, b"\xff no json")
    await site.watch.load()
    shown = await site.view()
    assert (shown["state"], shown["statement"], shown["faults"]) == ("invalid", None, ["malformed"])
    assert (await site.ask("GET", f"{PATH}/history/1.json")).content == b"\xff no json"
    assert (await site.ask("GET", f"{PATH}/history/1")).json["statement"] is None


# --- what was signed --------------------------------------------------------------------------------------------------


def places(signers: Council, number: int = 1) -> Iterator[tuple[str, str, str]]:
    """Yield where the bytes are, and beside them each signature, with whose it is."""
    for path in (PATH, f"{PATH}/history/{number}"):
        for key in signers.keys:
            yield f"{path}.json", signature_name(f"{path}.json", key), key
        yield f"{path}.json", f"{path}.json.asc", signers.keys[0]


async def test_the_bytes_and_the_signatures_are_those_that_were_made_and_verify(site: Site) -> None:
    first = site.signers.first()
    await site.publish(first)
    for document, signature, key in places(site.signers):
        content, signed = await site.ask("GET", document), await site.ask("GET", signature)
        assert (content.status, signed.status) == (200, 200), signature
        assert content.content == first.content
        assert content.headers["Content-Type"] == "application/json"
        assert signed.headers["Content-Type"] == "application/pgp-signature"
        assert sequoia_detached(content.content, signed.content, site.signers.home.public(key))[0] == key
        with_gpg(site.signers, content.content, signed.content)
        for answer in (content, signed):
            assert answer.headers["Content-Digest"] == answer.headers["Repr-Digest"] == digest(answer.content)
            assert COMMON.items() <= dict(answer.headers).items()
            assert answer.headers["Link"] == ", ".join(
                f'<{signature_name(document.rpartition("/")[2], each)}>; rel="related"; '
                'type="application/pgp-signature"'
                for each in site.signers.keys
            )
    shown = await site.view()
    assert shown["signed"]["document"].encode() == first.content
    for each in shown["signed"]["signatures"]:
        with_gpg(site.signers, first.content, each["armored"].encode())


def with_gpg(signers: Council, content: bytes, signature: bytes) -> None:
    path = signers.home.path / "signature.asc"
    path.write_bytes(signature)
    signers.home.gpg("--verify", str(path), "-", content=content)


async def test_the_newest_names_where_it_stays_and_that_is_kept(site: Site) -> None:
    first = site.signers.first()
    await site.publish(first)
    assert (await site.ask("GET", f"{PATH}.json")).content == first.content
    site.clock.advance(25 * 86400)
    await site.publish(site.signers.successor(first, ISSUED + timedelta(days=25)))
    name = signature_name("canary.json", site.signers.keys[1]).removeprefix("canary")
    for suffix in (".json", ".json.asc", name):
        newest = await site.ask("GET", PATH + suffix)
        assert newest.headers["Cache-Control"] == "public, no-cache"
        assert newest.headers["Content-Location"] == f"canary/history/2{suffix}"
        kept = await site.ask("GET", f"/v1/transparency/{newest.headers['Content-Location']}")
        assert kept.content == newest.content
        assert kept.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert kept.headers["ETag"] == newest.headers["ETag"]
        assert "Content-Location" not in kept.headers
        old = await site.ask("GET", f"{PATH}/history/1{suffix}")
        assert old.status == 200
        assert old.content != newest.content


async def test_one_without_signatures_has_none_to_get(site: Site) -> None:
    await site.publish(site.signers.first(), keys=())
    answer = await site.ask("GET", f"{PATH}.json")
    assert (answer.status, "Link" in answer.headers) == (200, False)
    assert (await site.ask("GET", f"{PATH}.json.asc")).status == 404
    assert (await site.view())["signed"]["signatures"] == []


STRANGE = [
    f"{PATH}/history/0.json", f"{PATH}/history/01.json", f"{PATH}/history/2.json", f"{PATH}/history/-1.json",
    f"{PATH}/history/9999999999.json", f"{PATH}/history/99999999999999999999.json", f"{PATH}/history/%D9%A1.json",
    f"{PATH}/history/x.json.asc", f"{PATH}/history/1.json.{'A' * 16}.asc", f"{PATH}/history/1.json.x.asc",
    f"{PATH}.json.{'A' * 16}.asc", f"{PATH}.json.asc.asc", f"{PATH}/history/01", f"{PATH}/history/2",
    f"{PATH}/history/x", f"{PATH}/history/1.json.json", f"{PATH}/", f"{PATH}/history/99999999999999999999",
]  # fmt: skip


async def test_what_is_not_there_is_a_404_in_the_envelope(site: Site) -> None:
    await site.publish(site.signers.first())
    for path in STRANGE:
        answer = await site.ask("GET", path)
        assert (answer.status, answer.json["error"]["code"]) == (404, "not_found"), path
    short = signature_name(f"{PATH}.json", site.signers.keys[0])
    assert (await site.ask("GET", short.replace(short[-20:-4], short[-20:-4].lower()))).status == 404


async def test_nothing_can_be_asked_of_it_and_nothing_done_to_it(site: Site) -> None:
    await site.publish(site.signers.first())
    for path in (PATH, f"{PATH}.json", f"{PATH}/history/1.json", f"{PATH}/history/1"):
        answer = await site.ask("GET", f"{path}?x=1")
        assert (answer.status, answer.json["error"]["code"]) == (422, "unknown_parameter"), path
        answer = await site.ask("POST", path)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD"), path


# --- what a client has already ----------------------------------------------------------------------------------------


async def test_head_tags_and_dates(site: Site) -> None:
    await site.publish(site.signers.first())
    first = signature_name(f"{PATH}.json", site.signers.keys[0])
    for path in (
        PATH,
        f"{PATH}.json",
        f"{PATH}.json.asc",
        first,
        f"{PATH}/history/1.json",
        f"{PATH}/history/1.json.asc",
    ):
        whole = await site.ask("GET", path)
        assert whole.headers["Last-Modified"] == "Sun, 01 Nov 2026 09:32:00 GMT"
        head = await site.ask("HEAD", path)
        assert (head.status, head.content) == (200, b"")
        same = dict(whole.headers)
        del same["Content-Digest"]  # of what is sent, which is nothing
        assert without_counts(head, "X-Request-ID", "Date") == without_counts(same, "X-Request-ID", "Date")
        tag = whole.headers["ETag"]
        assert tag == f'"{hashlib.sha256(whole.content).hexdigest()[:32]}"'
        asked: list[tuple[dict[str, Any], int]] = [
            ({"If_None_Match": tag}, 304),
            ({"If_None_Match": f"W/{tag}"}, 304),
            ({"If_None_Match": f'"other", {tag}'}, 304),
            ({"If_None_Match": "*"}, 304),
            ({"If_None_Match": '"other"'}, 200),
            ({"If_None_Match": "nonsense"}, 200),
            ({"If_Modified_Since": "Sun, 01 Nov 2026 09:32:00 GMT"}, 304),
            ({"If_Modified_Since": "Mon, 02 Nov 2026 00:00:00 GMT"}, 304),
            ({"If_Modified_Since": "Sun, 01 Nov 2026 09:31:59 GMT"}, 200),
            ({"If_Modified_Since": "yesterday"}, 200),
            ({"If_None_Match": '"other"', "If_Modified_Since": "Mon, 02 Nov 2026 00:00:00 GMT"}, 200),
            ({"If_None_Match": "nonsense", "If_Modified_Since": "Mon, 02 Nov 2026 00:00:00 GMT"}, 200),
            ({"If_None_Match": tag, "If_Modified_Since": "Sun, 01 Nov 2026 00:00:00 GMT"}, 304),
        ]
        for headers, status in asked:
            for method in ("GET", "HEAD"):
                answer = await site.ask(method, path, **headers)
                assert answer.status == status, (path, headers)
                assert answer.headers["ETag"] == tag
                assert answer.headers["Cache-Control"] == whole.headers["Cache-Control"]
                assert COMMON.items() <= dict(answer.headers).items()
                if status == 304:
                    assert answer.content == b""
                    assert "Content-Digest" not in answer.headers


def without_counts(answer: Answer | dict[str, str], *names: str) -> dict[str, str]:
    """Return headers without those that differ from request to request."""
    headers = answer if isinstance(answer, dict) else dict(answer.headers)
    return {name: value for name, value in headers.items() if "RateLimit" not in name and name not in names}


async def test_a_date_is_not_enough_when_a_date_that_was_signed_has_passed(site: Site) -> None:
    await site.publish(site.signers.first())
    since = (await site.ask("GET", PATH)).headers["Last-Modified"]
    site.go("2026-11-23T23:59:59Z")
    assert (await site.ask("GET", PATH, If_Modified_Since=since)).status == 304
    site.go("2026-11-24T00:00:00Z")
    answer = await site.ask("GET", PATH, If_Modified_Since=since)
    assert (answer.status, answer.json["state"]) == (200, "due")
    assert answer.headers["Last-Modified"] == "Tue, 24 Nov 2026 00:00:00 GMT"


async def test_the_view_is_made_once_and_costs_no_database(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.publish(site.signers.first())
    whole = await site.ask("GET", PATH)
    monkeypatch.setattr("feeds.canary.view", None)
    async with site.pool.acquire() as connection:
        await connection.execute("ALTER TABLE documents RENAME TO away")
    assert (await site.ask("GET", PATH)).content == whole.content
    assert (await site.ask("GET", f"{PATH}.json")).status == 200
    assert (await site.ask("GET", f"{PATH}.json.asc")).status == 200


# --- the history ------------------------------------------------------------------------------------------------------


async def test_the_history_is_a_list_like_any_other(site: Site) -> None:
    first = site.signers.first()
    await site.publish(first)
    await site.publish(site.signers.successor(first, ISSUED + timedelta(minutes=30)))
    listed = await site.ask("GET", f"{PATH}/history")
    assert [(each["number"], each["is_latest"]) for each in listed.json["data"]] == [(2, True), (1, False)]
    assert listed.json["meta"] == {"page": 1, "per_page": 20, "total": 2, "total_pages": 1}
    assert listed.headers["Access-Control-Allow-Origin"] == "*"
    assert listed.json["data"][1]["sha256"] == first.sha256
    page = await site.ask("GET", f"{PATH}/history?sort=number&per_page=1&page=2&fields=sequence,signers")
    assert page.json["data"] == [{"sequence": 2, "signers": list(site.signers.keys)}]
    assert 'rel="prev"' in page.headers["Link"]
    shown = await site.ask("GET", f"{PATH}/history/1")
    assert shown.json["signed"]["document"].encode() == first.content
    assert (shown.json["is_latest"], "state" in shown.json) == (False, False)
    assert (await site.ask("HEAD", f"{PATH}/history/1")).status == 200


async def test_another_provider_has_it_in_its_own_style(dsn: str, signers: Council) -> None:
    async with a_canary_site(dsn, signers, profile=profiles.load(TINY)) as site:
        await site.publish(signers.first())
        assert (await site.ask("GET", "/api/v2/transparency/canary")).json["state"] == "current"
        listed = (await site.ask("GET", "/api/v2/transparency/canary/history?limit=1")).json
        assert (listed["success"], listed["total_result_count"]) == (True, 1)
        missing = await site.ask("GET", "/api/v2/transparency/canary/history/7.json")
        assert (missing.status, missing.json["errors"][0]["code"]) == (404, "NOT_FOUND")
