"""The customer's log through the API's operations: what was sent, what came back, and having it sent again."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, get_args

import pytest
from standardwebhooks import Webhook

from publisher import recovery
from publisher.api import deliveries as handlers
from publisher.api import models
from publisher.deliveries import MOST_ATTEMPTS, Redelivery
from publisher.queue import ENDED_STATES, LIVE_STATES
from publisher.recovery import Recoverer
from runtime.trace_context import trace_id_of
from tests.support.desk import a_desk
from tests.support.histories import HOUR_AGO, Histories, histories
from tests.support.live import Live, live, states
from tests.support.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.desk import Answer, Desk

SHORTLY_AGO = HOUR_AGO + timedelta(minutes=59)


@pytest.fixture
async def desk(dsn: str) -> AsyncIterator[Desk]:
    async with a_desk(dsn) as opened:
        yield opened


@pytest.fixture
async def past(dsn: str) -> AsyncIterator[Histories]:
    async with histories(dsn) as made:
        yield made


@pytest.fixture
async def here(dsn: str) -> AsyncIterator[Live]:
    async with live(dsn) as opened:
        yield opened


def ids_of(answer: Answer) -> list[str]:
    return [each["id"] for each in answer.json["data"]]


def link(answer: Answer, name: str) -> str:
    found = re.search(rf'<([^>]*)>; rel="{name}"', answer.headers["Link"])
    assert found
    return found[1]


# --- the list ---------------------------------------------------------------------------------------------------------


def test_every_state_has_a_word_of_its_own_and_every_word_a_state() -> None:
    every = {*LIVE_STATES, *ENDED_STATES}
    assert {handlers._status(state) for state in every} == set(get_args(models.DeliveryStatus))
    assert {handlers.STATES[handlers._status(state)] for state in every} == every == set(handlers.STATES.values())


async def test_deliveries_are_listed_the_newest_first_in_a_customers_words(desk: Desk, past: Histories) -> None:
    made = await desk.webhook()
    words = ("delivered", "retrying", "dropped", "pending", "cancelled", "sending")
    added = [
        await past.add(made["id"], handlers.STATES[word], at=HOUR_AGO - timedelta(minutes=number))
        for number, word in enumerate(words)
    ]
    path = f"/webhooks/{made['id']}/deliveries"
    answer = await desk("GET", path)
    assert answer.json["meta"] == {"page": 1, "per_page": 20, "total": 6, "total_pages": 1, "is_complete": True}
    assert [(each["id"], each["status"]) for each in answer.json["data"]] == list(zip(added, words, strict=True))
    assert answer.json["data"][2] == {
        "id": added[2],
        "webhook_id": made["id"],
        "message_id": added[2].replace("dlv", "msg"),
        "type": "server.power.on",
        "status": "dropped",
        "reason": None,
        "attempts": 1,
        "last_result": "5xx",
        "next_attempt_at": None,
        "created_at": (HOUR_AGO - timedelta(minutes=2)).isoformat().replace("+00:00", "Z"),
        "ended_at": answer.json["data"][2]["ended_at"],
    }
    assert ids_of(await desk("GET", f"{path}?sort=created_at")) == added[::-1]
    for word, delivery_id in zip(words, added, strict=True):
        assert ids_of(await desk("GET", f"{path}?filter[status]={word}")) == [delivery_id]


async def test_deliveries_are_found_by_type_result_and_time(desk: Desk, past: Histories) -> None:
    made = await desk.webhook()
    old = await past.add(made["id"], "dropped", at=HOUR_AGO - timedelta(days=1), last_result="timeout")
    other = await past.add(made["id"], "delivered", event_type="topup.created")
    new = await past.add(made["id"], "dropped", at=SHORTLY_AGO)
    path = f"/webhooks/{made['id']}/deliveries"
    moment = HOUR_AGO.isoformat().replace("+00:00", "Z")
    for query, expected in (
        ("filter[type]=topup.created", [other]),
        ("filter[result]=timeout", [old]),
        (f"filter[since]={moment}", [new, other]),
        (f"filter[until]={moment}", [other, old]),
        (f"filter[since]={moment}&filter[until]={moment}", [other]),
        ("filter[status]=dropped&filter[result]=5xx&fields=id", [new]),
        ("filter[since]=0001-01-01T00:00:00Z&filter[until]=9999-12-31T23:59:59Z", [new, other, old]),
    ):
        assert ids_of(await desk("GET", f"{path}?{query}")) == expected, query


@pytest.mark.parametrize(
    "query",
    [
        "filter[status]=leased",
        "filter[type]=server.exploded",
        "filter[result]=200",
        "filter[since]=yesterday",
        "filter[until]=2026-11-01T00:00:00",
        "sort=id",
    ],
)
async def test_what_is_no_filter_is_refused(query: str, desk: Desk) -> None:
    made = await desk.webhook()
    answer = await desk("GET", f"/webhooks/{made['id']}/deliveries?{query}")
    assert answer.refusal == (422, "invalid_parameter")


async def test_links_lead_through_steady_pages_while_new_deliveries_come(desk: Desk, past: Histories) -> None:
    made = await desk.webhook()
    added = [
        await past.add(made["id"], "delivered", at=HOUR_AGO + timedelta(minutes=number, milliseconds=999))
        for number in range(7)
    ]
    await past.add(made["id"], "dropped", at=HOUR_AGO)  # which the filter leaves out
    page = await desk("GET", f"/webhooks/{made['id']}/deliveries?per_page=3&filter[status]=delivered")
    seen = ids_of(page)
    while 'rel="next"' in page.headers["Link"]:
        await past.add(made["id"], "delivered", at=SHORTLY_AGO)
        page = await desk("GET", link(page, "next"))
        assert page.json["meta"]["total"] == 7
        seen += ids_of(page)
    assert seen == added[::-1]
    again = await desk("GET", link(page, "first"))
    assert ids_of(again) == added[:3:-1]


async def test_a_list_that_is_asked_for_from_the_beginning_or_up_to_some_time_needs_no_anchor(
    desk: Desk, past: Histories
) -> None:
    made = await desk.webhook()
    for _ in range(3):
        await past.add(made["id"])
    path = f"/webhooks/{made['id']}/deliveries?per_page=2"
    assert "until" not in link(await desk("GET", f"{path}&sort=created_at"), "next")
    asked = SHORTLY_AGO.isoformat().replace("+00:00", "Z")
    assert link(await desk("GET", f"{path}&filter[until]={asked}"), "next").count("until") == 1
    assert "Link" not in (await desk("GET", f"/webhooks/{(await desk.webhook())['id']}/deliveries")).headers


async def test_a_log_that_is_too_long_says_that_it_is_not_complete(
    desk: Desk, past: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("publisher.log.LOOKED_AT", 2)
    made = await desk.webhook()
    for _ in range(3):
        await past.add(made["id"])
    meta = (await desk("GET", f"/webhooks/{made['id']}/deliveries")).json["meta"]
    assert (meta["total"], meta["is_complete"]) == (2, False)


# --- one whole --------------------------------------------------------------------------------------------------------


async def test_a_delivery_is_shown_as_its_receiver_had_it(desk: Desk, here: Live) -> None:
    async with Receiver().listening() as receiver:
        made = await desk.webhook(receiver.url)
        receiver.trust(made["secret"])
        receiver.answers.append(503)
        [delivery_id] = await here.enqueue(made["id"])
        async with here.working() as working:
            await here.until(lambda log: log[delivery_id] == ("retry", 1), "the first attempt failed")
            waiting = await desk("GET", f"/webhooks/{made['id']}/deliveries/{delivery_id}")
            await here.due_now("retry")
            working.worker.wake()
            await here.until(lambda log: log[delivery_id] == ("delivered", 2), "the second one arrived")
    assert (waiting.json["status"], waiting.json["attempts"]) == ("retrying", 1)
    assert waiting.json["next_attempt_at"] is not None
    shown = (await desk("GET", f"/webhooks/{made['id']}/deliveries/{delivery_id}")).json
    assert (shown["status"], shown["attempts"], shown["last_result"]) == ("delivered", 2, "2xx")
    assert shown["trace_id"] == trace_id_of(None, shown["message_id"])
    assert [(each["number"], each["result"], each["status_code"]) for each in shown["attempt_log"]] == [
        (1, "5xx", 503),
        (2, "2xx", 204),
    ]
    for attempt, received in zip(shown["attempt_log"], receiver.received, strict=True):
        assert shown["request_body"].encode() == received.body
        assert attempt["request_headers"].items() <= received.headers.items()
        Webhook(made["secret"]).verify(shown["request_body"], attempt["request_headers"])


async def test_a_body_that_retention_has_taken_is_null(desk: Desk, past: Histories) -> None:
    made = await desk.webhook()
    delivery_id = await past.add(made["id"], has_payload=False)
    shown = (await desk("GET", f"/webhooks/{made['id']}/deliveries/{delivery_id}")).json
    assert shown["request_body"] is None
    assert shown["trace_id"] is None
    assert shown["attempt_log"] == []


# --- sent again -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "word"), [("dropped", "pending"), ("delivered", "pending"), ("retry", "retrying")])
async def test_a_delivery_is_sent_again_now(state: str, word: str, desk: Desk, past: Histories) -> None:
    made = await desk.webhook()
    delivery_id = await past.add(made["id"], state)
    answer = await desk("POST", f"/webhooks/{made['id']}/deliveries/{delivery_id}/redeliver")
    assert (answer.status, answer.json) == (202, {"id": delivery_id, "webhook_id": made["id"], "status": word})
    assert await past.due(delivery_id)


@pytest.mark.parametrize("why", [each for each in Redelivery if each in handlers.REFUSALS])
async def test_each_reason_not_to_send_again_has_a_code(why: Redelivery, desk: Desk, past: Histories) -> None:
    made = await desk.webhook()
    added: dict[str, Any] = {
        Redelivery.UNDER_WAY: {"state": "leased"},
        Redelivery.EXPIRED: {"has_payload": False},
        Redelivery.TOO_MANY_ATTEMPTS: {"attempts": MOST_ATTEMPTS},
    }
    delivery_id = await past.add(made["id"], **added.get(why, {}))
    if why is Redelivery.ENDPOINT_INACTIVE:
        await desk("PATCH", f"/webhooks/{made['id']}", {"status": "paused"})
    if why is Redelivery.QUEUE_FULL:
        await past.execute("INSERT INTO full_accounts (account_id, queued) VALUES ('acct_1', 100000)")
    before = await past.state(delivery_id)
    answer = await desk("POST", f"/webhooks/{made['id']}/deliveries/{delivery_id}/redeliver")
    expected = {
        Redelivery.UNDER_WAY: "delivery_under_way",
        Redelivery.EXPIRED: "payload_expired",
        Redelivery.ENDPOINT_INACTIVE: "webhook_inactive",
        Redelivery.QUEUE_FULL: "queue_full",
        Redelivery.TOO_MANY_ATTEMPTS: "too_many_attempts",
    }
    assert answer.refusal == (409, expected[why])
    assert await past.state(delivery_id) == before


def test_every_outcome_of_asking_has_an_answer() -> None:
    assert {*handlers.REFUSALS, Redelivery.QUEUED, Redelivery.NOT_FOUND} == set(Redelivery)


# --- recovered --------------------------------------------------------------------------------------------------------


async def test_what_was_missed_is_recovered_once_each(desk: Desk, here: Live) -> None:
    async with Receiver().listening() as receiver:
        made = await desk.webhook(receiver.url)
        receiver.trust(made["secret"])
        receiver.answers.extend([410, 204])
        enqueued = await here.enqueue(made["id"], 2)
        async with here.working() as working:
            await here.until(
                lambda log: {*states(log)} <= {"dropped", "cancelled", "delivered"}, "the receiver wanted no more"
            )
            missed = [each for each, (state, _) in (await here.log()).items() if state != "delivered"]
            assert missed
            assert (await desk("GET", f"/webhooks/{made['id']}")).json["status"] == "disabled"
            since = {"since": "2026-01-01T00:00:00Z"}
            refused = await desk("POST", f"/webhooks/{made['id']}/recover", since)
            assert refused.refusal == (409, "webhook_inactive")
            await desk("PATCH", f"/webhooks/{made['id']}", {"status": "active"})
            receiver.answers.clear()
            answer = await desk("POST", f"/webhooks/{made['id']}/recover", since)
            assert (answer.status, answer.json["state"], answer.json["queued"]) == (202, "running", 0)
            assert answer.json["statuses"] == ["cancelled", "dropped"]
            assert answer.json["webhook_id"] == made["id"]
            again = await desk("POST", f"/webhooks/{made['id']}/recover", since)
            assert again.refusal == (409, "recovery_running")
            await Recoverer(here.pool).work()
            working.worker.wake()
            await here.until(lambda log: {*states(log)} == {"delivered"}, "everything arrived")
    done = (await desk("GET", answer.headers["Location"])).json
    assert (done["state"], done["queued"], done["expired"]) == ("done", len(missed), 0)
    assert done["ended_at"] is not None
    arrived = [each.headers["x-nb-delivery"] for each in receiver.received]
    assert {each: ("delivered", arrived.count(each)) for each in enqueued} == await here.log()


@pytest.mark.parametrize("status", ["dropped", "cancelled"])
async def test_a_recovery_may_be_of_what_ended_one_way(status: str, desk: Desk, past: Histories) -> None:
    made = await desk.webhook()
    wanted = [await past.add(made["id"], status)]
    await past.add(made["id"], "cancelled" if status == "dropped" else "dropped")
    since, until = (HOUR_AGO - timedelta(hours=1)).isoformat(), HOUR_AGO.isoformat()
    answer = await desk("POST", f"/webhooks/{made['id']}/recover", {"since": since, "until": until, "status": status})
    assert (answer.status, answer.json["statuses"]) == (202, [status])
    assert datetime.fromisoformat(answer.json["since"]) == datetime.fromisoformat(since)
    assert datetime.fromisoformat(answer.json["until"]) == HOUR_AGO
    await Recoverer(past.pool).work()
    assert await past.queued() == wanted


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_field"),
        ({"since": "2999-01-01T00:00:00Z"}, "invalid_since"),
        ({"since": "2026-11-02T00:00:00Z", "until": "2026-11-01T00:00:00Z"}, "invalid_since"),
        ({"since": "yesterday"}, "invalid_since"),
        ({"since": "2026-11-01T00:00:00"}, "invalid_since"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "invalid_since"),
        ({"since": "2026-11-01T00:00:00Z", "status": "delivered"}, "invalid_status"),
        ({"since": "2026-11-01T00:00:00Z", "what": 1}, "unknown_field"),
    ],
)
async def test_what_is_no_recovery(body: dict[str, Any], code: str, desk: Desk) -> None:
    made = await desk.webhook()
    assert (await desk("POST", f"/webhooks/{made['id']}/recover", body)).refusal == (422, code)
    assert (await desk("GET", f"/webhooks/{made['id']}/recoveries")).json["meta"]["total"] == 0


async def test_recoveries_are_listed_the_newest_first(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await desk.webhook()
    path = f"/webhooks/{made['id']}/recoveries"
    started = []
    for _ in range(3):
        answer = await desk("POST", f"/webhooks/{made['id']}/recover", {"since": "2026-01-01T00:00:00Z"})
        assert answer.headers["Location"] == f"{path}/{answer.json['id']}"
        started.append(answer.json["id"])
        await Recoverer(desk.pool).work()
    listed = await desk("GET", f"{path}?per_page=2&page=1")
    assert ids_of(listed) == started[:0:-1]
    assert listed.json["meta"] == {"page": 1, "per_page": 2, "total": 3, "total_pages": 2, "is_complete": True}
    assert ids_of(await desk("GET", link(listed, "next"))) == started[:1]
    monkeypatch.setattr(recovery, "LISTED", 2)
    short = (await desk("GET", path)).json["meta"]
    assert (short["total"], short["is_complete"]) == (2, False)


# --- another's --------------------------------------------------------------------------------------------------------


async def test_anothers_log_and_none_at_all_are_the_same_answer(desk: Desk, past: Histories) -> None:
    made, other = await desk.webhook(), await desk.webhook()
    delivery_id = await past.add(made["id"])
    since = {"since": "2026-01-01T00:00:00Z"}
    started = (await desk("POST", f"/webhooks/{made['id']}/recover", since)).json["id"]
    stranger = desk.of("acct_2")
    mine, theirs, none = f"/webhooks/{made['id']}", f"/webhooks/{other['id']}", "/webhooks/we_absent"
    answers = [
        *[await stranger("GET", f"{mine}/{below}") for below in ("deliveries", "recoveries")],
        await stranger("POST", f"{mine}/recover", since),
        *[await desk("GET", f"{none}/{below}") for below in ("deliveries", "recoveries")],
        await desk("POST", f"{none}/recover", since),
    ]
    for caller, at, delivery, recovered in (
        (stranger, mine, delivery_id, started),
        (desk, theirs, delivery_id, started),
        (desk, mine, "dlv_absent", "rcv_absent"),
        (desk, mine, "dlv_%00", "rcv_%00"),
        (desk, none, delivery_id, started),
    ):
        answers += [
            await caller("GET", f"{at}/deliveries/{delivery}"),
            await caller("POST", f"{at}/deliveries/{delivery}/redeliver"),
            await caller("GET", f"{at}/recoveries/{recovered}"),
        ]
    assert {(answer.status, str(answer.error)) for answer in answers} == {(404, str(answers[0].error))}
    assert await past.state(delivery_id) == "dropped"


async def test_the_log_goes_with_its_webhook(desk: Desk, past: Histories) -> None:
    made = await desk.webhook()
    delivery_id = await past.add(made["id"])
    started = await desk("POST", f"/webhooks/{made['id']}/recover", {"since": "2026-01-01T00:00:00Z"})
    await desk("DELETE", f"/webhooks/{made['id']}")
    for below in ("deliveries", f"deliveries/{delivery_id}", "recoveries", f"recoveries/{started.json['id']}"):
        assert (await desk("GET", f"/webhooks/{made['id']}/{below}")).status == 404
