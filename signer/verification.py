"""What a stranger verifies with: the keys he has pinned, in a keyring of their own, and a text that is all signed.

Keys come from him alone, never from what is verified. A clear-signed document shows more than it signs: text around
it, headers of the armor, blanks at the ends of lines. So what a reader sees is held against what gpg has read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from signer import canary_dates
from signer.canary_check import Reason
from signer.faults import GpgUnavailableError, PgpError
from signer.pgp import Keyring

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from signer.canary_check import Verdict
    from signer.canary_dates import State
    from signer.certificates import Certificate

#: What is wrong with time alone: the canary is genuine all the same.
LATE = frozenset({Reason.OVERDUE, Reason.EXPIRED})

#: What the service publishes with a signature beside it, but for canaries: the `type` of each feed's documents. What
#: the feed key has signed besides are answers, to whoever asked.
DOCUMENT_TYPES = frozenset({"peering/1", "incidents/1", "status/1"})

CLEAR_SIGNED = b"-----BEGIN PGP SIGNED MESSAGE-----"
_BEGIN, _END = b"-----BEGIN PGP SIGNATURE-----", b"-----END PGP SIGNATURE-----"
_HASH = re.compile(rb"Hash: [A-Za-z0-9, -]+")
_ARMOR = re.compile(rb"[A-Za-z0-9+/=]*")


class PinError(PgpError):
    """A key that was named cannot be used; the text says which and why."""


async def pin(keyring: Keyring, files: Mapping[str, bytes], fingerprints: Sequence[str], home: Path) -> tuple[str, ...]:
    """Bring the keys into `keyring`; return the fingerprints of the primary keys whose signatures count.

    Without `fingerprints` every key of the files counts. With them they alone do, whatever else is in the files; one
    that is in none of these is taken from the keyring at `home`. Raises `PinError`.
    """
    known: dict[str, Certificate] = {}
    for name, content in files.items():
        try:
            taken = await keyring.import_certificates(content)
        except GpgUnavailableError:
            raise
        except PgpError as error:
            raise PinError(f"{name}: {error}") from None
        known |= {each.fingerprint: each for each in taken}
    for fingerprint in fingerprints:
        owner = next((each for each in known.values() if fingerprint in each.fingerprints), None)
        if owner is None:
            owner = await _from_own(keyring, fingerprint, home)
        if owner.fingerprint != fingerprint:
            raise PinError(f"{fingerprint} is a subkey of {owner.fingerprint}: name that one, the primary key")
    return tuple(dict.fromkeys(fingerprints or known))


async def _from_own(keyring: Keyring, fingerprint: str, home: Path) -> Certificate:
    try:
        async with Keyring(home, is_interactive=True) as own:
            exported = await own.export(fingerprint, armored=False)
    except GpgUnavailableError:
        raise
    except PgpError as error:
        raise PinError(f"{fingerprint} is in no file that was given, and {error}") from None
    [taken] = await keyring.import_certificates(exported)
    return taken


def visible_text(document: bytes) -> bytes | None:
    """Return what a reader takes for the signed text; None where something stands around it or in its headers. Pure.

    Lines end in LF, the last one too. Compare with what gpg has read: where they differ, something is not signed.
    """
    lines = unix_lines(document).removesuffix(b"\n").split(b"\n")
    if lines[0] != CLEAR_SIGNED or lines[-1] != _END or _BEGIN not in lines:
        return None
    headers = 1
    while _HASH.fullmatch(lines[headers]):
        headers += 1
    middle = lines.index(_BEGIN)
    text = lines[headers + 1 : middle]
    is_framed = headers < middle and not lines[headers] and all(map(_ARMOR.fullmatch, lines[middle + 1 : -1]))
    if not is_framed or any(line.startswith(b"-") and not line.startswith(b"- ") for line in text):
        return None
    return b"".join(line.removeprefix(b"- ") + b"\n" for line in text)


def unix_lines(text: bytes) -> bytes:
    """Return a text with LF where CRLF was: which of the two ends a line is not signed. Pure."""
    return text.replace(b"\r\n", b"\n")


def state_of(verdict: Verdict, now: datetime) -> State:
    """Return what a canary is worth after a verdict; one that is late is genuine. Pure."""
    if verdict.statement is None:
        return canary_dates.State.INVALID
    is_valid = all(each.reason in LATE for each in verdict.faults)
    is_revoked = any(each.reason is Reason.REVOKED_KEY for each in verdict.faults)
    return canary_dates.state(verdict.statement, now, is_valid=is_valid, is_revoked=is_revoked)
