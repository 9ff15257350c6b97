"""The webhooks a customer receives: every event type offered, and the test. Pure.

Header names come from the code that sends them (`publisher/delivery/headers.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consumers.catalogue import CATALOGUE
from publisher.api.openapi import examples
from publisher.api.openapi.schemas import IN, MESSAGE_SUFFIX, message, name_in, reference
from publisher.delivery import tester

if TYPE_CHECKING:
    from publisher.api.openapi.schemas import Names

Json = dict[str, Any]

PARAMETERS = "#/components/parameters/"
CONTENT_TYPE = "content-type"
TEST = tester.TYPE
TEST_MEANING = "A test was asked for."
TEST_DATA: Json = {
    "type": "object",
    "properties": {"webhook_id": {"type": "string"}, "message": {"type": "string"}},
    "required": ["webhook_id", "message"],
    "additionalProperties": False,
}
TEST_EXAMPLE = examples.message(TEST, {"webhook_id": examples.WEBHOOK_ID, "message": tester.MESSAGE})
#: What each header is; those of the provider by what stands after its prefix.
MEANINGS = {
    "user-agent": ("Who sends.", {"type": "string"}),
    "webhook-id": ("The message; the same for every attempt.", {"type": "string"}),
    "webhook-timestamp": ("When this attempt was made, in unix seconds.", {"type": "string", "pattern": "^[0-9]+$"}),
    "webhook-signature": (
        (
            "Signatures of `<webhook-id>.<webhook-timestamp>.<body>`, space-separated: `v1,` and the base64 of an "
            "HMAC-SHA256 for each secret in force, `v1a,` and that of an Ed25519 signature where it was chosen."
        ),
        {"type": "string", "pattern": "^v1a?,[A-Za-z0-9+/]+=*( v1a?,[A-Za-z0-9+/]+=*)*$"},
    ),
    "event": ("The type of the event.", {"type": "string"}),
    "delivery": ("The delivery, as it stands in the log.", {"type": "string"}),
    "attempt": ("Which attempt this is, from 1.", {"type": "string", "pattern": "^[1-9][0-9]*$"}),
}
#: What an answer of the receiver means to us.
ANSWERS = {
    "2XX": "It has arrived. The body is kept, up to a limit, and shown in the log.",
    "410": "Nobody wants this any more: the webhook is disabled.",
    "429": "Too much. `Retry-After` is honoured within the window of retries.",
    "503": "Not now. `Retry-After` is honoured within the window of retries.",
    "default": "It has not arrived, and is sent again later. Redirects are not followed.",
}


def headers(prefix: str) -> dict[str, Json]:
    """Return the headers of a webhook as parameters, by name; `prefix` begins the provider's own."""
    made = {}
    for name, example in examples.sent_headers(TEST, prefix).items():
        if name == CONTENT_TYPE:  # the request body's business
            continue
        description, schema = MEANINGS[name.removeprefix(prefix)]
        made[name] = {
            "name": name,
            "in": "header",
            "required": True,
            "description": description,
            "schema": schema,
            "example": example,
        }
    return made


def webhooks(event_types: tuple[str, ...], prefix: str, names: Names) -> dict[str, Json]:
    """Return the document's `webhooks`, by event type."""
    made = {}
    for event_type in event_types:
        model = CATALOGUE[event_type]
        schema = reference(name_in(names.of[model, IN]) + MESSAGE_SUFFIX)
        example = examples.message(event_type, model.EXAMPLE)
        made[event_type] = _webhook(event_type, model.MEANING, schema, example, prefix)
    return made | {TEST: _webhook(TEST, TEST_MEANING, message(TEST, TEST_DATA), TEST_EXAMPLE, prefix)}


def _webhook(event_type: str, meaning: str, schema: Json, example: Json, prefix: str) -> Json:
    return {
        "post": {
            "operationId": f"on_{event_type.replace('.', '_')}",
            "summary": meaning,
            "security": [],
            "parameters": [{"$ref": PARAMETERS + name} for name in headers(prefix)],
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}},
            "responses": {status: {"description": meaning} for status, meaning in ANSWERS.items()},
        }
    }
