"""Webhooks through the API's operations, on a real database: what each answers, and what each refuses."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from consumers.catalogue import CATALOGUE, DOCUMENTED, schema
from publisher import endpoint_failures, profiles
from publisher.api.operations import URL_CODES
from publisher.delivery.egress import Rules
from publisher.profiles.model import Catalogue
from tests.support.desk import a_desk
from tests.support.egress import CORPUS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from publisher.profiles import Profile
    from tests.support.desk import Desk

URL = "https://receiver.example/hooks"
NEW = {"url": URL, "events": ["server.*"]}
NOT_FOUND = {
    "type": "not_found",
    "code": "not_found",
    "message": "There is nothing here.",
    "request_id": "req_of-the-test",
    "doc_url": "https://nordbastion.com/api/#errors",
}


@pytest.fixture
async def desk(dsn: str) -> AsyncIterator[Desk]:
    async with a_desk(dsn) as opened:
        yield opened


def with_events(*offered: str) -> Profile:
    profile = profiles.load("nordbastion")
    return profile.model_copy(update={"events": Catalogue(offered=list(offered))})


async def disable(desk: Desk, webhook_id: str) -> None:
    async with desk.pool.acquire() as connection:
        await endpoint_failures.disable(connection, [webhook_id], "failing")


# --- create -----------------------------------------------------------------------------------------------------------


async def test_a_webhook_is_made_and_shows_its_secret_this_once(desk: Desk) -> None:
    answer = await desk("POST", "/webhooks", {"url": "HTTPS://Receiver.example/hooks", "events": ["server.*", "*"]})
    made = answer.json
    assert answer.status == 201
    assert answer.headers["Location"] == f"/webhooks/{made['id']}"
    assert made == {
        "id": made["id"],
        "url": URL,
        "events": ["server.*", "*"],
        "description": "",
        "status": "active",
        "disabled_reason": None,
        "algorithm": "hmac-sha256",
        "retries": None,
        "window": None,
        "failing_since": None,
        "dropped": 0,
        "last_result": None,
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
        "public_keys": [],
        "secret": made["secret"],
    }
    assert made["secret"].startswith("whsec_")
    assert made["created_at"].endswith("Z")
    shown = await desk("GET", answer.headers["Location"])
    assert (shown.status, shown.json) == (200, {name: value for name, value in made.items() if name != "secret"})


async def test_everything_a_webhook_may_have_is_kept(desk: Desk) -> None:
    asked = {
        **NEW,
        "description": "é" * 256,
        "algorithm": "ed25519",
        "retries": 5,
        "window": 7200,
        "events": ["topup.confirmed"],
    }
    made = await desk.webhook(**asked)
    assert {name: made[name] for name in asked} == asked
    [public_key] = made["public_keys"]
    assert public_key.startswith("whpk_")


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"url": None}, "invalid_url", "url"),
        ({"events": []}, "invalid_events", "events"),
        ({"events": ["server.power.on"] * 101}, "invalid_events", "events"),
        ({"events": ["server.exploded"]}, "invalid_events", "events"),
        ({"events": [1]}, "invalid_events", "events.0"),
        ({"description": "x" * 257}, "invalid_description", "description"),
        ({"description": "a\x00b"}, "invalid_description", "description"),
        ({"algorithm": "rsa"}, "invalid_algorithm", "algorithm"),
        ({"algorithm": None}, "invalid_algorithm", "algorithm"),
        ({"retries": 11}, "invalid_retries", "retries"),
        ({"retries": True}, "invalid_retries", "retries"),
        ({"retries": 2.0}, "invalid_retries", "retries"),
        ({"retries": 10**40}, "invalid_retries", "retries"),
        ({"window": 0}, "invalid_window", "window"),
        ({"window": 30}, "invalid_window", "window"),
        ({"secret": "whsec_mine"}, "unknown_field", "secret"),
        ({"status": "paused"}, "unknown_field", "status"),
    ],
)
async def test_what_is_wrong_with_a_new_webhook_is_named(
    changes: dict[str, Any], code: str, field: str, desk: Desk
) -> None:
    answer = await desk("POST", "/webhooks", content=json.dumps({**NEW, **changes}).encode())
    assert answer.refusal == (422, code)
    assert answer.error["message"].startswith(f"{field}: ")
    assert (await desk("GET", "/webhooks")).json["meta"]["total"] == 0


async def test_a_hundred_filters_are_not_too_many(desk: Desk) -> None:
    everything = sorted({"*", "server.*", *CATALOGUE})
    asked = (everything * 4)[:100]
    assert len((await desk.webhook(events=asked))["events"]) == len(everything)


@pytest.mark.parametrize("url", CORPUS["refuse_at_registration"])
async def test_a_url_that_must_not_be_called_is_refused_with_the_reason(url: str, dsn: str) -> None:
    async with a_desk(dsn, rules=Rules.parse()) as desk:
        answer = await desk("POST", "/webhooks", {**NEW, "url": url})
        assert answer.status == 422
        assert answer.error["code"] in URL_CODES
        assert answer.error["message"].startswith("url: ")
        made = await desk.webhook()
        changed = await desk("PATCH", f"/webhooks/{made['id']}", {"url": url})
        assert changed.refusal == answer.refusal
        assert (await desk("GET", f"/webhooks/{made['id']}")).json["url"] == URL


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("https://10.0.0.1/", "url_address_not_allowed", "it is private, reserved, or closed by this service"),
        ("http://receiver.example/", "url_scheme_not_allowed", "must begin with https://"),
        ("https://receiver.example:22/", "url_port_not_allowed", "the port must be one of 443, 8443"),
        ("https://receiver/", "url_host_not_allowed", "the host is not a public name"),
        ("https://-a.example/", "url_host_not_valid", "the host is not a valid name"),
        ("https://receiver.example/" + "x" * 2048, "url_too_long", "must be at most 2048 characters"),
        ("https://me@receiver.example/", "url_malformed", "without user"),
    ],
)
async def test_each_refusal_of_a_url_has_a_code_and_a_sentence(url: str, code: str, says: str, dsn: str) -> None:
    async with a_desk(dsn, rules=Rules.parse()) as desk:
        answer = await desk("POST", "/webhooks", {**NEW, "url": url})
    assert answer.refusal == (422, code)
    assert says in answer.error["message"]


async def test_a_filter_that_selects_nothing_the_provider_offers_is_refused_by_name(dsn: str) -> None:
    async with a_desk(dsn, profile=with_events("server.power.*", "canary.updated")) as desk:
        for wanted in ("server.deleted", "topup.*", "incident.opened"):
            answer = await desk("POST", "/webhooks", {**NEW, "events": ["server.*", wanted]})
            assert answer.refusal == (422, "invalid_events")
            assert repr(wanted) in answer.error["message"]
        made = await desk.webhook(events=["*", "server.*", "canary.updated"])
        assert made["events"] == ["*", "server.*", "canary.updated"]
        answer = await desk("PATCH", f"/webhooks/{made['id']}", {"events": ["topup.*"]})
        assert answer.refusal == (422, "invalid_events")


async def test_of_many_created_at_once_there_are_as_many_as_may_be(desk: Desk) -> None:
    most = desk.services.profile.limits.tier(None).webhooks
    other = desk.of("acct_2")
    await other.webhook()
    answers = await asyncio.gather(*(desk("POST", "/webhooks", NEW) for _ in range(most + 10)))
    assert sorted(answer.status for answer in answers) == [201] * most + [422] * 10
    refused = next(answer for answer in answers if answer.status == 422)
    assert refused.error["code"] == "too_many_webhooks"
    assert str(most) in refused.error["message"]
    listed = await desk("GET", "/webhooks")
    assert listed.json["meta"]["total"] == most == 20
    await desk("DELETE", f"/webhooks/{listed.json['data'][0]['id']}")
    await desk.webhook()
    await other.webhook()  # whose account has room


async def test_a_tier_says_how_many_webhooks_there_may_be(dsn: str) -> None:
    async with a_desk(dsn, tier="developer") as desk:
        await asyncio.gather(*(desk.webhook() for _ in range(21)))
        assert (await desk("GET", "/webhooks")).json["meta"]["total"] == 21


# --- list -------------------------------------------------------------------------------------------------------------


def ids_of(listed: Any) -> list[str]:
    return [each["id"] for each in listed.json["data"]]


async def test_a_list_has_an_accounts_own_webhooks_the_oldest_first(desk: Desk) -> None:
    made = [(await desk.webhook(description=str(number)))["id"] for number in range(5)]
    await desk.of("acct_2").webhook()
    first = await desk("GET", "/webhooks?per_page=2")
    assert (first.status, ids_of(first)) == (200, made[:2])
    assert first.json["meta"] == {"page": 1, "per_page": 2, "total": 5, "total_pages": 3}
    assert "public_keys" not in first.json["data"][0]
    await desk.webhook()  # behind what somebody is leafing through
    assert ids_of(await desk("GET", "/webhooks?per_page=2&page=2")) == made[2:4]
    assert ids_of(await desk("GET", "/webhooks?per_page=2&page=2&sort=-created_at")) == [made[3], made[2]]
    beyond = await desk("GET", "/webhooks?page=9")
    assert (beyond.json["data"], beyond.json["meta"]["total"]) == ([], 6)
    assert (await desk.of("acct_3")("GET", "/webhooks")).json["meta"]["total"] == 0


async def test_a_list_may_be_of_one_status(desk: Desk) -> None:
    active, paused, disabled = [(await desk.webhook())["id"] for _ in range(3)]
    await desk("PATCH", f"/webhooks/{paused}", {"status": "paused"})
    await disable(desk, disabled)
    for status, expected in (("active", active), ("paused", paused), ("disabled", disabled)):
        listed = await desk("GET", f"/webhooks?filter[status]={status}&fields=id,status")
        assert listed.json["data"] == [{"id": expected, "status": status}]
        assert listed.json["meta"]["total"] == 1
    assert (await desk("GET", "/webhooks?filter[status]=broken")).refusal == (422, "invalid_parameter")


# --- change -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"url": URL + "/new"},
        {"events": ["topup.*"]},
        {"description": ""},
        {"status": "paused"},
        {"status": "active"},
        {"retries": 1, "window": 600},
        {"retries": None},
        {"window": None},
        {"description": "new", "status": "paused", "retries": None, "window": None},
    ],
)
async def test_what_is_named_is_changed_and_nothing_else(changes: dict[str, Any], desk: Desk) -> None:
    made = await desk.webhook(description="old", retries=2, window=3600)
    answer = await desk("PATCH", f"/webhooks/{made['id']}", changes)
    assert answer.status == 200
    expected = {name: value for name, value in made.items() if name != "secret"}
    assert answer.json == {**expected, **changes, "updated_at": answer.json["updated_at"]}
    assert answer.json["updated_at"] > made["updated_at"]
    assert (await desk("GET", f"/webhooks/{made['id']}")).json == answer.json


async def test_an_empty_change_changes_nothing(desk: Desk) -> None:
    made = await desk.webhook()
    answer = await desk("PATCH", f"/webhooks/{made['id']}", {})
    assert (answer.status, answer.json["updated_at"]) == (200, made["updated_at"])


async def test_a_disabled_webhook_is_enabled_again_by_its_owner(desk: Desk) -> None:
    made = await desk.webhook()
    await disable(desk, made["id"])
    shown = await desk("GET", f"/webhooks/{made['id']}")
    assert (shown.json["status"], shown.json["disabled_reason"]) == ("disabled", "failing")
    enabled = await desk("PATCH", f"/webhooks/{made['id']}", {"status": "active"})
    assert (enabled.json["status"], enabled.json["disabled_reason"]) == ("active", None)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"url": None}, "invalid_url"),
        ({"events": None}, "invalid_events"),
        ({"description": None}, "invalid_description"),
        ({"status": None}, "invalid_status"),
        ({"status": "disabled"}, "invalid_status"),
        ({"events": []}, "invalid_events"),
        ({"retries": -1}, "invalid_retries"),
        ({"window": 30}, "invalid_window"),
        ({"description": "x" * 257}, "invalid_description"),
        ({"algorithm": "ed25519"}, "unknown_field"),
        ({"description": "new", "id": "we_mine"}, "unknown_field"),
    ],
)
async def test_a_change_that_is_refused_changes_nothing(changes: dict[str, Any], code: str, desk: Desk) -> None:
    made = await desk.webhook(description="old")
    assert (await desk("PATCH", f"/webhooks/{made['id']}", changes)).refusal == (422, code)
    assert (await desk("GET", f"/webhooks/{made['id']}")).json["updated_at"] == made["updated_at"]


# --- rotate -----------------------------------------------------------------------------------------------------------


async def test_a_new_secret_signs_beside_the_old_one_for_as_long_as_was_asked(desk: Desk) -> None:
    made = await desk.webhook(algorithm="ed25519")
    answer = await desk("POST", f"/webhooks/{made['id']}/secret", {"overlap": 60})
    rotated = answer.json
    assert answer.status == 200
    assert rotated == {
        "id": made["id"], "secret": rotated["secret"], "public_keys": rotated["public_keys"], "overlap": 60.0
    }  # fmt: skip
    assert rotated["secret"] != made["secret"]
    assert rotated["public_keys"][1:] == made["public_keys"]
    left = await desk.pool.fetchval(
        "SELECT extract(epoch FROM max(expires_at) - now())::int FROM endpoint_secrets WHERE expires_at IS NOT NULL"
    )
    assert 0 < left <= 60


@pytest.mark.parametrize("body", [{}, {"overlap": None}])
async def test_an_overlap_nobody_names_is_the_services(body: dict[str, None], desk: Desk) -> None:
    made = await desk.webhook()
    assert (await desk("POST", f"/webhooks/{made['id']}/secret", body)).json["overlap"] == 86_400


async def test_without_overlap_the_old_secret_signs_no_more(desk: Desk) -> None:
    made = await desk.webhook(algorithm="ed25519")
    rotated = (await desk("POST", f"/webhooks/{made['id']}/secret", {"overlap": 0})).json
    assert len(rotated["public_keys"]) == 1
    assert rotated["public_keys"] != made["public_keys"]


@pytest.mark.parametrize("overlap", [-1, 604_801, "60", True])
async def test_what_is_no_overlap(overlap: object, desk: Desk) -> None:
    made = await desk.webhook()
    answer = await desk("POST", f"/webhooks/{made['id']}/secret", {"overlap": overlap})
    assert answer.refusal == (422, "invalid_overlap")


# --- delete -----------------------------------------------------------------------------------------------------------


async def test_what_is_removed_is_not_found_any_more(desk: Desk) -> None:
    made, kept = await desk.webhook(), await desk.webhook()
    answer = await desk("DELETE", f"/webhooks/{made['id']}")
    assert (answer.status, answer.json) == (204, None)
    assert (await desk("GET", f"/webhooks/{made['id']}")).status == 404
    assert (await desk("DELETE", f"/webhooks/{made['id']}")).status == 404
    assert ids_of(await desk("GET", "/webhooks")) == [kept["id"]]


# --- event types ------------------------------------------------------------------------------------------------------


async def listed_types(desk: Desk, query: str = "per_page=100") -> Sequence[dict[str, Any]]:
    answer = await desk("GET", f"/webhooks/event-types?{query}")
    assert answer.status == 200
    data: list[dict[str, Any]] = answer.json["data"]
    return data


async def test_event_types_are_listed_with_schema_and_example(desk: Desk) -> None:
    listed = await listed_types(desk)
    assert [each["type"] for each in listed] == sorted(CATALOGUE)
    assert {model.TYPE for model in DOCUMENTED} <= {each["type"] for each in listed}
    for each in listed:
        model = CATALOGUE[each["type"]]
        assert each == {
            "type": model.TYPE,
            "description": model.MEANING,
            "is_public": model.IS_PUBLIC,
            "schema": schema(model.TYPE),
            "example": model.EXAMPLE,
        }


async def test_event_types_are_a_list_like_any_other(desk: Desk) -> None:
    by_name = sorted(CATALOGUE)
    answer = await desk("GET", "/webhooks/event-types?per_page=5&page=2&fields=type")
    assert answer.json["data"] == [{"type": name} for name in by_name[5:10]]
    assert answer.json["meta"]["total"] == len(CATALOGUE)
    assert [each["type"] for each in await listed_types(desk, "sort=-type&per_page=2")] == by_name[:-3:-1]


async def test_a_provider_shows_the_event_types_it_offers(dsn: str) -> None:
    async with a_desk(dsn, profile=with_events("server.power.*", "canary.updated")) as desk:
        assert [each["type"] for each in await listed_types(desk)] == [
            "canary.updated", "server.power.off", "server.power.on"
        ]  # fmt: skip


# --- another's ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "below", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"status": "paused"}),
        ("PATCH", "", {}),
        ("DELETE", "", None),
        ("POST", "/test", None),
        ("POST", "/secret", {}),
    ],
)
async def test_anothers_webhook_and_none_at_all_are_the_same_answer(
    method: str, below: str, body: object, desk: Desk
) -> None:
    made = await desk.webhook()
    before = (await desk("GET", f"/webhooks/{made['id']}")).json
    for caller, asked in (
        (desk.of("acct_2"), made["id"]),
        (desk, "we_absent"),
        (desk, "we_%00"),
        (desk, "x" * 500),
    ):
        answer = await caller(method, f"/webhooks/{asked}{below}", body)
        assert (answer.status, answer.error) == (404, NOT_FOUND)
    assert (await desk("GET", f"/webhooks/{made['id']}")).json == before
    assert await desk.pool.fetchval("SELECT count(*) FROM endpoint_secrets") == 1
