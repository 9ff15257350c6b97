"""The topics' description is a valid one, and true to the code that reads and writes them.

`tests/corpora/asyncapi-3.0.0.json.gz` is `schemas/3.0.0-without-$id.json` of the npm package `@asyncapi/specs` 6.11.1
(Apache-2.0), without its white space.
"""

from __future__ import annotations

import gzip
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import orjson
import pytest

from consumers import credential_records, decode, telemetry
from consumers.catalogue import ALSO_ACCEPTED, CATALOGUE, DOCUMENTED
from consumers.deadletters import Rejected, dead_letter
from consumers.decode import InvalidRecordError, Reason
from feeds import canary_reminders
from feeds.canary_reminders import Reminder
from publisher import failures
from publisher.api import audit
from publisher.asyncapi import document, parts
from publisher.deliveries import Dropped
from publisher.endpoint_failures import Disabled
from runtime.settings import load
from tests.support import canaries
from tests.support.domain_events import TIME
from tests.support.fake_broker import Stored

if TYPE_CHECKING:
    from consumers.announcements import Announcement

FORMAT = Path(__file__).parents[2] / "corpora" / "asyncapi-3.0.0.json.gz"
DESCRIBED: dict[str, Any] = orjson.loads(orjson.dumps(document(load(environ={}))))
MESSAGES: dict[str, dict[str, Any]] = DESCRIBED["components"]["messages"]
EVENTS = [*CATALOGUE, *(f"{event_type}.binary" for event_type in CATALOGUE)]
IN = [*EVENTS, "credential"]


def check(schema: dict[str, Any], value: Any) -> None:
    """Hold a value against a schema of the document; AsyncAPI's own dialect is that of draft 7."""
    validator = jsonschema.Draft7Validator(
        {"allOf": [schema], "components": DESCRIBED["components"]},
        format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER,
    )
    validator.validate(value)


def as_record(example: dict[str, Any], key: bytes = b"key") -> Stored:
    """Return the record an example describes."""
    headers = [(name, value.encode()) for name, value in example.get("headers", {}).items()]
    return Stored("topic", 3, 17, 0, key, orjson.dumps(example["payload"]), headers)


def announced(said: Announcement) -> dict[str, Any]:
    """Return the data of an announcement as it is sent."""
    data: dict[str, Any] = orjson.loads(orjson.dumps(said.data))
    return data


def data_schema(event_type: str) -> dict[str, Any]:
    schema: dict[str, Any] = MESSAGES[event_type]["payload"]["properties"]["data"]
    return schema


def test_it_is_asyncapi() -> None:
    schema = orjson.loads(gzip.decompress(FORMAT.read_bytes()))
    jsonschema.Draft7Validator(schema).validate(DESCRIBED)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(schema).validate({**DESCRIBED, "channels": {"events": {"address": 1}}})


def test_topics_have_the_names_of_the_configuration() -> None:
    settings = load(
        environ={},
        kafka_topic_events="a",
        kafka_topic_credentials="b",
        kafka_topic_dead_letters="c",
        kafka_topic_announcements="d",
        kafka_topic_telemetry="e",
    )
    described = document(settings)
    assert {name: channel["address"] for name, channel in described["channels"].items()} == {
        "events": "a",
        "telemetry": "e",
        "credentials": "b",
        "deadletters": "c",
        "announcements": "d",
    }
    assert {operation["action"]: [] for operation in described["operations"].values()}.keys() == {"receive", "send"}
    for name, channel in described["channels"].items():
        assert channel["bindings"]["kafka"]["topic"] == channel["address"], name


def test_every_event_is_there_in_both_modes() -> None:
    assert len(DOCUMENTED) == 23
    assert {model.TYPE for model in DOCUMENTED + ALSO_ACCEPTED} == CATALOGUE.keys()
    assert DESCRIBED["channels"]["events"]["messages"].keys() == set(EVENTS)


def test_only_the_credentials_are_compacted() -> None:
    compacted = {
        name
        for name, channel in DESCRIBED["channels"].items()
        if "compact" in channel["bindings"]["kafka"].get("topicConfiguration", {}).get("cleanup.policy", [])
    }
    assert compacted == {"credentials"}


@pytest.mark.parametrize("name", MESSAGES)
def test_every_example_fits_its_schemas(name: str) -> None:
    message = MESSAGES[name]
    assert message.get("examples") or name == "credential.revoked"
    for example in message.get("examples", []):
        assert example.keys() == {"headers", "payload"} & message.keys()
        for part in example:
            check(message[part], example[part])


@pytest.mark.parametrize("name", EVENTS)
def test_an_example_of_an_event_is_decoded(name: str) -> None:
    [example] = MESSAGES[name]["examples"]
    event = decode.decode(as_record(example))
    assert event.type == name.removesuffix(".binary")
    assert event.traceparent is not None


