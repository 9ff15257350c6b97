"""Is this process alive, is it ready, and if not why: `application/health+json` (draft-inadarei-api-health-check-06).

Liveness is the event loop alone. Readiness is what this process needs to do its work; what only makes some of it worse
is a warning, and it stays ready. A customer's endpoint is never part of either. The checks themselves stand in
publisher/readiness.py.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import orjson

from publisher import VERSION
from runtime.clock import SystemClock
from runtime.lifecycle import reason_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from runtime.clock import Clock

CONTENT_TYPE = "application/health+json"
CHECK_SECONDS = 2.0
SERVICE_ID = "heliograph"


class Status(StrEnum):
    """The draft's words for how somebody is, from best to worst."""

    PASS = "pass"  # noqa: S105 - a word of the draft
    WARN = "warn"
    FAIL = "fail"


class ComponentType(StrEnum):
    """The draft's words for what was looked at."""

    COMPONENT = "component"
    DATASTORE = "datastore"
    SYSTEM = "system"


class Observed(NamedTuple):
    """What a check measured; `unit` is one of SI's, or a plural."""

    value: float | str
    unit: str | None = None


class CheckError(Exception):
    """Something is not as it should be, and this was measured all the same."""

    def __init__(self, reason: str, observed: Observed) -> None:
        """`reason` is one line, fit for the operator."""
        super().__init__(reason)
        self.observed = observed


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check said."""

    status: Status
    component_type: ComponentType
    time: datetime
    observed: Observed | None = None
    output: str = ""

    def document(self) -> dict[str, object]:
        """Return it as the draft's members; those that say nothing are left out."""
        members: dict[str, object] = {"componentType": self.component_type, "status": self.status}
        if self.observed is not None:
            members["observedValue"] = self.observed.value
            if self.observed.unit is not None:
                members["observedUnit"] = self.observed.unit
        members["time"] = self.time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self.output:
            members["output"] = self.output
        return members


@dataclass(frozen=True, slots=True)
class Report:
    """What each check said, by `component:measurement`."""

    findings: Mapping[str, Finding] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        """The worst of all."""
        found = {each.status for each in self.findings.values()}
        return next((status for status in (Status.FAIL, Status.WARN) if status in found), Status.PASS)

    @property
    def http_status(self) -> int:
        """503 for a failure; a warning is still 200, as the draft has it."""
        return http_status(self.status)

    @property
    def reasons(self) -> dict[str, str]:
        """Why checks did not pass, by name; empty for those that did."""
        return {name: each.output for name, each in self.findings.items()}


class _Registered(NamedTuple):
    check: Callable[[], Awaitable[Observed | None]]
    component_type: ComponentType
    otherwise: Status


class Health:
    """The checks of this process, by name."""

    def __init__(self, clock: Clock | None = None) -> None:
        """Begin with none; each role adds its own."""
        self._clock = clock or SystemClock()
        self._checks: dict[str, _Registered] = {}
        self._reporting: asyncio.Task[Report] | None = None
        #: The last question of each check, answered or not.
        self._left: dict[str, asyncio.Future[Observed | None]] = {}
        self._is_started = False
        self._lag: Callable[[], Finding] | None = None

    def add(
        self,
        name: str,
        check: Callable[[], Awaitable[Observed | None]],
        *,
        component_type: ComponentType = ComponentType.COMPONENT,
        otherwise: Status = Status.FAIL,
    ) -> None:
        """Add a check, named `component:measurement`.

        It returns what it measured, or None, when all is well and raises with the reason otherwise: that makes the
        process not ready, unless it is worth no more than a warning `otherwise`.
        """
        self._checks[name] = _Registered(check, component_type, otherwise)

    def watch_loop(self, lag: Callable[[], Observed], *, limit: float) -> None:
        """Have liveness depend on the event loop's lag in seconds: from `limit` on it is stuck."""

        def find() -> Finding:
            observed = lag()
            assert isinstance(observed.value, float)  # noqa: S101 - seconds
            is_stuck = observed.value >= limit
            output = f"the event loop was busy for {observed.value:.1f} s" if is_stuck else ""
            status = Status.FAIL if is_stuck else Status.PASS
            return Finding(status, ComponentType.SYSTEM, self._clock.now(), observed, output)

        self._lag = find

    def started(self) -> None:
        """Say that everything has been opened; that stays so."""
        self._is_started = True

    @property
    def names(self) -> list[str]:
        """The names of all checks there are."""
        return [*self._checks, *(("eventLoop:lag",) if self._lag else ())]

    def liveness(self) -> Report:
        """Return how the event loop does: nothing else is a reason to restart the process."""
        return Report({"eventLoop:lag": self._lag()} if self._lag else {})

    def startup(self) -> Report:
        """Fail until everything has been opened once, and pass from then on."""
        if self._is_started:
            return Report()
        output = "the service is starting"
        return Report(
            {"service:startup": Finding(Status.FAIL, ComponentType.COMPONENT, self._clock.now(), None, output)}
        )

    async def report(self) -> Report:
        """Run every check at once, each for at most two seconds.

        Whoever asks meanwhile gets the same report: anybody may ask, and each check costs a question to the database.
        """
        if self._reporting is None or self._reporting.done():
            self._reporting = asyncio.create_task(self._report(), name="health")
        return await asyncio.shield(self._reporting)

    async def _report(self) -> Report:
        checks = dict(self._checks)  # one may be added meanwhile: that the service is stopping
        findings = await asyncio.gather(*(self._run(*each) for each in checks.items()))
        return Report({**dict(zip(checks, findings, strict=True)), **self.liveness().findings})

    async def _run(self, name: str, registered: _Registered) -> Finding:
        observed, output = None, ""
        try:
            observed = await self._answer(name, registered)
        except TimeoutError:
            output = f"no answer within {CHECK_SECONDS:g} s"
        except CheckError as error:
            observed, output = error.observed, reason_of(error)
        except Exception as error:  # whatever a check raises is its verdict
            output = reason_of(error)
        status = registered.otherwise if output else Status.PASS
        return Finding(status, registered.component_type, self._clock.now(), observed, output)

    async def _answer(self, name: str, registered: _Registered) -> Observed | None:
        """Return what a check says; raises what it raises, and `TimeoutError`.

        One that does not answer is left behind: a server that hangs also keeps the giving up of a question waiting. It
        is asked again when that has ended, or each look would take another connection with it.
        """
        left = self._left.get(name)
        if left is not None and not left.done():
            raise TimeoutError
        asked = self._left[name] = asyncio.ensure_future(registered.check())
        try:
            if (await asyncio.wait((asked,), timeout=CHECK_SECONDS))[0]:
                return asked.result()
        finally:
            asked.cancel()
        asked.add_done_callback(_heed)
        raise TimeoutError


def _heed(asked: asyncio.Future[Observed | None]) -> None:
    """Take note of what a check raised after it was left behind, or asyncio complains."""
    if not asked.cancelled():
        asked.exception()


def http_status(status: Status) -> int:
    """Return what a monitor is answered."""
    return 503 if status is Status.FAIL else 200


def body(status: Status) -> bytes:
    """Return the document for everybody: the status alone."""
    return orjson.dumps({"status": status})


def full_body(report: Report) -> bytes:
    """Return the document for the operator: which release this is, and each check."""
    return orjson.dumps(
        {
            "status": report.status,
            "version": VERSION.partition(".")[0],
            "releaseId": VERSION,
            "serviceId": SERVICE_ID,
            "checks": {name: [each.document()] for name, each in report.findings.items()},
        }
    )
