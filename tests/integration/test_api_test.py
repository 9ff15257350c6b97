"""A test through the API: one signed request to a real receiver, and every way it can end is an answer."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
import pytest
from standardwebhooks import Webhook

from publisher import endpoint_failures, profiles
from publisher.delivery import tester
from publisher.delivery.egress import Rules
from runtime.logs import JsonFormatter
from tests.support import misbehaving as kit
from tests.support.desk import a_desk
from tests.support.receiver import Receiver
from tests.support.transports import USER_AGENT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.desk import Desk


@pytest.fixture
async def desk(dsn: str) -> AsyncIterator[Desk]:
    async with a_desk(dsn) as opened:
        yield opened


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().listening() as listening:
        yield listening


async def test_a_test_is_signed_like_any_webhook_and_shown_as_it_was_sent(desk: Desk, receiver: Receiver) -> None:
    made = await desk.webhook(receiver.url, events=["canary.updated"])
    receiver.trust(made["secret"])
    answer = await desk("POST", f"/webhooks/{made['id']}/test")
    assert (answer.status, receiver.refused) == (200, [])
    [received] = receiver.received
    shown = answer.json
    assert shown["request_body"].encode() == received.body
    assert shown["request_headers"].items() <= received.headers.items()
    assert received.headers.keys() - shown["request_headers"].keys() == {"host", "content-length"}
    assert {name: value for name, value in received.headers.items() if name.startswith("x-nb-")} == {
        "x-nb-event": "webhook.test",
        "x-nb-delivery": shown["delivery_id"],
        "x-nb-attempt": "1",
    }
    assert received.headers["webhook-id"] == shown["id"]
    assert received.headers["user-agent"] == USER_AGENT
    body = orjson.loads(received.body)
    sent_at = datetime.fromtimestamp(int(received.headers["webhook-timestamp"]), UTC)
    assert datetime.fromisoformat(shown["attempted_at"]).replace(microsecond=0) == sent_at
    assert datetime.fromisoformat(body["timestamp"]).tzinfo == UTC
    assert body == {
        "id": shown["id"],
        "type": "webhook.test",
        "timestamp": body["timestamp"],
        "sequence": 0,
        "data": {"webhook_id": made["id"], "message": tester.MESSAGE},
    }
    assert (shown["result"], shown["is_success"], shown["status_code"]) == ("2xx", True, 204)
    assert shown["response_body"] is None
    for table in ("messages", "queue", "deliveries", "attempts", "sequences"):
        assert await desk.pool.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608 - ours


async def test_while_a_secret_is_replaced_both_sign(desk: Desk, receiver: Receiver) -> None:
    made = await desk.webhook(receiver.url, algorithm="ed25519")
    receiver.trust(made["secret"])
    rotated = (await desk("POST", f"/webhooks/{made['id']}/secret", {})).json
    shown = (await desk("POST", f"/webhooks/{made['id']}/test")).json
    for secret in (made["secret"], rotated["secret"]):
        Webhook(secret).verify(shown["request_body"], shown["request_headers"])
    signatures = shown["request_headers"]["webhook-signature"].split()
    assert [each.partition(",")[0] for each in signatures] == ["v1", "v1", "v1a", "v1a"]


@pytest.mark.parametrize("status", ["paused", "disabled"])
async def test_a_webhook_is_tested_before_it_is_enabled_and_stays_as_it_is(
    status: str, desk: Desk, receiver: Receiver
) -> None:
    made = await desk.webhook(receiver.url)
    receiver.trust(made["secret"])
    if status == "paused":
        await desk("PATCH", f"/webhooks/{made['id']}", {"status": "paused"})
    else:
        async with desk.pool.acquire() as connection:
            await endpoint_failures.disable(connection, [made["id"]], "gone")
    before = (await desk("GET", f"/webhooks/{made['id']}")).json
    assert (await desk("POST", f"/webhooks/{made['id']}/test")).json["is_success"] is True
    assert (await desk("GET", f"/webhooks/{made['id']}")).json == before
    async with desk.pool.acquire() as connection:  # and nobody takes it for one that is delivered to
        assert await desk.services.directory.of_ids(connection, [made["id"]]) == {}
    assert desk.services.directory._ready == {}


@pytest.mark.parametrize(("status", "result"), [(500, "5xx"), (301, "3xx"), (410, "410"), (429, "429"), (404, "4xx")])
async def test_what_a_receiver_answers_is_a_result(status: int, result: str, desk: Desk, receiver: Receiver) -> None:
    made = await desk.webhook(receiver.url)
    receiver.trust(made["secret"])
    receiver.answers.append(status)
    answer = await desk("POST", f"/webhooks/{made['id']}/test")
    assert (answer.status, answer.json["result"], answer.json["is_success"]) == (200, result, False)
    assert answer.json["status_code"] == status
    assert len(receiver.received) == 1
    assert (await desk("GET", f"/webhooks/{made['id']}")).json["status"] == "active"


async def test_what_a_receiver_says_is_shown_up_to_the_limit(dsn: str) -> None:
    async with a_desk(dsn, response_bytes=10) as desk, kit.receiving(kit.answers(kit.sized(b"no\x00 \xff " * 99))) as r:
        made = await desk.webhook(r.url)
        shown = (await desk("POST", f"/webhooks/{made['id']}/test")).json
    assert shown["response_body"] == "no\ufffd \ufffd no\ufffd "


async def test_a_receiver_that_hangs_is_a_timeout_and_holds_no_connection_of_the_database(dsn: str) -> None:
    async with a_desk(dsn, attempt_timeout=0.5, connections=1) as desk, kit.receiving(kit.hangs) as receiver:
        made = await desk.webhook(receiver.url)
        testing = asyncio.create_task(desk("POST", f"/webhooks/{made['id']}/test"))
        await receiver.until(lambda r: len(r.requests) == 1)
        assert (await desk("GET", f"/webhooks/{made['id']}")).status == 200
        assert not testing.done()
        answer = await testing
    assert (answer.status, answer.json["result"], answer.json["is_success"]) == (200, "timeout", False)
    assert answer.json["status_code"] is answer.json["response_body"] is None
    assert answer.json["duration_ms"] >= 500


async def test_what_the_service_itself_cut_off_says_nothing_about_the_receiver(dsn: str) -> None:
    async with a_desk(dsn, attempt_timeout=0.5) as desk, kit.receiving(kit.hangs) as receiver:
        made = await desk.webhook(receiver.url)
        testing = asyncio.create_task(desk("POST", f"/webhooks/{made['id']}/test"))
        await receiver.until(lambda r: len(r.requests) == 1)
        await desk.services.tester.stop()
        assert (await testing).refusal == (503, "busy")


async def test_nobody_there_is_a_result_and_the_log_has_it(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made = await desk.webhook(f"http://127.0.0.1:{kit.port_of_nobody()}/")
    answer = (await desk("POST", f"/webhooks/{made['id']}/test")).json
    assert answer["result"] == "connect"
    [line] = [orjson.loads(JsonFormatter().format(each)) for each in caplog.records if each.message == "attempt"]
    assert (line["delivery_id"], line["result"]) == (answer["delivery_id"], "connect")


async def test_an_address_that_is_not_called_any_more_is_a_result(dsn: str, receiver: Receiver) -> None:
    async with a_desk(dsn) as lenient:
        made = await lenient.webhook(receiver.url)
    async with a_desk(dsn, rules=Rules.parse()) as desk:
        answer = await desk("POST", f"/webhooks/{made['id']}/test")
    assert (answer.status, answer.json["result"], answer.json["is_success"]) == (200, "blocked", False)
    assert receiver.received == []


async def test_a_name_that_does_not_resolve_is_a_result(desk: Desk) -> None:
    made = await desk.webhook()
    label = "x" * 63
    await desk.pool.execute("UPDATE endpoints SET url = $1", f"https://{label}x.example/")
    shown = (await desk("POST", f"/webhooks/{made['id']}/test")).json
    assert (shown["result"], shown["is_success"]) == ("dns", False)


async def test_without_a_secret_nothing_is_sent(desk: Desk, receiver: Receiver) -> None:
    made = await desk.webhook(receiver.url)
    await desk.pool.execute("UPDATE endpoint_secrets SET key_id = 'lost'")
    shown = (await desk("POST", f"/webhooks/{made['id']}/test")).json
    assert (shown["result"], shown["request_headers"], shown["status_code"]) == ("internal", None, None)
    assert (receiver.received, receiver.refused) == ([], [])


async def test_a_provider_has_its_own_headers(dsn: str, receiver: Receiver) -> None:
    nordbastion = profiles.load("nordbastion")
    names = nordbastion.headers.model_copy(update={"webhook_prefix": "x-other-"})
    async with a_desk(dsn, profile=nordbastion.model_copy(update={"headers": names})) as desk:
        made = await desk.webhook(receiver.url)
        shown = (await desk("POST", f"/webhooks/{made['id']}/test")).json
    assert shown["request_headers"]["x-other-event"] == "webhook.test"


# --- how many ---------------------------------------------------------------------------------------------------------


async def test_tests_of_one_webhook_follow_each_other(dsn: str) -> None:
    async with a_desk(dsn) as desk, kit.receiving(kit.hangs) as receiver, Receiver().listening() as good:
        made, other = await desk.webhook(receiver.url), await desk.webhook(good.url)
        path = f"/webhooks/{made['id']}/test"
        testing = asyncio.create_task(desk("POST", path))
        await receiver.until(lambda r: len(r.requests) == 1)
        refused = await desk("POST", path)
        assert refused.refusal == (409, "test_under_way")
        assert refused.headers == {"Retry-After": "2"}
        assert (await desk("POST", f"/webhooks/{other['id']}/test")).status == 200
        testing.cancel()  # as when the service stops
        await asyncio.gather(testing, return_exceptions=True)
        again = asyncio.create_task(desk("POST", path))
        await receiver.until(lambda r: len(r.requests) == 2)
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)


async def test_an_account_has_so_many_tests_at_once_and_leaves_room_for_others(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tester, "AT_ONCE", 6)
    async with a_desk(dsn) as desk, kit.receiving(kit.hangs) as receiver:
        paths = [f"/webhooks/{(await desk.webhook(receiver.url))['id']}/test" for _ in range(5)]
        other = desk.of("acct_2")
        others = [f"/webhooks/{(await other.webhook(receiver.url))['id']}/test" for _ in range(3)]
        testing = [asyncio.create_task(desk("POST", path)) for path in paths[:4]]
        await receiver.until(lambda r: len(r.requests) == 4)
        assert (await desk("POST", paths[4])).refusal == (409, "too_many_tests")
        testing += [asyncio.create_task(other("POST", path)) for path in others[:2]]
        await receiver.until(lambda r: len(r.requests) == 6)
        refused = await other("POST", others[2])
        assert (refused.refusal, refused.headers) == ((503, "busy"), {"Retry-After": "2"})
        for task in testing:
            task.cancel()
        await asyncio.gather(*testing, return_exceptions=True)
    counted = desk.services.tester
    assert (counted._endpoints, counted._accounts) == (set(), {})
    assert tester.OF_ACCOUNT == 4
