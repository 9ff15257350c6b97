"""All of the document: the topics by the names of the configuration, what is on each, and who sends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from publisher import VERSION
from publisher.asyncapi import domain_events, parts, records

if TYPE_CHECKING:
    from runtime.settings import Settings

Json = dict[str, Any]

FORMAT = "3.0.0"
MESSAGES = "#/components/messages/"
RECEIVE, SEND = "receive", "send"


class Topic(NamedTuple):
    """A topic: `action` is what this service does with it."""

    address: str
    action: str
    summary: str
    messages: dict[str, Json]
    is_compacted: bool = False


def document(settings: Settings) -> Json:
    """Return the AsyncAPI document of a configuration."""
    topics = _topics(settings)
    messages = {name: message for topic in topics.values() for name, message in topic.messages.items()}
    return {
        "asyncapi": FORMAT,
        "info": {
            "title": "Heliograph",
            "version": VERSION,
            "description": "The Kafka topics between a control plane and Heliograph. Events are CloudEvents 1.0, "
            "structured or binary; what does not fit its schema goes to the dead letters. A `traceparent` continues "
            "the trace.",
        },
        "defaultContentType": parts.JSON_TYPE,
        "channels": {name: _channel(topic) for name, topic in topics.items()},
        "operations": {
            f"{topic.action}_{name}": {
                "action": topic.action,
                "summary": topic.summary,
                "channel": {"$ref": f"#/channels/{name}"},
            }
            for name, topic in topics.items()
        },
        "components": {"messages": messages, "schemas": domain_events.schemas()},
    }


def _topics(settings: Settings) -> dict[str, Topic]:
    return {
        "events": Topic(
            settings.kafka_topic_events,
            RECEIVE,
            "What happens at the provider; customers get it as webhooks.",
            domain_events.messages(),
        ),
        "telemetry": Topic(
            settings.kafka_topic_telemetry,
            RECEIVE,
            "What the compute API says of itself: the status page is made from it.",
            records.telemetry(),
        ),
        "credentials": Topic(
            settings.kafka_topic_credentials,
            RECEIVE,
            "Who may call the HTTP API: the latest record of a key is what holds.",
            records.credentials(),
            is_compacted=True,
        ),
        "deadletters": Topic(
            settings.kafka_topic_dead_letters,
            SEND,
            "What could not be handled, byte for byte, and why.",
            records.dead_letters(),
        ),
        "announcements": Topic(
            settings.kafka_topic_announcements,
            SEND,
            "What the control plane is to hear, so that it can write to the customer or the operator.",
            records.announcements(),
        ),
    }


def _channel(topic: Topic) -> Json:
    compaction = {"topicConfiguration": {"cleanup.policy": ["compact"]}} if topic.is_compacted else {}
    return {
        "address": topic.address,
        "summary": topic.summary,
        "messages": {name: {"$ref": MESSAGES + name} for name in topic.messages},
        "bindings": {
            "kafka": {
                "topic": topic.address,
                **compaction,
                "bindingVersion": parts.BINDING,
            }
        },
    }
