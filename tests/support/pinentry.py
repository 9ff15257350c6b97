"""Whoever types passphrases: a pinentry for gpg's agent that always types the same one, or gives up; and counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """#!/bin/sh
echo "OK"
while read -r line; do
  case "$line" in
    GETPIN*) echo asked >> "{log}"; {answer} ;;
    BYE*) echo OK; exit 0 ;;
    *) echo OK ;;
  esac
done
"""
TYPES, GIVES_UP = 'echo "D correct horse"; echo OK', 'echo "ERR 83886179 Operation cancelled <Pinentry>"'


class Pinentry:
    """The one a keyring's agent asks."""

    def __init__(self, home: Path, *, gives_up: bool = False) -> None:
        """Set it up in a keyring whose agent has not been started yet."""
        self._log = home / "asked.log"
        program = home / "pinentry"
        program.write_text(PROGRAM.format(log=self._log, answer=GIVES_UP if gives_up else TYPES))
        program.chmod(0o700)
        (home / "gpg-agent.conf").write_text(f"pinentry-program {program}\n")

    @property
    def asked(self) -> int:
        """How often a passphrase was asked for."""
        return len(self._log.read_text().splitlines()) if self._log.exists() else 0
