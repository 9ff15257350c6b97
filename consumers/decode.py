"""Bytes and headers -> domain event, or why not. Pure: no clock, no I/O, nothing remembered.

CloudEvents 1.0 in both Kafka modes (protocol binding, section 3): structured, where the value is the whole
event, and binary, where attributes are `ce_*` headers and the value is `data`. The JSON text of `data` is
sliced out, never re-serialised, so numbers keep their digits and unknown fields their order.
"""

from __future__ import annotations

import base64
import binascii
import enum
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import msgspec
from pydantic import ValidationError

from consumers.catalogue import CATALOGUE
from consumers.events import Event
from runtime.trace_context import TRACEPARENT, trace_id_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.events import EventData

MAX_RECORD_BYTES = 1_048_576
MAX_ATTRIBUTE_CHARS = 255
#: The last millisecond a `datetime` can hold; a producer may stamp a record with any 64-bit number.
MAX_TIMESTAMP_MS = 253_402_300_799_999
#: The type of a record that names none of ours.
UNKNOWN_TYPE = "unknown"

_STRUCTURED = re.compile(r"application/cloudevents\+json(\s*;.*)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,99}")
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})")


class Record(Protocol):
    """A Kafka record as the broker's client hands it over (aiokafka's ConsumerRecord is one)."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Reason(enum.StrEnum):
    """Why a record is a dead letter: a closed set, used as a metric label and a header."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    ENCODING = "encoding"
    JSON = "json"
    ENVELOPE = "envelope"
    UNKNOWN_TYPE = "unknown_type"
    SCHEMA = "schema"
    HANDLER = "handler"


