"""What is served of the feeds: open to all, byte for byte, in nobody's envelope. Pure.

Routes come from their own table (`feeds/canary_routes.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feeds import canary_routes
from feeds.serving import CONTENT_DIGEST, REPR_DIGEST
from publisher.api.openapi import examples, parameters, responses
from publisher.api.openapi.schemas import OUT
from publisher.api.transparency_models import Canary
from publisher.profiles.model import Fault
from signer.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feeds.routes import Described
    from publisher.api.openapi.schemas import Names
    from publisher.profiles import Profile

Json = dict[str, Any]

TAG = "transparency"
#: On every answer but an error; the digest of what is sent where something is.
HEADERS = ("ETag", "Cache-Control", "Access-Control-Allow-Origin")
DIGESTS = (CONTENT_DIGEST, REPR_DIGEST)
LINKS = {"description": 'The signatures (RFC 8288), `rel` "related".', "schema": {"type": "string"}}
FAULTS: Mapping[Fault, list[str]] = {
    Fault.REFUSED: ["unknown_parameter"],
    Fault.RATE_LIMITED: ["rate_limited"],
    Fault.CRASHED: ["internal_error"],
    Fault.UNAVAILABLE: ["temporarily_unavailable"],
}


def paths(profile: Profile, names: Names, shown: Mapping[type, Json]) -> dict[str, Json]:
    """Return the routes as paths of the document; `shown` is an example for each model."""
    return {
        profile.base + each.path: {"get": _operation(each, profile, names, shown)} for each in canary_routes.DESCRIBED
    }


def _operation(described: Described, profile: Profile, names: Names, shown: Mapping[type, Json]) -> Json:
    headers = responses.references([profile.headers.request_id, *responses.rate_headers(profile), *HEADERS])
    own = responses.references(described.headers)
    if "Link" in own:  # not that of lists
        own["Link"] = LINKS
    codes = {**FAULTS, **({Fault.NOT_FOUND: ["not_found"]} if described.may_be_missing else {})}
    kinds = profile.errors.kinds
    told = {fault: [code] if (code := kinds[fault].code) else own_codes for fault, own_codes in codes.items()}
    answers = {
        "200": {
            "description": "OK",
            "headers": {**headers, **responses.references(DIGESTS), **own},
            "content": {described.content_type: _content(described, names, shown)},
        },
        "304": {"description": "It is still the one you have.", "headers": {**headers, **own}},
        **responses.failures(told, profile),
    }
    return {
        "operationId": described.name,
        "tags": [TAG],
        "summary": described.summary,
        "description": described.description,
        "security": [],
        "parameters": parameters.of_path(described.path),
        "responses": dict(sorted(answers.items())),
    }


def _content(described: Described, names: Names, shown: Mapping[type, Json]) -> Json:
    if described.content_type == canary_routes.SIGNATURE:
        return {"schema": {"type": "string"}, "example": examples.ARMORED}
    if described is canary_routes.VIEW:
        return {"schema": names.of[Canary, OUT], "example": shown[Canary]}
    return {"schema": names.of[Statement, OUT], "example": examples.CANARY.statement.model_dump(mode="json")}
