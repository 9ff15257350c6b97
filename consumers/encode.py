"""A domain event -> a CloudEvents record: what `emit`, the demo, the tests and the benchmarks produce.

The twin of `decode`; structured mode. A control plane needs no more than this to speak to Heliograph.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import orjson

from consumers.broker import Outgoing
from consumers.catalogue import CATALOGUE

if TYPE_CHECKING:
    from datetime import datetime

CONTENT_TYPE = b"application/cloudevents+json"


def cloud_event(
    topic: str,
    event_type: str,
    *,
    time: datetime,
    source: str,
    account: str | None = None,
    data: dict[str, Any] | None = None,
    event_id: str | None = None,
    traceparent: str | None = None,
) -> Outgoing:
    """Return the record of an event, keyed by account, or by resource where there is none.

    `data` defaults to the type's example, `event_id` to a random UUID. Nothing is validated here: `decode` is
    what decides, for a producer as for everyone.
    """
    content = CATALOGUE[event_type].EXAMPLE if data is None else data
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": event_id or str(uuid.uuid4()),
        "source": source,
        "type": event_type,
        "time": time.isoformat(),
        "datacontenttype": "application/json",
    }
    if account is not None:
        attributes["account"] = account
    attributes["data"] = content
    headers = [("content-type", CONTENT_TYPE)]
    if traceparent is not None:
        headers.append(("traceparent", traceparent.encode()))
    return Outgoing(topic, (account or _resource(event_type, content)).encode(), orjson.dumps(attributes), headers)


def _resource(event_type: str, data: dict[str, Any]) -> str:
    """Return what an event is about, so that what happens to one thing stays in one partition, in order."""
    if event_type not in CATALOGUE:
        return event_type
    kind, field = CATALOGUE[event_type].RESOURCE
    return f"{kind}:{data.get(field)}" if field else kind
