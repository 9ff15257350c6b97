"""The parts every record's description is made of: envelopes, attributes, keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from consumers.decode import ACCOUNT, MAX_ATTRIBUTE_CHARS
from consumers.encode import CONTENT_TYPE, cloud_event

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]

SCHEMAS = "#/components/schemas/"
CLOUD_EVENT, JSON_TYPE = CONTENT_TYPE.decode(), "application/json"
#: Of AsyncAPI's Kafka bindings.
BINDING = "0.5.0"

TEXT: Json = {"type": "string"}
COUNT: Json = {"type": "integer", "minimum": 0}
MOMENT: Json = {"type": "string", "format": "date-time"}
ATTRIBUTE: Json = {"type": "string", "minLength": 1, "maxLength": MAX_ATTRIBUTE_CHARS}
ACCOUNT_ID: Json = {"type": "string", "pattern": f"^{ACCOUNT.pattern}$"}

#: Who and what the examples are about.
AN_ACCOUNT, A_SOURCE, AN_ID = "acct_8c1f", "https://control.example.com", "7b0d7a52-2f0f-4a5e-9a39-6d3f4c1f2a10"
A_TIME = datetime(2026, 11, 1, 9, 30, tzinfo=UTC)
A_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def closed(properties: Mapping[str, Json], *, optional: tuple[str, ...] = ()) -> Json:
    """Return the schema of an object that has these members and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def open_to_more(properties: Mapping[str, Json], *, optional: tuple[str, ...] = ()) -> Json:
    """Return the schema of an object that has these members; others are ignored."""
    return {**closed(properties, optional=optional), "additionalProperties": True}


def envelope(event_type: str, data: Json, *, has_account: bool) -> Json:
    """Return the schema of a whole CloudEvent, structured mode."""
    account = {"account": ACCOUNT_ID} if has_account else {}
    required = ["specversion", "id", "source", "type", "data", *account]
    return {
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {**ATTRIBUTE, "description": "With `source` what an event that comes again is known by."},
            "source": ATTRIBUTE,
            "type": {"const": event_type},
            "time": {**MOMENT, "description": "When it happened; the record's own time where it is left out."},
            "datacontenttype": {"const": JSON_TYPE},
            "traceparent": {**TEXT, "description": "W3C Trace Context, unless the record's header has it."},
            **account,
            "data": data,
        },
        "required": required,
    }


def structured_headers() -> Json:
    """Return the schema of the headers of structured mode."""
    return {
        "type": "object",
        "properties": {"content-type": {"const": CLOUD_EVENT}, "traceparent": TEXT},
        "required": ["content-type"],
    }


def structured_example(event_type: str, account: str | None, data: Mapping[str, Any]) -> Json:
    """Return an example as the encoder writes it."""
    made = cloud_event(
        "", event_type, time=A_TIME, source=A_SOURCE, account=account, data=dict(data), event_id=AN_ID,
        traceparent=A_TRACE,
    )  # fmt: skip
    headers = {name: (value or b"").decode() for name, value in made.headers}
    return {"headers": headers, "payload": orjson.loads(made.value or b"")}


def key(description: str) -> Json:
    """Return the binding of a message that has a key."""
    return {"kafka": {"key": {**TEXT, "description": description}, "bindingVersion": BINDING}}
