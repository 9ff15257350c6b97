"""The last ninety days of a component as bars: the worse a day, the taller its bar, so that no colour is needed. Pure.

days -> runs of equal days (drawn)
     -> days with trouble (told in words, for whoever does not see the bars)
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from feeds.models import ComponentStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from feeds.models import Day

#: What a bar without a report is called.
SILENT = "silent"
#: Of the drawing, in its own units; a day is one wide.
HEIGHT = 32
HEIGHTS = {
    SILENT: 5,
    ComponentStatus.OPERATIONAL: 18,
    ComponentStatus.UNDER_MAINTENANCE: 12,
    ComponentStatus.DEGRADED_PERFORMANCE: 23,
    ComponentStatus.PARTIAL_OUTAGE: 28,
    ComponentStatus.MAJOR_OUTAGE: 32,
}


class Run(NamedTuple):
    """Days in a row that look the same: drawn as one line, as thick as the bars are high, which is dashed into bars.

    `middle` is where the line lies.
    """

    status: str
    start: int
    length: int
    height: int

    @property
    def middle(self) -> float:
        """Return the line's distance from the top: all bars stand on the same ground."""
        return HEIGHT - self.height / 2


class Trouble(NamedTuple):
    """A day that was not all good."""

    day: datetime
    status: ComponentStatus
    uptime: float | None


class Bars(NamedTuple):
    """What is drawn, and what is told."""

    width: int
    runs: Sequence[Run]
    #: The newest first.
    troubles: Sequence[Trouble]
    #: How many days nothing was reported on.
    silent: int


def bars(days: Sequence[Day]) -> Bars:
    """Return the bars of `days`, the oldest first."""
    return Bars(
        width=len(days),
        runs=list(_runs(days)),
        troubles=[
            Trouble(datetime.fromisoformat(day.date).replace(tzinfo=UTC), day.worst, day.uptime)
            for day in reversed(days)
            if day.worst not in {None, ComponentStatus.OPERATIONAL} and day.worst is not None
        ],
        silent=sum(day.worst is None for day in days),
    )


def _runs(days: Sequence[Day]) -> Iterator[Run]:
    start = 0
    for status, same in groupby(day.worst or SILENT for day in days):
        length = len(list(same))
        yield Run(str(status), start, length, HEIGHTS[status])
        start += length
