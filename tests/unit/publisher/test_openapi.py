"""The API's description is a valid one, of every route, and the same each time; for two providers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict
from openapi_spec_validator import validate

from publisher.api import listing
from publisher.api.errors import ApiError
from publisher.api.openapi import document, encoded, feeds
from publisher.api.operations import OPERATIONS
from tests.support.described import DOCUMENTS, NORDBASTION, PROFILES, TINY, URL, at, check, operation_of, resolved, walk

if TYPE_CHECKING:
    from publisher.api.call import Operation

LISTS = [operation for operation in OPERATIONS if operation.listing is not None]

both = pytest.mark.parametrize("name", PROFILES)


# --- the document itself --------------------------------------------------------------------------------------------


@both
def test_it_is_openapi(name: str) -> None:
    validate(DOCUMENTS[name])


@both
def test_every_reference_leads_somewhere_and_every_component_is_needed(name: str) -> None:
    described = DOCUMENTS[name]
    used = {value["$ref"] for _, value in walk(described) if isinstance(value.get("$ref"), str)}
    for reference in used:
        assert at(described, reference)
    there = {
        f"#/components/{kind}/{key}"
        for kind, made in described["components"].items()
        for key in made
        if kind != "securitySchemes"  # named where they are asked for, not referred to
    }
    assert used == there


@both
def test_every_example_fits_its_schema(name: str) -> None:
    described = DOCUMENTS[name]
    seen = 0
    for path, value in walk(described):
        if "schema" not in value or "schemas" in path or "properties" in path:
            continue
        shown = [value["example"]] if "example" in value else []
        shown += [each["value"] for each in value.get("examples", {}).values()]
        for each in shown:
            check(described, value["schema"], each)
            seen += 1
    assert seen > 50


@both
def test_every_answer_and_every_request_with_a_body_has_an_example(name: str) -> None:
    for path, value in walk(DOCUMENTS[name]):
        if path[-1:] == ("application/json",) and "openapi.json" not in "".join(path):
            assert "example" in value or value.get("examples"), path


@pytest.mark.parametrize("seed", ["1", "2"])
def test_it_is_the_same_each_time(seed: str) -> None:
    program = (
        "import sys; from publisher import profiles; from publisher.api.openapi import document, encoded; "
        f"sys.stdout.buffer.write(encoded(document(profiles.load('nordbastion'), {URL!r})))"
    )
    made = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": seed},
        cwd=Path(__file__).parents[3],
        check=True,
        capture_output=True,
    ).stdout
    assert made == encoded(document(PROFILES["nordbastion"], URL))


def test_it_is_about_this_provider() -> None:
    assert NORDBASTION["info"]["title"] == "NordBastion API"
    assert NORDBASTION["info"]["version"] == "v1"
    assert NORDBASTION["externalDocs"]["url"] == "https://nordbastion.com/api/"
    assert NORDBASTION["servers"] == [{"url": URL}]
    assert document(PROFILES["nordbastion"], f"{URL}/")["servers"] == [{"url": URL}]
    assert DOCUMENTS[TINY]["info"]["version"] == "v2"


# --- routes and parameters ------------------------------------------------------------------------------------------


@both
def test_every_operation_is_described_and_only_the_public_routes_besides(name: str) -> None:
    base = PROFILES[name].base
    table = {(base + operation.path, operation.method.lower()): operation.name for operation in OPERATIONS}
    described = {
        (path, method): operation["operationId"]
        for path, methods in DOCUMENTS[name]["paths"].items()
        for method, operation in methods.items()
    }
    assert table.items() <= described.items()
    public = {("/health", "get"), ("/health/live", "get"), ("/health/ready", "get"), (f"{base}/openapi.json", "get")}
    public |= {(base + route.path, "get") for route in feeds.DESCRIBED}
    assert described.keys() - table.keys() == public


def test_credentials_go_where_the_profile_says() -> None:
    assert NORDBASTION["components"]["securitySchemes"]["authorization-bearer"]["scheme"] == "bearer"
    assert operation_of(NORDBASTION, "get_webhook")["security"] == [{"authorization-bearer": []}]
    tiny = DOCUMENTS[TINY]["components"]["securitySchemes"]
    assert {key: (each["type"], each["in"], each["name"]) for key, each in tiny.items()} == {
        "x-api-token": ("apiKey", "header", "X-Api-Token"),
        "authorization-token": ("apiKey", "header", "Authorization"),
    }
    assert operation_of(DOCUMENTS[TINY], "get_webhook")["security"] == [
        {"x-api-token": []},
        {"authorization-token": []},
    ]
    for path in ("/health", "/health/live", "/health/ready", "/v1/openapi.json"):
        assert NORDBASTION["paths"][path]["get"]["security"] == []


def test_scopes_are_told() -> None:
    assert "Needs the scope `read-only` or `full`." in operation_of(NORDBASTION, "list_webhooks")["description"]
    assert "Needs the scope `full`." in operation_of(NORDBASTION, "create_webhook")["description"]


@both
def test_every_post_takes_an_idempotency_key_and_nothing_else_does(name: str) -> None:
    header = PROFILES[name].headers.idempotency_key
    for operation in OPERATIONS:
        parameters = operation_of(DOCUMENTS[name], operation.name)["parameters"]
        assert ({"$ref": f"#/components/parameters/{header}"} in parameters) == (operation.method == "POST")


@both
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_part_of_a_path_is_a_parameter(name: str, operation: Operation) -> None:
    described = DOCUMENTS[name]
    parameters = [resolved(described, each) for each in operation_of(described, operation.name)["parameters"]]
    names = [each["name"] for each in parameters if each["in"] == "path"]
    assert names == re.findall(r"{(\w+)}", operation.path)


def questions(name: str, operation: Operation) -> dict[str, dict[str, Any]]:
    """Return an operation's parameters in the query, by name."""
    described = DOCUMENTS[name]
    parameters = [resolved(described, each) for each in operation_of(described, operation.name)["parameters"]]
    return {each["name"]: each for each in parameters if each["in"] == "query"}


