"""The books of a run under faults, compared: events produced, deliveries recorded, requests received.

Pure. What a fault may do is bounded: no delivery is missing in any book, and what came more than once came as the same
message, so often at most as attempts were under way in the processes the fault hit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tests.support.customers import Arrival

#: An endpoint's name and an order number, which is an event's: one delivery.
Delivery = tuple[str, str]


class Recorded(NamedTuple):
    """What the database says: rows of the inbox and of messages, and each delivery's state by its id."""

    inbox: int
    messages: int
    states: Mapping[str, str]


class Balance(NamedTuple):
    """What the books come to."""

    events: int
    deliveries: int
    requests: int
    #: Each in words; none where the promise was kept.
    faults: Sequence[str]

    @property
    def again(self) -> int:
        """How many requests were repetitions."""
        return self.requests - self.deliveries


def balance(
    events: int,
    expected: Collection[Delivery],
    arrivals: Mapping[Delivery, Sequence[Arrival]],
    recorded: Recorded,
    *,
    again: int,
) -> Balance:
    """Compare the books of `events` events; `again` is how many requests may have been repetitions."""
    made = Balance(events, len(expected), sum(map(len, arrivals.values())), ())
    received = {each.delivery_id for group in arrivals.values() for each in group}
    delivered = {delivery for delivery, state in recorded.states.items() if state == "delivered"}
    messages = {(order, each.message_id) for (_, order), group in arrivals.items() for each in group}
    counts = {
        "deliveries missing at their receivers": len(set(expected) - arrivals.keys()),
        "deliveries nobody asked for": len(arrivals.keys() - set(expected)),
        "deliveries received in more than one form": sum(len(set(group)) > 1 for group in arrivals.values()),
        "messages beyond one an event": len(messages) - len({order for order, _ in messages}),
        "received and not recorded as delivered": len(received - delivered),
        "recorded as delivered and not received": len(delivered - received),
        "recorded in another state": len(recorded.states) - len(delivered),
        "events missing in the inbox, or too many": abs(recorded.inbox - events),
        "events missing in messages, or too many": abs(recorded.messages - events),
        f"repetitions beyond the {again} that may be": max(0, made.again - again),
    }
    return made._replace(faults=[f"{count} {what}" for what, count in counts.items() if count])
