"""Properties of decoding over inputs nobody would think of: it never crashes, and what it keeps it keeps exactly."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.catalogue import CATALOGUE
from consumers.decode import UNKNOWN_TYPE, InvalidRecordError, decode
from consumers.encode import cloud_event
from tests.unit.consumers.records import STRUCTURED, binary, record, structured

if TYPE_CHECKING:
    from consumers.events import Event

# No deadline: how long an example takes is not what is asked here.
generously = settings(deadline=None, max_examples=200)

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BIG = 10**400
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-BIG, BIG) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
#: JSON that `emit` can write: integers of 64 bits.
ORDINARY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
TYPES = st.sampled_from(sorted(CATALOGUE))
#: Attribute text: no control characters, at most 255 characters.
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=255)
ACCOUNT = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,99}", fullmatch=True)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME = st.builds(
    lambda microseconds, minutes: (EPOCH + timedelta(microseconds=microseconds)).astimezone(
        timezone(timedelta(minutes=minutes))
    ),
    st.integers(0, 7 * 10**15),
    st.integers(-1439, 1439),
)
HEADER = st.tuples(
    st.sampled_from(
        [
            "content-type",
            "traceparent",
            *(f"ce_{name}" for name in ("specversion", "id", "source", "type", "account", "time", "traceparent", "x")),
        ]
    )
    | st.text(),
    st.none()
    | st.binary()
    | st.sampled_from(
        [b"1.0", b"application/json", b"application/cloudevents+json", b"account.balance.low", b"2026-11-01T00:00:00Z"]
    ),
)


def outcome(value: bytes | None, headers: list[tuple[str, bytes | None]], timestamp: int) -> Event | None:
    """Decode; whatever is wrong must be said in one line of bounded length."""
    try:
        return decode(record(value, headers, timestamp=timestamp))
    except InvalidRecordError as caught:
        error = caught
    assert 0 < len(error.detail) < 2_000
    assert "\n" not in error.detail
    assert error.event_type in {*CATALOGUE, UNKNOWN_TYPE}
    return None


@generously
@given(
    st.none() | st.binary() | JSON.map(lambda value: json.dumps(value).encode()),
    st.lists(HEADER),
    st.integers(-(2**63), 2**63 - 1),
)
def test_anything_at_all_is_an_event_or_invalid(
    value: bytes | None, headers: list[tuple[str, bytes | None]], timestamp: int
) -> None:
    outcome(value, headers, timestamp)


@generously
@given(TYPES, st.data())
def test_an_event_with_any_byte_changed_is_an_event_or_invalid(event_type: str, data: st.DataObject) -> None:
    text = bytearray(structured(json.dumps(CATALOGUE[event_type].EXAMPLE).encode(), event_type))
    start = data.draw(st.integers(0, len(text)))
    text[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    outcome(bytes(text), [STRUCTURED], 0)


@generously
@given(TYPES, JSON, st.data())
def test_a_field_with_any_value_is_an_event_or_invalid(event_type: str, value: Any, data: st.DataObject) -> None:
    example = CATALOGUE[event_type].EXAMPLE
    key = data.draw(st.sampled_from(sorted(example)))
    text = json.dumps({**example, key: value}).encode()
    event = outcome(structured(text, event_type), [STRUCTURED], 0)
    assert event is None or event.raw == text


@generously
@given(TYPES, st.dictionaries(st.text(), JSON, max_size=5), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_unknown_fields_survive_byte_for_byte(
    event_type: str,
    extra: dict[str, Any],
    indent: int | str | None,
    is_ascii: bool,  # noqa: FBT001 - hypothesis fills it in
) -> None:
    text = json.dumps({**extra, **CATALOGUE[event_type].EXAMPLE}, indent=indent, ensure_ascii=is_ascii).encode()
    for each in (
        record(structured(text, event_type)),
        record(structured(None, event_type, data_base64=base64.b64encode(text).decode())),
        record(text, binary(event_type)),
    ):
        assert decode(each).raw == text


@generously
@given(
    TYPES,
    ACCOUNT,
    st.fixed_dictionaries({"event_id": TEXT, "source": TEXT, "time": TIME}),
    st.dictionaries(st.text(), ORDINARY, max_size=5),
)
def test_what_is_encoded_is_decoded(
    event_type: str, account: str, chosen: dict[str, Any], extra: dict[str, Any]
) -> None:
    model = CATALOGUE[event_type]
    data = {**extra, **model.EXAMPLE}
    owner = None if model.IS_PUBLIC else account
    made = cloud_event("events", event_type, account=owner, data=data, traceparent=TRACE, **chosen)
    event = decode(record(made.value, made.headers))
    assert (event.type, event.account, event.traceparent) == (event_type, owner, TRACE)
    assert {"event_id": event.id, "source": event.source, "time": event.time} == chosen
    assert event.time.tzinfo is UTC
    assert orjson.loads(event.raw) == data
    assert made.key == (event.account or event.resource).encode()


def test_an_event_is_the_types_example_with_an_id_of_its_own_unless_told_otherwise() -> None:
    made = [
        cloud_event("t", "server.power.on", time=datetime(2026, 11, 1, tzinfo=UTC), source="/x", account="a")
        for _ in range(2)
    ]
    first, second = (decode(record(each.value, each.headers)) for each in made)
    assert orjson.loads(first.raw) == CATALOGUE["server.power.on"].EXAMPLE
    assert first.id != second.id
    assert first.traceparent is None
    assert [each.topic for each in made] == ["t", "t"]


@pytest.mark.parametrize(
    ("event_type", "account", "data", "key"),
    [
        ("server.power.on", "acct_1", None, b"acct_1"),
        ("incident.opened", None, None, b"incident:inc_2026_1107"),
        ("incident.resolved", None, None, b"incident:inc_2026_1107"),
        ("canary.updated", None, None, b"canary"),
        ("peering.changed", None, None, b"peering:213232"),
        ("no.such.type", None, {}, b"no.such.type"),
    ],
)
def test_the_key_is_the_account_or_the_resource(
    event_type: str, account: str | None, data: dict[str, Any] | None, key: bytes
) -> None:
    made = cloud_event("t", event_type, time=datetime(2026, 11, 1, tzinfo=UTC), source="/x", account=account, data=data)
    assert made.key == key
