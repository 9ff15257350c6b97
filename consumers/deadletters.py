"""What could not be handled: the record as it was, where it came from and why; and the limit on doing so.

A dead letter keeps key, value and headers byte for byte and adds `heliograph-*` headers, so that replaying it
is producing it again. One bad record is the producer's slip. A burst of them is a bad deploy, ours or theirs:
past a share of all records in a window the consumer stops instead, with offsets uncommitted, because a halted
partition is found in minutes and a topic full of dead letters in days.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from consumers.broker import Outgoing, Producer, RecordTooLargeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.decode import InvalidRecordError, Record
    from runtime.clock import Clock

logger = logging.getLogger(__name__)

HEADER = "heliograph-"
#: Kept of a value that even the dead-letter topic refuses; the whole one still stands at its coordinates.
TRUNCATED_BYTES = 256 * 1024


class Rejected(NamedTuple):
    """A record and why it is a dead letter."""

    record: Record
    error: InvalidRecordError


class TooManyDeadLettersError(Exception):
    """The share of bad records passed the limit; the text says what was seen and what to do."""


def dead_letter(topic: str, rejected: Rejected, *, value_limit: int | None = None) -> Outgoing:
    """Return the dead letter for a record: its bytes, its headers, and ours with coordinates and reason."""
    record, error = rejected
    value = record.value
    headers = [
        *record.headers,
        (f"{HEADER}reason", str(error.reason).encode()),
        (f"{HEADER}detail", error.detail[:1000].encode("utf-8", "replace")),
        (f"{HEADER}topic", record.topic.encode()),
        (f"{HEADER}partition", b"%d" % record.partition),
        (f"{HEADER}offset", b"%d" % record.offset),
        (f"{HEADER}timestamp", b"%d" % record.timestamp),
    ]
    if value is not None and value_limit is not None and len(value) > value_limit:
        headers.append((f"{HEADER}original-bytes", b"%d" % len(value)))
        value = value[:value_limit]
    return Outgoing(topic, record.key, value, headers)


class DeadLetters:
    """Writes dead letters and waits until they are safe."""

    def __init__(self, producer: Producer, topic: str) -> None:
        """Write to `topic`."""
        self._producer = producer
        self._topic = topic

    async def write(self, rejected: Sequence[Rejected]) -> None:
        """Return when every record is acknowledged; raise otherwise, and the offset must not advance."""
        for each in rejected:
            where = (each.record.topic, each.record.partition, each.record.offset)
            logger.warning("dead letter %s/%d@%d: %s", *where, each.error)
        try:
            await self._producer.send(dead_letter(self._topic, each) for each in rejected)
        except RecordTooLargeError:
            await self._producer.send(dead_letter(self._topic, each, value_limit=TRUNCATED_BYTES) for each in rejected)


class DeadLetterLimit:
    """Counts good and bad records over a sliding window and says when bad ones are too many."""

    def __init__(self, clock: Clock, *, share: float, window: float, minimum: int) -> None:
        """Trip at `minimum` bad records that make up `share` of all within `window` seconds."""
        self._clock = clock
        self._share = share
        self._window = window
        self._minimum = minimum
        self._seen: deque[tuple[float, int, int]] = deque()

    def count(self, *, total: int, bad: int) -> None:
        """Add a batch; raise `TooManyDeadLettersError` when it passes the limit, before anything is written."""
        now = self._clock.monotonic()
        while self._seen and self._seen[0][0] <= now - self._window:
            self._seen.popleft()
        all_seen = total + sum(seen for _, seen, _ in self._seen)
        all_bad = bad + sum(seen_bad for _, _, seen_bad in self._seen)
        if bad and all_bad >= self._minimum and all_bad >= self._share * all_seen:
            msg = (
                f"{all_bad} of the last {all_seen} records could not be handled (limit: {self._share:.0%} of at least "
                f"{self._minimum} within {self._window:g} s). The consumer stops here and commits nothing: find out "
                f"which deploy changed the events, then restart; HELIOGRAPH_DEAD_LETTER_SHARE=1 lets them all through"
            )
            raise TooManyDeadLettersError(msg)
        if total:
            self._seen.append((now, total, bad))
