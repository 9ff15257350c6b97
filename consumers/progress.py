"""Is a consumer getting on, and if not: what is it stuck in? Pure: what is seen, and how long that was, is passed in.

A client can be stuck for good after its broker was away, and say nothing: fetches that nobody answers, a membership
that is never settled, commits that are refused for ever. An idle topic looks much the same from outside. What tells
them apart is that a healthy client hears from every partition it has several times a second, with or without records,
and that it has read as far as the partition goes.

Only time in which the consumer was asked for records counts: a batch that takes minutes is no fault of the client's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumers.broker import Partition

#: How much longer joining its group may take than anything else: Kafka waits for each member to end its batch, up to
#: five minutes (`max.poll.interval.ms`).
JOINING = 300.0


class Sight(NamedTuple):
    """What a client shows of a partition: the next offset, when it was last answered, whether records wait in it."""

    position: int | None
    answered_at: int | None
    has_records: bool


@dataclass(slots=True)
class _Watched:
    sight: Sight
    #: Seconds without an answer; seconds in which records waited beyond a position that did not move.
    silent: float = 0.0
    behind: float = 0.0
    end: int | None = None


class Progress:
    """What was seen of one client since it was started; all times in seconds."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._partitions: dict[Partition, _Watched] = {}
        self._joining = 0.0
        self._is_joined = False
        self._refused = 0.0
        self._is_refused = False

    def look(self, elapsed: float, sights: Mapping[Partition, Sight] | None) -> None:
        """Take in what is to be seen `elapsed` seconds after the last look; None while the group is being joined."""
        self._is_joined = sights is not None
        self._joining = 0.0 if self._is_joined else self._joining + elapsed
        self._refused = self._refused + elapsed if self._is_refused else 0.0
        if sights is None:
            self._partitions.clear()
            return
        watched = {where: self._partitions.get(where) or _Watched(sight) for where, sight in sights.items()}
        for where in watched.keys() & self._partitions.keys():  # the others are seen for the first time
            each, sight = watched[where], sights[where]
            is_moving = sight.has_records or sight.position != each.sight.position
            each.silent = 0.0 if is_moving or sight.answered_at != each.sight.answered_at else each.silent + elapsed
            if is_moving:
                each.end, each.behind = None, 0.0
            elif each.end is not None and each.end > (sight.position or 0):
                each.behind += elapsed
            each.sight = sight
        self._partitions = watched

    def told(self, ends: Mapping[Partition, int]) -> None:
        """Take in where partitions end, as the broker says when it is asked."""
        for where, end in ends.items():
            if (each := self._partitions.get(where)) is not None:
                each.end = end
                if end <= (each.sight.position or 0):
                    each.behind = 0.0

    def committed(self, *, is_refused: bool, after: float = 0.0) -> None:
        """Take in how a commit ended, and after how many seconds."""
        self._is_refused = is_refused
        self._refused += after if is_refused else 0.0

    def waiting(self) -> Mapping[Partition, int]:
        """Return how many records the broker said wait in each partition that does not move."""
        return {
            where: each.end - (each.sight.position or 0)
            for where, each in self._partitions.items()
            if each.end is not None and each.end > (each.sight.position or 0)
        }

    @property
    def assigned(self) -> int | None:
        """How many partitions the client has; None while it is joining its group."""
        return len(self._partitions) if self._is_joined else None

    @property
    def standstill(self) -> float:
        """Seconds since everything was well, 0 while it is."""
        stalls = (max(each.silent, each.behind) for each in self._partitions.values())
        return max(self._joining, self._refused, *stalls, 0.0)

    def stuck(self, patience: float) -> str:
        """Return what the client is stuck in, after `patience` seconds of it; empty while it is not."""
        if self._joining >= patience + JOINING:
            return f"it has not become a member of its group for {self._joining:.0f} s"
        if self._refused >= patience:
            return f"no offset could be committed for {self._refused:.0f} s"
        for (topic, partition), each in sorted(self._partitions.items()):
            if each.behind >= patience:
                waiting = (each.end or 0) - (each.sight.position or 0)
                return f"{waiting} records wait in {topic}/{partition} and none was read for {each.behind:.0f} s"
            if each.silent >= patience:
                return f"{topic}/{partition} has not answered for {each.silent:.0f} s"
        return ""
