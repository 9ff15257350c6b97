"""Waiting for the next round of what happens every so often, and sooner when there is a reason."""

from __future__ import annotations

import asyncio


class Alarm:
    """Ends one wait early; rung between two waits it ends the next one."""

    def __init__(self) -> None:
        """Be silent."""
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """End the wait that is under way, or else the next one."""
        self._rung.set()

    async def wait(self, stop: asyncio.Event, seconds: float) -> bool:
        """Wait for `stop` or the alarm, at most `seconds`; say whether `stop` is set."""
        waits = [asyncio.ensure_future(each.wait()) for each in (stop, self._rung)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
        self._rung.clear()
        return stop.is_set()
