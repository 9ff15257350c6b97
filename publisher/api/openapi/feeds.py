"""What is served of the feeds: open to all, byte for byte, in nobody's envelope. Pure.

Routes come from their own tables (`DESCRIBED` in `feeds/canary_routes.py`, `feed_routes.py` and `stream.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feeds import canary_routes, feed_routes, stream
from feeds.documents import Feed
from feeds.models import IncidentsDocument, PeeringDocument, StatusDocument
from feeds.serving import CONTENT_DIGEST, REPR_DIGEST
from publisher.api.errors import UNSIGNABLE
from publisher.api.openapi import examples, feed_examples, parameters, responses
from publisher.api.openapi.schemas import OUT
from publisher.api.transparency_models import Canary
from publisher.profiles.model import Fault
from signer.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

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
LAST_SEEN = "The id of the last event that was seen; for clients that cannot send the header."
#: Everything that is served so.
DESCRIBED = (*canary_routes.DESCRIBED, *feed_routes.DESCRIBED, stream.DESCRIBED)
MODELS: Mapping[Feed, type[BaseModel]] = {
    Feed.PEERING: PeeringDocument,
    Feed.INCIDENTS: IncidentsDocument,
    Feed.STATUS: StatusDocument,
}


def paths(profile: Profile, names: Names, shown: Mapping[type, Json]) -> dict[str, Json]:
    """Return the routes as paths of the document; `shown` is an example for each model."""
    return {profile.base + each.path: {"get": _operation(each, profile, names, shown)} for each in DESCRIBED}


def _operation(described: Described, profile: Profile, names: Names, shown: Mapping[type, Json]) -> Json:
    is_signable = described.content_type == canary_routes.JSON and profile.headers.sign is not None
    ask = [parameters.reference(profile.headers.sign)] if is_signable and profile.headers.sign is not None else []
    query = [parameters.query(name, LAST_SEEN, {"type": "string"}) for name in described.query]
    return {
        "operationId": described.name,
        "tags": [TAG],
        "summary": described.summary.replace("`", ""),
        "description": described.description,
        "security": [],
        "parameters": [*parameters.of_path(described.path), *query, *ask],
        "responses": _answers(described, profile, names, shown, is_signable=is_signable),
    }


def _answers(
    described: Described, profile: Profile, names: Names, shown: Mapping[type, Json], *, is_signable: bool
) -> Json:
    common = [profile.headers.request_id, *responses.rate_headers(profile)]
    if described is stream.DESCRIBED:
        headers = responses.references([*common, "Cache-Control", "Access-Control-Allow-Origin"])
        good: Json = {"200": {"description": "OK", "headers": headers, "content": _contents(described, names, shown)}}
    else:
        headers = responses.references([*common, *HEADERS])
        own = responses.references(described.headers)
        if "Link" in own:  # not that of lists
            own["Link"] = LINKS
        whole = {**headers, **responses.references(DIGESTS), **own}
        contents = _contents(described, names, shown)
        if is_signable and profile.headers.signature is not None:
            whole |= responses.references([profile.headers.signature])
            contents |= responses.signed_content()
        good = {
            "200": {"description": "OK", "headers": whole, "content": contents},
            "304": {"description": "It is still the one you have.", "headers": {**headers, **own}},
        }
    told = _codes(described, profile, is_signable=is_signable)
    return dict(sorted({**good, **responses.failures(told, profile)}.items()))


def _codes(described: Described, profile: Profile, *, is_signable: bool) -> dict[Fault, list[str]]:
    codes = {fault: list(own) for fault, own in FAULTS.items()}
    if described.query:
        codes[Fault.REFUSED].append("invalid_parameter")
    if described.may_be_missing:
        codes[Fault.NOT_FOUND] = ["not_found"]
    if described is stream.DESCRIBED:
        codes[Fault.RATE_LIMITED].append("too_many_streams")
        codes[Fault.UNAVAILABLE].append("too_many_streams")
    if is_signable:
        codes[Fault.MALFORMED] = ["invalid_header"]
        codes[Fault.UNAVAILABLE].append("signing_unavailable")
        codes[Fault.REFUSED] += [code for code, _ in UNSIGNABLE.values()]
    kinds = profile.errors.kinds
    return {fault: [code] if (code := kinds[fault].code) else own for fault, own in codes.items()}


def _contents(described: Described, names: Names, shown: Mapping[type, Json]) -> Json:
    return {described.content_type: _content(described, names, shown)}


def _content(described: Described, names: Names, shown: Mapping[type, Json]) -> Json:
    if described is stream.DESCRIBED:
        return {"schema": {"type": "string"}, "example": feed_examples.STREAM}
    if described.content_type == canary_routes.SIGNATURE:
        return {"schema": {"type": "string"}, "example": examples.ARMORED}
    if described is canary_routes.VIEW:
        return {"schema": names.of[Canary, OUT], "example": shown[Canary]}
    feed = feed_routes.DESCRIBED.get(described)
    if feed is not None:
        model = MODELS[feed]
        return {"schema": names.of[model, OUT], "example": shown[model]}
    return {"schema": names.of[Statement, OUT], "example": examples.CANARY.statement.model_dump(mode="json")}
