"""What an attempt came to, and what follows from it. Pure, tested as tables.

Results are a closed set: they are metric labels, a column with a constraint and a field customers read.
"""

from __future__ import annotations

import enum
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from publisher.delivery import backoff

if TYPE_CHECKING:
    from random import Random

    from publisher.delivery.backoff import Policy


class Result(enum.StrEnum):
    """How an attempt ended."""

    OK = "2xx"
    REDIRECT = "3xx"
    CLIENT_ERROR = "4xx"
    GONE = "410"
    THROTTLED = "429"
    SERVER_ERROR = "5xx"
    TIMEOUT = "timeout"
    DNS = "dns"
    TLS = "tls"
    CONNECT = "connect"
    BLOCKED = "blocked"
    PROTOCOL = "protocol"
    INTERNAL = "internal"


class BlockedError(OSError):
    """An address this service does not call. A subclass of OSError: the connector passes nothing else through."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state a delivery goes to, and seconds until it is due again."""

    state: str
    delay: float = 0.0


DELIVERED = Verdict("delivered")
DROPPED = Verdict("dropped")

_RETRY_AFTER_STATUSES = frozenset({429, 503})
_STATUS_CLASSES = {2: Result.OK, 3: Result.REDIRECT, 4: Result.CLIENT_ERROR, 5: Result.SERVER_ERROR}

#: First match wins; subclasses stand before their bases.
_ERRORS: tuple[tuple[type[BaseException], Result], ...] = (
    (BlockedError, Result.BLOCKED),
    (TimeoutError, Result.TIMEOUT),
    (aiohttp.ClientConnectorDNSError, Result.DNS),
    (UnicodeError, Result.DNS),  # the resolver's codec on a label that is empty or too long
    (aiohttp.InvalidURL, Result.DNS),  # the connector on `2130706433` and other spellings of an address
    (aiohttp.ClientConnectorCertificateError, Result.TLS),
    (aiohttp.ClientSSLError, Result.TLS),
    (ssl.SSLError, Result.TLS),
    (ssl.CertificateError, Result.TLS),
    (HttpProcessingError, Result.PROTOCOL),
    (aiohttp.ClientPayloadError, Result.PROTOCOL),
    (aiohttp.ClientResponseError, Result.PROTOCOL),
    (aiohttp.ClientConnectionError, Result.CONNECT),
    (OSError, Result.CONNECT),
)


def result_of_status(status: int) -> Result:
    """Name the result of a final HTTP status."""
    if status == 410:  # noqa: PLR2004 - Gone
        return Result.GONE
    if status == 429:  # noqa: PLR2004 - Too Many Requests
        return Result.THROTTLED
    return _STATUS_CLASSES.get(status // 100, Result.PROTOCOL)


def result_of_error(error: BaseException) -> Result:
    """Name the result of whatever the exchange raised; looks through the connector's wrapping of a block."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BlockedError):
            return Result.BLOCKED
        cause = getattr(cause, "os_error", None) or cause.__cause__
    return next((result for kind, result in _ERRORS if isinstance(error, kind)), Result.INTERNAL)


def retry_after(status: int | None, header: str | None, now: datetime) -> float | None:
    """Return the seconds a receiver asks us to wait (RFC 9110, 10.2.3), None where it may not or does not."""
    if header is None or status not in _RETRY_AFTER_STATUSES:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    date = date.replace(tzinfo=UTC) if date.tzinfo is None else date
    return max(0.0, (date - now).total_seconds())


def decide(
    result: Result,
    *,
    attempt: int,
    elapsed: float,
    asked: float | None,
    policy: Policy,
    rng: Random,
) -> Verdict:
    """Say what becomes of a delivery after attempt number `attempt`.

    `elapsed` is seconds since its first attempt began, `asked` what `retry_after` gave. The delay never puts the
    next attempt's end past the policy's window: a receiver may ask for longer, and gets the end of the window;
    when not even an attempt made at once would end inside it, the retries that are left are not made.
    """
    if result is Result.OK:
        return DELIVERED
    if result is Result.GONE:
        return DROPPED  # and its endpoint is disabled: publisher/failures.py
    latest = policy.window - policy.attempt_timeout - elapsed
    if attempt > policy.retries or latest < 0:
        return DROPPED
    delay = max(backoff.delay(policy, attempt, rng), asked or 0.0)
    return Verdict("retry", delay=min(delay, latest))
