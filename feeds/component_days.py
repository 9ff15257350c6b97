"""What reports make of a component's day: 288 slots of five minutes, in each the worst that was reported. Pure.

A byte a slot, in UTC: 0 where nothing was reported, else the code of the status, and a worse status has a larger code.
So putting reports together is taking the greater of two bytes: their order and repetition cannot matter.

*Uptime* is the slots that count as up ÷ the slots with a report. Up is everything but an outage, partial or major: a
slow service and one under planned maintenance are up. A slot without a report is a gap: it counts on neither side.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from feeds.models import ComponentStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SLOT_MINUTES, SLOTS, SLOTS_AN_HOUR = 5, 288, 12
#: Days a document tells of, today among them, and days that are kept: a document is built while the day changes.
SHOWN, KEPT = 90, 91
#: After so long without a report a component counts as silent: two slots may be missed.
SILENCE = timedelta(minutes=15)
#: The best first, so that a code is a rank. Codes are stored: the order is that of every day in the database.
STATUSES: tuple[ComponentStatus, ...] = (
    ComponentStatus.OPERATIONAL,
    ComponentStatus.UNDER_MAINTENANCE,
    ComponentStatus.DEGRADED_PERFORMANCE,
    ComponentStatus.PARTIAL_OUTAGE,
    ComponentStatus.MAJOR_OUTAGE,
)
CODES: Mapping[ComponentStatus, int] = {status: code for code, status in enumerate(STATUSES, 1)}
DOWN = (CODES[ComponentStatus.PARTIAL_OUTAGE], CODES[ComponentStatus.MAJOR_OUTAGE])


class Reported(NamedTuple):
    """How a component was when it was last heard of."""

    status: ComponentStatus
    reported_at: datetime


class Facts(NamedTuple):
    """All that was reported, by component; days as slots."""

    latest: Mapping[str, Reported]
    days: Mapping[str, Mapping[date, bytes]]


class Counted(NamedTuple):
    """Slots that count as up, and slots with a report."""

    up: int
    reported: int

    @property
    def uptime(self) -> float | None:
        """Per cent with two decimals, None where nothing was reported; rounded down, so that 100 means always."""
        return self.up * 10_000 // self.reported / 100 if self.reported else None


def slot_of(moment: datetime) -> tuple[date, int]:
    """Return the day and the slot in it that a moment falls into, in UTC; a slot begins with its first instant."""
    at = moment.astimezone(UTC)
    return at.date(), (at.hour * 60 + at.minute) // SLOT_MINUTES


def of_reports(reports: Iterable[tuple[str, ComponentStatus, datetime]]) -> dict[tuple[str, date], bytes]:
    """Return the slots of each component's days, from any reports in any order."""
    made: dict[tuple[str, date], bytearray] = {}
    for component, status, moment in reports:
        day, slot = slot_of(moment)
        slots = made.setdefault((component, day), bytearray(SLOTS))
        slots[slot] = max(slots[slot], CODES[status])
    return {key: bytes(slots) for key, slots in made.items()}


def counted(slots: bytes) -> Counted:
    """Count slots, of a day, a part of one, or many in a row."""
    reported = len(slots) - slots.count(0)
    return Counted(reported - sum(slots.count(code) for code in DOWN), reported)


def worst(slots: bytes) -> ComponentStatus | None:
    """Return the worst status in slots, None where nothing was reported."""
    code = max(slots, default=0)
    return STATUSES[code - 1] if code else None


def is_silent(reported_at: datetime, now: datetime) -> bool:
    """Say whether a component was last heard of too long ago to say that it reports."""
    return now - reported_at > SILENCE


def oldest_kept(now: datetime) -> date:
    """Return the first day that is kept, in UTC."""
    return now.astimezone(UTC).date() - timedelta(days=KEPT - 1)
