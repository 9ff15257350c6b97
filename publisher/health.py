"""Is this process alive, is it ready, and if not why: `application/health+json`.

Liveness is the event loop answering at all. Readiness is what this process needs to do its work: the database,
and an intake that has not halted. A customer's endpoint is never part of either.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from runtime.lifecycle import reason_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

CONTENT_TYPE = "application/health+json"
CHECK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Report:
    """What each check said; an empty reason is a pass."""

    reasons: Mapping[str, str]

    @property
    def status(self) -> str:
        """`pass` or `fail`."""
        return "fail" if any(self.reasons.values()) else "pass"

    @property
    def http_status(self) -> int:
        """200 or 503."""
        return 503 if self.status == "fail" else 200


class Health:
    """The checks of this process, by name."""

    def __init__(self) -> None:
        """Begin with none; each role adds its own."""
        self._checks: dict[str, Callable[[], Awaitable[None]]] = {}
        self._reporting: asyncio.Task[Report] | None = None

    def add(self, name: str, check: Callable[[], Awaitable[None]]) -> None:
        """Add a check: it returns when all is well and raises with the reason otherwise."""
        self._checks[name] = check

    async def report(self) -> Report:
        """Run every check at once, each for at most two seconds.

        Whoever asks meanwhile gets the same report: anybody may ask, and each check costs a question to the database.
        """
        if self._reporting is None or self._reporting.done():
            self._reporting = asyncio.create_task(self._report(), name="health")
        return await asyncio.shield(self._reporting)

    async def _report(self) -> Report:
        reasons = await asyncio.gather(*(_run(check) for check in self._checks.values()))
        return Report(dict(zip(self._checks, reasons, strict=True)))


async def _run(check: Callable[[], Awaitable[None]]) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} s"
    except Exception as error:  # whatever a check raises is its verdict
        return reason_of(error)
    return ""


def body(status: str, reasons: Mapping[str, str] | None = None) -> bytes:
    """Return the document: status alone, or with one entry for each check."""
    document: dict[str, object] = {"status": status}
    if reasons is not None:
        document["checks"] = {
            name: [{"status": "fail", "output": reason} if reason else {"status": "pass"}]
            for name, reason in reasons.items()
        }
    return orjson.dumps(document)
