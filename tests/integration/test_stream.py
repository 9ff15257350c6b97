"""Server-sent events over HTTP: what is told, what is told again, who is turned away, and how a stream ends."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from feeds import stream
from feeds.documents import Feed
from feeds.publish import KEPT
from tests.support import feed_documents
from tests.support.feed_site import PUBLIC_URL
from tests.support.feed_stage import Stage, a_stage
from tests.support.process import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import ClientResponse

PATH = "/v1/transparency/stream"
SECONDS = 20


@dataclass
class Listener:
    """Somebody who reads a stream."""

    response: ClientResponse

    async def block(self) -> str:
        """Return what stands before the next empty line."""
        async with asyncio.timeout(SECONDS):
            return (await self.response.content.readuntil(b"\n\n")).decode().strip()

    async def event(self) -> tuple[str, int, dict[str, Any]]:
        """Return the next event: its name, its id, its data."""
        fields = dict(line.split(": ", 1) for line in (await self.block()).splitlines())
        return fields["event"], int(fields["id"]), orjson.loads(fields["data"])


@contextlib.asynccontextmanager
async def listening(stage: Stage, query: str = "", **headers: str) -> AsyncIterator[Listener]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with stage.ask.session.get(stage.ask.url + PATH + query, headers=named) as response:
        assert response.status == 200, await response.read()
        yield Listener(response)


async def streams(stage: Stage, count: int) -> None:
    """Wait until so many are open."""

    async def are_open() -> bool:
        return stage.streams.count == count

    await until(are_open, f"{count} streams")


@pytest.fixture
async def stage(dsn: str) -> AsyncIterator[Stage]:
    async with a_stage(dsn) as made:
        yield made


async def test_each_document_is_told_once_in_order(stage: Stage) -> None:
    await stage.publish(Feed.STATUS, feed_documents.quiet_status())
    async with listening(stage) as listener:
        headers = listener.response.headers
        assert headers["Content-Type"] == "text/event-stream"
        assert (headers["Cache-Control"], headers["Access-Control-Allow-Origin"]) == ("no-store", "*")
        assert "Content-Encoding" not in headers
        assert headers["X-Request-ID"]
        name, position, data = await listener.event()
        assert (name, position, data) == ("start", stage.watch.position, {"position": position, "is_resumed": False})
        stored = [
            (await stage.publish(Feed.STATUS, feed_documents.status()), Feed.STATUS),
            (await stage.store(Feed.CANARY, b"{}"), Feed.CANARY),
            (await stage.publish(Feed.INCIDENTS, feed_documents.incidents()), Feed.INCIDENTS),
        ]
        for published, feed in stored:
            name, position, data = await listener.event()
            folder = "history" if feed is Feed.CANARY else "documents"
            url = f"{PUBLIC_URL}/v1/transparency/{feed}/{folder}/{published.number}.json"
            assert (name, position) == (str(feed), published.position)
            assert (data["url"], data["signature_url"]) == (url, f"{url}.asc")
            assert (data["feed"], data["number"], data["sha256"]) == (str(feed), published.number, published.sha256)
            path = data["url"].removeprefix(PUBLIC_URL)
            if feed is not Feed.CANARY:
                assert (await stage.ask("GET", path)).content == published.content


async def test_who_comes_back_is_told_what_was_missed(stage: Stage) -> None:
    first = await stage.publish(Feed.STATUS, feed_documents.quiet_status())
    missed = [await stage.publish(Feed.STATUS, feed_documents.status()), await stage.store(Feed.CANARY, b"{}")]
    for query, headers in (("", {"Last_Event_ID": str(first.position)}), (f"?last_event_id={first.position}", {})):
        async with listening(stage, query, **headers) as listener:
            name, position, data = await listener.event()
            assert (name, position, data["is_resumed"]) == ("start", first.position, True)
            assert [(await listener.event())[1] for _ in missed] == [each.position for each in missed]
            newer = await stage.store(Feed.PEERING, b'{"no": "model"}')
            assert (await listener.event())[1] == newer.position
            missed.append(newer)


async def test_one_that_is_ahead_of_the_watch_hears_nothing_twice(stage: Stage) -> None:
    first = await stage.publish(Feed.STATUS, feed_documents.quiet_status())
    look, stage.watch.look = stage.watch.look, lambda: asyncio.sleep(0)  # type: ignore[method-assign]  # it is late
    second = await stage.publish(Feed.STATUS, feed_documents.status())
    stage.watch.look = look  # type: ignore[method-assign]  # as it was
    async with listening(stage, Last_Event_ID=str(first.position)) as listener:
        assert (await listener.event())[0] == "start"
        assert (await listener.event())[1] == second.position
        await stage.watch.look()
        third = await stage.publish(Feed.STATUS, feed_documents.quiet_status())
        assert (await listener.event())[1] == third.position


async def test_too_much_too_old_or_unknown_is_a_fresh_start(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await stage.publish(Feed.STATUS, feed_documents.quiet_status())
    for _ in range(3):
        await stage.publish(Feed.STATUS, feed_documents.status())
    for unknown in ("0", "999", "x", "-1", "9" * 40, "%D9%A1"):
        async with listening(stage, f"?last_event_id={unknown}") as listener:
            assert (await listener.event())[1:] == (
                stage.watch.position, {"position": stage.watch.position, "is_resumed": False}
            )  # fmt: skip
    monkeypatch.setattr(stream, "MOST_RESUMED", 2)
    async with listening(stage, Last_Event_ID=str(first.position)) as listener:
        assert (await listener.event())[2]["is_resumed"] is False
    monkeypatch.setattr(stream, "MOST_RESUMED", 3)
    async with listening(stage, Last_Event_ID=str(first.position)) as listener:
        assert (await listener.event())[2]["is_resumed"] is True
    stage.clock.advance(KEPT.total_seconds())
    async with listening(stage, Last_Event_ID=str(first.position)) as listener:
        assert (await listener.event())[2]["is_resumed"] is False


async def test_a_comment_keeps_it_open(dsn: str) -> None:
    async with a_stage(dsn, heartbeat=0.01) as stage, listening(stage) as listener:
        assert (await listener.event())[0] == "start"
        assert [await listener.block() for _ in range(3)] == [":", ":", ":"]


async def test_an_address_has_three_and_a_process_has_its_number(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST", 5)
    async with contextlib.AsyncExitStack() as open_streams:
        for _ in range(3):
            await (await open_streams.enter_async_context(listening(stage, X_Of="one"))).event()
        refused = await stage.ask("GET", PATH, X_Of="one")
        assert (refused.status, refused.json["error"]["code"]) == (429, "too_many_streams")
        assert refused.headers["Retry-After"]
        for _ in range(2):
            await (await open_streams.enter_async_context(listening(stage, X_Of="two"))).event()
        full = await stage.ask("GET", PATH, X_Of="three")
        assert (full.status, full.json["error"]["code"]) == (503, "too_many_streams")
        assert stage.streams.count == 5
    await streams(stage, 0)
    async with listening(stage, X_Of="one") as listener:
        await listener.event()


async def test_a_stream_that_could_not_be_resumed_takes_no_place(stage: Stage) -> None:
    first = await stage.publish(Feed.STATUS, feed_documents.status())
    await stage.pool.execute("ALTER TABLE documents RENAME TO away")
    for _ in range(4):
        answer = await stage.ask("GET", PATH, Last_Event_ID=str(first.position))
        assert answer.status == 500
    assert stage.streams.count == 0


async def test_streams_end_when_the_service_does(stage: Stage) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(stage.streams.run(stop))
    async with listening(stage) as listener:
        await listener.event()
        stop.set()
        async with asyncio.timeout(1):
            assert await listener.response.content.read() == b""
        await running
        assert (await stage.ask("GET", PATH)).status == 503
    assert stage.streams.count == 0


async def test_who_does_not_read_is_cut_off(dsn: str) -> None:
    async with a_stage(dsn, heartbeat=0.05) as stage:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.served.port, limit=1)
        writer.write(f"GET {PATH} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        await streams(stage, 1)
        [held] = stage.streams._all
        transport = held._request.transport
        assert transport is not None
        transport.write(b":" * 2**23)
        await streams(stage, 0)
        writer.close()
        del reader


async def test_one_that_is_too_far_behind_ends_and_resumes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feeds.feed_watch.MOST_ENTRIES", 2)
    async with listening(stage) as listener:
        _, seen, _ = await listener.event()
        async with stage.pool.acquire() as connection:
            for number in range(1, 5):
                await connection.execute(
                    "INSERT INTO documents (feed, number, content, published_at) VALUES ('peering', $1, '{}', $2)",
                    number, stage.clock.now(),
                )  # fmt: skip
        await stage.watch.look()
        async with asyncio.timeout(SECONDS):
            assert await listener.response.content.read() == b""
    assert seen == 0


async def test_head_is_no_stream(stage: Stage) -> None:
    answer = await stage.ask("HEAD", PATH)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
    assert stage.streams.count == 0
    refused = await stage.ask("GET", f"{PATH}?since=1")
    assert (refused.status, refused.json["error"]["code"]) == (422, "unknown_parameter")
