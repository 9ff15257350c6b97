"""How clients get into Kafka, and why they do not: what they are told to connect with, refusals in words, rights.

aiokafka says of a failed start only that it failed, so the reason is asked for with a connection of our own. What no
other try can help (a wrong password, a certificate that proves nothing) is a `RefusedError`, at once; for what may pass
the reason replaces aiokafka's words. Rights are asked for before there is anything to lose: dead letters that may not
be written would be found out by the first bad record.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from aiokafka.conn import create_conn
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    IncompatibleBrokerVersion,
    InvalidSessionTimeoutError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
    for_code,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from runtime.lifecycle import UnreachableError, reason_of
from runtime.settings import SettingsError, variable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

    from aiokafka.admin import AIOKafkaAdminClient

    from runtime.settings import Settings

#: What a user may do to a topic or group, with its bit in an answer: the numbers of Kafka's `AclOperation`.
READ, WRITE = "READ", "WRITE"
BITS = {READ: 1 << 3, WRITE: 1 << 4}
#: Milliseconds a connection that only asks for the reason may take.
ASK_TIMEOUT_MS = 3000
#: How servers say that they want a client's certificate, or another one.
WANTS_CERTIFICATE = ("ALERT_BAD_CERTIFICATE", "ALERT_UNKNOWN_CA", "ALERT_CERTIFICATE")


class RefusedError(UnreachableError):
    """Kafka answers, and no other try will make it let us in; the text is one line and names the setting."""


class DeniedError(Exception):
    """Kafka does not let this user do that; the text names topic or group and operation."""


class MembershipLostError(Exception):
    """A consumer is no member of its group any more, and will not become one again; the text says why."""


class Access(NamedTuple):
    """What this user sees: topics, what may be done to each (None where the broker does not tell), groups denied."""

    topics: Mapping[str, frozenset[str] | None]
    denied_groups: frozenset[str]

    def denied(self, needs: Mapping[str, str]) -> list[str]:
        """Return what is not allowed of `needs` (topics, and what is to be done to each), as `READ topic events`."""
        topics = [
            f"{operation} topic {name}"
            for name, operation in needs.items()
            if (allowed := self.topics.get(name)) is not None and operation not in allowed
        ]
        return sorted(topics) + [f"{READ} group {name}" for name in sorted(self.denied_groups)]


def security(settings: Settings) -> dict[str, Any]:
    """Return the connection arguments every aiokafka client takes."""
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.kafka_bootstrap),
        "client_id": "heliograph",
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = _tls(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": password.get_secret_value() if password else None,
        }
    return options


def _tls(settings: Settings) -> ssl.SSLContext:
    """Return the TLS context; raises `SettingsError` for files that hold no certificate or key."""
    name = "kafka_ssl_cafile"
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
        name = "kafka_ssl_certfile"
        if settings.kafka_ssl_certfile:
            context.load_cert_chain(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile)
    except OSError as error:  # ssl's own errors are among them
        also = f" with {variable('kafka_ssl_keyfile')}" if name == "kafka_ssl_certfile" else ""
        raise SettingsError(f"{variable(name)}{also}: cannot be used ({reason_of(error)})") from None
    return context


# --- why there is no connection -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def explained(settings: Settings) -> AsyncIterator[None]:
    """Say why a client's start fails: raises `RefusedError`, or `ConnectionError` with the reason where it may pass."""
    try:
        yield
    except KafkaConnectionError:
        reasons = []
        for address in settings.kafka_bootstrap:
            error = await _dial(settings, address)
            if refusal := refusal_of(error, settings, address):
                raise RefusedError(refusal) from None
            reasons.append(hint_of(error, settings))
        raise ConnectionError("; ".join(dict.fromkeys(reasons))) from None


async def _dial(settings: Settings, address: str) -> BaseException | None:
    """Return what a connection to one broker raises, None where it is made."""
    host, _, port = address.rpartition(":")
    options = security(settings)
    del options["bootstrap_servers"]
    try:
        connection = await create_conn(host.strip("[]"), int(port), request_timeout_ms=ASK_TIMEOUT_MS, **options)
    except (KafkaError, OSError, TimeoutError) as error:
        # What TLS says after its handshake comes as the cause of a closed connection.
        return error.__cause__ if isinstance(error.__cause__, OSError) else error
    await connection.close()
    return None


def refusal_of(error: BaseException | None, settings: Settings, address: str) -> str:
    """Return in one line why Kafka at `address` will not let us in however often we ask; empty where it may. Pure."""
    protocol = settings.kafka_security_protocol
    match error:
        case ssl.SSLCertVerificationError():
            reason = f"its certificate is not to be trusted: {error.verify_message.rstrip('.')}"
            name, advice = _certificate(error)
        case ssl.SSLError() if any(alert in str(error.reason) for alert in WANTS_CERTIFICATE):
            name = "kafka_ssl_certfile"
            given = settings.kafka_ssl_certfile
            reason = f"it does not accept {'the certificate in ' + str(given) if given else 'a client without one'}"
            advice = "name a certificate that the brokers trust, and its key"
        case SaslAuthenticationFailed():
            name = "kafka_sasl_password"
            reason = f"it does not know the user {settings.kafka_sasl_username!r} with this password"
            advice = f"correct it or {variable('kafka_sasl_username')}, for {settings.kafka_sasl_mechanism}"
        case UnsupportedSaslMechanismError():
            name, reason = "kafka_sasl_mechanism", f"it does not take {settings.kafka_sasl_mechanism}"
            advice = "name one that this listener takes"
        case IllegalSaslStateError():
            name, reason = "kafka_security_protocol", f"it wants no password on this port, and this is {protocol}"
            advice = f"{protocol.removeprefix('SASL_')} may be what listens there"
        case _:
            return ""
    return f"{variable(name)}: Kafka at {address} refuses us, or we it: {reason}; {advice}"


