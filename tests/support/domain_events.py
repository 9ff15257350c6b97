"""Domain events as a handler gets them: decoded, valid, and about whatever a test wants."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

import orjson

from consumers.catalogue import CATALOGUE
from consumers.events import Event

TIME = datetime(2026, 11, 1, tzinfo=UTC)
_numbers = itertools.count(1)


def an_event(
    event_type: str = "server.power.on",
    *,
    account: str | None = "acct_1",
    raw: bytes | None = None,
    traceparent: str | None = None,
    **changes: Any,
) -> Event:
    """Return an event with the example's data, `changes` made to it; a public type has no account."""
    model = CATALOGUE[event_type]
    content = raw or orjson.dumps({**model.EXAMPLE, **changes})
    data = model.model_validate_json(content)
    return Event(
        source="/test",
        id=f"event-{next(_numbers)}",
        type=event_type,
        time=TIME,
        account=None if model.IS_PUBLIC else account,
        resource=data.resource(),
        data=data,
        raw=content,
        traceparent=traceparent,
    )
