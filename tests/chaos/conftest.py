"""The fault table on real processes: minutes with HELIOGRAPH_CHAOS set, as `make chaos` does, else its short smoke.

What each row came to is printed at the end, in the form docs/faults.md keeps it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.books import Balance

#: Read when the folder is collected, wherever pytest is started from.
collect_ignore_glob = [] if os.environ.get("HELIOGRAPH_CHAOS") else ["test_chaos_*.py"]


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Callable[[Balance, int], None]:
    """Keep what a run came to and how many repetitions it might have had."""

    def keep(found: Balance, bound: int) -> None:
        figures = (found.events, found.deliveries, found.requests, found.again, bound)
        record_property("books", " | ".join(f"{figure:,}" for figure in figures))

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line of the table for each row that has passed."""
    for report in terminalreporter.stats.get("passed", ()):
        books = dict(report.user_properties).get("books")
        if books and report.when == "call":
            name = report.nodeid.rpartition("::")[2]
            terminalreporter.write_line(f"| `{name}` | {books} | {report.duration:.0f} s |")
