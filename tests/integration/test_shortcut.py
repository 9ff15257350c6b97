"""The short way of stored documents: it answers what is plain, as the long way would, and leaves the rest to that."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from feeds.documents import Feed
from publisher.profiles.model import LimitClass
from tests.support import feed_documents
from tests.support.feed_stage import Stage, a_stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from tests.support.api import Answer

PATHS = ("status", "status.json", "status.json.asc")
#: What an answer says of its moment, and of its connection.
OF_THE_MOMENT = {"x-request-id", "date", "x-ratelimit-remaining", "ratelimit", "x-ratelimit-reset", "connection"}
PATIENT = 40


@pytest.fixture
async def stage(dsn: str) -> AsyncIterator[Stage]:
    async with a_stage(dsn) as made:
        yield made


class Taken:
    """Counts the answers of the short way."""

    def __init__(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        answer = stage.shortcut.answer

        def counted(request: web.BaseRequest) -> web.StreamResponse | None:
            made = answer(request)
            self.count += made is not None
            return made

        monkeypatch.setattr(stage.shortcut, "answer", counted)


def lasting(answer: Answer) -> dict[str, str]:
    """Return the headers that any moment's answer has; their names are the same in any case."""
    return {name.lower(): value for name, value in answer.headers.items() if name.lower() not in OF_THE_MOMENT}


async def published(stage: Stage) -> None:
    """Have something to serve, and the long way prepare it."""
    await stage.publish(Feed.STATUS, feed_documents.status())
    await stage.ask("GET", "/v1/transparency/status", Connection="close")


async def test_both_ways_give_the_same_answer(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await published(stage)
    short = Taken(stage, monkeypatch)
    tags = {}
    for name in PATHS:
        first = await stage.ask("GET", f"/v1/transparency/{name}", Accept_Encoding="identity")
        tags[name] = first.headers["ETag"]
    wishes: list[dict[str, str]] = [{}, {"Accept_Encoding": "gzip"}, {"Accept_Encoding": "gzip;q=0, br"}]
    known = ("*", "other", "date")
    for name, method, wish, condition in itertools.product(PATHS, ("GET", "HEAD"), wishes, (None, "tag", *known)):
        headers = dict(wish)
        if condition == "date":
            headers["If_Modified_Since"] = first.headers["Last-Modified"]
        elif condition is not None:
            headers["If_None_Match"] = tags[name] if condition == "tag" else condition if condition == "*" else '"x"'
        before = short.count
        path = f"/v1/transparency/{name}"
        kept = await stage.ask.with_(**headers)(method, path)
        assert short.count == before + 1, (name, headers)
        closed = await stage.ask.with_(**headers)(method, path, Connection="close")
        assert short.count == before + 1
        assert (kept.status, kept.content) == (closed.status, closed.content), (name, method, headers)
        assert lasting(kept) == lasting(closed)
        assert {each.lower() for each in kept.headers} == {each.lower() for each in closed.headers} - {"connection"}


async def test_what_is_unusual_takes_the_long_way(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/v1/transparency/status"
    assert (await stage.ask("GET", path)).status == 404  # nothing published
    await published(stage)
    short = Taken(stage, monkeypatch)
    assert (await stage.ask("GET", f"{path}?x=1")).status == 422
    assert (await stage.ask("POST", path)).status == 405
    assert (await stage.ask("GET", f"{path}/")).status == 404
    assert (await stage.ask("GET", path, X_NB_Sign="1")).status == 503
    assert (await stage.ask("GET", path, Connection="close")).status == 200
    old = f"GET {path} HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"
    assert (await stage.served.ask(old.encode())).status == 200
    assert (
        await stage.served.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n".encode())
    ).status == 100
    assert short.count == 0


async def test_a_new_document_is_served_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await published(stage)
    short = Taken(stage, monkeypatch)
    first = await stage.ask("GET", "/v1/transparency/status.json")
    stored = await stage.publish(Feed.STATUS, feed_documents.quiet_status())
    second = await stage.ask("GET", "/v1/transparency/status.json")
    third = await stage.ask("GET", "/v1/transparency/status.json")
    assert short.count == 2  # the second found the new one not made yet
    assert first.content != second.content == third.content == stored.content
    assert third.headers["ETag"] == second.headers["ETag"] != first.headers["ETag"]


async def test_the_callers_id_is_echoed_unless_it_could_do_harm(stage: Stage) -> None:
    await published(stage)
    path = "/v1/transparency/status.json"
    assert (await stage.ask("GET", path, X_Request_ID="mine-1")).headers["X-Request-ID"] == "mine-1"
    assert (await stage.ask("GET", path, X_Request_ID="mine 1")).headers["X-Request-ID"].startswith("req_")


async def test_both_ways_count_against_one_limit(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await published(stage)
    short = Taken(stage, monkeypatch)
    path = "/v1/transparency/status.json.asc"
    first = await stage.ask("GET", path)
    second = await stage.ask("GET", path, Connection="close")
    assert int(first.headers["X-RateLimit-Remaining"]) - 1 == int(second.headers["X-RateLimit-Remaining"])
    while stage.limiter.hit_at_once(LimitClass.READ, "address:127.0.0.1").is_allowed:  # type: ignore[union-attr]
        pass
    before = short.count
    refused = await stage.ask("GET", path)
    assert (refused.status, refused.json["error"]["code"], short.count) == (429, "rate_limited", before)
    assert int(refused.headers["Retry-After"]) >= 1


async def test_who_does_not_read_is_not_written_to_without_end(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    large = (await stage.publish(Feed.INCIDENTS, feed_documents.many_incidents())).content
    request = b"GET /v1/transparency/incidents.json HTTP/1.1\r\nHost: x\r\n\r\n"
    await stage.ask("GET", "/v1/transparency/incidents.json")
    short = Taken(stage, monkeypatch)
    async with stage.served.line(limit=2**16) as line:
        line.send(request * PATIENT)
        connection = None
        async with asyncio.timeout(10):
            while connection is None or not connection._paused:
                connection = next(iter(stage.served.connections()[-1:]), None)
                await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert short.count < PATIENT
        assert connection.transport is not None
        assert connection.transport.get_write_buffer_size() <= 2 * len(large)
        for _ in range(PATIENT):
            answer = await line.answer()
            assert (answer.status, len(answer.body)) == (200, len(large))
    assert short.count == PATIENT
