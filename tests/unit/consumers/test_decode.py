"""What is an event and what is not: the envelope in both CloudEvents modes, as tables; `data` is in test_data.py."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from consumers.decode import MAX_RECORD_BYTES, UNKNOWN_TYPE, InvalidRecordError, Reason, decode, trace_of
from tests.unit.consumers.records import DATA, STRUCTURED, TIMESTAMP, TYPE, binary, record, structured

if TYPE_CHECKING:
    from collections.abc import Sequence

    Headers = Sequence[tuple[str, bytes | None]]

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER_TRACE = "00-11111111111111111111111111111111-2222222222222222-00"


def refused(
    value: bytes | None, headers: Headers = (STRUCTURED,), *, max_bytes: int = MAX_RECORD_BYTES
) -> InvalidRecordError:
    """Decode what must be refused."""
    with pytest.raises(InvalidRecordError) as raised:
        decode(record(value, headers), max_bytes=max_bytes)
    assert str(raised.value) == f"{raised.value.reason}: {raised.value.detail}"
    return raised.value


MODES: dict[str, tuple[bytes, Headers]] = {
    "structured": (structured(), [STRUCTURED]),
    "structured, with parameters": (structured(), [("content-type", b"application/cloudevents+json; charset=UTF-8")]),
    "structured, in capitals": (structured(), [("content-type", b" Application/CloudEvents+JSON ;x=y")]),
    "structured, no content-type": (structured(), []),
    "structured, content-type without a value": (structured(), [("content-type", None)]),
    "structured, data in base64": (
        structured(None, data_base64=base64.b64encode(DATA).decode()),
        [STRUCTURED],
    ),
    "structured, ce_ headers besides": (structured(), [STRUCTURED, *binary(id="another")]),
    "structured, of JSON by its own media type": (
        structured(datacontenttype="application/vnd.x+json; a=b"),
        [STRUCTURED],
    ),
    "binary": (DATA, [*binary(), ("content-type", b"application/json")]),
    "binary, with parameters": (DATA, [*binary(), ("content-type", b"application/json; charset=utf-8")]),
    "binary, of a JSON media type": (DATA, [*binary(), ("content-type", b"application/vnd.nb.event+json")]),
    "binary, no content-type": (DATA, binary()),
    "binary, unknown extension without a value": (DATA, binary(mood=None)),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_carries_the_same_event(mode: str) -> None:
    value, headers = MODES[mode]
    event = decode(record(value, headers))
    assert (event.source, event.id, event.type, event.account) == ("/test", "e1", TYPE, "acct_1")
    assert (event.raw, event.resource, event.time, event.traceparent) == (DATA, "account", NOVEMBER, None)
    assert event.data.model_dump() == {"balance_usd": 4.2, "threshold_usd": 10}


REFUSED: dict[str, tuple[Reason, bytes | None, Headers]] = {
    "no value": (Reason.EMPTY, None, [STRUCTURED]),
    "no value, no headers": (Reason.EMPTY, None, []),
    "an empty value": (Reason.JSON, b"", [STRUCTURED]),
    "cut off": (Reason.JSON, structured()[:-1], [STRUCTURED]),
    "something behind it": (Reason.JSON, structured() + b"{}", [STRUCTURED]),
    "a byte order mark": (Reason.JSON, b"\xef\xbb\xbf" + structured(), [STRUCTURED]),
    "UTF-16": (Reason.JSON, structured().decode().encode("utf-16"), [STRUCTURED]),
    "invalid UTF-8 in an attribute": (Reason.JSON, structured().replace(b"e1", b"\xff1"), [STRUCTURED]),
    "invalid UTF-8 in data": (Reason.JSON, structured(b'{"a":"\xff"}'), [STRUCTURED]),
    "half a surrogate pair in an attribute": (Reason.JSON, structured(id="\ud800"), [STRUCTURED]),
    "nested without end": (Reason.JSON, b'{"data":' + b"[" * 500_000, [STRUCTURED]),
    "an extension nested without end": (Reason.JSON, b'{"x":' * 200_000, [STRUCTURED]),
    "not an object": (Reason.ENVELOPE, b"[]", [STRUCTURED]),
    "any other object": (Reason.ENVELOPE, DATA, []),
    "an attribute of another type": (Reason.ENVELOPE, structured(id=5), [STRUCTURED]),
    "an extension of another type": (Reason.ENVELOPE, structured(traceparent=5), [STRUCTURED]),
    "CloudEvents of another version": (Reason.ENVELOPE, structured(specversion="0.3"), [STRUCTURED]),
    "no data": (Reason.ENVELOPE, structured(None), [STRUCTURED]),
    "data_base64 that is none": (Reason.ENVELOPE, structured(None, data_base64="e30"), [STRUCTURED]),
    "data_base64 with something else in it": (
        Reason.ENVELOPE,
        structured(None, data_base64="!" + base64.b64encode(DATA).decode()),
        [STRUCTURED],
    ),
    "data_base64 beyond ASCII": (Reason.ENVELOPE, structured(None, data_base64="é==="), [STRUCTURED]),
    "data_base64 of something else": (Reason.JSON, structured(None, data_base64="aGVsbG8="), [STRUCTURED]),
    "an empty data_base64": (Reason.JSON, structured(None, data_base64=""), [STRUCTURED]),
    "data that is not JSON, it says": (Reason.ENCODING, structured(datacontenttype="text/xml"), [STRUCTURED]),
    "a batch": (Reason.ENCODING, b"[]", [("content-type", b"application/cloudevents-batch+json")]),
    "CloudEvents in Avro": (Reason.ENCODING, b"Obj", [("content-type", b"application/cloudevents+avro")]),
    "JSON without ce_ headers": (Reason.ENCODING, structured(), [("content-type", b"application/json")]),
    "binary, not JSON": (Reason.ENCODING, b"<x/>", [*binary(), ("content-type", b"application/xml")]),
    "binary, cut off": (Reason.JSON, DATA[:-1], binary()),
    "binary, empty": (Reason.JSON, b"", binary()),
    "binary, invalid UTF-8 in a header": (Reason.ENVELOPE, DATA, binary(source=b"\xff")),
    "binary, of another version": (Reason.ENVELOPE, DATA, binary(specversion="0.3")),
    "binary, ce_specversion without a value": (Reason.ENVELOPE, DATA, binary(specversion=None)),
}


WHOSE_TYPE_IS_KNOWN = {"no data", "invalid UTF-8 in data"}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_an_event_is_refused_with_its_reason(what: str) -> None:
    reason, value, headers = REFUSED[what]
    error = refused(value, headers)
    assert error.reason is reason
    assert error.event_type == (TYPE if what in WHOSE_TYPE_IS_KNOWN else UNKNOWN_TYPE)
    assert error.detail
    assert "\n" not in error.detail


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
def test_a_required_attribute_that_is_missing_is_named(name: str) -> None:
    without: dict[str, Any] = {name: None}
    assert refused(structured(**without)).reason is Reason.ENVELOPE
    assert name in refused(structured(**without)).detail
    if name != "specversion":  # without which it is not binary mode at all
        error = refused(DATA, binary(**without))
        assert (error.reason, error.detail) == (Reason.ENVELOPE, f"header `ce_{name}` is missing")


@pytest.mark.parametrize("name", ["id", "source", "type"])
@pytest.mark.parametrize("bad", ["", "a\x00b", "a\nb", "\x7f", "x" * 256], ids=repr)
def test_an_attribute_that_would_do_harm_is_refused(name: str, bad: str) -> None:
    broken: dict[str, Any] = {name: bad}
    for error in (refused(structured(**broken)), refused(DATA, binary(**broken))):
        assert (error.reason, error.detail.split(" ")[0]) == (Reason.ENVELOPE, f"`{name}`")


def test_attributes_of_255_characters_are_taken() -> None:
    event = decode(record(structured(id="é" * 255, source="\U0001f4a1" * 255)))
    assert (event.id, event.source) == ("é" * 255, "\U0001f4a1" * 255)


@pytest.mark.parametrize("bad", ["", " acct", "acct 1", "-1", "a" * 101, "a\x00", "äcct", "acct\n"], ids=repr)
def test_an_account_that_is_no_account_id_is_refused(bad: str) -> None:
    assert refused(structured(account=bad)).reason is Reason.ENVELOPE


@pytest.mark.parametrize("account", ["a", "acct_1", "user@example.org", "0b9a:1.2-3", "a" * 100])
def test_accounts_that_are_taken(account: str) -> None:
    assert decode(record(structured(account=account))).account == account


def test_private_types_need_an_account_and_public_ones_must_not_have_one() -> None:
    missing = refused(structured(account=None))
    assert (missing.reason, missing.event_type) == (Reason.ENVELOPE, TYPE)
    assert "missing" in missing.detail
    present = refused(structured(event_type="canary.updated", account="acct_1"))
    assert (present.reason, present.event_type) == (Reason.ENVELOPE, "canary.updated")
    assert "public" in present.detail
    assert refused(structured().replace(b'"acct_1"', b"null")).reason is Reason.ENVELOPE


def test_an_unknown_type_is_named_in_the_detail_and_nowhere_else() -> None:
    error = refused(structured(event_type="server.exploded"))
    assert (error.reason, error.event_type) == (Reason.UNKNOWN_TYPE, UNKNOWN_TYPE)
    assert "'server.exploded'" in error.detail


def test_size_is_limited_to_the_byte() -> None:
    exact = structured()
    assert decode(record(exact), max_bytes=len(exact)).id == "e1"
    error = refused(exact, max_bytes=len(exact) - 1)
    assert (error.reason, error.detail) == (Reason.TOO_LARGE, f"{len(exact)} bytes, {len(exact) - 1} allowed")
    padded = structured() + b" " * (MAX_RECORD_BYTES - len(exact))
    assert decode(record(padded)).raw == DATA
    assert refused(padded + b" ").reason is Reason.TOO_LARGE


def test_a_detail_is_short_however_long_the_header_it_is_about() -> None:
    for error in (
        refused(DATA, [("content-type", b"text/" + b"x" * 100_000)]),
        refused(DATA, [("content-type", b"application/cloudevents" + b"x" * 100_000)]),
        refused(DATA, [*binary(), ("content-type", b"text/" + b"x" * 100_000)]),
        refused(structured(datacontenttype="x" * 100_000)),
    ):
        assert error.reason is Reason.ENCODING
        assert len(error.detail) < 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-01T00:00:00Z", NOVEMBER),
        ("2026-11-01t00:00:00z", NOVEMBER),
        ("2026-11-01T02:00:00+02:00", NOVEMBER),
        ("2026-10-31T19:30:00-04:30", NOVEMBER),
        ("2026-11-01T00:00:00.5Z", NOVEMBER + timedelta(milliseconds=500)),
        ("2026-11-01T00:00:00.123456789Z", NOVEMBER + timedelta(microseconds=123456)),
        (None, NOVEMBER),
    ],
)
def test_time(text: str | None, expected: datetime) -> None:
    for event in (
        decode(record(structured(time=text))),
        decode(record(DATA, binary(time=text))),
    ):
        assert event.time == expected
        assert event.time.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-11-01",
        "2026-11-01T00:00:00",
        "2026-11-01 00:00:00Z",
        "2026-11-01T00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-11-01T25:00:00Z",
        "2026-11-01T00:00:00+2",
        "2026-11-01T00:00:00+99:00",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "٢٠٢٦-11-01T00:00:00Z",
        "1793491200",
    ],
)
def test_a_time_that_is_not_rfc_3339_is_refused(text: str) -> None:
    error = refused(structured(time=text))
    assert (error.reason, error.detail, error.event_type) == (
        Reason.ENVELOPE,
        "`time` is not an RFC 3339 time",
        TYPE,
    )


@pytest.mark.parametrize(
    ("timestamp", "year"),
    [
        (TIMESTAMP, 2026),
        (0, 1970),
        (-1, 1970),
        (253_402_300_799_999, 9999),
        (253_402_300_800_000, 9999),
        (2**63 - 1, 9999),
    ],
)
def test_an_event_without_time_takes_the_records_whatever_that_is(timestamp: int, year: int) -> None:
    assert decode(record(structured(), timestamp=timestamp)).time.year == year


@pytest.mark.parametrize(
    ("header", "extension", "expected"),
    [
        (None, None, None),
        (TRACE, None, TRACE),
        (None, TRACE, TRACE),
        (TRACE, OTHER_TRACE, TRACE),
        ("garbage", None, None),
        ("\xff", None, None),
        (TRACE.upper(), None, None),
        (TRACE.replace("00-", "ff-", 1), None, None),
        (TRACE + "-extra", None, None),
        (TRACE + "\n", None, None),
        ("00-" + "0" * 32 + "-00f067aa0ba902b7-01", None, None),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01", None, None),
        (None, "garbage", None),
    ],
)
def test_traceparent(header: str | None, extension: str | None, expected: str | None) -> None:
    traced: Headers = [("traceparent", header.encode("latin-1"))] if header is not None else []
    assert decode(record(structured(traceparent=extension), [STRUCTURED, *traced])).traceparent == expected
    in_headers = binary(traceparent=extension) if extension is not None else binary()
    assert decode(record(DATA, [*in_headers, *traced])).traceparent == expected
    assert trace_of(record(b"no event", traced)) == (expected[3:35] if expected and header else None)
