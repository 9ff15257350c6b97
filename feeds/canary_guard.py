"""Stands before the fan-out: what Kafka says of the canary is passed on only where it is what the signers signed.

Whoever can write to the topic of events, the control plane or somebody in its place, could otherwise tell every
subscriber of a canary that nobody has signed. `canary publish` has told them of the newest one; it may be told once
more, word for word, and then no more: repetitions without end would be noise to whoever listens for its silence.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from consumers import inbox
from consumers.decode import InvalidRecordError, Reason
from consumers.public_events import CanaryUpdated
from feeds import documents
from feeds.canary_events import announcement, updated
from feeds.documents import Feed
from signer.canary_dates import LONGEST, SKEW
from signer.statement import Document, StatementError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from consumers.events import Event
    from feeds.documents import Published
    from runtime.database import Connection

#: What must be as it was signed, and where it is.
TOLD = ("sequence", "sha256", "issued_at", "next_due", "expires_at", "url", "signature_url")


class CanaryGuard:
    """The handler that lets `canary.updated` through, or raises `InvalidRecordError`; it leaves other types alone."""

    def __init__(self, *, pinned: Collection[str], source: str, location: str) -> None:
        """`pinned` are the fingerprints whose canary is served here, at the URL `location`; `source` is our events'.

        Where there are none, the provider has its canary elsewhere, and nothing can be said of it: all is let through.
        """
        self._is_ours = bool(pinned)
        self._source = source
        self._location = location

    async def __call__(self, connection: Connection, events: Sequence[Event]) -> None:
        """Look at each of `events`; raises `InvalidRecordError`, so that the record goes to the dead letters."""
        told = [event for event in events if event.type == CanaryUpdated.TYPE]
        if not (self._is_ours and told):
            return
        newest = await documents.latest(connection, Feed.CANARY)
        for event in told:
            if fault := fault_of(event, newest, self._location):
                raise InvalidRecordError(Reason.HANDLER, fault, event.type)
            assert newest is not None  # noqa: S101 - or that were the fault
            statement = Document.read(newest.content).statement
            known = announcement(newest, statement, source=self._source, location=self._location)
            if not await inbox.admit(connection, [known]):
                raise InvalidRecordError(Reason.HANDLER, "this canary has been told of again already", event.type)


def fault_of(event: Event, newest: Published | None, location: str) -> str:
    """Say in what a `canary.updated` is not that of the newest canary, naming fields; empty where it is. Pure.

    The newest, because an older one told again would hide what came after. Each field of the type once and no other:
    who receives it may read the second of two, or one whose name differs in capitals only. `state` may be left out
    where it is `current`. `location` is where the canary is served.
    """
    assert isinstance(event.data, CanaryUpdated)  # noqa: S101 - decided by the type
    if newest is None:
        return "no canary has been published here"
    try:
        statement = Document.read(newest.content).statement
    except StatementError:
        return "what is stored as the newest canary is none"
    signed = updated(newest, statement, location)
    if event.data.sequence != signed.sequence:
        return "data.sequence: is not that of the newest canary published here"
    names = [name for name, _ in json.loads(event.raw, object_pairs_hook=list, parse_int=str)]  # numbers of any length
    if len(names) != len(set(names)) or not set(names) <= CanaryUpdated.model_fields.keys():
        return "data: has a field twice, or one that no canary has"
    differing = [name for name in TOLD if getattr(event.data, name) != getattr(signed, name)]
    differing += ["state"] * ((event.data.state or "current") != signed.state)
    if differing:
        return f"{', '.join(f'data.{name}' for name in differing)}: not as in the canary that was signed"
    is_timely = newest.published_at - SKEW <= event.time <= newest.published_at + LONGEST
    return "" if is_timely else "time: not of the days of this canary"
