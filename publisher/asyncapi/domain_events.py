"""The control plane's events, each in both modes of CloudEvents' Kafka binding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from consumers.catalogue import CATALOGUE
from publisher.asyncapi import parts
from publisher.asyncapi.parts import ACCOUNT_ID, ATTRIBUTE, MOMENT, SCHEMAS, TEXT

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaMode

    from consumers.events import EventData

Json = dict[str, Any]

BINARY = ".binary"
IN: JsonSchemaMode = "validation"


def schemas() -> Json:
    """Return the schemas of every type's `data`, by the names of their models."""
    models = [(model, IN) for model in CATALOGUE.values()]
    _, definitions = models_json_schema(models, ref_template=SCHEMAS + "{model}")
    made: Json = definitions["$defs"]
    return made


def messages() -> dict[str, Json]:
    """Return the messages by name: that of the type, and with `.binary` behind it."""
    made = {}
    for event_type, model in CATALOGUE.items():
        made[event_type] = _structured(model)
        made[event_type + BINARY] = _binary(model)
    return made


def _structured(model: type[EventData]) -> Json:
    data = {"$ref": SCHEMAS + model.__name__}
    account = None if model.IS_PUBLIC else parts.AN_ACCOUNT
    return {
        "name": model.TYPE,
        "title": model.TYPE,
        "summary": model.MEANING,
        "contentType": parts.CLOUD_EVENT,
        "headers": parts.structured_headers(),
        "payload": parts.envelope(model.TYPE, data, has_account=not model.IS_PUBLIC),
        "bindings": _key(model),
        "examples": [parts.structured_example(model.TYPE, account, model.EXAMPLE)],
    }


def _binary(model: type[EventData]) -> Json:
    account = {} if model.IS_PUBLIC else {"ce_account": ACCOUNT_ID}
    required: Json = {
        "ce_specversion": {"const": "1.0"},
        "ce_id": ATTRIBUTE,
        "ce_source": ATTRIBUTE,
        "ce_type": {"const": model.TYPE},
        **account,
    }
    optional: Json = {"ce_time": MOMENT, "content-type": {"const": parts.JSON_TYPE}, "traceparent": TEXT}
    example = {
        "ce_specversion": "1.0",
        "ce_id": parts.AN_ID,
        "ce_source": parts.A_SOURCE,
        "ce_type": model.TYPE,
        **({} if model.IS_PUBLIC else {"ce_account": parts.AN_ACCOUNT}),
        "ce_time": parts.A_TIME.isoformat(),
        "content-type": parts.JSON_TYPE,
        "traceparent": parts.A_TRACE,
    }
    return {
        "name": model.TYPE,
        "title": f"{model.TYPE}, binary mode",
        "summary": model.MEANING,
        "contentType": parts.JSON_TYPE,
        "headers": {"type": "object", "properties": required | optional, "required": list(required)},
        "payload": {"$ref": SCHEMAS + model.__name__},
        "bindings": _key(model),
        "examples": [{"headers": example, "payload": model.EXAMPLE}],
    }


def _key(model: type[EventData]) -> Json:
    kind, field = model.RESOURCE
    public = f"`{kind}:` and the `{field}`" if field else f"`{kind}`"
    return parts.key(f"{public}: there is no account." if model.IS_PUBLIC else "The account.")
