"""Every named statement is read by its owner, and no owner asks for one that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runtime.database import load_queries

PUBLISHER = Path(__file__).parents[3] / "publisher"


@pytest.mark.parametrize("path", sorted(PUBLISHER.glob("*.sql")), ids=lambda path: path.name)
def test_statements_and_their_readers_agree(path: Path) -> None:
    statements = load_queries(path)
    own = re.findall(r"(?<![\w.])SQL\[\"(\w+)\"\]", path.with_suffix(".py").read_text())
    others = re.findall(
        rf"\b{path.stem}\.SQL\[\"(\w+)\"\]", "".join(each.read_text() for each in PUBLISHER.glob("*.py"))
    )
    assert set(statements) == {*own, *others}
    assert all(statements.values())