class InvalidRecordError(Exception):
    """A record that can never be handled; `detail` says where and what, without repeating its content.

    `event_type` is one of ours, or `UNKNOWN_TYPE`; never the text a producer sent.
    """

    def __init__(self, reason: Reason, detail: str, event_type: str = UNKNOWN_TYPE) -> None:
        """Keep the parts: reason and type are counted, the detail is read."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.event_type = event_type


class _Envelope(msgspec.Struct):
    specversion: str
    id: str
    source: str
    type: str
    account: str | None = None
    time: str | None = None
    datacontenttype: str | None = None
    traceparent: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    data_base64: str | None = None


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode


def decode(record: Record, *, max_bytes: int = MAX_RECORD_BYTES) -> Event:
    """Return the event in `record`; raise `InvalidRecordError` saying why it is none.

    An event without `time` takes the record's timestamp. `traceparent` is read from the record's headers
    first, then from the CloudEvents extension; a malformed one is ignored, as W3C asks.
    """
    value = record.value
    if value is None:
        raise InvalidRecordError(Reason.EMPTY, "the record has no value")
    if len(value) > max_bytes:
        raise InvalidRecordError(Reason.TOO_LARGE, f"{len(value)} bytes, {max_bytes} allowed")
    headers = {name: content for name, content in record.headers if content is not None}
    content_type = headers.get("content-type", b"").decode("latin-1").strip().lower()
    if content_type.startswith("application/cloudevents"):
        if not _STRUCTURED.fullmatch(content_type):
            raise InvalidRecordError(Reason.ENCODING, f"content-type {content_type[:100]!r} is not supported")
        envelope = _structured(value)
    elif "ce_specversion" in headers:
        envelope = _binary(headers, content_type, value)
    elif not content_type:
        envelope = _structured(value)
    else:
        raise InvalidRecordError(
            Reason.ENCODING, f"neither ce_* headers nor a CloudEvents content-type ({content_type[:100]!r})"
        )
    return _event(envelope, record, headers)


def _structured(value: bytes) -> _Envelope:
    try:
        envelope = _decode_envelope(value)
    except msgspec.ValidationError as error:
        raise InvalidRecordError(Reason.ENVELOPE, str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRecordError(Reason.JSON, first_line(error)) from None
    if envelope.data_base64 is not None:
        try:
            decoded = base64.b64decode(envelope.data_base64, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidRecordError(Reason.ENVELOPE, "data_base64 is not base64") from None
        envelope.data = _raw_json(decoded)
    return envelope


def _binary(headers: dict[str, bytes], content_type: str, value: bytes) -> _Envelope:
    if content_type and not re.fullmatch(r"(application/json|[\w.-]+/[\w.-]+\+json)(\s*;.*)?", content_type):
        raise InvalidRecordError(Reason.ENCODING, f"content-type {content_type[:100]!r} is not JSON")
    try:
        attributes = {name[3:]: raw.decode("utf-8") for name, raw in headers.items() if name.startswith("ce_")}
    except UnicodeDecodeError:
        raise InvalidRecordError(Reason.ENVELOPE, "a ce_* header is not UTF-8") from None
    for name in ("id", "source", "type"):
        if name not in attributes:
            raise InvalidRecordError(Reason.ENVELOPE, f"header `ce_{name}` is missing")
    return _Envelope(
        specversion=attributes["specversion"],
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        account=attributes.get("account"),
        time=attributes.get("time"),
        traceparent=attributes.get("traceparent"),
        data=_raw_json(value),
    )


def _raw_json(value: bytes) -> msgspec.Raw:
    try:
        return _decode_raw(value)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRecordError(Reason.JSON, first_line(error)) from None


def _event(envelope: _Envelope, record: Record, headers: dict[str, bytes]) -> Event:
    _check_attributes(envelope)
    model = CATALOGUE.get(envelope.type)
    if model is None:
        raise InvalidRecordError(Reason.UNKNOWN_TYPE, f"{envelope.type!r} is not an event type of this service")
    raw = bytes(envelope.data)
    try:
        _check_account(model, envelope.account)
        data = _data(model, raw)
        time = _time(envelope.time, record.timestamp)
    except InvalidRecordError as error:
        error.event_type = model.TYPE
        raise
    return Event(
        source=envelope.source,
        id=envelope.id,
        type=envelope.type,
        time=time,
        account=envelope.account,
        resource=data.resource(),
        data=data,
        raw=raw,
        traceparent=_traceparent(headers.get("traceparent"), envelope.traceparent),
    )


def _check_attributes(envelope: _Envelope) -> None:
    if envelope.specversion != "1.0":
        raise InvalidRecordError(Reason.ENVELOPE, "`specversion` is not 1.0")
    for name, value in (("id", envelope.id), ("source", envelope.source), ("type", envelope.type)):
        if not value or len(value) > MAX_ATTRIBUTE_CHARS or _CONTROL.search(value):
            raise InvalidRecordError(
                Reason.ENVELOPE, f"`{name}` is empty, longer than {MAX_ATTRIBUTE_CHARS} or has control characters"
            )
    if envelope.account is not None and not ACCOUNT.fullmatch(envelope.account):
        raise InvalidRecordError(Reason.ENVELOPE, "`account` is not an account id")
    content_type = (envelope.datacontenttype or "application/json").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise InvalidRecordError(Reason.ENCODING, f"datacontenttype {content_type[:100]!r} is not JSON")


def _check_account(model: type[EventData], account: str | None) -> None:
    if model.IS_PUBLIC and account is not None:
        raise InvalidRecordError(Reason.ENVELOPE, f"`account` is set on the public type {model.TYPE}")
    if not model.IS_PUBLIC and account is None:
        raise InvalidRecordError(Reason.ENVELOPE, f"`account` is missing on the private type {model.TYPE}")


def _data(model: type[EventData], raw: bytes) -> EventData:
    if not raw:
        raise InvalidRecordError(Reason.ENVELOPE, "`data` is missing")
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise InvalidRecordError(schema_reason(error), describe(error)) from None


def _time(text: str | None, timestamp_ms: int) -> datetime:
    if text is None:
        return datetime.fromtimestamp(min(max(timestamp_ms, 0), MAX_TIMESTAMP_MS) / 1000, UTC)
    try:
        if _RFC3339.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidRecordError(Reason.ENVELOPE, "`time` is not an RFC 3339 time")


def _traceparent(header: bytes | None, extension: str | None) -> str | None:
    text = header.decode("latin-1") if header is not None else extension
    return text if text is not None and TRACEPARENT.fullmatch(text) else None


def trace_of(record: Record) -> str | None:
    """Return the trace id in a record's headers, 32 hex digits, whatever else is wrong with the record."""
    text = _traceparent(next((content for name, content in record.headers if name == "traceparent"), None), None)
    return None if text is None else trace_id_of(text, "")


def schema_reason(error: ValidationError) -> Reason:
    """Return whether a text is no JSON at all, or other JSON than wanted."""
    return Reason.JSON if error.errors(include_input=False)[0]["type"] == "json_invalid" else Reason.SCHEMA


def describe(error: ValidationError, within: str = "data") -> str:
    """Return what is wrong with what stands in `within`, field by field, in one line, without the offending values."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [
        f"{'.'.join(map(str, (within, *problem['loc'])))}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in problems[:5]
    ]
    if len(problems) > len(shown):
        shown.append(f"and {len(problems) - len(shown)} more")
    return "; ".join(shown)


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says, its type where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
