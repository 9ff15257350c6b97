"""What the description says of answers and of webhooks is what is sent, and each error is told where it may come."""

from __future__ import annotations

import ast
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import orjson
import pytest

from consumers.catalogue import CATALOGUE
from publisher import api
from publisher.api import errors
from publisher.api.call import Access
from publisher.api.errors import ApiError
from publisher.api.openapi import codes_of, document, examples, faults_of, responses, schemas
from publisher.api.operations import OPERATIONS
from publisher.delivery import tester
from publisher.delivery.headers import fixed, of_attempt
from publisher.delivery.request import body
from publisher.profiles.model import ERROR_VALUES, LIST_VALUES, Fault
from tests.support.described import DOCUMENTS, NORDBASTION, PROFILES, TINY, URL, check, operation_of, resolved
from tests.support.domain_events import TIME

if TYPE_CHECKING:
    from publisher.api.call import Operation

#: Said where there is no operation: to another method or path, and to what is not HTTP.
UNROUTED = {"method_not_allowed", "not_found", "malformed_request", "expectation_failed"}
#: Of what is no operation, but served of the feeds.
OF_FEEDS = {"too_many_streams"}

both = pytest.mark.parametrize("name", PROFILES)


# --- answers --------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_an_operation_may_end_in_its_success_and_its_faults(name: str, operation: Operation) -> None:
    profile = PROFILES[name]
    faults = {str(profile.errors.kinds[fault].status) for fault in faults_of(operation, profile)}
    assert operation_of(DOCUMENTS[name], operation.name)["responses"].keys() == {str(operation.status), *faults}


@both
def test_faults_follow_from_the_kind_of_operation(name: str) -> None:
    profile = PROFILES[name]
    always = {Fault.RATE_LIMITED, Fault.REFUSED, Fault.CRASHED, Fault.UNAVAILABLE}
    with_body = {Fault.TIMEOUT, Fault.TOO_LARGE, Fault.UNSUPPORTED_MEDIA, Fault.MALFORMED}
    for operation in OPERATIONS:
        faults = faults_of(operation, profile)
        assert always <= faults
        assert operation.faults <= faults
        assert ({Fault.UNAUTHENTICATED, Fault.FORBIDDEN} <= faults) == (operation.access is not Access.PUBLIC)
        if operation.method in {"POST", "PATCH"}:
            assert with_body <= faults
        if operation.method == "POST":
            assert Fault.CONFLICT in faults
        if operation.method in {"GET", "DELETE"}:
            assert not {Fault.TIMEOUT, Fault.TOO_LARGE, Fault.UNSUPPORTED_MEDIA, Fault.CONFLICT} & faults
            assert (Fault.MALFORMED in faults) == (profile.headers.sign is not None)
        assert Fault.METHOD_NOT_ALLOWED not in faults


@both
def test_what_is_open_to_all_asks_nobody_who_they_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = PROFILES[name]
    opened = tuple(replace(operation, access=Access.PUBLIC) for operation in OPERATIONS)
    assert not {Fault.UNAUTHENTICATED, Fault.FORBIDDEN} & faults_of(opened[0], profile)
    for module in ("document", "schemas"):
        monkeypatch.setattr(sys.modules[f"publisher.api.openapi.{module}"], "OPERATIONS", opened)
    described = operation_of(document(profile, URL), opened[0].name)
    assert described["security"] == []
    assert "Needs the scope" not in described["description"]
    assert not {"401", "403"} & described["responses"].keys()


def test_faults_of_one_status_are_one_answer() -> None:
    tiny = operation_of(DOCUMENTS[TINY], "create_webhook")["responses"]["400"]
    described = resolved(DOCUMENTS[TINY], tiny)
    assert described["content"]["application/json"]["examples"].keys() == {"BAD_REQUEST", "VALIDATION_ERROR"}
    assert "Codes: `BAD_REQUEST`, `VALIDATION_ERROR`." in described["description"]


