"""Fields of log lines, everywhere in the source: a name that the formatters would drop is a mistake here already."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from runtime import logs

ROOT = Path(__file__).parents[3]
PACKAGES = ("consumers", "feeds", "migrations", "publisher", "runtime", "signer")
FIELDS = {"fields", "logs.fields"}


def lines_with_fields() -> dict[str, ast.expr]:
    """Return what is given as `extra`, by where."""
    return {
        f"{path.relative_to(ROOT)}:{call.lineno}": word.value
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if "extra=" in (text := path.read_text())
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("logger.")
        for word in call.keywords
        if word.arg == "extra"
    }


LINES = lines_with_fields()


def test_there_are_lines_to_judge() -> None:
    files = {where.partition(":")[0] for where in LINES}
    assert {"publisher/api/request_log.py", "publisher/delivery/report.py", "signer/agent.py"} <= files


@pytest.mark.parametrize("where", LINES)
def test_a_line_s_fields_are_named_where_it_is_written_and_allowed(where: str) -> None:
    given = LINES[where]
    assert isinstance(given, ast.Call)
    assert ast.unparse(given.func) in FIELDS
    assert {word.arg for word in given.keywords} <= logs.ALLOWED
