"""Refusals, hints and denials in words: what aiokafka raises, and what a person is told to do about it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    InvalidSessionTimeoutError,
    KafkaConnectionError,
    NotLeaderForPartitionError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from consumers import broker_access
from consumers.broker_access import Access, DeniedError
from runtime import settings as runtime_settings

if TYPE_CHECKING:
    from runtime.settings import Settings

ADDRESS = "a.example:9093"
SECRET = "correct-horse"  # noqa: S105 - what must not be said


def settings(protocol: str = "SASL_SSL") -> Settings:
    return runtime_settings.load(
        environ={},
        kafka_bootstrap=ADDRESS,
        kafka_security_protocol=protocol,
        kafka_sasl_username="heliograph",
        kafka_sasl_password=SECRET,
    )


def untrusted(message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, f"certificate verify failed: {message}")
    error.verify_message = message
    return error


def alerted(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "setting", "words"),
    [
        (untrusted("certificate has expired"), "BOOTSTRAP", "renew the broker's certificate"),
        (untrusted("certificate is not yet valid"), "BOOTSTRAP", "this machine's clock"),
        (untrusted("Hostname mismatch, certificate is not valid for 'a.example'."), "BOOTSTRAP", "'a.example'; name"),
        (untrusted("self-signed certificate in certificate chain"), "SSL_CAFILE", "name the file of the authority"),
        (alerted("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "SSL_CERTFILE", "a client without one"),
        (alerted("SSLV3_ALERT_BAD_CERTIFICATE"), "SSL_CERTFILE", "name a certificate that the brokers trust"),
        (SaslAuthenticationFailed(f"not {SECRET}"), "SASL_PASSWORD", "the user 'heliograph' with this password"),
        (UnsupportedSaslMechanismError(), "SASL_MECHANISM", "it does not take SCRAM-SHA-512"),
        (IllegalSaslStateError(), "SECURITY_PROTOCOL", "SSL may be what listens there"),
    ],
)
def test_a_refusal_names_setting_address_and_remedy(error: Exception, setting: str, words: str) -> None:
    line = broker_access.refusal_of(error, settings(), ADDRESS)
    assert line.startswith(f"HELIOGRAPH_KAFKA_{setting}: Kafka at {ADDRESS} ")
    assert words in line
    assert SECRET not in line


@pytest.mark.parametrize(
    "error",
    [None, OSError("refused"), KafkaConnectionError("closed"), ConnectionResetError(), alerted("WRONG_VERSION_NUMBER")],
)
def test_what_may_pass_is_no_refusal(error: Exception | None) -> None:
    assert broker_access.refusal_of(error, settings(), ADDRESS) == ""


@pytest.mark.parametrize(
    ("error", "is_about_the_protocol"),
    [
        (None, True),
        (KafkaConnectionError("closed"), True),
        (ConnectionResetError(), True),
        (alerted("WRONG_VERSION_NUMBER"), True),
        (ConnectionRefusedError(111, "refused"), False),
        (TimeoutError(), False),
    ],
)
def test_a_connection_that_is_cut_off_hints_at_the_protocol(
    error: Exception | None, *, is_about_the_protocol: bool
) -> None:
    hint = broker_access.hint_of(error, settings("SSL"))
    assert ("HELIOGRAPH_KAFKA_SECURITY_PROTOCOL=SSL" in hint) is is_about_the_protocol
    assert hint


@pytest.mark.parametrize(
    ("error", "protocol", "words"),
    [
        (TopicAuthorizationFailedError("events"), "SASL_SSL", "user heliograph WRITE topic events"),
        (TopicAuthorizationFailedError({"b", "a"}), "SSL", "this user WRITE topic a, WRITE topic b"),
        (GroupAuthorizationFailedError("ours"), "PLAINTEXT", "this user READ group ours"),
        (TopicAuthorizationFailedError(), "PLAINTEXT", "this user WRITE topic ?"),
        (InvalidSessionTimeoutError(), "PLAINTEXT", "HELIOGRAPH_KAFKA_SESSION_TIMEOUT: Kafka does not take 10 s"),
    ],
)
def test_what_is_denied_is_said_with_its_operation(error: Exception, protocol: str, words: str) -> None:
    with pytest.raises(DeniedError) as raised, broker_access.denials(settings(protocol), "WRITE"):
        raise error
    assert words in str(raised.value)


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(NotLeaderForPartitionError), broker_access.denials(settings(), "WRITE"):
        raise NotLeaderForPartitionError


@pytest.mark.parametrize(
    ("topics", "groups", "denied"),
    [
        ({"in": frozenset({"READ"}), "out": frozenset({"WRITE"})}, set(), []),
        (
            {"in": frozenset(), "out": frozenset({"READ"})},
            {"ours"},
            ["READ topic in", "WRITE topic out", "READ group ours"],
        ),
        ({"in": None, "out": None}, set(), []),
        ({}, set(), []),
    ],
)
def test_what_is_not_known_is_not_denied(topics: Any, groups: set[str], denied: list[str]) -> None:
    assert Access(topics, frozenset(groups)).denied({"in": "READ", "out": "WRITE"}) == denied


@pytest.mark.parametrize(
    ("bits", "allowed"),
    [(-(2**31), None), (0, set()), (8, {"READ"}), (16, {"WRITE"}), (8 | 16 | 256, {"READ", "WRITE"})],
)
def test_operations_are_bits_by_their_number(bits: int, allowed: set[str] | None) -> None:
    assert broker_access._allowed(bits) == allowed
