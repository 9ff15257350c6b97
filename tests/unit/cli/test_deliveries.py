"""`heliograph deliveries` without a database: what it shows of numbers, and what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from consumers.announcements import Backlog
from publisher.cli.context import CommandUsageError
from publisher.cli.deliveries import REFUSALS, Stats, as_json, table
from publisher.cli.moments import parse_since
from publisher.deliveries import Ended, Redelivery, Troubled, Waiting
from publisher.quota import Full

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Command

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
BUSY = Stats(
    "acct_1",
    NOON,
    {
        "pending": Waiting(7, NOON - timedelta(minutes=5), 300.04),
        "leased": Waiting(1, NOON + timedelta(seconds=20), 0.0),
        "retry": Waiting(0, None, 0.0),
    },
    [
        Ended("delivered", "2xx", 10, 200),
        Ended("dropped", "5xx", 1, 2),
        Ended("dropped", None, 0, 5),
    ],
    Troubled(1, 3, 2),
    Full(100_001, NOON - timedelta(hours=1)),
    Backlog(4, NOON - timedelta(minutes=1)),
)
IDLE = Stats(
    None, NOON, dict.fromkeys(("pending", "leased", "retry"), Waiting(0, None, 0.0)), [], Troubled(0, 0, 0), None,
    Backlog(0, None),
)  # fmt: skip


def test_the_numbers_as_an_object() -> None:
    assert as_json(BUSY) == {
        "account": "acct_1",
        "time": "2026-11-01T12:00:00Z",
        "queue": {
            "pending": {"deliveries": 7, "oldest_due": "2026-11-01T11:55:00Z", "overdue_seconds": 300.0},
            "leased": {"deliveries": 1, "oldest_due": "2026-11-01T12:00:20Z", "overdue_seconds": 0.0},
            "retry": {"deliveries": 0, "oldest_due": None, "overdue_seconds": 0.0},
        },
        "ended": {
            "delivered": {"hour": 10, "day": 200, "by_last_result": {"2xx": {"hour": 10, "day": 200}}},
            "dropped": {
                "hour": 1,
                "day": 7,
                "by_last_result": {"5xx": {"hour": 1, "day": 2}, "none": {"hour": 0, "day": 5}},
            },
        },
        "full_accounts": 1,
        "disabled_endpoints": 3,
        "running_recoveries": 2,
        "announcements": {"unsent": 4, "oldest": "2026-11-01T11:59:00Z"},
        "full": {"deliveries": 100_001, "since": "2026-11-01T11:00:00Z"},
    }
    assert "full" not in as_json(IDLE)


def test_the_numbers_for_people() -> None:
    assert table(BUSY) == [
        "queue         deliveries  oldest due",
        "pending                7  2026-11-01T11:55:00Z, 5 min ago",
        "leased                 1  2026-11-01T12:00:20Z",
        "retry                  0  -",
        "",
        "ended       last result      last hour    last day",
        "delivered   2xx                     10         200",
        "dropped     -                        0           5",
        "dropped     5xx                      1           2",
        "",
        "accounts with a full queue  1, since 2026-11-01T11:00:00Z with 100001 deliveries",
        "endpoints disabled          3",
        "recoveries running          2",
        "announcements not sent yet  4, the oldest of 2026-11-01T11:59:00Z",
    ]
    assert table(IDLE)[5:8] == ["ended       last result      last hour    last day", "-", ""]


def test_every_refusal_has_words() -> None:
    assert set(REFUSALS) == set(Redelivery) - {Redelivery.QUEUED}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90m", NOON - timedelta(minutes=90)),
        ("7d", NOON - timedelta(days=7)),
        ("2026-10-31T12:00:00Z", NOON - timedelta(days=1)),
        ("2026-10-31T13:00:00+01:00", NOON - timedelta(days=1)),
        ("2026-10-31 12:00", NOON - timedelta(days=1)),
    ],
)
def test_a_moment_is_a_time_or_a_time_ago(text: str, moment: datetime) -> None:
    assert parse_since(text, NOON) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "7w", "-1d", "999999999d", "2026-13-01", "0001-01-01T00:00+23:00"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(CommandUsageError, match=r"^--since: '.*' is neither a time"):
        parse_since(text, NOON)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("stats", "--account", "a|b"), "--account: is not an account id"),
        (("stats",), "HELIOGRAPH_DATABASE_URL is not set ("),
        (("retry",), "name either DELIVERY... or --endpoint"),
        (("retry", "dlv_1", "--endpoint", "we_1"), "name either DELIVERY... or --endpoint"),
        (("retry", "dlv_1", "--since", "7d"), "--since: goes with --endpoint"),
        (("retry", "dlv_1", "--state", "dropped"), "--state: goes with --endpoint"),
        (("retry", "--endpoint", "we_1", "--since", "soon"), "--since: 'soon' is neither"),
        (("retry", "--endpoint", "we_1", "--state", "delivered"), "Invalid value for '--state'"),
        (("retry", "dlv_1"), "HELIOGRAPH_DATABASE_URL is not set ("),
        (("drop",), "name either DELIVERY... or --endpoint"),
        (("drop", "dlv_1", "--endpoint", "we_1"), "name either DELIVERY... or --endpoint"),
        (("drop", "--endpoint", "we_1"), "--yes: is needed where nobody can be asked"),
        (("drop", "--endpoint", "we_1", "--yes"), "HELIOGRAPH_DATABASE_URL is not set ("),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_exit_code_2(
    heliograph: Command, arguments: tuple[str, ...], words: str
) -> None:
    said = heliograph("deliveries", *arguments)
    assert (said.code, said.stdout) == (2, ""), said
    assert said.stderr.startswith(f"heliograph: {words}"), said
    assert said.stderr.count("\n") == 1
