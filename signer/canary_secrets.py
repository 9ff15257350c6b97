"""Whether this machine holds what it must not: the secret part of a canary's key, in any keyring we can read.

A service that could sign a canary is one that can be made to. gpg keeps each secret key in a file named by its keygrip,
so a look at file names tells, also where the keyring has no certificate of the key, and for a key whose secret part is
on a card that has been used here. What we may not read we could not sign with either.
"""

from __future__ import annotations

import pwd
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: Where GnuPG 2.1 and newer keep secret keys (its doc/KEYFORMAT); older keyrings are one file that those import.
_FOLDER, _SUFFIX = "private-keys-v1.d", ".key"


class Held(NamedTuple):
    """A secret key that was found: the file, and the primary key it belongs to."""

    path: Path
    fingerprint: str

    def __str__(self) -> str:
        """Say what it means, and what to do."""
        return (
            f"{self.path} is the secret part of the canary's key {self.fingerprint}: whoever runs this service could "
            "be made to sign with it; remove it from this machine"
        )


def keyrings(environ: Mapping[str, str], *named: Path | None) -> list[Path]:
    """Return the homes of GnuPG there may be: those named, the environment's, and every user's."""
    homes = [*named, Path(environ["GNUPGHOME"]) if environ.get("GNUPGHOME") else None]
    homes += [Path(user.pw_dir) / ".gnupg" for user in pwd.getpwall()]
    return list(dict.fromkeys(home for home in homes if home is not None))


def find(homes: Iterable[Path], keygrips: Mapping[str, str]) -> Held | None:
    """Return a secret key of the canary's that is in one of `homes`; `keygrips` name the primary key of each."""
    for path in _secret_keys(homes):
        if fingerprint := keygrips.get(path.stem.upper()):
            return Held(path, fingerprint)
    return None


def _secret_keys(homes: Iterable[Path]) -> Iterator[Path]:
    for home in homes:
        try:
            found = sorted((home / _FOLDER).iterdir())
        except OSError:
            continue  # not there, or not ours to read
        yield from (path for path in found if path.suffix == _SUFFIX)
