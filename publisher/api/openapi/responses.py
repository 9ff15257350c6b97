"""What comes back: success and every fault, in the profile's envelopes, with the headers of each. Pure.

Bodies and their examples are made from the very templates the pipeline fills, so they cannot differ from what is sent.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from itertools import groupby
from typing import TYPE_CHECKING, Any

from publisher.api import errors
from publisher.api.deprecations import deprecation_headers
from publisher.api.errors import ApiError
from publisher.api.openapi import examples
from publisher.api.openapi.faults import POST, codes_of, faults_of
from publisher.api.openapi.schemas import OUT, partial, reference
from publisher.profiles import templates
from publisher.profiles.model import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from publisher.api.call import Operation
    from publisher.api.openapi.schemas import Names
    from publisher.profiles import Profile

Json = dict[str, Any]

HEADERS, RESPONSES = "#/components/headers/", "#/components/responses/"
JSON_TYPE, SIGNED_TYPE = "application/json", "text/plain"
ERROR = "Error"
COUNT: Json = {"type": "integer", "minimum": 0}

#: What each fault means, for people; the first sentence is also the message of its example.
MEANINGS: Mapping[Fault, str] = {
    Fault.MALFORMED: "The request cannot be read.",
    Fault.UNAUTHENTICATED: "There is no credential, or none that is believed.",
    Fault.FORBIDDEN: "The credential may not do this.",
    Fault.NOT_FOUND: errors.NOT_FOUND,
    Fault.METHOD_NOT_ALLOWED: "This route does not take this method.",
    Fault.TIMEOUT: "The body did not come in time.",
    Fault.CONFLICT: "What is asked does not fit what is.",
    Fault.TOO_LARGE: "The body is too large.",
    Fault.UNSUPPORTED_MEDIA: "The body is not of a type this takes.",
    Fault.REFUSED: "The request can be read, but not granted.",
    Fault.RATE_LIMITED: "Too many requests.",
    Fault.CRASHED: "Something went wrong on our side.",
    Fault.UNAVAILABLE: "The service cannot answer at the moment.",
}


def headers(profile: Profile) -> dict[str, Json]:
    """Return the headers of answers, by name."""
    names, rates = profile.headers, profile.limits.headers
    made: dict[str, Json] = {
        names.request_id: {
            "description": "Names this request; tell it to us when something is wrong.",
            "required": True,
            "schema": {"type": "string"},
            "example": examples.REQUEST_ID,
        },
        names.replayed: {
            "description": "The answer is that of an earlier request with the same key.",
            "schema": {"type": "string", "enum": ["true"]},
        },
        "Location": {"description": "Where what was made can be read.", "schema": _text("uri-reference")},
        "Link": {
            "description": 'The other pages (RFC 8288): `rel` is "first", "prev", "next" or "last".',
            "schema": _text(),
        },
        "Retry-After": {"description": "Seconds to wait before another try.", "schema": COUNT, "example": 2},
        "Deprecation": {"description": "This operation is on its way out.", "schema": {"enum": ["true"]}},
        "Sunset": {"description": "When it ends (RFC 8594).", "schema": _text()},
        "Content-Digest": {"description": "SHA-256 of the body (RFC 9530).", "schema": _text()},
        "Repr-Digest": {
            "description": "SHA-256 of what is here (RFC 9530), also where it is not sent, as after a HEAD.",
            "schema": _text(),
        },
        "ETag": {"description": "Names what is here; give it back in `If-None-Match`.", "schema": _text()},
        "Last-Modified": {
            "description": "Since when it is as it is; left out where that is not known.",
            "schema": _text(),
        },
        "Cache-Control": {"description": "How long it may be kept.", "schema": _text()},
        "Content-Location": {"description": "Where the very same stays.", "schema": _text("uri-reference")},
        "Access-Control-Allow-Origin": {"description": "Scripts of any page may read it.", "schema": {"enum": ["*"]}},
        "WWW-Authenticate": {"description": "How to say who calls.", "schema": _text()},
    }
    if rates.limit is not None:
        made[rates.limit] = {"description": "Requests a window has.", "schema": COUNT, "example": 1000}
    if rates.remaining is not None:
        made[rates.remaining] = {"description": "Requests left in this window.", "schema": COUNT, "example": 998}
    if rates.reset is not None:
        made[rates.reset] = {
            "description": "When the window ends, in unix seconds.",
            "schema": COUNT,
            "example": examples.TIMESTAMP,
        }
    if rates.draft:
        made["RateLimit-Policy"] = {
            "description": "The limit (IETF draft): `q` requests in `w` seconds.",
            "schema": _text(),
            "example": '"read";q=1000;w=60',
        }
        made["RateLimit"] = {
            "description": "How one stands (IETF draft): `r` requests left, more in `t` seconds.",
            "schema": _text(),
            "example": '"read";r=998;t=31',
        }
    if names.signature is not None:
        made[names.signature] = {
            "description": "The detached PGP signature of the body, base64, where it was asked for.",
            "schema": _text(),
        }
    return made


def of_operation(operation: Operation, profile: Profile, names: Names, shown: Mapping[type, Json]) -> Json:
    """Return an operation's responses by status; `shown` is an example for each model."""
    responses = {str(operation.status): _success(operation, profile, names, shown)}
    codes = {fault: codes_of(operation, fault, profile) for fault in faults_of(operation, profile)}
    responses |= failures(codes, profile, deprecation_headers(profile, operation.name))
    return dict(sorted(responses.items()))


