"""Log lines: one event is one line, machines can read every one of them, and nothing is written that nobody named."""

from __future__ import annotations

import io
import logging
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import logs
from runtime.logs import JsonFormatter, TextFormatter, fields
from runtime.settings import load

if TYPE_CHECKING:
    from collections.abc import Iterator

MOMENT = datetime(2026, 11, 1, 12, 30, 15, 250_000, tzinfo=UTC)


def _record(message: str, *args: object, error: BaseException | None = None, **named: object) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("publisher.worker", logging.WARNING, __file__, 1, message, args, exc_info)
    record.created = MOMENT.timestamp()
    record.__dict__.update(fields(**named) if named else {})
    return record


def _raised() -> BaseException:
    try:
        raise ValueError("first line\nsecond line")  # noqa: TRY301 - a traceback is wanted
    except ValueError as error:
        return error


def _json(record: logging.LogRecord) -> dict[str, Any]:
    line = JsonFormatter().format(record)
    assert "\n" not in line
    parsed: dict[str, Any] = orjson.loads(line)
    return parsed


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_a_json_line_has_time_level_logger_message_and_the_named_fields() -> None:
    assert _json(_record("%d delivered", 3, endpoint_id="we_1", retry_in=0.5)) == {
        "time": "2026-11-01T12:30:15.250+00:00",
        "level": "warning",
        "logger": "publisher.worker",
        "pid": os.getpid(),
        "message": "3 delivered",
        "endpoint_id": "we_1",
        "retry_in": 0.5,
    }


def test_only_what_was_named_is_written() -> None:
    record = _record("delivery %s failed", "dlv_1")
    record.__dict__["shown_once"] = "whsec_hunter2"
    assert set(_json(record)) == {"time", "level", "logger", "pid", "message"}
    assert "hunter2" not in TextFormatter(show_traceback=True).format(record)


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter(show_traceback=True)])
def test_a_field_that_is_not_allowed_is_dropped(formatter: logging.Formatter) -> None:
    line = formatter.format(_record("delivered", url="https://receiver.example", account="acct_1", status=204))
    assert "receiver" not in line
    assert "acct_1" not in line
    assert "204" in line


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter(show_traceback=True)])
def test_a_line_names_the_trace_of_the_task_that_writes_it(formatter: logging.Formatter) -> None:
    token = logs.TRACE.set(lambda: "4bf9")
    try:
        assert "4bf9" in formatter.format(_record("it failed"))
        assert "4bf9" not in formatter.format(_record("it failed", trace_id="the line's own"))
    finally:
        logs.TRACE.reset(token)
    assert "trace_id" not in formatter.format(_record("it failed"))


def test_an_exception_is_one_string_of_the_json_line() -> None:
    parsed = _json(_record("it failed", error=_raised()))
    assert parsed["exception"].startswith("Traceback (most recent call last)")
    assert parsed["exception"].endswith("ValueError: first line\nsecond line")


@pytest.mark.parametrize(
    "value",
    [2**70, {1: "a"}, {("a", 1): "b"}, b"bytes", ValueError("x"), {"a"}, object, float("nan"), "half a pair \ud800"],
    ids=repr,
)
def test_no_value_costs_the_line(value: object) -> None:
    parsed = _json(_record("a message", result=value))
    assert parsed["message"] == "a message"
    assert "result" in parsed


@given(st.text(st.characters(exclude_categories=())))
@settings(deadline=None)
def test_every_message_is_a_line_of_json(message: str) -> None:
    parsed = _json(_record("%s", message))
    assert parsed["message"] == message.encode(errors="replace").decode()


# --- text ------------------------------------------------------------------------------------------------------------


def test_a_text_line_is_time_level_message_fields() -> None:
    line = TextFormatter(show_traceback=False).format(_record("%d delivered", 3, endpoint_id="we_1"))
    assert line == "12:30:15 warning 3 delivered endpoint_id=we_1"


def test_without_debug_an_exception_is_its_type_and_message_on_the_same_line() -> None:
    line = TextFormatter(show_traceback=False).format(_record("it failed", error=_raised()))
    assert line == "12:30:15 warning it failed (ValueError: first line second line)"


def test_with_debug_an_exception_is_a_traceback() -> None:
    text = TextFormatter(show_traceback=True).format(_record("it failed", error=_raised()))
    assert text.splitlines()[:2] == ["12:30:15 warning it failed", "Traceback (most recent call last):"]


def test_exception_outside_of_an_except_is_harmless() -> None:
    record = _record("it failed")
    record.exc_info = (None, None, None)
    assert TextFormatter(show_traceback=False).format(record) == "12:30:15 warning it failed"
    assert _json(record)["message"] == "it failed"


# --- configure -------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    chatty = {
        name: logging.getLogger(name).level
        for name in ("aiokafka", "asyncpg.pool", "asyncio", "alembic", "aiohttp.access")
    }
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, each in chatty.items():
        logging.getLogger(name).setLevel(each)


@pytest.mark.parametrize("log_format", ["json", "auto"])
def test_away_from_a_terminal_logs_are_json(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    logs.configure(load(environ={}, log_format=log_format))
    logging.getLogger("publisher").info("hello", extra=fields(status=1))
    assert orjson.loads(capsys.readouterr().err)["status"] == 1


@pytest.mark.parametrize(("is_terminal", "log_format"), [(True, "auto"), (True, "text"), (False, "text")])
def test_on_a_terminal_or_when_asked_logs_are_text(
    monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool, log_format: str
) -> None:
    stream = Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure(load(environ={}, log_format=log_format))
    logging.getLogger("publisher").info("hello", extra=fields(status=1))
    assert stream.getvalue().endswith(" info    hello status=1\n")


def test_the_level_is_the_setting_s_and_debug_shows_everything(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(load(environ={}, log_level="error"))
    logging.getLogger("publisher").warning("no")
    assert capsys.readouterr().err == ""
    logs.configure(load(environ={}, log_level="error"), debug=True)
    logging.getLogger("publisher").debug("yes")
    assert orjson.loads(capsys.readouterr().err)["message"] == "yes"


def test_a_pool_that_reconnects_shows_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(load(environ={}))
    logging.getLogger("asyncpg.pool").warning("Failed to restore", exc_info=_raised())
    assert capsys.readouterr().err == ""


def test_configuring_twice_writes_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        logs.configure(load(environ={}))
    logging.getLogger("publisher").warning("once")
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter(show_traceback=True)])
def test_what_postgresql_says_in_detail_is_not_repeated(formatter: logging.Formatter) -> None:
    """It repeats rows: accounts, URLs, whatever they hold."""
    error = ValueError("violates a constraint\nDETAIL:  Failing row contains (acct_1, https://secret.example).")
    line = formatter.format(_record("it failed", error=error))
    assert "violates a constraint" in line
    assert "acct_1" not in line
    assert "DETAIL" not in line
