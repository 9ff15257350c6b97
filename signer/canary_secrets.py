"""Whether this machine could sign a canary: the secret part of one of its keys, in any keyring we can read or reach.

A service that could sign a canary is one that can be made to. Three places are looked at:

- files: gpg keeps each secret key in one named by its keygrip, so a look at names tells, also where the keyring has no
  certificate of the key, and for a key on a card that has been used here;
- keyrings of GnuPG before 2.1, one file that a newer one takes over when it is next started;
- agents that answer: one on another machine may be forwarded to a socket here, with no file at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: Where GnuPG 2.1 and newer keep secret keys (its doc/KEYFORMAT), and what older ones had instead.
_FOLDER, _SUFFIX = "private-keys-v1.d", ".key"
_OLD, _TAKEN_OVER = "secring.gpg", ".gpg-v21-migrated"
#: An agent's socket, in its home or below the user's runtime folder; the text of one that leads elsewhere (libassuan).
_SOCKET, _RUNTIME = "S.gpg-agent", "/run/user"
_REDIRECT, _REDIRECTED = b"%Assuan%", b"socket="
#: Seconds an agent may take for an answer.
PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class Held:
    """Where a canary could be signed from: a file or a socket, and the primary key, empty where that is not known."""

    path: Path
    fingerprint: str

    def __str__(self) -> str:
        """Say what it means, and what to do."""
        if not self.fingerprint:
            return (
                f"{self.path} is a keyring of GnuPG before 2.1, and may hold a secret key of the canary's: "
                "remove it, or have gpg take it over (gpg --list-secret-keys)"
            )
        way = "is" if self.path.suffix == _SUFFIX else "leads to an agent that has"
        return (
            f"{self.path} {way} the secret part of the canary's key {self.fingerprint}: whoever runs this service "
            "could be made to sign with it; remove it from this machine"
        )


def keyrings(environ: Mapping[str, str], *named: Path | None) -> list[Path]:
    """Return the homes of GnuPG there may be: those named, the environment's, and every user's."""
    homes = [*named, Path(environ["GNUPGHOME"]) if environ.get("GNUPGHOME") else None]
    homes += [Path(user.pw_dir) / ".gnupg" for user in pwd.getpwall()]
    return list(dict.fromkeys(home for home in homes if home is not None))


async def find(homes: Iterable[Path], keygrips: Mapping[str, str], *, runtime: Path = Path(_RUNTIME)) -> Held | None:
    """Return what a canary could be signed with, None where nothing could be found.

    `keygrips` name the primary key of each; `runtime` is where users' sockets are. Raises `TimeoutError` when a folder
    does not let itself be read in ten seconds.
    """
    known = list(homes)
    async with asyncio.timeout(10 * PATIENCE):
        if held := await asyncio.to_thread(_in_files, known, keygrips):
            return held
        sockets = await asyncio.to_thread(lambda: list(_sockets(known, runtime)))
    for path, socket in sockets:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(PATIENCE):
                if fingerprint := await _has(socket, keygrips):
                    return Held(path, fingerprint)
    return None


def _in_files(homes: Iterable[Path], keygrips: Mapping[str, str]) -> Held | None:
    for home in homes:
        for path in _listed(home / _FOLDER):
            if path.suffix == _SUFFIX and (fingerprint := keygrips.get(path.stem.upper())):
                return Held(path, fingerprint)
        with contextlib.suppress(OSError):
            old = home / _OLD
            if old.stat().st_size and os.access(old, os.R_OK) and not (home / _TAKEN_OVER).exists():
                return Held(old, "")
    return None


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []  # not there, or not ours to read


def _sockets(homes: Iterable[Path], runtime: Path) -> Iterator[tuple[Path, Path]]:
    """Yield where agents listen: the path that was found, and the socket it leads to."""
    found = [home / _SOCKET for home in homes]
    for user in _listed(runtime):
        found += [user / "gnupg" / _SOCKET, *(each / _SOCKET for each in _listed(user / "gnupg"))]
    for path in found:
        with contextlib.suppress(OSError):
            yield path, path if path.is_socket() else _led_to(path)


def _led_to(path: Path) -> Path:
    """Return the socket that a redirection names; raises OSError where it is none."""
    with path.open("rb") as file:
        lines = file.read(4096).splitlines()
    if len(lines) < 2 or lines[0] != _REDIRECT or not lines[1].startswith(_REDIRECTED):  # noqa: PLR2004 - its form
        raise FileNotFoundError
    return Path(os.fsdecode(lines[1].removeprefix(_REDIRECTED)))


async def _has(socket: Path, keygrips: Mapping[str, str]) -> str:
    """Ask an agent for each key (Assuan's HAVEKEY); return the primary key of the first it has."""
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        await reader.readuntil(b"\n")
        for keygrip, fingerprint in keygrips.items():
            writer.write(f"HAVEKEY {keygrip}\n".encode())
            if (await reader.readuntil(b"\n")).startswith(b"OK"):
                return fingerprint
    finally:
        writer.close()
    return ""
