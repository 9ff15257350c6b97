"""Which faults an operation may end in, and with which codes: what the stages of the pipeline do, as data. Pure.

Read it beside `publisher/api/pipeline.py` and the stages' own files: what one of them raises stands here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from publisher.api.call import Access
from publisher.api.errors import DOMAIN, UNSIGNABLE
from publisher.profiles.model import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from publisher.api.call import Operation
    from publisher.profiles import Profile

POST = "POST"
#: Requests that come with a body, wanted or not; content of the others has no meaning (RFC 9110, 9.3).
WITH_BODY = {POST, "PATCH", "PUT"}
OF_EXCEPTIONS = {code: fault for _, fault, code, _ in DOMAIN}


def faults_of(operation: Operation, profile: Profile) -> frozenset[Fault]:
    """Return every fault an operation may be answered with: those of the way to it, and its own."""
    return frozenset(fault for fault, _ in _coded(operation, profile))


def statuses_of(operation: Operation, profile: Profile) -> frozenset[int]:
    """Return every status an operation may be answered with: its own, and those the profile gives to its faults."""
    kinds = profile.errors.kinds
    return frozenset({operation.status, *(kinds[fault].status for fault in faults_of(operation, profile))})


def codes_of(operation: Operation, fault: Fault, profile: Profile) -> list[str]:
    """Return the codes an operation's fault may have, those of the way to it first."""
    kind = profile.errors.kinds[fault]
    if kind.code is not None:
        return [kind.code]
    return list(dict.fromkeys(code for each, code in _coded(operation, profile) if each is fault))


def _coded(operation: Operation, profile: Profile) -> Iterator[tuple[Fault, str]]:
    if operation.access is not Access.PUBLIC:
        yield Fault.UNAUTHENTICATED, "credential_missing"
        yield Fault.UNAUTHENTICATED, "invalid_credential"
        yield Fault.FORBIDDEN, "insufficient_scope"
    yield Fault.RATE_LIMITED, "rate_limited"
    if profile.headers.sign is not None:
        yield Fault.MALFORMED, "invalid_header"
        yield Fault.UNAVAILABLE, "signing_unavailable"
        for code, _ in UNSIGNABLE.values():
            yield Fault.REFUSED, code
    yield Fault.REFUSED, "unknown_parameter"
    if operation.listing is not None:
        yield Fault.REFUSED, "invalid_parameter"
    yield from _of_body(operation)
    if operation.method == POST:
        yield Fault.MALFORMED, "invalid_idempotency_key"
        yield Fault.CONFLICT, "idempotency_key_reused"
        yield Fault.CONFLICT, "idempotency_in_progress"
        yield Fault.CONFLICT, "idempotency_unavailable"
    yield Fault.UNAVAILABLE, "busy"
    yield Fault.UNAVAILABLE, "temporarily_unavailable"
    yield Fault.CRASHED, "internal_error"
    if Fault.NOT_FOUND in operation.faults:
        yield Fault.NOT_FOUND, "not_found"
    for code in operation.codes:
        yield _fault_of(code), code


def _of_body(operation: Operation) -> Iterator[tuple[Fault, str]]:
    if operation.method not in WITH_BODY:
        return
    yield Fault.TIMEOUT, "body_timeout"
    yield Fault.TOO_LARGE, "body_too_large"
    yield Fault.UNSUPPORTED_MEDIA, "unsupported_content_encoding"
    yield Fault.MALFORMED, "incomplete_body"
    if operation.body is None:
        yield Fault.REFUSED, "body_not_expected"
        return
    yield Fault.UNSUPPORTED_MEDIA, "unsupported_media_type"
    yield Fault.MALFORMED, "invalid_json"
    if not operation.is_body_optional:
        yield Fault.MALFORMED, "missing_body"
    if any(field.is_required() for field in operation.body.model_fields.values()):
        yield Fault.REFUSED, "missing_field"
    yield Fault.REFUSED, "unknown_field"
    for field in operation.body.model_fields:
        yield Fault.REFUSED, f"invalid_{field}"


def _fault_of(code: str) -> Fault:
    """Say what an operation's own code is: of an exception, of a URL, or else of what does not fit what is."""
    return OF_EXCEPTIONS.get(code, Fault.REFUSED if code.startswith("url_") else Fault.CONFLICT)
