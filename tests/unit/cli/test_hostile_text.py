"""Names and contents that want to steer the terminal of whoever verifies: none of it arrives there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.canaries import ALICE, first
from tests.support.gpg import home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.cli.conftest import Command

#: A line of its own, colours, a change of direction, a control character of the second set, a byte that is no text.
HOSTILE = "a\n\x1b[32mverified: 2 of 2\r\x1b[8m\u202e\u2066\u2028\x9b\x7f\udcff\t"
#: Controls, and what changes the direction of a text or hides in it.
STEERING = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
CANARY = first().content
HOSTILE_CANARY = orjson.dumps({"\x1b[2J\n\u202everified": "\x1b]0;x\x07", **orjson.loads(CANARY)})


@pytest.fixture(scope="module")
def key() -> Iterator[bytes]:
    with home() as made:
        yield made.public(made.make("\u202eEve <eve@provider.example>"))


@pytest.fixture
def folder(tmp_path: Path, key: bytes) -> Path:
    (tmp_path / "key.asc").write_bytes(key)
    (tmp_path / HOSTILE).write_bytes(b"no canary\x1b")
    for name in ("canary.json", f"{HOSTILE}.json"):
        (tmp_path / name).write_bytes(CANARY)
        (tmp_path / f"{name}.{HOSTILE}.asc").write_bytes(b"junk")
    (tmp_path / "hostile.json").write_bytes(HOSTILE_CANARY)
    (tmp_path / "type.json").write_bytes(orjson.dumps({"type": HOSTILE.replace("\udcff", "")}))
    (tmp_path / "headers").write_bytes(f"{HOSTILE}: x".encode(errors="replace"))
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "canary.json", "--key", "key.asc"),
        ("verify", "canary.json", "--key", "key.asc", "--json"),
        ("verify", f"{HOSTILE}.json", "--key", "key.asc"),
        ("verify", f"{HOSTILE}.json", "--key", "key.asc", "--json"),
        ("verify", "canary.json", "--key", "key.asc", "--previous", f"{HOSTILE}.json", "--chain"),
        ("verify", "canary.json", "--key", "key.asc", "--previous", HOSTILE),
        ("verify", "canary.json", "--key", HOSTILE),
        ("verify", "canary.json", "--key", "key.asc", "--headers", HOSTILE),
        ("verify", "canary.json", "--key", "key.asc", "--headers", "headers"),
        ("verify", "canary.json", "--key", "key.asc", "--signature", HOSTILE),
        ("verify", "canary.json", "--key", "key.asc", "--output", HOSTILE),
        ("verify", "canary.json", "--key", "key.asc", "--at", HOSTILE),
        ("verify", "canary.json", "--key", "key.asc", "--threshold", HOSTILE),
        ("verify", "canary.json", "--key", "key.asc", f"--{HOSTILE}"),
        ("verify", "canary.json", "--key", "key.asc", "--debug", "--output", HOSTILE),
        ("verify", f"https://{HOSTILE}/", "--key", "key.asc"),
        ("verify", "hostile.json", "--key", "key.asc"),
        ("verify", "type.json", "--key", "key.asc"),
        ("verify", "type.json", "--key", "key.asc", "--json"),
        ("verify", "no\x1bsuch", "--key", "key.asc"),
        ("canary", "verify", "canary.json", "--key", "key.asc", "--pin", ALICE),
        ("canary", "verify", f"{HOSTILE}.json", "--key", "key.asc", "--pin", ALICE),
        ("canary", "verify", "hostile.json", "--key", "key.asc", "--pin", ALICE),
        ("canary", "verify", HOSTILE, "--key", "key.asc", "--pin", ALICE),
        ("canary", "verify", "canary.json", "--previous", "hostile.json", "--pin", ALICE),
        ("canary", "diff", HOSTILE, "canary.json"),
        ("canary", "diff", "canary.json", "hostile.json"),
        ("canary", "sign", f"{HOSTILE}.json", "--key", ALICE),
        ("canary", "sign", "hostile.json"),
        ("canary", "publish", HOSTILE),
        (HOSTILE,),
    ],
)
def test_no_name_and_no_content_steers_a_terminal(
    heliograph: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GNUPGHOME", str(folder))
    said = heliograph(*arguments)
    assert said.code in {1, 2}
    assert said.stdout + said.stderr
    for text in (said.stdout, said.stderr):
        assert not STEERING.search(text), ascii(text)
        assert not any(line.startswith(("verified", "\x1b[32mverified")) for line in text.split("\n"))
    if "--debug" not in arguments:
        assert said.stderr.count("\n") <= 1
