"""gpg's status lines -> what they mean. Pure.

python-gnupg keeps a summary of these lines: the last signature's, true as soon as one is good, and silent about which
of several keys was meant. So the lines themselves are judged here, all of them, and only one combination is good. Their
format is GnuPG's `doc/DETAILS`, "Format of the --status-fd output".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from signer.faults import BadSignatureError, PgpError, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Keyword and the rest of a status line.
Line = tuple[str, str]

_FINGERPRINT = re.compile(r"[0-9A-F]{40}")
#: MD5, SHA-1, RIPEMD-160 (RFC 4880, 9.4).
_WEAK_DIGESTS = frozenset({"1", "2", "3"})
#: gpg's error code for a key it does not have.
_NO_PUBLIC_KEY = "9"

_REFUSALS = {
    "BADSIG": (Reason.BAD, "the signature is not of this content"),
    "REVKEYSIG": (Reason.REVOKED_KEY, "the key that signed has been revoked"),
    "EXPKEYSIG": (Reason.EXPIRED_KEY, "the key that signed has expired"),
    "EXPSIG": (Reason.EXPIRED_SIGNATURE, "the signature has expired"),
}
#: Of INV_SGNR; the numbers are gpg's.
_UNUSABLE = {
    "1": "is not there",
    "3": "may not sign",
    "4": "has been revoked",
    "5": "has expired",
    "9": "has no secret part here, or has expired or been revoked",
}


class Form(StrEnum):
    """How something is signed: the value is the class of the signature packet (RFC 4880, 5.2.1)."""

    DETACHED = "00"
    CLEAR = "01"


#: The letter of SIG_CREATED.
_LETTERS = {Form.DETACHED: "D", Form.CLEAR: "C"}


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that holds; fingerprints are 40 hex digits in upper case.

    `primary` is who signed: compare it with the one you have pinned. `signer` is the key that did, a subkey perhaps.
    """

    primary: str
    signer: str
    made_at: datetime


def is_fingerprint(text: str) -> bool:
    """Say whether `text` is a fingerprint as this package writes them: 40 hex digits in upper case."""
    return _FINGERPRINT.fullmatch(text) is not None


def verified(lines: Sequence[Line], returncode: int, *, latest: datetime, form: Form) -> Signature:
    """Return the one signature gpg has verified; raises `BadSignatureError` for anything else.

    `latest` is the last moment it may have been made at.
    """
    said = {keyword: value.split() for keyword, value in lines}
    count = sum(keyword == "NEWSIG" for keyword, _ in lines)
    if count > 1:
        raise BadSignatureError(Reason.SEVERAL_SIGNATURES, "there are several signatures; one file holds one")
    if not count:
        raise BadSignatureError(Reason.MALFORMED, "this is no signature")
    if "ERRSIG" in said:
        raise _unchecked(said["ERRSIG"], latest)
    for keyword, (reason, text) in _REFUSALS.items():
        if keyword in said:
            raise BadSignatureError(reason, text)
    if returncode != 0 or "GOODSIG" not in said or "VALIDSIG" not in said:
        raise BadSignatureError(Reason.BAD, "the signature does not verify")
    return _valid(said["VALIDSIG"], latest, form)


def _unchecked(errsig: list[str], latest: datetime) -> BadSignatureError:
    """Say why gpg could not check: `<keyid> <algo> <hash> <class> <time> <code> <fingerprint>`."""
    _, _, _, _, made, code, *_ = [*errsig, *[""] * 6]
    if code == _NO_PUBLIC_KEY:
        return BadSignatureError(Reason.UNKNOWN_KEY, "the key that signed is not known here")
    if made.isdigit() and _moment(made) > latest:
        return BadSignatureError(Reason.NOT_YET_VALID, "the signature, or its key, is of a later time")
    return BadSignatureError(Reason.UNCHECKABLE, "the signature cannot be checked with the key it names")


def _valid(fields: list[str], latest: datetime, form: Form) -> Signature:
    """Read `<fpr> <date> <time> <expires> <version> - <algo> <hash> <class> <primary>`."""
    try:
        signer, _, made, _, _, _, _, digest, packet_class, primary = fields[:10]
        made_at = _moment(made)
    except ValueError:
        raise BadSignatureError(Reason.MALFORMED, "gpg does not say whose signature it is") from None
    if not (is_fingerprint(signer) and is_fingerprint(primary)):
        raise BadSignatureError(Reason.UNCHECKABLE, "the key that signed has no fingerprint of 40 hex digits")
    if digest in _WEAK_DIGESTS:
        raise BadSignatureError(Reason.WEAK_DIGEST, "the signature rests on a broken hash function")
    if packet_class != form:
        raise BadSignatureError(Reason.WRONG_FORM, "the signature is of another kind: over text, not bytes, or turned")
    if made_at > latest:
        raise BadSignatureError(Reason.NOT_YET_VALID, "the signature is of a later time")
    return Signature(primary, signer, made_at)


def check_made(lines: Sequence[Line], returncode: int, fingerprint: str, form: Form) -> None:
    """Raise `PgpError` unless exactly one signature was made, in this form, by exactly this key."""
    invalid = next((value.split() for keyword, value in lines if keyword == "INV_SGNR"), None)
    if invalid is not None:
        raise PgpError(f"the key {fingerprint} {_UNUSABLE.get(invalid[0], 'cannot sign')}")
    made = [value.split() for keyword, value in lines if keyword == "SIG_CREATED"]
    if returncode != 0 or len(made) != 1:
        raise PgpError(f"gpg made no signature with {fingerprint} (its exit code is {returncode})")
    letter, _, _, packet_class, _, signer = [*made[0], *[""] * 6][:6]
    if signer != fingerprint:
        raise PgpError(f"gpg signed with {signer}, not with {fingerprint}")
    if (letter, packet_class) != (_LETTERS[form], form):
        raise PgpError(f"gpg made a signature of class {packet_class}, not {form}")


def _moment(seconds: str) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
