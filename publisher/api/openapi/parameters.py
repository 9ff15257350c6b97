"""What a request carries beside its body: ids in the path, a list's questions in the query, headers. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from publisher.api.idempotency import KEY
from publisher.api.listing import DESCENDING, LAST_OFFSET, written
from publisher.api.openapi import examples
from publisher.api.openapi.schemas import IN, OUT
from publisher.api.request_ids import HARMLESS
from publisher.api.signing import CLEAR, DETACHED
from signer.statement import TAIL

if TYPE_CHECKING:
    from publisher.api.call import Listing, Operation
    from publisher.api.openapi.schemas import Names
    from publisher.profiles import Profile
    from publisher.profiles.model import Lists

Json = dict[str, Any]

PARAMETERS = "#/components/parameters/"
POST = "POST"
#: Means letters of every script where the schema is read, unlike here.
ASCII_WORD = r"\w"
NAME: Json = {"type": "string", "minLength": 1}
#: What each id in a path is of, how it is written, and an example of it.
IDS: dict[str, tuple[str, Json, Any]] = {
    "webhook_id": ("Which webhook.", NAME, examples.WEBHOOK_ID),
    "delivery_id": ("Which delivery of it.", NAME, examples.DELIVERY_ID),
    "recovery_id": ("Which recovery of it.", NAME, examples.RECOVERY_ID),
    "sequence": (
        "Which canary, by its number in the history: the sequence of its statement where it has one.",
        {"type": "integer", "minimum": 1, "maximum": 10**10 - 1},
        1,
    ),
    "incident_id": ("Which incident or maintenance.", NAME, examples.INCIDENT_ID),
    "number": (
        "Which document of the feed, by its number.",
        {"type": "integer", "minimum": 1, "maximum": 10**10 - 1},
        1,
    ),
    "signer": (
        "Who signed: the last 16 digits of the primary key's fingerprint.",
        {"type": "string", "pattern": "^[0-9A-F]{16}$"},
        examples.SIGNER[-TAIL:],
    ),
}
#: What the filters mean that are not simply a field's value.
FILTERS = {"since": "Only those made at this time or later.", "until": "Only those made at this time or earlier."}


def shared(profile: Profile) -> dict[str, Json]:
    """Return the parameters that more than one operation has, by the names references use."""
    names, lists = profile.headers, profile.lists
    made = {
        name: {
            "name": name,
            "in": "path",
            "required": True,
            "description": what,
            "schema": schema,
            "example": example,
        }
        for name, (what, schema, example) in IDS.items()
    }
    made[names.request_id] = _header(
        names.request_id,
        "Names this request in the answer and in our log; one that does not fit the pattern is replaced.",
        {"type": "string", "pattern": f"^{HARMLESS.pattern.replace(ASCII_WORD, 'A-Za-z0-9_')}$"},
    )
    made[names.idempotency_key] = _header(
        names.idempotency_key,
        "A name for what is to be done, such as a UUID. The same key and the same body within 24 hours get the same "
        "answer, and nothing is done twice.",
        {"type": "string", "pattern": f"^{KEY.pattern}$"},
    )
    if names.sign is not None:
        made[names.sign] = _header(
            names.sign,
            f"`{CLEAR}`: the answer is a clear-signed PGP document that holds the JSON. `{DETACHED}`: the JSON as it "
            f"is, its signature in `{names.signature}`.",
            {"type": "string", "enum": [CLEAR, DETACHED]},
        )
    return made | {lists.position: _position(lists), lists.size: _size(lists)}


def of_operation(operation: Operation, profile: Profile, names: Names) -> list[Json]:
    """Return an operation's parameters, shared ones as references."""
    lists, headers = profile.lists, profile.headers
    made = of_path(operation.path)
    if operation.listing is not None:
        made += [reference(lists.position), reference(lists.size), *_asked(operation, operation.listing, lists, names)]
    made.append(reference(headers.request_id))
    if operation.method == POST:
        made.append(reference(headers.idempotency_key))
    if headers.sign is not None and operation.item is not None:
        made.append(reference(headers.sign))
    return made


def of_path(path: str) -> list[Json]:
    """Return the parameters a path has, as references."""
    return [reference(name) for name in re.findall(r"\{(\w+)\}", path)]


def _asked(operation: Operation, listing: Listing, lists: Lists, names: Names) -> list[Json]:
    """Return filters, choice of fields and order."""
    made = []
    if listing.filters is not None:
        for field, schema in names.whole(listing.filters, IN)["properties"].items():
            meaning = schema.get("description") or FILTERS.get(field, f"Only those of this `{field}`.")
            made.append(query(written(field, lists), meaning, _present(schema)))
    if lists.fields is not None and operation.item is not None:
        whole = names.whole(operation.item, OUT)
        made.append(
            query(
                lists.fields,
                "Only these fields of each item, comma-separated.",
                {
                    "type": "array",
                    "items": {"type": "string", "enum": list(whole["properties"])},
                    "minItems": 1,
                },
            )
            | {"style": "form", "explode": False}
        )
    if lists.sort is not None and listing.sorts:
        ways = dict.fromkeys(each.removeprefix(DESCENDING) for each in listing.sorts)
        schema = {
            "type": "string",
            "enum": [prefix + way for way in ways for prefix in ("", DESCENDING)],
            "default": listing.sorts[0],
        }
        made.append(query(lists.sort, "The order; `-` turns it round.", schema))
    return made


def _position(lists: Lists) -> Json:
    if lists.style == "page":
        schema = {"type": "integer", "minimum": 1, "maximum": LAST_OFFSET, "default": 1}
        return query(lists.position, "Which page, from 1.", schema)
    schema = {"type": "integer", "minimum": 0, "maximum": LAST_OFFSET, "default": 0}
    return query(lists.position, "How many items to pass over.", schema)


def _size(lists: Lists) -> Json:
    schema = {"type": "integer", "minimum": 1, "maximum": lists.max_size, "default": lists.default_size}
    return query(lists.size, "How many items at most.", schema)


def _present(schema: Json) -> Json:
    """Return a field's schema without null, which a query cannot say."""
    alternatives = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    return {key: value for key, value in alternatives[0].items() if key not in {"default", "title"}}


def reference(name: str) -> Json:
    """Return a reference to a parameter that is shared."""
    return {"$ref": PARAMETERS + name}


def query(name: str, description: str, schema: Json) -> Json:
    """Return a parameter of the query."""
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _header(name: str, description: str, schema: Json) -> Json:
    """Return an optional header; without an example, which the explorer would send unasked."""
    return {"name": name, "in": "header", "description": description, "schema": schema}
