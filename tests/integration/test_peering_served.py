"""The peering record over HTTP: asked by prefix, leafed through by time, and read by PeeringDB's clients."""

from __future__ import annotations

import dataclasses
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from feeds import documents, peering_facts, peering_routes
from feeds.documents import Feed, Signature
from feeds.feed_watch import FeedWatch
from feeds.peering import build
from feeds.peering_facts import PeeringFacts
from signer.canonical import canonical
from tests.support.desk import a_desk
from tests.support.domain_events import an_event
from tests.support.feed_site import a_site
from tests.support.peeringdb import Answer
from tests.support.time import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from feeds.routes import Route
    from runtime.database import Pool
    from tests.support.api import Caller
    from tests.support.desk import Desk

T0 = datetime(2026, 11, 20, tzinfo=UTC)
NOW = T0 + timedelta(hours=1)
ASN = 213232
A, WITHIN, B = "185.243.216.0/22", "185.243.217.0/24", "2a0e:8f02:f001::/48"
PREFIXES, HISTORY = "/transparency/peering/prefixes", "/transparency/peering/history"


async def tell(pool: Pool, minutes: int, *changes: dict[str, Any], **data: Any) -> None:
    event = an_event("peering.changed", changes=list(changes), **data)
    event = dataclasses.replace(event, time=T0 + timedelta(minutes=minutes))
    async with pool.acquire() as connection, connection.transaction():
        await PeeringFacts(lambda: None)(connection, [event])


async def publish(pool: Pool, watch: FeedWatch) -> None:
    """Publish what was told, without a signer: nobody here verifies."""
    async with pool.acquire() as connection, connection.transaction():
        made = build(await peering_facts.read(connection), provider="NordBastion", now=NOW)
        await documents.save(
            connection,
            Feed.PEERING,
            await documents.last(connection, Feed.PEERING) + 1,
            canonical(made.model_dump(mode="json")),
            signatures=[Signature("A" * 40, b"not verified here")],
            published_at=NOW,
        )
    await watch.load()


async def tell_a_story(pool: Pool) -> None:
    await tell(pool, 1, {"op": "announce", "prefix": A, "origin_asn": ASN}, {"op": "announce", "prefix": B})
    await tell(pool, 2, {"op": "announce", "prefix": WITHIN, "origin_asn": 64_500}, record={"aka": "NB", "id": 7})
    await tell(pool, 3, {"op": "withdraw", "prefix": WITHIN})
    await tell(pool, 4, {"op": "session_up", "session": "Netnod Stockholm GREEN", "peer_asn": 6939})


@pytest.fixture
async def desk(dsn: str) -> AsyncIterator[Desk]:
    async with a_desk(dsn) as made:
        watch = FeedWatch(made.pool, FakeClock())
        yield dataclasses.replace(made, services=dataclasses.replace(made.services, feeds=watch))


async def ready(desk: Desk) -> Desk:
    await tell_a_story(desk.pool)
    assert desk.services.feeds is not None
    await publish(desk.pool, desk.services.feeds)
    return desk


# --- prefixes ---------------------------------------------------------------------------------------------------------


async def test_before_anything_is_published_there_are_no_prefixes_but_a_history(desk: Desk) -> None:
    await tell_a_story(desk.pool)
    assert (await desk("GET", PREFIXES)).status == 404
    assert (await desk("GET", HISTORY)).json["meta"]["total"] == 5
    nowhere = dataclasses.replace(desk, services=dataclasses.replace(desk.services, feeds=None))
    assert (await nowhere("GET", PREFIXES)).status == 404


async def test_a_prefix_says_since_when_it_is_what_it_is(desk: Desk) -> None:
    answer = await (await ready(desk))("GET", f"{PREFIXES}?filter[prefix]={WITHIN}")
    assert answer.json["data"] == [
        {
            "prefix": A,
            "origin_asn": ASN,
            "status": "announced",
            "since": "2026-11-20T00:01:00Z",
            "match": "covering",
        },
        {
            "prefix": WITHIN,
            "origin_asn": 64_500,
            "status": "withdrawn",
            "since": "2026-11-20T00:03:00Z",
            "match": "exact",
        },
    ]


QUESTIONS: dict[str, list[str]] = {
    "": [A, WITHIN, B],
    "sort=-prefix": [B, WITHIN, A],
    "filter[status]=announced": [A, B],
    "filter[status]=withdrawn": [WITHIN],
    "filter[origin_asn]=213232": [A],
    "filter[origin_asn]=1": [],
    f"filter[prefix]={A}": [A, WITHIN],
    f"filter[prefix]={A}&filter[status]=withdrawn": [WITHIN],
    "filter[prefix]=185.243.217.9": [A],
    "filter[prefix]=2A0E:8F02:F001:0::1": [B],
    "filter[prefix]=192.0.2.0/24": [],
}


async def test_prefixes_are_asked_for(desk: Desk) -> None:
    await ready(desk)
    for query, expected in QUESTIONS.items():
        answer = await desk("GET", f"{PREFIXES}?{query}")
        assert [each["prefix"] for each in answer.json["data"]] == expected, query
        assert answer.json["meta"]["total"] == len(expected)
    page = await desk("GET", f"{PREFIXES}?per_page=1&page=2")
    assert ([each["prefix"] for each in page.json["data"]], page.json["meta"]["total"]) == ([WITHIN], 3)


