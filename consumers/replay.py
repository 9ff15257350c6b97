"""A dead letter read back: what it says of itself, and the record it was, to be produced again. Pure.

The twin of `deadletters`. What the producer of the record wrote comes first among its headers, what we added last,
from the last `heliograph-reason` on: a record that carried such headers itself (somebody's own replay) is not
mistaken for ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumers.broker import Outgoing
from consumers.deadletters import HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumers.decode import Record

UNKNOWN = "unknown"


class NotReplayableError(Exception):
    """A dead letter that cannot be produced again; the text says why, and what can be done."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the record stood; `timestamp` is Unix milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int

    def __str__(self) -> str:
        """Return the coordinates as the log writes them."""
        return f"{self.topic}/{self.partition}@{self.offset}"


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter without its bytes.

    `origin` is None where the headers do not say. `cut` holds the original size of each part that was cut off:
    `bytes`, `key-bytes`, `headers-bytes`. `headers` are the producer's own.
    """

    reason: str
    detail: str
    origin: Origin | None
    cut: Mapping[str, int]
    headers: Sequence[tuple[str, bytes | None]]


def letter(record: Record) -> Letter:
    """Return what a record of the dead-letter topic says of itself, whoever wrote it."""
    names = [name for name, _ in record.headers]
    ours_from = len(names) - names[::-1].index(f"{HEADER}reason") - 1 if f"{HEADER}reason" in names else len(names)
    ours = {
        name.removeprefix(HEADER): (content or b"").decode("utf-8", "replace")
        for name, content in record.headers[ours_from:]
    }
    return Letter(
        reason=ours.get("reason") or UNKNOWN,
        detail=ours.get("detail", ""),
        origin=_origin(ours),
        cut={
            name.removeprefix("original-"): int(size)
            for name, size in ours.items()
            if name.startswith("original-") and size.isdecimal()
        },
        headers=[each for each in record.headers[:ours_from] if not each[0].startswith(HEADER)],
    )


def again(record: Record, topics: frozenset[str]) -> Outgoing:
    """Return the record as it was, for the topic it came from, which must be one of `topics`.

    Raises `NotReplayableError` for one that was cut, one that does not say where it came from, and one whose topic
    is gone. The new record gets the time of its replay: with its old one, a topic's retention might take it at once.
    """
    read = letter(record)
    if read.origin is None:
        raise NotReplayableError(f"its {HEADER}* headers do not say where it came from")
    if read.cut:
        sizes = ", ".join(f"{name.replace('-', ' ')}: {size}" for name, size in read.cut.items())
        raise NotReplayableError(
            f"it was cut to fit (originally {sizes}); the whole record stands at {read.origin} until retention takes it"
        )
    if read.origin.topic not in topics:
        raise NotReplayableError(f"its topic {read.origin.topic} is not there any more, or this user may not see it")
    return Outgoing(read.origin.topic, record.key, record.value, read.headers)


def _origin(ours: Mapping[str, str]) -> Origin | None:
    try:
        partition, offset, timestamp = (int(ours[name]) for name in ("partition", "offset", "timestamp"))
        return Origin(ours["topic"], partition, offset, timestamp)
    except (KeyError, ValueError):
        return None
