"""The rules of the house, as tests: what a review would otherwise have to notice."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("consumers", "feeds", "migrations", "publisher", "runtime", "signer")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MODULES += sorted((ROOT / "deploy" / "telemetry").rglob("*.py"))
LONGEST_FILE = 400
DUMPING_GROUNDS = {"util", "utils", "helper", "helpers", "common", "misc"}
#: What the contract promises besides what the documents mention.
PROMISED_TARGETS = {"demo", "test", "check", "bench", "test-apache-kafka"}
MAKEFILE = (ROOT / "Makefile").read_text()
PHONY = set(re.findall(r"^\.PHONY: (\S+)$", MAKEFILE, re.MULTILINE))
DESCRIBED = dict(re.findall(r"^([a-z-]+):.*?## (.+)$", MAKEFILE, re.MULTILINE))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tracked() -> list[Path]:
    """Return what is, or is about to be, in the repository."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git repository")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    return [path for part in listed.stdout.decode().split("\0") if part and (path := ROOT / part).is_file()]


def test_there_are_modules_to_judge() -> None:
    assert len(MODULES) > len(PACKAGES)


def test_imports_keep_their_contracts() -> None:
    checked = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken\.", checked.stdout)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_is_short_and_says_why_it_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert text.count("\n") <= LONGEST_FILE


def test_there_is_no_dumping_ground() -> None:
    parts = {part for path in MODULES for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not parts & DUMPING_GROUNDS


def test_migrations_are_numbered_without_gaps_and_lead_forward() -> None:
    paths = sorted((ROOT / "migrations" / "versions").glob("*.py"))
    previous = None
    for number, path in enumerate(paths, 1):
        assert re.fullmatch(rf"{number:04}_[a-z0-9_]+", path.stem), f"{path.name} is not number {number:04}"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assigned = {
            target.id: ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and target.id.endswith("revision")
        }
        assert assigned == {"revision": f"{number:04}", "down_revision": previous}
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert "upgrade" in functions
        assert "downgrade" not in functions
        previous = assigned["revision"]


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.txt")), ids=name)
def test_a_lock_pins_every_requirement_by_hash_and_names_no_index(lock: Path) -> None:
    text = lock.read_text()
    requirements = [part for part in re.sub(r"\\\n\s*", " ", text).splitlines() if re.match(r"[a-z]", part)]
    assert len(requirements) > 5
    for requirement in requirements:
        assert re.match(r"[\w.\[\],-]+==\S+ ", requirement), requirement
        assert "--hash=sha256:" in requirement, f"{requirement.split()[0]} has no hash"
    assert not re.search(r"--(extra-)?index-url|--find-links|--trusted-host|https?://", text)


def test_both_locks_are_there() -> None:
    assert {"runtime.txt", "development.txt"} <= {path.name for path in (ROOT / "requirements").iterdir()}


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    home = re.compile(rb"(?<![\w.~/-])/(work|root|home)/\w")
    found = [name(path) for path in tracked() if home.search(path.read_bytes())]
    assert found == []


def test_documented_commands_are_targets() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / ".ci" / "run"]
    mentioned = {
        target
        for path in documents
        for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {"demo", "test"} <= mentioned
    assert mentioned | PROMISED_TARGETS <= PHONY


def test_make_help_lists_every_target_that_is_described() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert dict(re.findall(r"^  (\S+)\s+(.+)$", shown, re.MULTILINE)) == DESCRIBED
    assert DESCRIBED.keys() <= PHONY
    assert DESCRIBED.keys() >= PROMISED_TARGETS
