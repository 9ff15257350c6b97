"""How many requests were let through and turned away, by policy and window of wall time. No I/O; the time is passed in.

A window is published once, whole, under the name of this process (`instance`): that is how Heliograph tells a record
that came twice from two processes. The name is random, and begins with the first request rather than with the import,
so that processes forked from one differ. When the clock is set back into a window that is published already, the
process takes another name: what it counts from then on is another window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Window(NamedTuple):
    """What an instance decided in the `seconds` from `start` (unix seconds)."""

    policy: str
    start: int
    seconds: int
    allowed: int
    limited: int
    instance: str


class _Key(NamedTuple):
    number: int
    policy: str
    instance: str


class Windows:
    """Counts decisions."""

    def __init__(self, seconds: int, new_instance: Callable[[], str]) -> None:
        """`new_instance` makes a name that nobody else has."""
        self._seconds = seconds
        self._new_instance = new_instance
        self._instance = ""
        #: The last window that was taken since the process has this name.
        self._taken: int | None = None
        self._counted: dict[_Key, list[int]] = {}

    def count(self, policy: str, *, is_allowed: bool, unix: float) -> None:
        """Count a decision made at `unix` seconds."""
        number = int(unix // self._seconds)
        if not self._instance or (self._taken is not None and number <= self._taken):
            self._instance, self._taken = self._new_instance(), None
        counts = self._counted.setdefault(_Key(number, policy, self._instance), [0, 0])
        counts[0 if is_allowed else 1] += 1

    def take(self, unix: float) -> list[Window]:
        """Return the windows that are over at `unix` seconds, and forget them."""
        now = int(unix // self._seconds)
        return self._take([key for key in self._counted if key.number < now])

    def take_all(self) -> list[Window]:
        """Return every window, and forget them: nothing is counted any more."""
        return self._take(list(self._counted))

    def _take(self, keys: list[_Key]) -> list[Window]:
        taken = []
        for key in sorted(keys):
            self._taken = key.number
            allowed, limited = self._counted.pop(key)
            start = key.number * self._seconds
            taken.append(Window(key.policy, start, self._seconds, allowed, limited, key.instance))
        return taken
