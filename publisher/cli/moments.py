"""Moments and lengths of time as an operator types them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from publisher.cli.context import CommandUsageError

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
SINCE_HELP = "No older than this: 90m, 24h, 7d, or a time such as 2026-11-01T12:00:00Z."


def parse_since(text: str, now: datetime) -> datetime:
    """Return a moment in UTC; one that names no zone is in UTC. Raises `CommandUsageError`."""
    try:
        if (ago := parse_length(text)) is not None:
            return now - ago
        return _moment(text)
    except (ValueError, OverflowError):
        message = f"--since: {text!r} is neither a time such as 2026-11-01T12:00:00Z nor one ago such as 90m, 24h, 7d"
        raise CommandUsageError(message) from None


def parse_at(text: str | None) -> datetime | None:
    """Return a moment in UTC, None where none is given; one without a zone is in UTC. Raises `CommandUsageError`."""
    try:
        return _moment(text) if text else None
    except (ValueError, OverflowError):
        raise CommandUsageError(f"--at: {text!r} is not a time such as 2026-11-02T12:00:00Z") from None


def parse_length(text: str) -> timedelta | None:
    """Return a length of time such as 90s, 15m, 24h, 7d; None for what is none. Raises OverflowError."""
    length = re.fullmatch(r"(\d{1,9})([smhd])", text, re.ASCII)
    return timedelta(**{UNITS[length[2]]: int(length[1])}) if length else None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
