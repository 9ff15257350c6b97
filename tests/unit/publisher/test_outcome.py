"""What an attempt came to and what follows: tables over every kind of answer and error; the window for any policy.

A wrong row here sends a customer's event twice for nothing, or not at all.
"""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import client_exceptions, http_exceptions
from aiohttp.client_reqrep import ConnectionKey
from hypothesis import given
from hypothesis import strategies as st

from publisher.delivery import backoff
from publisher.delivery.backoff import Policy
from publisher.delivery.outcome import (
    BlockedError,
    Result,
    Verdict,
    decide,
    result_of_error,
    result_of_status,
    retry_after,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

POLICY = Policy(retries=3, window=3600, attempt_timeout=15)
NOW = datetime(2026, 11, 1, tzinfo=UTC)
FAILURES = sorted(set(Result) - {Result.OK, Result.GONE})
KEY = ConnectionKey("receiver.example", 443, True, True, None, None, None, None)  # noqa: FBT003 - a tuple of aiohttp's


# --- status -> result ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "statuses"),
    [
        (Result.OK, (200, 201, 202, 204, 206, 226, 299)),
        (Result.REDIRECT, (300, 301, 302, 303, 304, 307, 308, 399)),
        (Result.CLIENT_ERROR, (400, 401, 403, 404, 408, 409, 411, 413, 418, 422, 425, 428, 431, 451, 499)),
        (Result.GONE, (410,)),
        (Result.THROTTLED, (429,)),
        (Result.SERVER_ERROR, (500, 501, 502, 503, 504, 507, 511, 599)),
        (Result.PROTOCOL, (0, 99, 100, 101, 103, 199, 600, 999)),
    ],
)
def test_each_status_has_its_result(result: Result, statuses: tuple[int, ...]) -> None:
    assert {status: result_of_status(status) for status in statuses} == dict.fromkeys(statuses, result)


@given(st.integers(0, 999))
def test_success_is_2xx_and_nothing_else(status: int) -> None:
    assert (result_of_status(status) is Result.OK) == (200 <= status <= 299)


def test_the_results_are_the_contracts() -> None:
    named = "2xx 3xx 4xx 410 429 5xx timeout dns tls connect blocked protocol internal"
    assert sorted(result.value for result in Result) == sorted(named.split())


# --- exception -> result ---------------------------------------------------------------------------------------------


def _raised_from(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (TimeoutError(), Result.TIMEOUT),
        (_raised_from(TimeoutError(), aiohttp.ServerDisconnectedError()), Result.TIMEOUT),
        (aiohttp.ServerTimeoutError(), Result.TIMEOUT),
        (aiohttp.ConnectionTimeoutError(), Result.TIMEOUT),
        (aiohttp.SocketTimeoutError(), Result.TIMEOUT),
        (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "Name or service not known")), Result.DNS),
        (UnicodeError("label empty or too long"), Result.DNS),
        (UnicodeEncodeError("idna", "a..b", 1, 2, "label empty or too long"), Result.DNS),
        (aiohttp.InvalidUrlClientError("2130706433", "is not a canonical IPv4 address"), Result.DNS),
        (aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError(1, "expired")), Result.TLS),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "wrong version number")), Result.TLS),
        (aiohttp.ClientSSLError(KEY, OSError(1, "handshake")), Result.TLS),
        (ssl.SSLError(1, "decryption failed"), Result.TLS),
        (ssl.SSLCertVerificationError(1, "self-signed certificate"), Result.TLS),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), Result.TLS),
        (aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(111, "Connection refused")), Result.CONNECT),
        (aiohttp.ClientConnectorError(KEY, TimeoutError(110, "Connection timed out")), Result.CONNECT),
        (aiohttp.ServerDisconnectedError(), Result.CONNECT),
        (aiohttp.ClientOSError(104, "Connection reset by peer"), Result.CONNECT),
        (aiohttp.ClientConnectionResetError("Cannot write to closing transport"), Result.CONNECT),
        (aiohttp.ClientConnectionError("Connector is closed."), Result.CONNECT),
        (ConnectionResetError(104, "Connection reset by peer"), Result.CONNECT),
        (OSError(101, "Network is unreachable"), Result.CONNECT),
        (BlockedError("10.0.0.1"), Result.BLOCKED),
        (aiohttp.ClientConnectorError(KEY, BlockedError("10.0.0.1")), Result.BLOCKED),
        (aiohttp.ClientConnectorDNSError(KEY, BlockedError("10.0.0.1")), Result.BLOCKED),
        (_raised_from(OSError("all addresses"), BlockedError("10.0.0.1")), Result.BLOCKED),
        (
            _raised_from(
                aiohttp.ClientOSError("x"),
                _raised_from(OSError("y"), aiohttp.ClientConnectorError(KEY, BlockedError())),
            ),
            Result.BLOCKED,
        ),
        (http_exceptions.HttpProcessingError(code=400, message="bad"), Result.PROTOCOL),
        (http_exceptions.BadStatusLine("SSH-2.0"), Result.PROTOCOL),
        (http_exceptions.LineTooLong(b"x: ", 8190), Result.PROTOCOL),
        (http_exceptions.TransferEncodingError("chunk"), Result.PROTOCOL),
        (aiohttp.ClientPayloadError("not completed"), Result.PROTOCOL),
        (aiohttp.ClientResponseError(None, (), status=0), Result.PROTOCOL),  # type: ignore[arg-type]  # not looked at
        (RuntimeError("unexpected"), Result.INTERNAL),
        (ValueError("unexpected"), Result.INTERNAL),
        (KeyError("unexpected"), Result.INTERNAL),
        (AssertionError(), Result.INTERNAL),
        (Exception(), Result.INTERNAL),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value.value,
)
def test_each_error_has_its_result(error: BaseException, result: Result) -> None:
    assert result_of_error(error) is result


