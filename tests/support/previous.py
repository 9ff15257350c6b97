"""The code from before the newest migration, out of the history: what still runs when that has been applied."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.process import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

MIGRATIONS = Path("migrations", "versions")
_FIELDS = "from runtime.settings import Settings, variable; print(*map(variable, Settings.model_fields))"


class UnknownError(Exception):
    """The history does not reach that far, or there is none; the text is one line."""


def commit(root: Path = ROOT) -> str:
    """Return the newest commit on the main line that does not have the newest migration yet; raises `UnknownError`."""
    newest = max((root / MIGRATIONS).glob("[0-9]*.py")).relative_to(root)
    added = _git(root, "log", "--first-parent", "--diff-filter=A", "--format=%H", "--max-count=1", "--", str(newest))
    before = f"{added.decode().strip()}^" if added.strip() else "HEAD"  # not committed yet: HEAD has it not
    return _git(root, "rev-parse", "--verify", "--quiet", f"{before}^{{commit}}").decode().strip()


@contextlib.contextmanager
def code() -> Iterator[Path]:
    """Yield a folder with that commit's packages; raises `UnknownError`."""
    archive = _git(
        ROOT, "archive", "--format=tar", commit(), "consumers", "feeds", "migrations", "publisher", "runtime", "signer"
    )
    with tempfile.TemporaryDirectory(prefix="hgp-") as folder:
        with tarfile.open(fileobj=BytesIO(archive)) as packed:
            packed.extractall(folder, filter="data")
        yield Path(folder)


def settings_known_to(folder: Path) -> set[str]:
    """Return the variables that code takes: one it does not know it refuses."""
    asked = subprocess.run(
        [sys.executable, "-c", _FIELDS],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        check=True,
        capture_output=True,
        text=True,
    )
    return set(asked.stdout.split())


def head_of(folder: Path) -> str:
    """Return the newest migration that code has."""
    return max((folder / MIGRATIONS).glob("[0-9]*.py")).stem.partition("_")[0]


def _git(root: Path, *arguments: str) -> bytes:
    try:
        ran = subprocess.run(["git", *arguments], cwd=root, check=False, capture_output=True)
    except OSError:
        raise UnknownError("git is not installed") from None
    if ran.returncode:
        raise UnknownError(f"git {arguments[0]}: {ran.stderr.decode().strip() or 'the clone does not reach that far'}")
    return ran.stdout
