"""What is kept how long, and that ids and periods fall into the partitions cut for their time."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime, timedelta

import pytest

from consumers import inbox
from publisher import ids
from publisher.ids import Ids
from publisher.retention import layouts
from runtime import settings as runtime_settings
from tests.support.time import FakeClock

DAY = 86_400_000
LAYOUTS = {layout.table: layout for layout in layouts(runtime_settings.load(environ={}))}


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def test_by_default_payloads_are_kept_a_week_the_log_a_month_and_events_known_for_45_days() -> None:
    kept = {table: layout.keep / DAY for table, layout in LAYOUTS.items()}
    assert kept == {"messages": 7, "deliveries": 30, "attempts": 30, "inbox": 45}


def test_settings_say_how_long() -> None:
    made = runtime_settings.load(
        environ={}, retention_payloads=100_000, retention_attempts=200_000, retention_dedup=300_000
    )
    kept = {layout.table: layout.keep for layout in layouts(made)}
    assert kept == {"messages": 100_000_000, "deliveries": 200_000_000, "attempts": 200_000_000, "inbox": 300_000_000}


@pytest.mark.parametrize(
    ("table", "prefix"), [("messages", ids.MESSAGE), ("deliveries", ids.DELIVERY), ("attempts", ids.DELIVERY)]
)
@pytest.mark.parametrize("time_of_day", [timedelta(0), timedelta(hours=13), timedelta(days=1, milliseconds=-1)])
def test_an_id_belongs_to_the_utc_day_of_its_making(table: str, prefix: str, time_of_day: timedelta) -> None:
    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    layout = LAYOUTS[table]
    start = _milliseconds(midnight)
    made = Ids(FakeClock(midnight + time_of_day)).new(prefix)
    assert layout.key_at(start) <= made < layout.key_at(start + layout.width)
    assert layout.time_of(layout.key_at(start)) == start
    assert layout.label(start) == "20261121"


def test_a_period_is_named_by_its_number() -> None:
    layout = LAYOUTS["inbox"]
    assert layout.width == inbox.PERIOD_SECONDS * 1000
    for start in (0, 1385 * layout.width):
        assert layout.time_of(layout.key_at(start)) == start
        assert layout.label(start) == layout.key_at(start) == str(start // layout.width)


def test_the_period_is_the_one_the_table_was_filled_with() -> None:
    migration = importlib.import_module("migrations.versions.0007_inbox_periods")
    assert inbox.PERIOD_SECONDS == migration.PERIOD_SECONDS
    assert inbox.OVERLAP_SECONDS < inbox.PERIOD_SECONDS
