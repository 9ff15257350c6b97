"""What is published: the bytes of a window and of a health report. Pure.

A report that Heliograph could not take would be a dead letter, and many of them stop its intake: so what it says is
checked here, where whoever wrote it sees the error. The rules are those of consumers/telemetry.py.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heliograph_telemetry.windows import Window

STATUSES = ("operational", "degraded_performance", "partial_outage", "major_outage", "under_maintenance")
MOST_CHARS, MOST_CHECKS = 64, 100


class Check(NamedTuple):
    """One thing that was looked at; `status` is your own word for it."""

    name: str
    status: str
    observed_value: float | None = None
    unit: str | None = None


class Report(NamedTuple):
    """How a component is: `STO/compute`, or `panel` for what bastions share; `status` is one of `STATUSES`."""

    component: str
    status: str
    checks: Sequence[Check] = ()


def window_record(window: Window) -> bytes:
    """Return the record of a window."""
    return _json(
        {
            "type": "ratelimit.window",
            "policy": window.policy,
            "window_start": _moment(window.start),
            "window_seconds": window.seconds,
            "allowed": window.allowed,
            "limited": window.limited,
            "instance": window.instance,
        }
    )


def report_record(report: Report, unix: float) -> bytes:
    """Return the record of a report made at `unix` seconds; ValueError names what Heliograph would not take."""
    _check_name("component", report.component)
    parts = report.component.split("/")
    if len(parts) > 2 or not all(parts) or any(part != part.strip() for part in parts):  # noqa: PLR2004 - the text says which
        raise ValueError(f"component {report.component!r} is neither `<service>` nor `<bastion>/<service>`")
    if report.status not in STATUSES:
        raise ValueError(f"status {report.status!r} of {report.component} is none of {', '.join(STATUSES)}")
    if len(report.checks) > MOST_CHECKS:
        raise ValueError(f"{report.component} has {len(report.checks)} checks, {MOST_CHECKS} are allowed")
    for check in report.checks:
        _check_name("check", check.name)
        _check_name(f"status of check {check.name!r}", check.status)
        if check.unit:
            _check_name(f"unit of check {check.name!r}", check.unit)
    return _json(
        {
            "type": "health.report",
            "component": report.component,
            "status": report.status,
            "checks": [check._asdict() | {"observed_value": _value(check)} for check in report.checks],
            "time": _moment(unix),
        }
    )


def _check_name(what: str, text: str) -> None:
    if not 1 <= len(text) <= MOST_CHARS:
        raise ValueError(f"{what} {text!r} has {len(text)} characters, 1 to {MOST_CHARS} are allowed")
    if not text.isprintable() or text != text.strip():
        raise ValueError(f"{what} {text!r} has characters that do not show, or blanks around it")


def _value(check: Check) -> float | None:
    if check.observed_value is None:
        return None
    try:
        value = float(check.observed_value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"observed_value of check {check.name!r} is not finite")
    return value


def _moment(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat().replace("+00:00", "Z")


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
