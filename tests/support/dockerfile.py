"""deploy/Dockerfile read as instructions: what its last stage says a container is."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


@dataclass(slots=True)
class Stage:
    """One `FROM` and what follows; `instructions` are word and rest, `environ` what ENV sets, in order."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)

    def all(self, word: str) -> list[str]:
        """Return what follows each instruction of a kind."""
        return [rest for found, rest in self.instructions if found == word]

    def one(self, word: str) -> str:
        """Return what follows the only instruction of a kind."""
        [rest] = self.all(word)
        return rest

    @property
    def healthcheck(self) -> list[str]:
        """The command of HEALTHCHECK, in its exec form."""
        return words(self.one("HEALTHCHECK").partition(" CMD ")[2])


def words(exec_form: str) -> list[str]:
    """Return the words of an exec form."""
    read: list[str] = json.loads(exec_form)
    return read


def stages(text: str | None = None) -> list[Stage]:
    """Return the stages of a Dockerfile, of ours when none is given; `ARG`s before the first are put into `FROM`."""
    text = DOCKERFILE.read_text(encoding="utf-8") if text is None else text
    lines = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    given: dict[str, str] = {}
    found: list[Stage] = []
    for word, _, rest in (re.sub(r"\s+", " ", line.strip()).partition(" ") for line in lines if line.strip()):
        if word == "ARG" and not found:
            name, _, value = rest.partition("=")
            given[name] = value
        elif word == "FROM":
            found.append(Stage(re.sub(r"\$\{(\w+)\}", lambda match: given[match[1]], rest)))
        else:
            found[-1].instructions.append((word, rest))
            if word == "ENV":
                found[-1].environ |= dict(part.split("=", 1) for part in rest.split())
    return found