@pytest.mark.parametrize("name", EVENTS)
def test_what_is_required_of_an_event_is_what_decoding_needs(name: str) -> None:
    message, [example] = MESSAGES[name], MESSAGES[name]["examples"]
    for part in ("headers", "payload"):
        for member in example[part]:
            broken = {**example, part: {key: value for key, value in example[part].items() if key != member}}
            try:
                decode.decode(as_record(broken))
            except InvalidRecordError:
                with pytest.raises(jsonschema.ValidationError):
                    check(message[part], broken[part])
            else:
                if (part, member) != ("headers", "content-type"):  # a structured event is known without it
                    check(message[part], broken[part])


def test_a_credential_is_decoded_and_needs_what_is_required() -> None:
    message = MESSAGES["credential"]
    [example] = message["examples"]
    decoded = credential_records.decode(as_record(example))
    assert (decoded.kind, decoded.account) == (example["payload"]["kind"], example["payload"]["account"])
    for member in example["payload"]:
        broken = {key: value for key, value in example["payload"].items() if key != member}
        try:
            credential_records.decode(as_record({"payload": broken}))
        except InvalidRecordError:
            with pytest.raises(jsonschema.ValidationError):
                check(message["payload"], broken)
        else:
            check(message["payload"], broken)
    session = {"kind": "session", "account": "acct_1"}
    check(message["payload"], session)
    assert credential_records.decode(as_record({"payload": session})).kind == "session"


def test_every_member_a_credential_may_have_is_described() -> None:
    described = MESSAGES["credential"]["payload"]["properties"].keys()
    assert described == credential_records._Value.model_fields.keys()


@pytest.mark.parametrize("kind", telemetry.TYPES)
def test_telemetry_is_decoded_and_needs_what_is_required(kind: str) -> None:
    message = MESSAGES[kind]
    [example] = message["examples"]
    assert telemetry.decode(as_record(example), now=parts.A_TIME).type == kind
    assert message["payload"]["properties"].keys() == telemetry.MODELS[kind].model_fields.keys()
    for member in example["payload"]:
        broken = {key: value for key, value in example["payload"].items() if key != member}
        try:
            telemetry.decode(as_record({"payload": broken}), now=parts.A_TIME)
        except InvalidRecordError:
            with pytest.raises(jsonschema.ValidationError):
                check(message["payload"], broken)
        else:
            check(message["payload"], broken)
    more = {"payload": {**example["payload"], "something_new": 1}}
    check(message["payload"], more["payload"])
    telemetry.decode(as_record(more), now=parts.A_TIME)


@pytest.mark.parametrize("limit", [None, 2])
def test_a_dead_letter_has_the_headers_that_are_described(limit: int | None) -> None:
    record = Stored("controlplane.events", 3, 17, 1_793_525_402_000, b"key", b"value", [("their", b"own")])
    letter = dead_letter("letters", Rejected(record, InvalidRecordError(Reason.JSON, "not JSON")), limit=limit)
    headers = {name: (value or b"").decode() for name, value in letter.headers}
    schema = MESSAGES["deadletter"]["headers"]
    check(schema, headers)
    described = set(schema["properties"])
    assert set(headers) - {"their"} == (described if limit else set(schema["required"]))


def test_what_is_announced_of_deliveries_and_endpoints_is_what_is_described() -> None:
    [dropped] = failures._dropped([Dropped("acct_1", "dlv_1", "we_1", "msg_1", "server.deleted", 4, "timeout")])
    check(data_schema(failures.DROPPED), announced(dropped))
    assert announced(dropped).keys() == data_schema(failures.DROPPED)["properties"].keys()
    for since, result in ((None, None), (TIME - timedelta(days=5), "5xx")):
        [disabled] = failures._disabled(
            [Disabled("acct_1", "we_1", reason="failing", failing_since=since, dropped=20, last_result=result)]
        )
        check(data_schema(failures.DISABLED), announced(disabled))
        assert announced(disabled).keys() == data_schema(failures.DISABLED)["properties"].keys()


def test_what_is_announced_of_the_canary_is_what_is_described() -> None:
    statement = canaries.first().statement
    for reminder in Reminder:
        said = canary_reminders.announcement(statement, reminder)
        assert said.account is None
        check(data_schema(said.type), announced(said))
        assert announced(said).keys() == data_schema(said.type)["properties"].keys()
        assert "account" not in MESSAGES[said.type]["payload"]["properties"]


def test_every_type_that_is_announced_is_described() -> None:
    assert DESCRIBED["channels"]["announcements"]["messages"].keys() == {
        failures.DISABLED,
        failures.DROPPED,
        audit.TYPE,
        canary_reminders.DUE,
        canary_reminders.OVERDUE,
    }
    assert set(audit.Action) == set(data_schema(audit.TYPE)["properties"]["action"]["enum"])