def failures(codes: Mapping[Fault, Sequence[str]], profile: Profile, headers: Iterable[str] = ()) -> Json:
    """Return the responses of faults by status, with the codes each may have; `headers` are on all of them."""
    made = {}
    faults = sorted(codes, key=lambda fault: (profile.errors.kinds[fault].status, fault))
    for status, group in groupby(faults, lambda fault: profile.errors.kinds[fault].status):
        made[str(status)] = _failure({fault: codes[fault] for fault in group}, profile, headers)
    return made


def list_values(item: Json, profile: Profile) -> dict[str, Json]:
    """Return the schema of every value a list's template may be filled with."""
    lists = profile.lists
    positive = {"type": "integer", "minimum": 1}
    return {
        "items": {"type": "array", "items": item, "maxItems": lists.max_size},
        "page": positive,
        "per_page": positive | {"maximum": lists.max_size},
        "total": COUNT,
        "total_pages": COUNT,
        "offset": COUNT,
        "has_previous": {"type": "boolean"},
        "has_next": {"type": "boolean"},
        "is_complete": {"type": "boolean", "description": "Whether everything there is was looked through."},
    }


def list_example(item: Json, profile: Profile) -> Json:
    """Return the body of a list with one item."""
    values = {
        "items": [item],
        "page": 1,
        "per_page": profile.lists.default_size,
        "total": 1,
        "total_pages": 1,
        "offset": 0,
        "has_previous": False,
        "has_next": False,
        "is_complete": None,
    }
    filled: Json = templates.fill(profile.lists.body, values)
    return filled


def error_schema(profile: Profile) -> Json:
    """Return the schema of an error's body. Codes are an open set; each response names its own."""
    kinds = profile.errors.kinds.values()
    return templates.schema(
        profile.errors.body,
        {
            "type": {"enum": sorted({kind.type for kind in kinds})},
            "code": {"type": "string", "description": "For programs; new ones may come."},
            "message": {"type": "string", "description": "For people; may change."},
            "status": {"enum": sorted({kind.status for kind in kinds})},
            "request_id": _text(),
            "doc_url": {"const": profile.errors.doc_url},
            "field": {"type": ["string", "null"], "description": "Which field it is about, if it is about one."},
            "reason": {"type": ["string", "null"], "description": "What is wrong with that field."},
        },
    )


def _success(operation: Operation, profile: Profile, names: Names, shown: Mapping[type, Json]) -> Json:
    described = {"description": HTTPStatus(operation.status).phrase, "headers": _success_headers(operation, profile)}
    if operation.item is None:
        return described
    item, example = names.of[operation.item, OUT], shown[operation.item]
    if operation.listing is not None:
        chosen = partial(item) if profile.lists.fields is not None else item
        schema = templates.schema(profile.lists.body, list_values(chosen, profile))
        example = list_example(example, profile)
    else:
        schema = templates.schema(profile.responses.item, {"item": item})
        example = templates.fill(profile.responses.item, {"item": example})
    content: Json = {JSON_TYPE: {"schema": schema, "example": example}}
    if profile.headers.sign is not None:
        content |= signed_content()
    return {**described, "content": content}


def _success_headers(operation: Operation, profile: Profile) -> Json:
    names = [profile.headers.request_id, *rate_headers(profile)]
    if operation.method == POST:
        names.append(profile.headers.replayed)
    if operation.status in {HTTPStatus.CREATED, HTTPStatus.ACCEPTED}:
        names.append("Location")
    if operation.listing is not None:
        names.append("Link")
    names += [name for name in deprecation_headers(profile, operation.name) if name not in names]
    if profile.headers.signature is not None and operation.item is not None:
        names += [profile.headers.signature, "Content-Digest"]
    return references(names)


def _failure(codes: Mapping[Fault, Sequence[str]], profile: Profile, headers: Iterable[str]) -> Json:
    """Return the response of one status, which several faults may share."""
    faults = list(codes)
    listed = ", ".join(f"`{code}`" for code in dict.fromkeys(code for each in codes.values() for code in each))
    names = [profile.headers.request_id]
    if not {Fault.CRASHED, Fault.UNAVAILABLE} & set(faults):
        names += rate_headers(profile)
    if {Fault.RATE_LIMITED, Fault.UNAVAILABLE} & set(faults):
        names.append("Retry-After")
    if Fault.UNAUTHENTICATED in faults:
        names.append("WWW-Authenticate")
    names += headers
    return {
        "description": f"{' '.join(MEANINGS[fault] for fault in faults)} Codes: {listed}.",
        "headers": references(names),
        "content": {
            JSON_TYPE: {
                "schema": reference(ERROR),
                "examples": {each[0]: {"value": _example(profile, fault, each[0])} for fault, each in codes.items()},
            }
        },
    }


def _example(profile: Profile, fault: Fault, code: str) -> Json:
    _, filled = errors.body_of(ApiError(fault, code, MEANINGS[fault]), profile, examples.REQUEST_ID)
    body: Json = filled
    return body


def signed_content() -> Json:
    """Return what comes where a clear-signed answer was asked for."""
    return {SIGNED_TYPE: {"schema": {"type": "string", "description": "A clear-signed PGP document of the JSON."}}}


def rate_headers(profile: Profile) -> list[str]:
    """Return the headers that tell how a caller stands."""
    rates = profile.limits.headers
    named = [name for name in (rates.limit, rates.remaining, rates.reset) if name is not None]
    return named + (["RateLimit-Policy", "RateLimit"] if rates.draft else [])


def name_of(status: str) -> str:
    """Return the name of the answer that operations share for a status."""
    return re.sub(r"\W", "", HTTPStatus(int(status)).phrase)


def references(names: Sequence[str]) -> Json:
    """Return headers of an answer, as references."""
    return {name: {"$ref": HEADERS + name} for name in names}


def _text(kind: str | None = None) -> Json:
    return {"type": "string"} if kind is None else {"type": "string", "format": kind}
