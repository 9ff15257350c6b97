"""Models -> the schemas of the document, each once. Pure.

Names are those of the classes. A list may be asked for some fields only, so what stands in lists is a variant of its
model in which nothing is required.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from consumers.catalogue import CATALOGUE
from feeds.models import IncidentsDocument, PeeringDocument, StatusDocument
from publisher.api.operations import OPERATIONS
from publisher.api.transparency_models import Canary
from publisher.ids import MESSAGE
from signer.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic import BaseModel
    from pydantic.json_schema import JsonSchemaMode
    from pydantic_core import core_schema

#: What is served of the feeds, and no operation's.
FEEDS: tuple[type[BaseModel], ...] = (Canary, Statement, PeeringDocument, IncidentsDocument, StatusDocument)
SCHEMAS = "#/components/schemas/"
OUT: JsonSchemaMode = "serialization"
IN: JsonSchemaMode = "validation"
PARTIAL, MESSAGE_SUFFIX = "Partial", "Message"
Schema = dict[str, Any]


class Names(NamedTuple):
    """All schemas by name, and which is a model's: as it comes in, as it goes out."""

    all: dict[str, Schema]
    of: dict[Any, Schema]

    def whole(self, model: type[BaseModel], mode: JsonSchemaMode) -> Schema:
        """Return a model's schema itself."""
        return self.all[name_in(self.of[model, mode])]


class _Generator(GenerateJsonSchema):
    """Without titles that only repeat the name of a field, and with patterns as JSON Schema writes them."""

    def str_schema(self, schema: core_schema.StringSchema) -> Schema:
        """Write the end of a text as ECMA-262 has it."""
        made = super().str_schema(schema)
        if "pattern" in made:
            made["pattern"] = re.sub(r"\\z$", "$", made["pattern"])
        return made

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def generate(event_types: Sequence[str]) -> Names:
    """Return the schemas of every body of the API and of these events' `data`."""
    models: dict[tuple[type[BaseModel], JsonSchemaMode], None] = dict.fromkeys((model, OUT) for model in FEEDS)
    for operation in OPERATIONS:
        if operation.body is not None:
            models[operation.body, IN] = None
        if operation.item is not None:
            models[operation.item, OUT] = None
        if operation.listing is not None and operation.listing.filters is not None:
            models[operation.listing.filters, IN] = None
    for event_type in event_types:
        models[CATALOGUE[event_type], IN] = None
    of, definitions = models_json_schema(list(models), ref_template=SCHEMAS + "{model}", schema_generator=_Generator)
    schemas: dict[str, Schema] = definitions["$defs"]
    schemas |= dict(_partial(schemas, of))
    for event_type in event_types:
        data = of[CATALOGUE[event_type], IN]
        schemas[name_in(data) + MESSAGE_SUFFIX] = message(event_type, data)
    return Names(dict(sorted(schemas.items())), of)


def reference(name: str) -> Schema:
    """Return a reference to a schema of that name."""
    return {"$ref": SCHEMAS + name}


def name_in(ref: Schema) -> str:
    """Return the name a reference is to."""
    return str(ref["$ref"]).removeprefix(SCHEMAS)


def partial(ref: Schema) -> Schema:
    """Return the reference to a model as it stands in lists."""
    return reference(PARTIAL + name_in(ref))


def message(event_type: str, data: Schema) -> Schema:
    """Return the schema of what a webhook's body is: the shape that `publisher/delivery/request.py` writes."""
    properties: dict[str, Schema] = {
        "id": {
            "type": "string",
            "pattern": f"^{MESSAGE}_[0-9a-f]+$",
            "description": "The same for every attempt, and the same as `webhook-id`: what to know repeats by.",
        },
        "type": {"const": event_type},
        "timestamp": {"type": "string", "format": "date-time", "description": "When it happened."},
        "sequence": {
            "type": "integer",
            "minimum": 0,
            "description": "Counts what happens to one resource, so that late events can be told from new ones.",
        },
        "data": data,
    }
    return {
        "title": event_type,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _partial(schemas: dict[str, Schema], of: dict[Any, Schema]) -> Iterator[tuple[str, Schema]]:
    for operation in OPERATIONS:
        if operation.listing is not None and operation.item is not None:
            name = name_in(of[operation.item, OUT])
            whole = schemas[name]
            note = f"{whole['description']} In lists: with the fields that were chosen, all by default."
            yield (
                PARTIAL + name,
                {
                    **{key: value for key, value in whole.items() if key not in {"required", "title"}},
                    "title": PARTIAL + name,
                    "description": note,
                },
            )
