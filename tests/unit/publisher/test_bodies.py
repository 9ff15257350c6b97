"""What a body's text says: JSON and nothing else, what the operation takes and nothing else, refused in plain words."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import orjson
import pytest
from aiohttp import StreamReader, web
from aiohttp.http_exceptions import TransferEncodingError
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from publisher.api import models
from publisher.api.bodies import parse, read_json
from publisher.api.errors import ApiError
from publisher.api.models import In, NewRecovery, NewWebhook, Rotation, WebhookChanges
from publisher.api.operations import OPERATIONS
from publisher.profiles.model import Fault

if TYPE_CHECKING:
    from pydantic import BaseModel

URL, EVENTS = "https://example.com/hooks", ["server.*"]
NEW = {"url": URL, "events": EVENTS}
PRIVATE = "correct-horse-battery-staple"


class Anything(In):
    """What no operation takes: a field of any shape."""

    value: Any = None


def fault_of(raw: bytes, model: type[BaseModel]) -> ApiError | None:
    """Return what is wrong with a body; what nothing is wrong with is returned as it came."""
    try:
        content, made = parse(raw, model)
    except ApiError as error:
        return error
    assert isinstance(made, model)
    assert content == orjson.loads(raw)
    return None


def failed(body: bytes | dict[str, Any], model: type[BaseModel] = NewWebhook) -> ApiError:
    error = fault_of(body if isinstance(body, bytes) else orjson.dumps(body), model)
    assert error is not None
    return error


def malformed(raw: bytes, model: type[BaseModel] = NewWebhook) -> str:
    error = failed(raw, model)
    assert (error.fault, error.code, error.field) == (Fault.MALFORMED, "invalid_json", None)
    return error.message


def refused(body: bytes | dict[str, Any], model: type[BaseModel] = NewWebhook) -> tuple[str, str | None, str]:
    error = failed(body, model)
    assert error.fault is Fault.REFUSED
    return error.code, error.field, error.message


def test_what_fits_is_returned_as_it_came_and_as_the_operation_has_it() -> None:
    content, made = parse(b' {"events": ["server.*"], "url": "https://example.com/hooks"}\r\n', NewWebhook)
    assert content == NEW
    assert made == NewWebhook(url=URL, events=EVENTS)


def test_a_time_is_text_with_an_offset() -> None:
    for text, hour in (("2026-11-01T00:00:00Z", 0), ("2026-11-01t02:00:00.000+01:00", 1), ("2026-11-01 00:00:00z", 0)):
        _, made = parse(orjson.dumps({"since": text}), NewRecovery)
        assert made.since == datetime(2026, 11, 1, hour, tzinfo=UTC)


# --- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"", "line 1, column 1"),
        (b'{"url": }', "line 1, column 9"),
        (b'{\n"url": tru}', "line 2, column 8"),
        (b'{"url": "x",}', "column 12"),
        (b"{'url': 1}", "column 2"),
        (b'{"url": NaN}', "column 9"),
        (b'{"url": Infinity}', "column 9"),
        (b'{"url": 1e999}', "column 9"),
        (b'{"url": "\\ud800"}', "line 1"),
        (b'{"url": "\xff"}', "UTF-8"),
        (b"\xef\xbb\xbf{}", "UTF-8"),
        ('{"url": "x"}'.encode("utf-16"), "UTF-8"),
        (b'{"url": "a\nb"}', "line 1"),
        (b"{}{}", "column 3"),
        (b'{"url": 1} // why', "column 12"),
        (b"\x00", "column 1"),
    ],
)
def test_what_is_not_json_is_malformed_and_the_place_is_named(raw: bytes, place: str) -> None:
    message = malformed(raw)
    assert message.startswith("The body is not JSON: ")
    assert place in message


@pytest.mark.parametrize("raw", [b"[]", b"null", b'"x"', b"1", b"true", b'[{"url": "x"}]'])
def test_what_is_not_an_object_is_malformed(raw: bytes) -> None:
    assert malformed(raw) == "The body is not a JSON object."


@pytest.mark.parametrize("depth", [250, 900, 1100, 100_000])
def test_a_deep_body_is_malformed_and_harmless(depth: int) -> None:
    for opened, closed in ((b"[", b"]"), (b'{"a":', b"}")):
        for name, model in ((b"events", NewWebhook), (b"value", Anything)):
            malformed(b'{"%b":' % name + opened * depth + b"1" + closed * depth + b"}", model)


def test_what_is_not_known_is_refused_before_anything_in_it_is_looked_at() -> None:
    """Or a body full of it would keep everybody waiting."""
    error = failed(b'{"url": 1, "x": [' + b"[]," * 80_000 + b"[]]}", NewWebhook)
    assert (error.fault, error.code, error.field) == (Fault.REFUSED, "unknown_field", "x")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"url": "https://a.example", "url": "https://b.example", "events": ["*"]}',
        b'{"url": "https://a.example", "events": ["*"], "events": ["*"]}',
        b'{"url": "https://a.example", "events": ["*"], "\\u0065vents": ["*"]}',
    ],
)
def test_a_member_that_stands_twice_is_malformed(raw: bytes) -> None:
    name = "events" if b"vents" in raw.partition(b'["*"], ')[2] else "url"
    assert malformed(raw) == f"The body is ambiguous: it has '{name}' twice."


def test_a_member_of_a_member_that_stands_twice_is_malformed_too() -> None:
    assert "'a' twice" in malformed(b'{"value": [{"a": 1, "b": 2, "a": 1}]}', Anything)
    assert parse(b'{"value": [{"a": 1}, {"a": 1}]}', Anything)[0] == {"value": [{"a": 1}, {"a": 1}]}


# --- what breaks off -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ConnectionResetError(), TransferEncodingError("zz"), web.RequestPayloadError("zz")])
async def test_a_body_that_breaks_off_is_malformed_however_aiohttp_puts_it(error: Exception) -> None:
    payload = StreamReader(Mock(_reading_paused=False), 2**16, loop=asyncio.get_running_loop())
    payload.feed_data(b'{"url"')
    payload.set_exception(error)
    request = make_mocked_request("POST", "/", {"Content-Type": "application/json"}, payload=payload)
    [operation] = [each for each in OPERATIONS if each.name == "create_webhook"]
    with pytest.raises(ApiError) as caught:
        await read_json(request, operation)
    assert (caught.value.fault, caught.value.code) == (Fault.MALFORMED, "incomplete_body")


# --- what the operation takes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "model", "code", "field", "reason"),
    [
        ({"events": EVENTS}, NewWebhook, "missing_field", "url", "must be given"),
        ({**NEW, "colour": 1}, WebhookChanges, "unknown_field", "colour", "is not known (there is: url, events, "),
        ({**NEW, "url": 1}, NewWebhook, "invalid_url", "url", "must be a valid string"),
        ({**NEW, "url": None}, NewWebhook, "invalid_url", "url", "must be a valid string"),
        ({**NEW, "events": "*"}, NewWebhook, "invalid_events", "events", "must be a valid array"),
        ({**NEW, "events": []}, NewWebhook, "invalid_events", "events", "must have at least 1 item"),
        ({**NEW, "events": ["*"] * 101}, NewWebhook, "invalid_events", "events", "must have at most 100 items"),
        ({**NEW, "events": ["*", 2]}, NewWebhook, "invalid_events", "events.1", "must be a valid string"),
        ({**NEW, "retries": "5"}, NewWebhook, "invalid_retries", "retries", "must be a valid integer"),
        ({**NEW, "retries": 5.0}, NewWebhook, "invalid_retries", "retries", "must be a valid integer"),
        ({**NEW, "retries": True}, NewWebhook, "invalid_retries", "retries", "must be a valid integer"),
        ({**NEW, "description": "x" * 257}, NewWebhook, "invalid_description", "description", "must have at most 256 "),
        ({**NEW, "algorithm": "rsa"}, NewWebhook, "invalid_algorithm", "algorithm", "must be 'hmac-sha256' or "),
        ({"status": "disabled"}, WebhookChanges, "invalid_status", "status", "must be 'active' or 'paused'"),
        ({"overlap": -1}, Rotation, "invalid_overlap", "overlap", "must be greater than or equal to 0"),
        ({"overlap": 1e300}, Rotation, "invalid_overlap", "overlap", "must be less than or equal to 604800"),
        ({"overlap": "5"}, Rotation, "invalid_overlap", "overlap", "must be a valid number"),
        ({"since": "yesterday"}, NewRecovery, "invalid_since", "since", "must be a time such as 2026-11-01T00:00:00Z"),
        ({"since": 1793491200}, NewRecovery, "invalid_since", "since", "must be a time such as 2026-11-01T00:00:00Z"),
        ({"since": "1793491200"}, NewRecovery, "invalid_since", "since", "must be a time such as 2026-11-01T00:00:00Z"),
        ({"since": "2026-11-01"}, NewRecovery, "invalid_since", "since", "must be a time such as 2026-11-01T00:00:00Z"),
        (
            {"since": "2026-11-01T00:00:00"}, NewRecovery, "invalid_since", "since",
            "must have an offset from UTC, or Z: 2026-11-01T00:00:00Z",
        ),
        (
            {"since": "0001-01-01T00:00:00+14:00"}, NewRecovery, "invalid_since", "since",
            "must be in the years 1 to 9999 of UTC",
        ),
        (
            {"since": "2026-11-01T00:00:00Z", "until": "9999-12-31T23:59:59-01:00"}, NewRecovery, "invalid_until",
            "until", "must be in the years 1 to 9999 of UTC",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_field(
    body: dict[str, Any], model: type[BaseModel], code: str, field: str, reason: str
) -> None:
    found = refused(body, model)
    assert found[:2] == (code, field)
    assert found[2].startswith(f"{field}: {reason}")


def test_a_length_is_told_in_few_words() -> None:
    assert refused({**NEW, "events": []})[2] == "events: must have at least 1 item"
    assert refused({**NEW, "description": "x" * 257})[2] == "description: must have at most 256 characters"


def test_what_has_no_fields_says_so() -> None:
    class Nothing(In):
        """Takes no field."""

    assert refused({"a": 1}, Nothing)[2] == "a: is not known (there is: nothing)"


def test_an_integer_of_any_length_is_read_and_left_to_the_rules() -> None:
    _, made = parse(b'{"url": "u", "events": ["*"], "retries": %d}' % 10**300, NewWebhook)
    assert made.retries == 10**300


@pytest.mark.parametrize("model", [NewWebhook, WebhookChanges, Rotation, NewRecovery, models.WebhookFilters])
def test_what_was_sent_is_not_repeated_beyond_the_beginning_of_a_name(model: type[BaseModel]) -> None:
    for value in (PRIVATE, [PRIVATE], {PRIVATE: PRIVATE}, 5):
        for name in model.model_fields:
            error = fault_of(orjson.dumps({name: value}), model)
            assert error is None or PRIVATE not in error.message
    code, field, message = refused({"x" * 200_000: PRIVATE}, WebhookChanges)
    assert (code, field) == ("unknown_field", "x" * 99 + "…")
    assert len(message) < 300
    assert len(malformed(b'{"%s": 1, "%s": 2}' % (b"value", b"value"), Anything)) < 100
    assert len(malformed(b'{"value": {"%s": 1, "%s": 2}}' % (b"x" * 9999, b"x" * 9999), Anything)) < 200


# --- properties ------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
MODELS = st.sampled_from([NewWebhook, WebhookChanges, Rotation, NewRecovery, Anything])


def _accepted(raw: bytes, model: type[BaseModel]) -> bool:
    error = fault_of(raw, model)
    if error is None:
        return True
    assert error.fault in {Fault.MALFORMED, Fault.REFUSED}
    assert len(error.message) < 500
    assert orjson.dumps([error.code, error.message, error.field])
    return False


@given(st.binary(max_size=200), MODELS)
def test_no_bytes_do_more_than_be_refused(raw: bytes, model: type[BaseModel]) -> None:
    _accepted(raw, model)


@given(st.data(), MODELS)
def test_no_json_does_more_than_be_refused(data: st.DataObject, model: type[BaseModel]) -> None:
    names = st.sampled_from(sorted(model.model_fields)) | TEXT
    body = data.draw(st.dictionaries(names, VALUES, max_size=4))
    try:
        raw = orjson.dumps(body)
    except TypeError:  # integers beyond 64 bits: see above
        return
    _accepted(raw, model)


@given(st.dictionaries(TEXT, VALUES, min_size=1, max_size=4), st.data())
def test_any_object_is_read_and_none_with_a_member_twice(value: dict[str, Any], data: st.DataObject) -> None:
    try:
        raw = orjson.dumps(value)
    except TypeError:
        return
    assert _accepted(b'{"value":%s}' % raw, Anything)
    member = orjson.dumps(data.draw(st.sampled_from(sorted(value))))
    assert not _accepted(b'{"value":{%s,%s:null}}' % (raw[1:-1], member), Anything)
