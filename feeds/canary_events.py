"""What subscribers are told of a canary that was published: `canary.updated`, made from what is stored. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.events import Event
from consumers.public_events import CanaryUpdated

if TYPE_CHECKING:
    from feeds.documents import Published
    from signer.statement import Statement


def updated(published: Published, statement: Statement, location: str) -> CanaryUpdated:
    """Return the event's data; `location` is the URL of the canary, below which its history is.

    The URLs are those of this very canary, which stay when another is published. `sequence` is the number it is
    published under. All three dates of a retirement are the moment it was published at, for it has no deadline and may
    have been signed long before: whoever orders canaries by `issued_at` takes it for the newest, and whoever waits for
    `next_due` to pass is alarmed at once, also when they know nothing of `state`.
    """
    issued_at, next_due, expires_at = statement.issued_at, statement.next_due, statement.expires_at
    if statement.is_retirement:
        issued_at = next_due = expires_at = published.published_at.replace(microsecond=0)
    url = f"{location}/history/{published.number}.json"
    return CanaryUpdated.model_validate({
        "sequence": published.number,
        "issued_at": issued_at,
        "next_due": next_due,
        "expires_at": expires_at,
        "sha256": published.sha256,
        "url": url,
        "signature_url": f"{url}.asc",
        "state": _state(statement),
    })  # fmt: skip


def announcement(published: Published, statement: Statement, *, source: str, location: str) -> Event:
    """Return the event itself. Its CloudEvents id is the canary's digest: the same canary, the same event."""
    data = updated(published, statement, location)
    return Event(
        source=source,
        id=f"canary-{published.sha256}",
        type=data.TYPE,
        time=published.published_at,
        account=None,
        resource=data.resource(),
        data=data,
        raw=data.model_dump_json().encode(),
    )


def _state(statement: Statement) -> str:
    if statement.is_retirement:
        return "revoked"
    return "changed" if statement.acknowledged_removals else "current"
