"""The headers of a webhook by name: one list for those that are sent and those a customer is shown later. Pure."""

from __future__ import annotations


def fixed(agent: str) -> dict[str, str]:
    """Return what is the same for every request of a process; `agent` is its user-agent."""
    return {"content-type": "application/json", "user-agent": agent}


def of_attempt(
    *,
    message_id: str,
    event_type: str,
    delivery_id: str,
    attempt: int,
    timestamp: int,
    signature: str,
    prefix: str,
) -> dict[str, str]:
    """Return what differs from request to request; `timestamp` is unix seconds, `prefix` the provider's (`x-nb-`)."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature,
        f"{prefix}event": event_type,
        f"{prefix}delivery": delivery_id,
        f"{prefix}attempt": str(attempt),
    }
