"""`data` against its type's model, for every type: what is required, what is refused, and what is left as it was.

The cases are generated from the models' own schemas, so a new type is tested the moment it is in the catalogue;
that the schemas say what the contract says is test_catalogue.py's part.
"""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest

from consumers.catalogue import CATALOGUE, schema
from consumers.decode import InvalidRecordError, Reason, decode
from tests.unit.consumers.records import DATA, TYPE, binary, record, structured

REQUIRED = [(event_type, key) for event_type in CATALOGUE for key in schema(event_type)["required"]]
#: Values of every JSON type; for each schema type, those that are not of it.
WRONG: dict[str, list[Any]] = {
    "string": [None, True, 5, 1.5, {}, [], ""],
    "number": [None, True, "5", {}, [], 1e999],
    "integer": [None, True, "5", 1.5, {}, [], -1],
    "array": [None, True, "a", 5, {}, [None], [5], [[]], [""]],
}
SECRET = "s3cret value"  # noqa: S105 - stands for what a customer would not want to find in a log


def example(event_type: str) -> dict[str, Any]:
    return copy.deepcopy(CATALOGUE[event_type].EXAMPLE)


def refused(data: bytes | dict[str, Any], event_type: str) -> InvalidRecordError:
    """Decode `data` that must be refused, in both modes alike."""
    text = data if isinstance(data, bytes) else json.dumps(data).replace("Infinity", "1e999").encode()
    found = []
    for each in (record(structured(text, event_type)), record(text, binary(event_type))):
        with pytest.raises(InvalidRecordError) as raised:
            decode(each)
        found.append(raised.value)
    first, second = found
    assert (first.reason, first.event_type) == (second.reason, second.event_type)
    return first


@pytest.mark.parametrize("event_type", CATALOGUE)
def test_the_example_is_an_event(event_type: str) -> None:
    text = json.dumps(example(event_type)).encode()
    event = decode(record(structured(text, event_type)))
    assert (event.type, event.raw) == (event_type, text)
    assert isinstance(event.data, CATALOGUE[event_type])
    kind, field = CATALOGUE[event_type].RESOURCE
    assert event.resource == (f"{kind}:{example(event_type)[field]}" if field else kind)


@pytest.mark.parametrize(("event_type", "key"), REQUIRED)
def test_a_missing_field_is_named(event_type: str, key: str) -> None:
    data = example(event_type)
    del data[key]
    error = refused(data, event_type)
    assert (error.reason, error.event_type) == (Reason.SCHEMA, event_type)
    assert error.detail == f"data.{key}: Field required"


@pytest.mark.parametrize(("event_type", "key"), REQUIRED)
def test_a_field_of_another_type_is_named_and_not_repeated(event_type: str, key: str) -> None:
    properties = schema(event_type)["properties"][key]
    for wrong in WRONG[properties["type"]]:
        error = refused({**example(event_type), key: wrong}, event_type)
        assert (error.reason, error.event_type) == (Reason.SCHEMA, event_type), wrong
        assert error.detail.startswith(f"data.{key}"), wrong


@pytest.mark.parametrize(
    ("event_type", "key"),
    [
        (event_type, key)
        for event_type, key in REQUIRED
        if set(schema(event_type)["properties"][key]) & {"pattern", "format", "enum"}
    ],
)
def test_text_that_does_not_fit_its_field_is_refused_and_not_repeated(event_type: str, key: str) -> None:
    bad = f"{SECRET}\x00"
    error = refused({**example(event_type), key: bad}, event_type)
    assert error.reason is Reason.SCHEMA
    assert error.detail.startswith(f"data.{key}: ")
    assert "s3cret" not in str(error)


@pytest.mark.parametrize("event_type", CATALOGUE)
def test_no_detail_repeats_a_value(event_type: str) -> None:
    data = {key: {SECRET: SECRET} for key in example(event_type)}
    assert "s3cret" not in str(refused(data, event_type))
    text = json.dumps({**example(event_type), "note": SECRET})
    for broken in (text[:-1], text.replace(f'"{SECRET}"', SECRET), text.replace(SECRET, SECRET + "\t")):
        error = refused(broken.encode(), event_type)
        assert error.reason is Reason.JSON
        assert "s3cret" not in str(error)


@pytest.mark.parametrize("data", [b"null", b"true", b"5", b'"text"', b"[]", b"[{}]"])
def test_data_that_is_no_object_is_refused(data: bytes) -> None:
    assert refused(data, TYPE).reason is Reason.SCHEMA


def test_a_detail_names_five_problems_and_counts_the_rest() -> None:
    error = refused(b"{}", "canary.updated")
    assert error.detail.count("Field required") == 5
    assert error.detail.endswith("; and 2 more")


