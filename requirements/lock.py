"""Reads a lock: what is pinned, by which hashes, and what of it the image installs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, cast

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from email.message import Message

ROOT = Path(__file__).parents[1]
RUNTIME = ROOT / "requirements" / "runtime.txt"
#: Where the image runs, as deploy/Dockerfile has it: a marker means the same on whatever machine a lock is read.
IMAGE = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.14",
    "python_version": "3.11",
    "sys_platform": "linux",
}


class LockError(Exception):
    """A lock cannot be read, or says something else than what is installed; the text is one line."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """One line of a lock; `hashes` are SHA-256 in hex, one for each file that may be installed."""

    requirement: Requirement
    version: str
    hashes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its normalised name."""
        return canonicalize_name(self.requirement.name)


def parse(text: str) -> Iterator[Pinned]:
    """Yield the requirements of a lock as `uv pip compile --generate-hashes` writes it; raises `LockError`."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        stated, *hashes = (part.strip() for part in line.split("--hash=sha256:"))
        requirement = Requirement(stated)
        [*versions] = requirement.specifier
        if len(versions) != 1 or versions[0].operator != "==" or not hashes:
            raise LockError(f"{stated}: is not pinned to one version by its hashes; run make lock")
        yield Pinned(requirement, versions[0].version, tuple(sorted(hashes)))


def of_image(lock: Path = RUNTIME) -> list[Pinned]:
    """Return what the image installs of a lock, by name."""
    every = parse(lock.read_text(encoding="utf-8"))
    chosen = [each for each in every if each.requirement.marker is None or each.requirement.marker.evaluate(IMAGE)]
    return sorted(chosen, key=lambda each: each.name)


def installed(pinned: Pinned) -> metadata.Distribution:
    """Return the very distribution a line pins, as it is installed here; raises `LockError` where another is, or none.

    Licences and dependencies are read from it: a lock has neither.
    """
    try:
        found = metadata.distribution(pinned.name)
    except metadata.PackageNotFoundError:
        raise LockError(f"{pinned.name} {pinned.version} is locked and not installed; run make setup") from None
    if found.version != pinned.version:
        raise LockError(
            f"{pinned.name}: {pinned.version} is locked for the image and {found.version} installed here; "
            f"run make setup, with Python {IMAGE['python_version']}"
        )
    return found


def metadata_of(distribution: metadata.Distribution) -> Message:
    """Return its core metadata as what they are read into."""
    return cast("Message", distribution.metadata)


def edges(root: str, pinned: Iterable[Pinned]) -> dict[str, set[str]]:
    """Return who needs whom: `root`'s and each package's name -> the names it needs itself.

    Extras count where somebody asks for them (`pyjwt[crypto]`), and nowhere else.
    """
    distributions = {each.name: installed(each) for each in pinned}
    distributions[root] = metadata.distribution(root)
    needs: dict[str, set[str]] = {name: set() for name in distributions}
    waiting = [(root, "")]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        for text in distributions[name].requires or ():
            requirement = Requirement(text)
            needed = canonicalize_name(requirement.name)
            if requirement.marker is not None and not requirement.marker.evaluate({**IMAGE, "extra": extra}):
                continue
            if needed not in distributions:
                raise LockError(f"{name} needs {needed}, which is not locked; run make lock")
            needs[name].add(needed)
            further = {(needed, ""), *((needed, asked) for asked in requirement.extras)} - seen
            seen |= further
            waiting += sorted(further)
    return needs