#: What only aiohttp's session raises, which is not used, and the two roots of its tree.
_NOT_MET = {
    aiohttp.ClientError,
    client_exceptions.UploadAbortedError,
    aiohttp.RedirectClientError,
    aiohttp.NonHttpUrlClientError,
    aiohttp.NonHttpUrlRedirectClientError,
    aiohttp.WSMessageTypeError,
}


def _tree(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


@pytest.mark.parametrize("root", [aiohttp.ClientError, http_exceptions.HttpProcessingError])
def test_no_error_of_the_library_is_taken_for_a_fault_of_ours(root: type[BaseException]) -> None:
    kinds = {kind for kind in _tree(root) if kind.__module__.startswith("aiohttp.")} - _NOT_MET
    results = {kind.__name__: result_of_error(kind.__new__(kind)) for kind in kinds}
    assert {name for name, result in results.items() if result is Result.INTERNAL} == set()
    assert len(results) > 5


# --- Retry-After -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 120\t", 120),
        ("999999999999999999999", 999_999_999),
        ("9" * 5000, 999_999_999),
        ("Sun, 01 Nov 2026 00:02:00 GMT", 120),
        ("Sunday, 01-Nov-26 00:02:00 GMT", 120),
        ("Sun Nov  1 00:02:00 2026", 120),
        ("Sun, 01 Nov 2026 02:02:00 +0200", 120),
        ("Sun, 01 Nov 2026 00:02:00 -0000", 120),
        ("Sat, 31 Oct 2026 23:00:00 GMT", 0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("1e3", None),
        ("٣", None),
        ("²", None),
        ("Sun, 99 Nov 2026 00:02:00 GMT", None),
        ("Sun, 01 Nov 99999 00:02:00 GMT", None),
        ("\udcff", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(429, header, NOW) == seconds
    assert retry_after(503, header, NOW) == seconds


@pytest.mark.parametrize("status", [None, 200, 301, 400, 404, 410, 500, 502, 504])
def test_retry_after_counts_on_429_and_503_alone(status: int | None) -> None:
    assert retry_after(status, "120", NOW) is None


_DATE_PARTS = ["Sun", ",", "01", "Nov", "2026", "00:02:00", "GMT", "+9999", "-0000", " ", "99999999999", "(", '"', ":"]


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(_DATE_PARTS), max_size=9).map(" ".join)))
def test_no_retry_after_breaks_the_attempt(header: str) -> None:
    seconds = retry_after(503, header, NOW)
    assert seconds is None or seconds >= 0


# --- what follows ----------------------------------------------------------------------------------------------------


def _decide(result: Result, attempt: int = 1, elapsed: float = 0.1, asked: float | None = None) -> Verdict:
    return decide(result, attempt=attempt, elapsed=elapsed, asked=asked, policy=POLICY, rng=Random(1))


