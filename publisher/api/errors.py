"""The one place that turns what went wrong into an answer: exception -> fault, code, message -> the profile's envelope.

The mapping is a table; the rest is pure. Nothing of an unknown exception reaches a caller: it becomes `crashed`,
with the request's id, under which the log has the traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from publisher.endpoints import InvalidEndpointError, NoSuchEndpointError, TooManyEndpointsError
from publisher.profiles import templates
from publisher.profiles.model import Fault
from publisher.recovery import EndpointInactiveError, InvalidRecoveryError, RecoveryRunningError
from runtime.database import TRANSIENT
from signer.client import SignerError, SignerRefusedError
from signer.protocol import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from publisher.profiles import Profile

#: What each exception of the domain is to a caller, in a caller's words; None: its own are fit.
DOMAIN: tuple[tuple[type[Exception], Fault, str, str | None], ...] = (
    (TooManyEndpointsError, Fault.REFUSED, "too_many_webhooks", None),
    (RecoveryRunningError, Fault.CONFLICT, "recovery_running", "A recovery of this webhook is still running."),
    (EndpointInactiveError, Fault.CONFLICT, "webhook_inactive", "The webhook is paused or disabled: enable it first."),
)
#: A signer's refusals that are about what is to be signed: code and sentence.
UNSIGNABLE = {
    Refusal.TOO_LARGE: ("too_large_to_sign", "This answer is too large to be signed: ask for less of it."),
    Refusal.NOT_CLEAR_SIGNABLE: (
        "not_clear_signable",
        "This answer has values too long for a clear-signed document: ask for a detached signature.",
    ),
}
#: What the database cannot do just now: code and sentence.
BUSY = ("busy", "Another request holds what this one needs.")
AWAY = ("temporarily_unavailable", "The service cannot answer at the moment.")
NO_SIGNER = ("signing_unavailable", "Answers cannot be signed at the moment.")
NOT_FOUND = "There is nothing here."


class ApiError(Exception):
    """A request ends here: a fault, a code programs can read, a sentence for people, perhaps the field it is about."""

    def __init__(
        self,
        fault: Fault,
        code: str,
        message: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`headers` go with the answer."""
        super().__init__(message)
        self.fault = fault
        self.code = code
        self.message = message
        self.field = field
        self.headers = dict(headers or {})


def not_found() -> ApiError:
    """Return the one answer for what is not there and what is another's."""
    return ApiError(Fault.NOT_FOUND, "not_found", NOT_FOUND)


def of_exception(error: BaseException) -> ApiError:
    """Return what an exception is to the caller."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, NoSuchEndpointError):
        return not_found()
    if isinstance(error, InvalidEndpointError | InvalidRecoveryError):
        why = error.fault if isinstance(error, InvalidEndpointError) else None
        code = f"{error.field}_{why}" if why else f"invalid_{error.field}"
        return ApiError(Fault.REFUSED, code, str(error), field=error.field)
    for kind, fault, code, message in DOMAIN:
        if isinstance(error, kind):
            return ApiError(fault, code, message or str(error))
    if isinstance(error, SignerError):
        return _of_signer(error)
    return _of_database(error)


def _of_database(error: BaseException) -> ApiError:
    """Return what the database cannot do just now; whatever else it is, is a crash."""
    if isinstance(error, (asyncpg.LockNotAvailableError, *TRANSIENT)):
        is_held = isinstance(error, asyncpg.LockNotAvailableError)
        code, reason = BUSY if is_held else AWAY
        return ApiError(Fault.UNAVAILABLE, code, f"{reason} Try again.", headers={"Retry-After": "2"})
    return ApiError(Fault.CRASHED, "internal_error", "Something went wrong on our side. It has been logged.")


def _of_signer(error: SignerError) -> ApiError:
    if isinstance(error, SignerRefusedError) and error.reason in UNSIGNABLE:
        code, message = UNSIGNABLE[error.reason]
        return ApiError(Fault.REFUSED, code, message)
    return ApiError(Fault.UNAVAILABLE, *NO_SIGNER, headers={"Retry-After": "2"})


def body_of(error: ApiError, profile: Profile, request_id: str) -> tuple[int, Any]:
    """Return status and body of an error in the house style. Pure."""
    kind = profile.errors.kinds[error.fault]
    values = {
        "type": kind.type,
        "code": kind.code or error.code,
        "message": error.message,
        "status": kind.status,
        "request_id": request_id,
        "doc_url": profile.errors.doc_url,
        "field": error.field,
        "reason": error.message if error.field else None,
    }
    return kind.status, templates.fill(profile.errors.body, values)
