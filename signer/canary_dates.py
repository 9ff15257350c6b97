"""When a canary is due, and what it is worth at a moment. Pure: signed dates and a `now` in, nothing else.

    issued_at          next_due - 7 d        next_due              expires_at
        |---- current ----|------ due ----------|----- overdue --------|---- expired ...

Each boundary belongs to what begins at it. `next_due` is the first of a month, 00:00 UTC: an instant, so nobody has to
ask whether "on the first" ends at noon. A canary made while its predecessor is due answers for that first already, and
is due on the one after it; or renewing in time would not help. Seven days before, a month of 31 and seven days of grace
are the longest a canary lasts: 45 days.
"""

from __future__ import annotations

import enum
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signer.statement import Statement

#: How long before `next_due` a canary is due.
LEAD = timedelta(days=7)
#: How long an overdue canary has until it expires.
GRACE = timedelta(days=7)
#: From `issued_at` to `expires_at` at most.
LONGEST = timedelta(days=45)
#: By how much clocks may differ: an offline machine has nobody to ask for the time.
SKEW = timedelta(minutes=10)


class State(enum.StrEnum):
    """What a canary is worth now."""

    MISSING = "missing"
    CURRENT = "current"
    DUE = "due"
    OVERDUE = "overdue"
    EXPIRED = "expired"
    CHANGED = "changed"
    INVALID = "invalid"
    REVOKED = "revoked"


def next_due(issued_at: datetime) -> datetime:
    """Return the first of a month, 00:00 UTC, that a canary issued then is due on: the first one beyond `LEAD`."""
    day = (issued_at.astimezone(UTC) + LEAD).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (day + timedelta(days=32)).replace(day=1)


def expires_at(due: datetime) -> datetime:
    """Return when a canary with this `next_due` expires."""
    return due + GRACE


def date_fault(statement: Statement) -> str:
    """Say what is wrong with the dates whatever the time is now; empty when nothing is."""
    due, expiry = statement.next_due, statement.expires_at
    if due is None or expiry is None:  # a retirement has no deadline
        return ""
    if due != due.replace(day=1, hour=0, minute=0, second=0):
        return "next_due is not the first of a month, 00:00 UTC"
    if not statement.issued_at < due < expiry:
        return "issued_at, next_due and expires_at are not in this order"
    if expiry - statement.issued_at > LONGEST:
        return f"expires_at is more than {LONGEST.days} days after issued_at"
    return ""


def state(statement: Statement | None, now: datetime, *, is_valid: bool = True, is_revoked: bool = False) -> State:
    """Return what the newest canary is worth at `now`; `None` where there is none.

    The first that applies:

    - missing: there is no canary.
    - revoked: it is a retirement, which ends it for good, or `is_revoked`: its signers' keys have been revoked since.
    - invalid: not `is_valid` (its bytes or signatures do not stand a check), its dates make no sense, or it is issued
      more than `SKEW` in the future.
    - expired, from `expires_at` on; overdue, from `next_due` on.
    - changed: it acknowledges that something its predecessor said is gone. For as long as it is the newest.
    - due, from `LEAD` before `next_due` on.
    - current.

    Late comes before changed: that something was removed stands in the statement, that nothing came does not.
    """
    if statement is None:
        return State.MISSING
    makes_sense = is_valid and not date_fault(statement) and statement.issued_at <= now + SKEW
    if is_revoked or (statement.is_retirement and makes_sense):
        return State.REVOKED
    return _by_dates(statement, now) if makes_sense else State.INVALID


def _by_dates(statement: Statement, now: datetime) -> State:
    assert statement.next_due is not None  # noqa: S101 - only a retirement has none
    assert statement.expires_at is not None  # noqa: S101 - only a retirement has none
    if now >= statement.expires_at:
        return State.EXPIRED
    if now >= statement.next_due:
        return State.OVERDUE
    if statement.acknowledged_removals:
        return State.CHANGED
    return State.DUE if now >= statement.next_due - LEAD else State.CURRENT
