"""What `heliograph keys init` and `keys export` refuse before gpg is asked for anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.cli.conftest import Command

GOOD = ("--name", "Feeds", "--email", "feeds@provider.example", "--no-passphrase")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--expires", "2"), "--expires"),
        (("--expires", "0"), "--expires"),
        (("--expires", "2y\n%no-protection"), "--expires"),
        (("--name", "A\nKey-Usage: sign"), "--name"),
        (("--name", "A <b@c>"), "--name"),
        (("--name", ""), "--name"),
        (("--name", " A"), "--name"),
        (("--name", "A" * 201), "--name"),
        (("--email", "nobody"), "--email"),
        (("--email", "a@b.example>"), "--email"),
        (("--email", "a@b.example\n%commit"), "--email"),
        (("--output", "/nowhere"), "--output"),
        (("--home", "/nowhere/home"), "--home"),
    ],
)
def test_what_cannot_be_right_is_named_before_anything_is_made(
    heliograph: Command, tmp_path: Path, options: tuple[str, str], named: str
) -> None:
    home = tmp_path / "home"
    said = heliograph("keys", "init", *GOOD, "--home", str(home), "--output", str(tmp_path), *options)
    assert (said.code, said.stdout) == (2, "")
    assert said.stderr.startswith(f"heliograph: {named}: ")
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_exported_by_a_whole_fingerprint_alone(heliograph: Command, tmp_path: Path) -> None:
    said = heliograph("keys", "export", "--key", "feeds@provider.example", "--output", str(tmp_path))
    assert (said.code, said.stdout) == (2, "")
    assert said.stderr.startswith("heliograph: --key: ")