# --- history ----------------------------------------------------------------------------------------------------------


async def test_the_history_tells_the_newest_first_and_all_of_it(desk: Desk) -> None:
    answer = await (await ready(desk))("GET", f"{HISTORY}?per_page=2")
    assert answer.json["data"] == [
        {
            "at": "2026-11-20T00:04:00Z",
            "asn": ASN,
            "op": "session_up",
            "status": "up",
            "prefix": None,
            "session": "Netnod Stockholm GREEN",
            "origin_asn": None,
            "peer_asn": 6939,
        },
        {
            "at": "2026-11-20T00:03:00Z",
            "asn": ASN,
            "op": "withdraw",
            "status": "withdrawn",
            "prefix": WITHIN,
            "session": None,
            "origin_asn": None,
            "peer_asn": None,
        },
    ]
    assert answer.json["meta"] == {"page": 1, "per_page": 2, "total": 5, "total_pages": 3, "is_complete": True}


async def test_the_history_is_asked_for(desk: Desk) -> None:
    await ready(desk)
    for query, expected in {
        f"filter[prefix]={WITHIN}": ["withdraw", "announce"],
        f"filter[prefix]={WITHIN}&sort=at": ["announce", "withdraw"],
        "filter[prefix]=185.243.217.9": [],
        "filter[since]=2026-11-20T00:04:00Z": ["session_up"],
        "filter[until]=2026-11-20T00:01:30Z": ["announce", "announce"],
    }.items():
        answer = await desk("GET", f"{HISTORY}?{query}")
        assert [each["op"] for each in answer.json["data"]] == expected, query


async def test_whoever_leafs_through_meets_nothing_twice_while_more_comes(desk: Desk) -> None:
    desk = await ready(desk)
    seen: list[dict[str, Any]] = []
    path: str | None = f"{HISTORY}?per_page=2"
    while path:
        answer = await desk("GET", path)
        seen += answer.json["data"]
        await tell(desk.pool, 10 + len(seen), {"op": "announce", "prefix": "192.0.2.0/24"})
        after = [each for each in answer.headers["Link"].split(", ") if 'rel="next"' in each]
        path = after[0].partition(">")[0].removeprefix("<") if after else None
    assert [each["op"] for each in seen] == ["session_up", "withdraw", "announce", "announce", "announce"]


# --- PeeringDB --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def a_peering_site(dsn: str) -> AsyncIterator[tuple[Caller, FeedWatch, Pool]]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        watch = FeedWatch(pool, FakeClock())

        def routes(_: Pool) -> list[Route]:
            return peering_routes.routes(watch)

        async with a_site(dsn, routes) as ask:
            yield ask, watch, pool


async def test_peeringdb_s_clients_read_the_record_that_was_signed(dsn: str) -> None:
    async with a_peering_site(dsn) as (ask, watch, pool):
        assert (await ask("GET", "/api/net")).status == 404
        await tell_a_story(pool)
        await publish(pool, watch)
        for query in ("", f"?asn={ASN}", f"?asn=AS{ASN}&depth=2"):
            answer = await ask("GET", f"/api/net{query}")
            assert answer.status == 200
            [net] = Answer.model_validate_json(answer.content).data
            assert (net.asn, net.aka, net.id, net.name, net.netixlan_set) == (ASN, "NB", 7, "NordBastion", [])
            assert answer.json["data"] == [watch.peering and watch.peering.document.net]
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        same = await ask("GET", "/api/net", If_None_Match=answer.headers["ETag"])
        assert (same.status, same.content) == (304, b"")
        assert (await ask("HEAD", "/api/net")).status == 200
        await tell(pool, 9, {"op": "announce", "prefix": A}, record={"aka": "other"})
        await publish(pool, watch)
        assert (await ask("GET", "/api/net")).json["data"][0]["aka"] == "other"


async def test_what_peeringdb_s_clients_do_not_get_is_said_in_its_words(dsn: str) -> None:
    async with a_peering_site(dsn) as (ask, watch, pool):
        await tell_a_story(pool)
        await publish(pool, watch)
        for query, status in {
            "asn=1": 404,
            "asn=99999999999": 400,
            "asn=": 400,
            "asn=x": 400,
            "asn=213232&asn=213232": 400,
            "asn=%D9%A1": 400,
            "name=NordBastion": 400,
        }.items():
            answer = await ask("GET", f"/api/net?{query}")
            assert answer.status == status, query
            said = Answer.model_validate_json(answer.content)
            assert said.data == []
            assert said.meta.error
            assert "ETag" not in answer.headers


async def test_before_the_network_is_known_there_is_none(dsn: str) -> None:
    async with a_peering_site(dsn) as (ask, watch, pool):
        await publish(pool, watch)
        answer = await ask("GET", "/api/net")
    assert (answer.status, answer.json) == (404, {"data": [], "meta": {"error": "Entity not found"}})
