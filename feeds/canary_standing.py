"""How the newest canary stands: what is stored, judged by the keys this service has pinned, never by what it says.

The state is made from signed dates whenever somebody asks (`Standing.state`); only whether bytes and signatures hold is
found out beforehand, for it takes gpg.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feeds import documents
from feeds.documents import Feed
from signer import canary_dates
from signer.canary_check import Predecessor, Reason
from signer.statement import Document, StatementError

if TYPE_CHECKING:
    from datetime import datetime

    from feeds.documents import Published
    from runtime.database import Connection
    from signer.canary_check import Fault
    from signer.canary_dates import State
    from signer.canary_judge import Pins
    from signer.statement import Statement


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest canary, None where there is none; its statement, None where its bytes are none; its faults."""

    published: Published | None = None
    statement: Statement | None = None
    faults: tuple[Fault, ...] = ()

    def state(self, now: datetime) -> State:
        """Return what it is worth at `now`."""
        if self.published is not None and self.statement is None:
            return canary_dates.State.INVALID
        is_revoked = any(fault.reason is Reason.REVOKED_KEY for fault in self.faults)
        return canary_dates.state(self.statement, now, is_valid=not self.faults, is_revoked=is_revoked)


async def read(connection: Connection, pins: Pins | None, now: datetime) -> Standing:
    """Read the newest canary and judge it; raises `PgpError` when gpg or the public keys cannot be had.

    Keys count as they were when it was published: one that expired since does not undo what it signed, one that was
    revoked since does. Without `pins` nobody's signature counts.
    """
    newest = await documents.latest(connection, Feed.CANARY)
    if newest is None:
        return Standing()
    statement = _statement(newest.content)
    if pins is None or statement is None:
        return Standing(newest, None)
    verdict = await pins.judge(
        newest.content,
        {each.fingerprint: each.armored for each in newest.signatures},
        now=now,
        previous=await predecessor(connection, newest.number),
        at=newest.published_at,
        is_superseded=True,  # lateness is a state, not a fault
    )
    return Standing(newest, verdict.statement, verdict.faults)


async def predecessor(connection: Connection, number: int) -> Document | Predecessor:
    """Return the canary before `number`; one that is none any more follows from nothing."""
    before = await documents.read(connection, Feed.CANARY, number - 1)
    statement = before and _statement(before.content)
    return Document(before.content, statement) if before and statement else Predecessor.NONE


def _statement(content: bytes) -> Statement | None:
    try:
        return Document.read(content).statement
    except StatementError:
        return None