def test_codes_that_the_stages_raise_are_those_that_are_told() -> None:
    profile = PROFILES["nordbastion"]
    told = {code for operation in OPERATIONS for fault in Fault for code in codes_of(operation, fault, profile)}
    raised: dict[str, set[str]] = {}
    for path in sorted(Path(api.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ApiError" and len(node.args) > 1:
                kind, text = node.args[:2]
                if isinstance(text, ast.Constant) and isinstance(kind, ast.Attribute):
                    raised.setdefault(str(text.value), set()).add(Fault[kind.attr])
    assert len(raised) > 20
    assert raised.keys() - UNROUTED - OF_FEEDS <= told
    for operation in OPERATIONS:
        for fault in Fault:
            for code in set(codes_of(operation, fault, profile)) & raised.keys():
                assert fault in raised[code], (operation.name, code)


def test_codes_of_an_operation_are_with_their_fault() -> None:
    profile = PROFILES["nordbastion"]
    by_name = {operation.name: operation for operation in OPERATIONS}
    create = by_name["create_webhook"]
    assert {"url_scheme_not_allowed", "too_many_webhooks", "invalid_events", "missing_field"} <= set(
        codes_of(create, Fault.REFUSED, profile)
    )
    assert "missing_body" in codes_of(create, Fault.MALFORMED, profile)
    assert "missing_body" not in codes_of(by_name["rotate_secret"], Fault.MALFORMED, profile)
    assert "missing_field" not in codes_of(by_name["update_webhook"], Fault.REFUSED, profile)
    assert "body_not_expected" in codes_of(by_name["redeliver"], Fault.REFUSED, profile)
    assert "invalid_parameter" not in codes_of(by_name["get_webhook"], Fault.REFUSED, profile)
    assert "webhook_inactive" in codes_of(by_name["recover"], Fault.CONFLICT, profile)
    assert codes_of(create, Fault.REFUSED, PROFILES[TINY]) == ["VALIDATION_ERROR"]


@both
@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("field", [None, "events.0"])
def test_every_error_fits_the_schema(name: str, fault: Fault, field: str | None) -> None:
    _, said = errors.body_of(ApiError(fault, "code", "Said.", field=field), PROFILES[name], "req_1")
    check(DOCUMENTS[name], {"$ref": "#/components/schemas/Error"}, said)


def test_what_is_not_an_error_does_not_fit() -> None:
    _, said = errors.body_of(errors.not_found(), PROFILES["nordbastion"], "req_1")
    shapes: list[dict[str, Any]] = [
        {},
        {"error": {}},
        {"error": {**said["error"], "type": "other"}},
        {**said, "more": 1},
    ]
    for broken in shapes:
        with pytest.raises(jsonschema.ValidationError):
            check(NORDBASTION, {"$ref": "#/components/schemas/Error"}, broken)


def test_there_is_a_schema_for_all_that_a_profile_may_write() -> None:
    profile = PROFILES["nordbastion"]
    assert responses.list_values({}, profile).keys() == LIST_VALUES
    everything = profile.errors.model_copy(update={"body": {name: f"${name}" for name in ERROR_VALUES}})
    wide = profile.model_copy(update={"errors": everything})
    assert responses.error_schema(wide)["properties"].keys() == ERROR_VALUES


@both
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_example_is_one_of_its_model(name: str, operation: Operation) -> None:
    test = examples.message(tester.TYPE, {})
    shown = examples.of_models(PROFILES[name].headers.webhook_prefix, test)
    for model in (operation.body, operation.item):
        if model is not None:
            model.model_validate_json(orjson.dumps(shown[model]))


def test_items_of_a_list_may_have_some_fields_only() -> None:
    listed = {"data": [{"id": "we_1"}], "meta": {"page": 1, "per_page": 20, "total": 1, "total_pages": 1}}
    content = operation_of(NORDBASTION, "list_webhooks")["responses"]["200"]["content"]["application/json"]
    check(NORDBASTION, content["schema"], listed)
    with pytest.raises(jsonschema.ValidationError):
        check(NORDBASTION, content["schema"], {**listed, "data": [{"other": 1}]})
    with pytest.raises(jsonschema.ValidationError):
        check(NORDBASTION, {"$ref": "#/components/schemas/WebhookDetail"}, {"id": "we_1"})


@both
def test_limits_and_ids_are_told_on_every_answer(name: str) -> None:
    profile = PROFILES[name]
    rates = profile.limits.headers
    told = {rates.limit, rates.remaining, rates.reset} | ({"RateLimit", "RateLimit-Policy"} if rates.draft else set())
    for operation in OPERATIONS:
        for status, reference in operation_of(DOCUMENTS[name], operation.name)["responses"].items():
            headers = resolved(DOCUMENTS[name], reference)["headers"]
            assert profile.headers.request_id in headers
            assert (told <= headers.keys()) == (status not in {"500", "503"})
            assert ("Retry-After" in headers) == (status in {"429", "503"})
            assert ("Location" in headers) == (status in {"201", "202"})


# --- webhooks -------------------------------------------------------------------------------------------------------


@both
def test_every_event_offered_is_a_webhook_and_so_is_the_test(name: str) -> None:
    assert list(DOCUMENTS[name]["webhooks"]) == [*PROFILES[name].events.types, tester.TYPE]


@pytest.mark.parametrize("event_type", CATALOGUE)
def test_what_is_sent_fits_its_webhook(event_type: str) -> None:
    sent = body("msg_019e30b2d480", event_type, TIME, 1, orjson.dumps(CATALOGUE[event_type].EXAMPLE))
    described = NORDBASTION["webhooks"][event_type]["post"]["requestBody"]["content"]["application/json"]
    check(NORDBASTION, described["schema"], orjson.loads(sent))
    with pytest.raises(jsonschema.ValidationError):
        check(NORDBASTION, described["schema"], orjson.loads(sent) | {"type": "other"})
    with pytest.raises(jsonschema.ValidationError):
        check(NORDBASTION, described["schema"], orjson.loads(sent) | {"data": None})


@both
def test_a_webhook_has_the_headers_that_are_sent(name: str) -> None:
    prefix = PROFILES[name].headers.webhook_prefix
    sent = fixed("agent") | of_attempt(
        message_id="msg_1",
        event_type="server.deleted",
        delivery_id="dlv_1",
        attempt=2,
        timestamp=1_793_525_402,
        signature="v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4= v1a,AAAA",
        prefix=prefix,
    )
    for webhook in DOCUMENTS[name]["webhooks"].values():
        parameters = [resolved(DOCUMENTS[name], each) for each in webhook["post"]["parameters"]]
        assert {each["name"] for each in parameters} | {"content-type"} == sent.keys()
        for each in parameters:
            check(DOCUMENTS[name], each["schema"], sent[each["name"]])


def test_a_message_is_written_once_for_code_and_documentation() -> None:
    whole = schemas.message("server.deleted", {})
    sent = orjson.loads(body("msg_1", "server.deleted", TIME, 1, b"{}"))
    assert list(whole["properties"]) == list(sent)
