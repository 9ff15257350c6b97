"""docs/faults.md is true of the tests it names: every fault has one, and each of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
DOCUMENT = (TESTS.parent / "docs" / "faults.md").read_text(encoding="utf-8")
_, _, REST = DOCUMENT.partition("<!-- rows -->\n")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in REST.partition("<!-- end of rows -->")[0].splitlines()[2:]
]
NAMED = re.compile(r"`(\w+/\w+\.py)::(\w+)`")
#: Those of `tests/chaos` whose last run stands in the document.
RUNS = re.findall(r"^\| `(test_\w+)", REST.partition("<!-- end of rows -->")[2], re.MULTILINE)


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.name for node in functions if node.name.startswith("test_")}


def test_there_are_rows() -> None:
    assert len(ROWS) >= 20
    assert len({fault for fault, *_ in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_fault_has_a_promise_and_tests_that_exist(row: list[str]) -> None:
    fault, promise, tests = row
    assert fault
    assert promise
    named = NAMED.findall(tests)
    assert named
    assert NAMED.sub("", tests).strip() == "", "something beside names of tests"
    for file, test in named:
        assert test in names_in(TESTS / file), f"{file} has no {test}"


def test_every_test_of_the_folder_has_its_row_and_its_last_run() -> None:
    named = {test for row in ROWS for file, test in NAMED.findall(row[2]) if file.startswith("chaos/")}
    there = {test for path in (TESTS / "chaos").glob("test_chaos_*.py") for test in names_in(path)}
    assert named == there
    assert set(RUNS) == there
