"""Records as a control plane might write them, byte by byte: the tests decide what is wrong with each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from consumers.catalogue import CATALOGUE
from tests.support.fake_broker import Stored

if TYPE_CHECKING:
    from collections.abc import Sequence

#: 2026-11-01T00:00:00Z
TIMESTAMP = 1_793_491_200_000
TYPE = "account.balance.low"
DATA = b'{"balance_usd":4.2,"threshold_usd":10}'
STRUCTURED = ("content-type", b"application/cloudevents+json")


def record(
    value: bytes | None, headers: Sequence[tuple[str, bytes | None]] = (STRUCTURED,), *, timestamp: int = TIMESTAMP
) -> Stored:
    """Return a record as the broker's client hands it over."""
    return Stored("events", 3, 17, timestamp, b"key", value, headers)


def attributes(event_type: str = TYPE, **changes: Any) -> dict[str, Any]:
    """Return valid CloudEvents attributes with `changes`; None takes one away."""
    made = {"specversion": "1.0", "id": "e1", "source": "/test", "type": event_type, "account": "acct_1"}
    if event_type in CATALOGUE and CATALOGUE[event_type].IS_PUBLIC:
        del made["account"]
    return {name: value for name, value in {**made, **changes}.items() if value is not None}


def structured(data: bytes | None = DATA, event_type: str = TYPE, **changes: Any) -> bytes:
    """Return the whole event as one JSON text, `data` spliced in as it is, or left out."""
    text = json.dumps(attributes(event_type, **changes)).encode()
    return text if data is None else b'%s,"data":%s}' % (text[:-1], data)


def binary(event_type: str = TYPE, **changes: str | bytes | None) -> list[tuple[str, bytes | None]]:
    """Return the attributes as headers; None leaves the header there without a value."""
    made = {**attributes(event_type), **changes}
    return [(f"ce_{name}", value.encode() if isinstance(value, str) else value) for name, value in made.items()]