@pytest.mark.parametrize("attempt", [1, 2, 3, 4])
def test_a_2xx_is_delivered(attempt: int) -> None:
    assert _decide(Result.OK, attempt) == Verdict("delivered")


@pytest.mark.parametrize("attempt", [1, 2, 3, 4])
def test_a_410_is_dropped_at_once(attempt: int) -> None:
    assert _decide(Result.GONE, attempt) == Verdict("dropped")


@pytest.mark.parametrize("result", FAILURES)
def test_every_other_result_is_retried_until_the_retries_are_used_up(result: Result) -> None:
    verdicts = [_decide(result, attempt) for attempt in (1, 2, 3, 4, 5)]
    assert [verdict.state for verdict in verdicts] == ["retry", "retry", "retry", "dropped", "dropped"]
    assert 0 < verdicts[0].delay < verdicts[1].delay < verdicts[2].delay
    assert verdicts[3].delay == 0


@pytest.mark.parametrize(
    ("asked", "delay"),
    [
        (None, 95),
        (0.0, 95),
        (10.0, 95),  # less than our own wait: ours stands
        (600.0, 600),
        (3_500.0, 3_500),
        (3_584.9, 3_584.9),
        (86_400.0, 3_584.9),  # past the window: the latest moment from which an attempt still ends inside it
    ],
)
def test_a_receiver_may_ask_for_a_longer_wait_within_the_window(asked: float | None, delay: float) -> None:
    assert _decide(Result.THROTTLED, asked=asked).delay == pytest.approx(
        delay, rel=backoff.JITTER if delay < 100 else 1e-9
    )


@pytest.mark.parametrize(
    ("elapsed", "verdict"),
    [
        (3_585.0, Verdict("retry", delay=0.0)),
        (3_585.1, Verdict("dropped")),
        (3_600.0, Verdict("dropped")),
        (90_000.0, Verdict("dropped")),  # the service was down for a day
    ],
)
def test_an_attempt_that_cannot_end_inside_the_window_is_not_made(elapsed: float, verdict: Verdict) -> None:
    assert _decide(Result.TIMEOUT, 2, elapsed, asked=7_200) == verdict


class Longest(Random):
    """Randomness at its worst: every wait gets the largest jitter."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    retries = draw(st.integers(0, 20))
    timeout = draw(st.floats(0.1, 120))
    spare = draw(st.floats(1, 1_000_000))
    return Policy(retries, (retries + 1) * timeout + spare, timeout)


@given(policies(), st.data())
def test_the_last_attempt_ends_within_the_window_whatever_the_jitter_and_the_durations(
    policy: Policy, data: st.DataObject
) -> None:
    elapsed, made = 0.0, 0
    state = "retry"
    while state == "retry":
        made += 1
        elapsed += data.draw(st.one_of(st.just(policy.attempt_timeout), st.floats(0, policy.attempt_timeout)))
        verdict = decide(Result.TIMEOUT, attempt=made, elapsed=elapsed, asked=None, policy=policy, rng=Longest())
        state = verdict.state
        elapsed += verdict.delay
    assert state == "dropped"
    assert made == policy.retries + 1  # every promised attempt is made
    assert not policy.retries or elapsed <= policy.window + 1e-6


@given(policies(), st.data())
def test_no_wish_of_a_receiver_leads_past_the_window(policy: Policy, data: st.DataObject) -> None:
    elapsed, made, asked = 0.0, 0, st.one_of(st.none(), st.floats(0, 1e9))
    state = "retry"
    while state == "retry":
        made += 1
        elapsed += data.draw(st.floats(0, policy.attempt_timeout))
        verdict = decide(
            Result.THROTTLED,
            attempt=made,
            elapsed=elapsed,
            asked=data.draw(asked),
            policy=policy,
            rng=Random(data.draw(st.integers())),
        )
        state = verdict.state
        elapsed += verdict.delay
    assert made <= policy.retries + 1
    assert not policy.retries or elapsed <= policy.window + 1e-6


def test_a_throttling_receiver_is_not_called_again_the_moment_its_window_is_over() -> None:
    first = _decide(Result.THROTTLED, 1, elapsed=0.5, asked=timedelta(hours=2).total_seconds())
    second = _decide(Result.THROTTLED, 2, elapsed=0.5 + first.delay + 0.5, asked=timedelta(hours=2).total_seconds())
    assert second == Verdict("dropped")