def answers(described: dict[str, Any], schema: dict[str, Any]) -> st.SearchStrategy[str]:
    """Return what a schema allows, as a query writes it."""
    schema = resolved(described, schema)
    if schema.get("type") == "array":
        return st.lists(st.sampled_from(schema["items"]["enum"]), min_size=schema["minItems"]).map(",".join)
    if schema.get("type") == "integer":
        # The furthest page may lead past the furthest item, which the size decides.
        return st.integers(schema["minimum"], min(schema["maximum"], 10_000_000)).map(str)
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda moment: f"{moment:%Y}".zfill(4) + f"{moment:-%m-%dT%H:%M:%SZ}")
    return st.sampled_from(schema.get("enum") or schema["examples"])


@both
@pytest.mark.parametrize("operation", LISTS, ids=lambda operation: operation.name)
@given(data=st.data())
def test_what_may_be_asked_is_understood(name: str, operation: Operation, data: st.DataObject) -> None:
    known = questions(name, operation)
    chosen = data.draw(st.lists(st.sampled_from(sorted(known)), unique=True))
    query = {each: data.draw(answers(DOCUMENTS[name], known[each]["schema"])) for each in chosen}
    assert listing.parse(MultiDict(query), operation, PROFILES[name].lists) is not None


@both
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_what_is_not_described_may_not_be_asked(name: str, operation: Operation) -> None:
    everything = {each for other in LISTS for each in questions(name, other)} | {"other"}
    for each in everything - questions(name, operation).keys():
        with pytest.raises(ApiError, match="is no parameter here"):
            listing.parse(MultiDict({each: "1"}), operation, PROFILES[name].lists)


def test_defaults_are_those_that_are_taken() -> None:
    for operation in LISTS:
        known = questions("nordbastion", operation)
        defaults = {key: str(each["schema"]["default"]) for key, each in known.items() if "default" in each["schema"]}
        assert {"page", "per_page"} <= defaults.keys()
        style = PROFILES["nordbastion"].lists
        assert listing.parse(MultiDict(defaults), operation, style) == listing.parse(MultiDict(), operation, style)


def test_a_profile_without_signatures_describes_none() -> None:
    assert b"X-NB-Sign" in encoded(NORDBASTION)
    assert b"text/plain" in encoded(NORDBASTION)
    assert b"text/plain" not in encoded(DOCUMENTS[TINY])
    assert b"Content-Digest" not in encoded(operation_of(DOCUMENTS[TINY], "get_webhook"))


def test_what_is_deprecated_is_marked_and_its_headers_described() -> None:
    marked = [value["operationId"] for _, value in walk(DOCUMENTS[TINY]) if value.get("deprecated")]
    assert marked == ["list_recoveries"]
    for answer in operation_of(DOCUMENTS[TINY], "list_recoveries")["responses"].values():
        assert {"Deprecation", "Sunset", "Link"} <= resolved(DOCUMENTS[TINY], answer)["headers"].keys()
    for answer in operation_of(DOCUMENTS[TINY], "get_recovery")["responses"].values():
        assert not {"Deprecation", "Sunset"} & resolved(DOCUMENTS[TINY], answer)["headers"].keys()
    assert not [value for _, value in walk(NORDBASTION["paths"]) if value.get("deprecated")]
