"""What could not be handled: the record as it was, where it came from and why; and the limit on doing so.

A dead letter keeps key, value and headers byte for byte and adds `heliograph-*` headers, so that replaying it
is producing it again. One bad record is the producer's slip. A burst of them is a bad deploy, ours or theirs:
past a share of all records in a window the consumer stops instead, with offsets uncommitted, because a halted
partition is found in minutes and a topic full of dead letters in days.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Self

from consumers.broker import Outgoing, Producer, RecordTooLargeError
from consumers.decode import trace_of
from runtime.logs import fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.decode import InvalidRecordError, Record
    from runtime.clock import Clock
    from runtime.settings import Settings

logger = logging.getLogger(__name__)

HEADER = "heliograph-"
#: Kept of a record that even the dead-letter topic refuses; the whole one still stands at its coordinates.
TRUNCATED_BYTES = 256 * 1024


class Rejected(NamedTuple):
    """A record and why it is a dead letter."""

    record: Record
    error: InvalidRecordError


class TooManyDeadLettersError(Exception):
    """The share of bad records passed the limit; the text says what was seen and what to do."""


def dead_letter(topic: str, rejected: Rejected, *, limit: int | None = None) -> Outgoing:
    """Return the dead letter for a record: its bytes, its headers, and ours with coordinates and reason.

    With `limit`: at most so many bytes of key and of value, no headers where they are more, and what the sizes were.
    """
    record, error = rejected
    key, value, theirs = record.key, record.value, list(record.headers)
    ours: list[tuple[str, bytes | None]] = [
        (f"{HEADER}reason", str(error.reason).encode()),
        (f"{HEADER}detail", error.detail[:1000].encode("utf-8", "replace")),
        (f"{HEADER}topic", record.topic.encode()),
        (f"{HEADER}partition", b"%d" % record.partition),
        (f"{HEADER}offset", b"%d" % record.offset),
        (f"{HEADER}timestamp", b"%d" % record.timestamp),
    ]
    if limit is not None:
        sizes = {
            "original-bytes": len(value or b""),
            "original-key-bytes": len(key or b""),
            "original-headers-bytes": sum(len(name.encode()) + len(content or b"") for name, content in theirs),
        }
        ours += [(HEADER + name, b"%d" % size) for name, size in sizes.items() if size > limit]
        key, value = key and key[:limit], value and value[:limit]
        theirs = theirs if sizes["original-headers-bytes"] <= limit else []
    return Outgoing(topic, key, value, theirs + ours)


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
            logger.warning("dead letter %s/%d@%d: %s", *where, each.error, extra=fields(trace_id=trace_of(each.record)))
        try:
            await self._producer.send(dead_letter(self._topic, each) for each in rejected)
        except RecordTooLargeError:
            for each in rejected:
                await self._write_what_fits(each)

    async def _write_what_fits(self, rejected: Rejected) -> None:
        try:
            await self._producer.send([dead_letter(self._topic, rejected)])
        except RecordTooLargeError:
            await self._producer.send([dead_letter(self._topic, rejected, limit=TRUNCATED_BYTES)])


class DeadLetterLimit:
    """Counts good and bad records over a sliding window and says when bad ones are too many."""

    def __init__(self, clock: Clock, *, share: float, window: float, minimum: int) -> None:
        """Trip at `minimum` bad records that make up `share` of all within `window` seconds; never at a share of 1."""
        self._clock = clock
        self._share = share
        self._window = window
        self._minimum = minimum
        self._batches: deque[tuple[float, int, int]] = deque()
        self._total = 0
        self._bad = 0

    @classmethod
    def of(cls, settings: Settings, clock: Clock) -> Self:
        """Return the limit of a configuration; each intake has one of its own."""
        return cls(
            clock,
            share=settings.dead_letter_share,
            window=settings.dead_letter_window,
            minimum=settings.dead_letter_minimum,
        )

    def check(self, *, total: int, bad: int) -> None:
        """Raise `TooManyDeadLettersError` if this batch would pass the limit; ask before anything is written."""
        if not bad or self._share >= 1:
            return
        self._forget()
        all_seen, all_bad = self._total + total, self._bad + bad
        if all_bad >= self._minimum and all_bad >= self._share * all_seen:
            msg = (
                f"{all_bad} of the last {all_seen} records could not be handled (limit: {self._share:.0%} of at least "
                f"{self._minimum} within {self._window:g} s). The consumer stops here and commits nothing: find out "
                f"which deploy changed the events, then restart; HELIOGRAPH_DEAD_LETTER_SHARE=1 lets them all through"
            )
            raise TooManyDeadLettersError(msg)

    def count(self, *, total: int, bad: int) -> None:
        """Add a batch that is through. One that is tried again and again, for want of a broker, counts once."""
        self._forget()
        self._batches.append((self._clock.monotonic(), total, bad))
        self._total += total
        self._bad += bad

    def _forget(self) -> None:
        """Drop what the window has left behind."""
        horizon = self._clock.monotonic() - self._window
        while self._batches and self._batches[0][0] <= horizon:
            _, total, bad = self._batches.popleft()
            self._total -= total
            self._bad -= bad
