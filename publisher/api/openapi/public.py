"""The routes beside the table of operations: open to all, in nobody's envelope. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from publisher.api.openapi import responses
from publisher.health import CONTENT_TYPE
from publisher.profiles.model import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from publisher.profiles import Profile

Json = dict[str, Any]

OPENAPI, DOCS = "/openapi.json", "/docs"
TAG = "service"
READY, LIVE = "Say whether this service can do its work.", "Say whether this service runs."


def paths(profile: Profile) -> dict[str, Json]:
    """Return the routes as paths of the document."""
    return {
        "/health": {"get": _health("get_health", READY, profile)},
        "/health/live": {"get": _health("get_health_live", LIVE, profile)},
        "/health/ready": {"get": _health("get_health_ready", READY, profile)},
        profile.base + OPENAPI: {"get": _document(profile)},
    }


def _health(name: str, summary: str, profile: Profile) -> Json:
    headers = [profile.headers.request_id]
    answers = {
        "200": _answer(
            "It does; `warn` says that something of it is impaired.", headers, CONTENT_TYPE, _status("pass")
        ),
        "503": _answer("It does not.", headers, CONTENT_TYPE, _status("fail")),
    }
    return _operation(name, summary, answers)


def _document(profile: Profile) -> Json:
    headers = [profile.headers.request_id, *responses.rate_headers(profile)]
    limited = str(profile.errors.kinds[Fault.RATE_LIMITED].status)
    answers = {
        "200": _answer("The document.", headers, responses.JSON_TYPE, {"schema": {"type": "object"}}),
        "304": {"description": "It is still the one you have.", "headers": responses.references(headers)},
        limited: {"$ref": responses.RESPONSES + responses.name_of(limited)},
    }
    return _operation("get_openapi", "Describe this API: this document.", answers)


def _operation(name: str, summary: str, answers: Json) -> Json:
    return {"operationId": name, "tags": [TAG], "summary": summary, "security": [], "responses": answers}


def _answer(description: str, headers: Sequence[str], content_type: str, content: Json) -> Json:
    return {
        "description": description,
        "headers": responses.references(headers),
        "content": {content_type: content},
    }


def _status(shown: str) -> Json:
    schema = {
        "type": "object",
        "properties": {"status": {"enum": ["pass", "warn", "fail"]}},
        "required": ["status"],
        "additionalProperties": False,
    }
    return {"schema": schema, "example": {"status": shown}}
