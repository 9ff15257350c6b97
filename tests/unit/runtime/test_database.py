"""What is known of a database without one: where a DSN points, and how a file of statements is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from runtime.database import TRANSIENT, address_of, load_queries

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("dsn", "address"),
    [
        ("postgresql://u:hunter2@db.example/heliograph", "db.example:5432/heliograph"),
        ("postgresql://u:hunter2@db.example:6432/heliograph", "db.example:6432/heliograph"),
        ("postgresql://u:hunt@er2@db.example/heliograph", "db.example:5432/heliograph"),
        ("postgresql://u:hunter2@[2001:db8::7]/heliograph", "[2001:db8::7]:5432/heliograph"),
        ("postgresql://u:hunter2@[2001:db8::7]:6432/x", "[2001:db8::7]:6432/x"),
        ("postgresql://u:hunter2@a:5432,b:5433/x", "a:5432,b:5433/x"),
        ("postgresql://u:hunter2@/x?host=/run/postgresql", "/run/postgresql/x"),
        ("postgresql:///x", "localhost:5432/x"),
        ("postgresql://db.example", "db.example:5432/"),
        ("postgresql://db.example/x?password=hunter2", "db.example:5432/x"),
    ],
)
def test_an_address_names_host_port_and_database_and_no_secret(dsn: str, address: str) -> None:
    assert address_of(dsn) == address


def test_statements_are_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.sql"
    path.write_text(
        "-- A file.\n\n-- name: first\nSELECT 1\n\n-- name: second\n-- Why.\nSELECT\n  2 -- name: not this\n"
    )
    assert load_queries(path) == {"first": "SELECT 1", "second": "-- Why.\nSELECT\n  2 -- name: not this"}


def test_a_file_without_names_has_no_statements(tmp_path: Path) -> None:
    path = tmp_path / "x.sql"
    path.write_text("SELECT 1\n")
    assert load_queries(path) == {}


@pytest.mark.parametrize(
    ("error", "is_transient"),
    [
        (ConnectionRefusedError, True),
        (TimeoutError, True),
        (asyncpg.ConnectionDoesNotExistError, True),
        (asyncpg.CannotConnectNowError, True),
        (asyncpg.AdminShutdownError, True),
        (asyncpg.TooManyConnectionsError, True),
        (asyncpg.DiskFullError, True),
        (asyncpg.InvalidPasswordError, False),
        (asyncpg.InvalidCatalogNameError, False),
        (asyncpg.UniqueViolationError, False),
        (asyncpg.CheckViolationError, False),
        (asyncpg.DataError, False),
        (asyncpg.UndefinedTableError, False),
    ],
)
def test_what_another_try_may_help(error: type[BaseException], *, is_transient: bool) -> None:
    assert issubclass(error, TRANSIENT) is is_transient
