"""How the newest canary stands: what is stored, judged by the keys this service has pinned, never by what it says.

The state is made from signed dates whenever somebody asks (`Standing.state`); only whether bytes and signatures hold is
found out beforehand, for it takes gpg.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from feeds import documents
from feeds.documents import Feed
from signer import canary_dates
from signer.canary_check import Fault, Predecessor, Reason
from signer.canary_dates import SKEW
from signer.statement import Document, StatementError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from feeds.documents import Published
    from runtime.database import Connection
    from signer.canary_check import Finding
    from signer.canary_dates import State
    from signer.canary_judge import Pins
    from signer.statement import Statement


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest canary, None where there is none; its statement, None where its bytes are none; its faults.

    `signatures` are those stored with it, each with its worth; `needed` is how many must count.
    """

    published: Published | None = None
    statement: Statement | None = None
    faults: tuple[Fault, ...] = ()
    signatures: tuple[Finding, ...] = ()
    needed: int = 0

    def state(self, now: datetime) -> State:
        """Return what it is worth at `now`."""
        if self.published is not None and self.statement is None:
            return canary_dates.State.INVALID
        is_revoked = any(fault.reason is Reason.REVOKED_KEY for fault in self.faults)
        return canary_dates.state(self.statement, now, is_valid=not self.faults, is_revoked=is_revoked)


class Stored(NamedTuple):
    """The newest canary and the one before it, as they are stored."""

    newest: Published | None
    previous: Document | Predecessor


async def read(connection: Connection, pins: Pins | None, now: datetime) -> Standing:
    """Read the newest canary and judge it; raises as `judge` does."""
    return await judge(await stored(connection), pins, now)


async def stored(connection: Connection) -> Stored:
    """Read what there is to judge."""
    newest = await documents.latest(connection, Feed.CANARY)
    return Stored(newest, await predecessor(connection, newest.number) if newest else Predecessor.NONE)


async def judge(found: Stored, pins: Pins | None, now: datetime) -> Standing:
    """Judge the newest canary; raises `PgpError` when gpg or the public keys cannot be had.

    Keys count as they were when it was published: one that expired since does not undo what it signed, one that was
    revoked since does. Without `pins` nobody's signature counts.
    """
    newest = found.newest
    if newest is None:
        return Standing()
    statement = _statement(newest.content)
    if pins is None or statement is None:
        return Standing(newest, None)
    verdict = await pins.judge(
        newest.content,
        {each.fingerprint: each.armored for each in newest.signatures},
        now=now,
        previous=found.previous,
        at=judged_at(newest.published_at),
        is_superseded=True,  # lateness is a state, not a fault
    )
    faults = (*verdict.faults, *out_of_step(statement, newest.number))
    return Standing(newest, verdict.statement, faults, verdict.signatures, verdict.needed)


def judged_at(published_at: datetime) -> datetime:
    """Return the moment at which the keys and signatures of a canary published then are looked at, ever after.

    A little later, as a signer's clock may be ahead of ours; the same for who publishes and for who reads, or what was
    accepted would not stand.
    """
    return published_at + SKEW


def out_of_step(statement: Statement, number: int) -> Iterator[Fault]:
    """Yield a fault where a canary has another number than its own: rows are gone, or in others' place. Pure."""
    if statement.sequence not in {None, number}:
        yield Fault(Reason.WRONG_SEQUENCE, f"sequence is {statement.sequence}, and its number here is {number}")


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
