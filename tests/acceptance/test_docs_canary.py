"""docs/canary.md, run word by word: three signers on machines of their own, a service, and what is carried between."""

from __future__ import annotations

import os
import re
import string
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from runtime.settings import variable
from signer.canary_draft import read_statements
from signer.statement import Document
from tests.conftest import SECRET_KEYS
from tests.support import gpg
from tests.support.pinentry import Pinentry
from tests.support.process import ROOT, until
from tests.support.terminal import a_program_on_a_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.terminal import Screen

SIGNERS = ("Alice", "Bob", "Carol")
#: The line before a block says whose machine it is for.
STEP = re.compile(r"^(?P<lead>[^\n]+)\n\n```(?P<language>bash|ini)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
WHOSE = re.compile(r"\b(?:on|On) (.+?) machines?\b")
IDS = [each.id for each in read_statements()]
REMOVED = "gag-orders"
#: Seconds for the commands of one block.
PATIENCE = 120.0
DRAFT = re.compile(r"^heliograph canary draft .*?[^\\]$", re.MULTILINE | re.DOTALL)


class Step(NamedTuple):
    """A block, and the machines it is for."""

    machines: tuple[str, ...]
    language: str
    text: str


class Machine(NamedTuple):
    """A folder to work in, and an environment."""

    folder: Path
    environ: dict[str, str]


def steps() -> list[Step]:
    """Return all blocks in their order."""
    found = []
    for match in STEP.finditer((ROOT / "docs" / "canary.md").read_text()):
        whose = WHOSE.findall(match["lead"])[-1]
        machines = tuple(name for name in (*SIGNERS, "service") if name in whose)
        found.append(Step(machines, match["language"], match["text"]))
    return found


@pytest.fixture
def machines(dsn: str, tmp_path: Path) -> Iterator[dict[str, Machine]]:
    stick = tmp_path / "stick"
    stick.mkdir()
    common = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with gpg.home() as alice, gpg.home() as bob, gpg.home() as carol:
        made = {}
        for name, home in zip(SIGNERS, (alice, bob, carol), strict=True):
            Pinentry(home.path)
            identity = f"{name} <{name.lower()}@provider.example>"
            made[name] = Machine(tmp_path / name, common | {"GNUPGHOME": str(home.path), "NAME": identity})
        settings = {"database_url": dsn, "secret_keys": SECRET_KEYS, "public_keys": str(tmp_path / "service/public")}
        named = {variable(name): value for name, value in settings.items()}
        made["service"] = Machine(tmp_path / "service", common | named)
        for each in made.values():
            each.folder.mkdir()
            (each.folder / "stick").symlink_to(stick)
        yield made


def run(machine: Machine, script: str) -> str:
    """Run a block by hand, on a terminal; return what was shown."""
    with a_program_on_a_terminal("bash", "-euc", script, environ=machine.environ, cwd=machine.folder) as screen:
        shown = "".join(answered(screen, draft) for draft in DRAFT.findall(script))
        code, rest = screen.ends(PATIENCE)
    assert code == 0, shown + rest
    return shown + rest


def answered(screen: Screen, draft: str) -> str:
    """Affirm each statement but the one that is no longer true."""
    if "--retire" in draft:
        return screen.answers("Write it?", "yes")
    shown = ""
    before = re.search(r"--previous canary-(\d+)", draft)
    number = int(before[1]) + 1 if before else 1
    for each in [each for each in IDS if number < 4 or each != REMOVED]:  # the third canary is without
        is_true = number != 3 or each != REMOVED
        shown += screen.answers("Is this true?", "yes" if is_true else "no")
        if not is_true:
            shown += screen.answers("Leave it out?", "yes")
    return shown + screen.answers(f"Write canary-{number}.json?", "yes")


def fingerprints(stick: Path, machines: dict[str, Machine]) -> dict[str, str]:
    """Return what the signers have told each other by voice."""
    named: dict[str, str] = {}
    for name in SIGNERS:
        known = gpg.Home(Path(machines[name].environ["GNUPGHOME"])).fingerprints()
        named |= {name.upper(): known[0]} if known else {}
        assert all((stick / f"{each}.asc").exists() for each in known)
    return named


async def a_second_after(canary: bytes) -> None:
    """Wait until a successor can be newer: drafts have whole seconds."""
    issued = Document.read(canary).statement.issued_at

    async def is_later() -> bool:
        return datetime.now(UTC) >= issued + timedelta(seconds=1)

    await until(is_later, "the clock is a second on")


def test_every_block_says_whose_machine_it_is_for() -> None:
    text = (ROOT / "docs" / "canary.md").read_text()
    assert len(steps()) == text.count("```") // 2
    assert all(step.machines for step in steps())


@pytest.mark.timeout(900)  # some forty commands, one after the other
async def test_the_document_by_hand(machines: dict[str, Machine], tmp_path: Path) -> None:
    stick, states = tmp_path / "stick", []
    for number, step in enumerate(steps()):
        news = {"BLOCK": f"{900_000 + number}:{number:064x}", "HEADLINE": f"Paper: News of day {number}"}
        for machine in map(machines.__getitem__, step.machines):
            machine.environ.update(news | fingerprints(stick, machines))
            if step.language == "ini":
                lines = string.Template(step.text).substitute(machine.environ).splitlines()
                machine.environ.update({name: value for name, _, value in (line.partition("=") for line in lines)})
                continue
            if before := re.search(r"--previous (\S+)", step.text):
                await a_second_after((machine.folder / before[1]).read_bytes())
            shown = run(machine, step.text)
            states += re.findall(r"^state +(\w+)", shown, re.MULTILINE) if "canary status" in step.text else []
    published = ["current", "current"] * 2 + ["changed", "changed"] + ["current", "revoked", "revoked"]
    assert states == published
    assert not list(stick.rglob("*.key"))
    assert {each.name for each in (tmp_path / "Alice").glob("canary-*.json")} == {
        f"canary-{n}.json" for n in range(1, 5)
    }
