"""Tells the operator that the canary is due, and that it is overdue, in time and once. Owns `canary_reminders`.

Announced on the topic the control plane listens to; it writes to people. A row for each reminder, written with the
announcement, makes it happen once, whichever processes see the day and however often they are started. After a time
in which nobody looked only the most pressing one is sent. What a clock that was ahead has sent does not count once the
time is right.

Reminders are about a canary that is believed: one that is not, or that has ended, has no deadline. Its state says so.
"""

from __future__ import annotations

import enum
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from consumers.announcements import Announcement, announce
from feeds import documents
from feeds.documents import Feed
from signer.canary_dates import SKEW, State
from signer.statement import moment_text

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from feeds.canary import Watched
    from runtime.clock import Clock
    from runtime.database import Pool
    from signer.statement import Statement

DUE, OVERDUE = "canary.due", "canary.overdue"
#: Decides the partition, so that they come in order.
KEY = "canary"

SENT = "SELECT kind, sent_at FROM canary_reminders WHERE number = $1"
#: A row of a clock that was ahead is written over, so that the true moment does not pass in silence.
SEND = """
INSERT INTO canary_reminders AS known (number, kind, sent_at) VALUES ($1, $2, $3)
ON CONFLICT (number, kind) DO UPDATE SET sent_at = $3 WHERE known.sent_at > $3::timestamptz + $4::interval
RETURNING number
"""


class Reminder(enum.StrEnum):
    """What there is to remind of, the most pressing last; the value is stored."""

    WEEK = "due-7"
    DAY = "due-1"
    OVERDUE = "overdue"


#: How many days before `next_due` each is sent.
DAYS = {Reminder.WEEK: 7, Reminder.DAY: 1, Reminder.OVERDUE: 0}


def pressing(statement: Statement, now: datetime, sent: Collection[str]) -> Reminder | None:
    """Return the one reminder that is to be sent now, None where none is. Pure.

    The most pressing one whose moment has come, unless it was sent already or a more pressing one was, which a clock
    that goes back could bring about. A moment at or before the canary's own making says nothing: it was known then.
    """
    due = statement.next_due
    if due is None:
        return None
    come = [each for each in Reminder if statement.issued_at < due - timedelta(days=DAYS[each]) <= now]
    if not come or any(str(each) in sent for each in Reminder if DAYS[each] <= DAYS[come[-1]]):
        return None
    return come[-1]


def announcement(statement: Statement, reminder: Reminder) -> Announcement:
    """Return what is announced; of a canary that is due, `days_left` says which reminder it is, 7 or 1. Pure."""
    assert statement.next_due is not None  # noqa: S101 - or there would be no reminder
    assert statement.expires_at is not None  # noqa: S101 - they go together
    data: dict[str, Any] = {
        "sequence": statement.sequence,
        "next_due": moment_text(statement.next_due),
        "expires_at": moment_text(statement.expires_at),
    }
    if reminder is Reminder.OVERDUE:
        return Announcement(OVERDUE, None, KEY, data)
    return Announcement(DUE, None, KEY, {**data, "days_left": DAYS[reminder]})


async def remind(pool: Pool, watch: Watched, clock: Clock) -> None:
    """Send what is to be sent of the newest canary; to be called every minute or so."""
    standing, now = watch.standing, clock.now()
    published, statement = standing.published, standing.statement
    if published is None or statement is None or standing.state(now) in {State.INVALID, State.REVOKED}:
        return
    async with pool.acquire() as connection:
        rows = await connection.fetch(SENT, published.number)
        sent = [row["kind"] for row in rows if row["sent_at"] <= now + SKEW]
        reminder = pressing(statement, now, sent)
        if reminder is None:
            return
        async with connection.transaction():
            if await documents.last(connection, Feed.CANARY) != published.number:
                return  # another one came, and is not judged yet
            if await connection.fetchval(SEND, published.number, reminder, now, SKEW) is not None:
                await announce(connection, [announcement(statement, reminder)])
