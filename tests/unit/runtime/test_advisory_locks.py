"""The list of advisory locks is whole: no statement takes one that it does not know."""

from __future__ import annotations

import re
from pathlib import Path

from runtime.advisory_locks import AdvisoryLock

ROOT = Path(__file__).parents[3]
PACKAGES = ("consumers", "feeds", "migrations", "publisher", "runtime", "signer")
TAKING = re.compile(r"pg_(?:try_)?advisory_\w+\([^\n]*")


def statements() -> list[str]:
    paths = [path for each in PACKAGES for path in (ROOT / each).rglob("*") if path.suffix in {".py", ".sql"}]
    return [found for path in paths for found in TAKING.findall(path.read_text())]


def test_every_lock_that_is_taken_is_of_the_list() -> None:
    known = {str(int(each)) for each in AdvisoryLock}
    # In SQL a number, in Python a name of the list, a constant that is one, or a parameter that is given one.
    allowed = re.compile(rf"AdvisoryLock\.[A-Z]+|{{ADVISORY_LOCK}}|:lock|\b({'|'.join(known)})\b")
    found = statements()
    assert len(found) >= len(AdvisoryLock)
    assert [each for each in found if not allowed.search(each)] == []


def test_locks_end_with_their_transaction() -> None:
    assert [each for each in statements() if "_xact_" not in each] == []


def test_numbers_never_change_for_releases_meet_at_them() -> None:
    assert {each.name: int(each) for each in AdvisoryLock} == {
        "SCHEMA": 4843211870,
        "PARTITIONS": 4843211871,
        "RECOVERIES": 4843211872,
        "CHORES": 4843211873,
        "DOCUMENTS": 6120934417,
        "ENDPOINTS": 7305924418,
    }
