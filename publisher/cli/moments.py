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
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        message = f"--since: {text!r} is neither a time such as 2026-11-01T12:00:00Z nor one ago such as 90m, 24h, 7d"
        raise CommandUsageError(message) from None


def parse_length(text: str) -> timedelta | None:
    """Return a length of time such as 90s, 15m, 24h, 7d; None for what is none. Raises OverflowError."""
    length = re.fullmatch(r"(\d{1,9})([smhd])", text, re.ASCII)
    return timedelta(**{UNITS[length[2]]: int(length[1])}) if length else None
