"""What a message carries from process to process so that they speak of one trace: W3C Trace Context, as text.

Light on purpose: whoever names a trace in a log line, or asks whether one is recorded, needs nothing of OpenTelemetry,
which only `runtime/telemetry.py` loads, and only where traces are exported.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from runtime.clock import Clock

#: W3C Trace Context, version 00; a trace or span of zeros is invalid.
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACE, _SPAN = slice(3, 35), slice(36, 52)
#: Traces a second that one process begins because their producer wants them.
WISHED_PER_SECOND = 100
#: Digits of a trace id that are random (W3C Trace Context level 2), and how many numbers they make.
_RANDOM_DIGITS, _RANDOM_IDS = 14, 1 << 56


def traceparent(trace_id: int, span_id: int) -> str:
    """Return the text of a span that is recorded."""
    return f"00-{trace_id:032x}-{span_id:016x}-01"


def ids_of(text: str) -> tuple[int, int]:
    """Return trace and span of a valid `traceparent`."""
    return int(text[_TRACE], 16), int(text[_SPAN], 16)


def is_recorded(text: str | None) -> bool:
    """Say whether the trace of a valid `traceparent` is recorded: the lowest bit of its flags."""
    return text is not None and text[-1] in "13579bdf"


def unrecorded(text: str) -> str:
    """Return a valid `traceparent` with the flag taken off."""
    return f"{text[:-2]}00"


def trace_id_of(text: str | None, name: str) -> str:
    """Return the trace of what is called `name`, 32 hex digits: its `traceparent`'s, or one that follows from the name.

    So everything has a trace that every process knows, and nothing is stored or drawn for what is not recorded.
    """
    return text[_TRACE] if text is not None else hashlib.sha256(name.encode()).hexdigest()[:32]


class Budget:
    """So many a second and no more, on a clock that never goes back."""

    def __init__(self, clock: Clock, per_second: int) -> None:
        """Begin with a second's worth."""
        self._clock = clock
        self._per_second = per_second
        self._left = float(per_second)
        self._at = clock.monotonic()

    def take(self) -> bool:
        """Take one; say whether there was one."""
        now = self._clock.monotonic()
        self._left = min(self._per_second, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Sampler:
    """Which traces are recorded: head sampling, decided once, where a trace enters."""

    def __init__(self, share: float, rng: Random, clock: Clock) -> None:
        """Record `share` (0 to 1) of what comes without a decision."""
        self._share = share
        self._rng = rng
        self._wished = Budget(clock, WISHED_PER_SECOND)

    def wants(self, text: str | None) -> bool:
        """Say whether what came with this `traceparent` is recorded from here on.

        A decision that came is followed, as parent-based sampling does. But a producer that wants everything gets
        `WISHED_PER_SECOND` and of the rest the share, by the trace's id: whoever else does so keeps the same ones.
        """
        if text is None:
            return self._share > 0 and self._rng.random() < self._share
        if not is_recorded(text):
            return False
        if self._wished.take():
            return True
        return int(text[_TRACE][-_RANDOM_DIGITS:], 16) < self._share * _RANDOM_IDS