@pytest.mark.parametrize(
    ("event_type", "changes"),
    [
        ("account.balance.low", {"balance_usd": float("inf")}),
        ("topup.confirmed", {"confirmations": -1}),
        ("server.migrated", {"to_bastion": "Reykjavik"}),
        ("server.provisioned", {"ip_addresses": ["185.243.217.256"]}),
        ("server.provisioned", {"ip_addresses": ["185.243.217.0/24"]}),
        ("server.provisioned", {"ip_addresses": [3118717224]}),
        ("server.provisioned", {"ip_addresses": ["localhost"]}),
        ("firewall.changed", {"order_numbers": ["NB-1", "NB\n2"]}),
        ("incident.opened", {"impact": "catastrophic"}),
        ("incident.opened", {"started_at": "2026-11-07T04:12:00"}),
        ("incident.opened", {"started_at": 1_793_491_200}),
        ("incident.updated", {"status": "resolved"}),
        ("invoice.issued", {"pdf_url": "javascript:alert(1)"}),
        ("invoice.issued", {"pdf_url": "https://a.example/ x"}),
        ("canary.updated", {"sequence": 0}),
        ("canary.updated", {"sha256": "5F" * 32}),
        ("peering.changed", {"asn": 2**32}),
        ("peering.changed", {"changes": []}),
        ("peering.changed", {"changes": [{"prefix": "185.243.217.0/24"}]}),
        ("peering.changed", {"changes": [{"op": "announce"}]}),
        ("peering.changed", {"changes": [{"op": "announce", "prefix": None, "session": None}]}),
        ("peering.changed", {"changes": [{"op": "announce", "prefix": "185.243.217.1/24"}]}),
        ("peering.changed", {"changes": [{"op": "announce", "prefix": 3118717184}]}),
        ("peering.changed", {"changes": [{"op": "session_up", "session": 5}]}),
        ("peering.changed", {"record": "full"}),
    ],
)
def test_what_a_type_alone_does_not_say(event_type: str, changes: dict[str, Any]) -> None:
    error = refused({**example(event_type), **changes}, event_type)
    assert error.reason is Reason.SCHEMA
    assert error.detail.startswith(f"data.{next(iter(changes))}")


def test_a_whole_number_will_do_for_an_amount_and_more_sessions_and_records_for_peering() -> None:
    assert (
        decode(record(structured(b'{"balance_usd":4,"threshold_usd":-0}'))).raw
        == b'{"balance_usd":4,"threshold_usd":-0}'
    )
    data = {
        "asn": 213232,
        "changes": [
            {"op": "withdraw", "prefix": "2a0e:8f02:f001::/48"},
            {"op": "session_down", "session": {"ix": "NETNOD", "peer_asn": 6939}},
        ],
        "record": {"asn": 213232, "prefixes": []},
    }
    event = decode(record(structured(json.dumps(data).encode(), "peering.changed")))
    assert event.resource == "peering:213232"


KEPT = {
    "big integers": b'{"balance_usd":1,"threshold_usd":2,"n":123456789012345678901234567890,"m":-%s}' % (b"9" * 4000),
    "digits of floats": b'{"balance_usd":1.10,"threshold_usd":1E+2,"x":0.1000000000000000055511151231257827,"y":1e400}',
    "order, spaces and escapes": b'{ "z" : "\\u00e9\\/" ,\n\t"threshold_usd": 2, "a":"\xc3\xa9", "balance_usd": 1 }',
    "a NUL": b'{"balance_usd":1,"threshold_usd":2,"note":"\\u0000"}',
    "a name given twice": b'{"balance_usd":0,"balance_usd":1,"threshold_usd":2,"x":1,"x":2}',
    "nesting": b'{"balance_usd":1,"threshold_usd":2,"x":%s%s}' % (b"[" * 150, b"]" * 150),
}


@pytest.mark.parametrize("what", KEPT)
def test_data_is_kept_byte_for_byte(what: str) -> None:
    data = KEPT[what]
    for each in (
        record(structured(data)),
        record(structured(None, data_base64=base64.b64encode(data).decode())),
        record(data, binary()),
    ):
        assert decode(each).raw == data


def test_spaces_around_data_are_no_part_of_it() -> None:
    assert decode(record(structured(b"\n " + DATA + b"\t "))).raw == DATA
    assert decode(record(b"\n " + DATA + b"\t ", binary())).raw == DATA


@pytest.mark.parametrize(
    "value",
    [
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"01",
        b"1.",
        b"'x'",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\x00"',
        b"9" * 5000,
        b"[" * 300 + b"]" * 300,
        b"[" * 100_000,
        b'{"a":1,}',
        b"1 // why",
    ],
    ids=lambda value: repr(value[:12]),
)
def test_what_other_parsers_would_choke_on_is_refused_in_any_field(value: bytes) -> None:
    for data in (
        b'{"balance_usd":1,"threshold_usd":2,"x":%s}' % value,
        b'{"balance_usd":1,"threshold_usd":%s}' % value,
    ):
        assert refused(data, TYPE).reason in {Reason.JSON, Reason.SCHEMA}
    assert refused(b'{"balance_usd":1,"threshold_usd":2,"x":%s}' % value, TYPE).reason is Reason.JSON
