"""All of the document, top to bottom: info, paths, webhooks, components."""

from __future__ import annotations

import re
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from publisher.api.call import Access
from publisher.api.openapi import events, examples, feeds, parameters, public, responses, schemas
from publisher.api.openapi.schemas import IN
from publisher.api.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from publisher.api.call import Operation
    from publisher.profiles import Profile
    from publisher.profiles.model import Carrier

Json = dict[str, Any]

VERSION = "3.1.1"
#: Tags are the modules the handlers stand in, and what belongs to none of them.
TAGS = {
    "webhooks": "Where events are delivered to.",
    "deliveries": "What was sent, what came back, and how to have it sent again.",
    "incidents": "What is and was wrong, and what is planned.",
    "peering": "What is announced, and what changed.",
    feeds.TAG: "What the provider says of itself, signed, open to all.",
    public.TAG: "The service itself.",
}


def document(profile: Profile, public_url: str) -> Json:
    """Return the OpenAPI document of the API in a profile's style, served at `public_url`."""
    names = schemas.generate(profile.events.types)
    prefix = profile.headers.webhook_prefix
    shown = examples.of_models(prefix, events.TEST_EXAMPLE)
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        described = _operation(operation, profile, names, shown)
        paths.setdefault(profile.base + operation.path, {})[operation.method.lower()] = described
    paths |= feeds.paths(profile, names, shown)
    common = _share([each["responses"] for path in paths.values() for each in path.values()])
    whole = {
        "openapi": VERSION,
        "info": {"title": profile.title, "version": _version(profile.base), "description": _about(profile)},
        "externalDocs": {"url": profile.docs_url, "description": "The whole documentation"},
        "servers": [{"url": public_url.rstrip("/")}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": paths | public.paths(profile),
        "webhooks": events.webhooks(profile.events.types, prefix, names),
        "components": {
            "securitySchemes": _security_schemes(profile),
            "parameters": parameters.shared(profile) | events.headers(prefix),
            "headers": responses.headers(profile),
            "responses": common,
            "schemas": {
                responses.ERROR: responses.error_schema(profile),
                **names.all,
            },
        },
    }
    _prune(whole)
    return whole


def encoded(described: Mapping[str, Any]) -> bytes:
    """Return a document's bytes: the same for the same document."""
    return orjson.dumps(described)


def _operation(operation: Operation, profile: Profile, names: schemas.Names, shown: Mapping[type, Json]) -> Json:
    described: Json = {
        "operationId": operation.name,
        "tags": [operation.handler.__module__.rpartition(".")[2]],
        "summary": operation.summary.replace("`", ""),
        "description": _description(operation, profile),
        "security": _security(operation, profile),
        "parameters": parameters.of_operation(operation, profile, names),
    }
    if operation.body is not None:
        content = {"schema": names.of[operation.body, IN], "example": shown[operation.body]}
        described["requestBody"] = {
            "required": not operation.is_body_optional,
            "content": {responses.JSON_TYPE: content},
        }
    if any(each.operation == operation.name for each in profile.deprecations):
        described["deprecated"] = True
    return described | {"responses": responses.of_operation(operation, profile, names, shown)}


def _description(operation: Operation, profile: Profile) -> str:
    credentials = profile.credentials
    scopes = {Access.PUBLIC: [], Access.READ: credentials.read, Access.WRITE: credentials.write}[operation.access]
    parts = [operation.description] if operation.description else []
    if scopes:
        parts.append(f"Needs the scope {' or '.join(f'`{scope}`' for scope in scopes)}.")
    parts.append(f"Counts as `{operation.counts_as}`.")
    return " ".join(parts)


def _about(profile: Profile) -> str:
    limits = profile.limits
    rates = ", ".join(f"`{name}` {limit}" for name, limit in limits.classes.items())
    return (
        f"Signed webhooks for what happens to your account. Requests per {limits.window} seconds and credential: "
        f"{rates}; tiers may have more."
    )


def _version(base: str) -> str:
    """Return the API's version: what its base path ends in."""
    found = re.search(r"v\d[\w.-]*$", base)
    return found.group() if found else "v1"


def _security_schemes(profile: Profile) -> Json:
    return {_scheme_name(carrier): _scheme(carrier, profile) for carrier in profile.credentials.carriers}


def _scheme_name(carrier: Carrier) -> str:
    return "-".join(filter(None, (carrier.header, carrier.scheme))).lower()


def _scheme(carrier: Carrier, profile: Profile) -> Json:
    prefix = profile.credentials.api_key_prefix
    kinds = f"An API key (`{prefix}…`), or a JWT of the control plane."
    if carrier.header.lower() == "authorization" and (carrier.scheme or "").lower() == "bearer":
        return {"type": "http", "scheme": "bearer", "bearerFormat": "API key or JWT", "description": kinds}
    form = f" Written `{carrier.scheme} <credential>`." if carrier.scheme else ""
    return {"type": "apiKey", "in": "header", "name": carrier.header, "description": kinds + form}


def _security(operation: Operation, profile: Profile) -> list[Json]:
    """Return the ways to be let in: any one of the carriers."""
    if operation.access is Access.PUBLIC:
        return []
    return [{_scheme_name(carrier): []} for carrier in profile.credentials.carriers]


def _share(all_responses: list[Json]) -> Json:
    """Move the commonest answer of each error status into the components; return those."""
    counted: dict[str, Counter[bytes]] = {}
    for described in all_responses:
        for status, response in described.items():
            if int(status) >= HTTPStatus.BAD_REQUEST:
                counted.setdefault(status, Counter())[orjson.dumps(response)] += 1
    made = {}
    for status, counter in sorted(counted.items()):
        [(commonest, times)] = counter.most_common(1)
        if times > 1:
            made[status] = commonest
    for described in all_responses:
        for status, response in described.items():
            if made.get(status) == orjson.dumps(response):
                described[status] = {"$ref": responses.RESPONSES + responses.name_of(status)}
    return {responses.name_of(status): orjson.loads(response) for status, response in made.items()}


def _prune(whole: Json) -> None:
    """Take away the components that nothing refers to, not even through others."""
    components = whole["components"]
    needed: set[str] = set()
    found = set(_references({key: part for key, part in whole.items() if key != "components"}))
    while found:
        needed |= found
        parts = [components[kind][name] for kind, name in (each.split("/")[2:] for each in found)]
        found = set(_references(parts)) - needed
    for kind in ("parameters", "headers", "responses", "schemas"):
        made = components[kind].items()
        components[kind] = {name: part for name, part in made if f"#/components/{kind}/{name}" in needed}


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _references(part)