def hint_of(error: BaseException | None, settings: Settings) -> str:
    """Return in one line why there is no connection yet, and which setting may be why. Pure."""
    if error is None or isinstance(error, KafkaConnectionError | ConnectionResetError | ssl.SSLError):
        setting = f"{variable('kafka_security_protocol')}={settings.kafka_security_protocol}"
        return f"connected and cut off: is {setting} what listens there?"
    return reason_of(error)


def _certificate(error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    """Return the setting a certificate's fault is about, and what to do. Pure."""
    if "mismatch" in error.verify_message:
        return "kafka_bootstrap", "name the brokers as their certificates do"
    if "expired" in error.verify_message or "not yet valid" in error.verify_message:
        return "kafka_bootstrap", "renew the broker's certificate, or correct this machine's clock"
    return "kafka_ssl_cafile", "name the file of the authority that signs the brokers' certificates"


# --- what may be done ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def denials(settings: Settings, operation: str) -> Iterator[None]:
    """Raise `DeniedError` for what Kafka does not let this user do, or not with these settings."""
    try:
        yield
    except InvalidSessionTimeoutError:
        seconds = f"{settings.kafka_session_timeout:g} s"
        advice = "Kafka takes from group.min.session.timeout.ms (6 s by default) to group.max.session.timeout.ms"
        raise DeniedError(f"{variable('kafka_session_timeout')}: Kafka does not take {seconds}; {advice}") from None
    except (TopicAuthorizationFailedError, GroupAuthorizationFailedError) as error:
        raise DeniedError(denial_of(error, settings, operation)) from None


def denial_of(error: KafkaError, settings: Settings, operation: str) -> str:
    """Return what was denied, in words. Pure."""
    [named] = error.args or ("?",)
    names = sorted(named) if isinstance(named, set | frozenset | list) else [str(named)]
    kind = "group" if isinstance(error, GroupAuthorizationFailedError) else "topic"
    return denied_text(settings, {f"{READ if kind == 'group' else operation} {kind} {name}" for name in names})


def denied_text(settings: Settings, denied: Iterable[str]) -> str:
    """Return one line about operations such as `READ topic events`. Pure."""
    user = settings.kafka_sasl_username if settings.kafka_security_protocol.startswith("SASL") else None
    who = f"user {user}" if user else "this user"
    return f"Kafka does not let {who} {', '.join(sorted(denied))}: allow it with an ACL"


async def access_of(admin: AIOKafkaAdminClient, groups: Iterable[str]) -> Access:
    """Ask what this user may do; raises `KafkaError`."""
    try:
        answer = await admin._send_request(_MetadataRequest())  # noqa: SLF001 - aiokafka speaks an older version, without rights
    except (IncompatibleBrokerVersion, NotImplementedError):
        topics = dict.fromkeys(await admin.list_topics())
    else:
        topics = {name: _allowed(bits) for code, name, _, _, bits in answer.topics if not code}
    return Access(topics, frozenset([group for group in groups if not await _may_join(admin, group)]))


def _allowed(bits: int) -> frozenset[str] | None:
    """Return the operations of a bit field; the lowest number stands for not known. Pure."""
    return None if bits == -(2**31) else frozenset(name for name, bit in BITS.items() if bits & bit)


async def _may_join(admin: AIOKafkaAdminClient, group: str) -> bool:
    """Say whether a group may be joined, by a member's sign of life that no group knows; True when nobody can say."""
    try:
        coordinator = await admin.find_coordinator(group)
        answer = await admin._send_request_to_node(coordinator, HeartbeatRequest(group, -1, ""))  # noqa: SLF001 - nothing public asks
    except GroupAuthorizationFailedError:
        return False
    except (KafkaError, OSError, TimeoutError):  # a new cluster has no coordinator yet
        return True
    return for_code(answer.error_code) is not GroupAuthorizationFailedError


class _MetadataResponse_v8(Response):  # type: ignore[misc]  # noqa: N801 - aiokafka is untyped, and names versions so
    """The first version that tells rights, but for cluster rights' own request."""

    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8")))),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        *(("error_code", Int16), ("partition", Int32), ("leader", Int32), ("leader_epoch", Int32)),
                        *(("replicas", Array(Int32)), ("isr", Array(Int32)), ("offline_replicas", Array(Int32))),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _MetadataRequest_v8(RequestStruct):  # type: ignore[misc]  # noqa: N801 - as above
    """The question for all topics."""

    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataResponse_v8
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _MetadataRequest(Request[_MetadataRequest_v8]):  # type: ignore[misc]  # aiokafka is untyped
    """Which topics there are, and what this user may do to each."""

    API_KEY: ClassVar[int] = 3

    def build(self, struct: type[_MetadataRequest_v8]) -> _MetadataRequest_v8:
        """Ask about all topics, and have none made."""
        return struct(None, False, False, True)  # noqa: FBT003 - a struct's fields, in their order
