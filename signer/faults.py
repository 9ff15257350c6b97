"""What goes wrong with PGP, as the callers of `signer.pgp` tell it apart.

Texts are one line, name a keyring or a fingerprint and never repeat what was signed or what gpg printed: user IDs and
file names of others are in there.
"""

from __future__ import annotations

from enum import StrEnum


class PgpError(Exception):
    """Something PGP did not work; the text says what and, where it can, what to do."""


class GpgUnavailableError(PgpError):
    """gpg is missing, too old, was ended at its deadline, or does not get round to it: another time it may work."""


class BusyError(GpgUnavailableError):
    """More calls wait for gpg than may."""


class NotClearSignableError(PgpError):
    """A content that a clear-signed document would not carry unchanged."""


class AgentError(Exception):
    """The signing process cannot start; the text says why."""


class Reason(StrEnum):
    """Why a signature is refused; a closed set."""

    MALFORMED = "malformed"
    SEVERAL_SIGNATURES = "several_signatures"
    BAD = "bad"
    UNKNOWN_KEY = "unknown_key"
    EXPIRED_KEY = "expired_key"
    REVOKED_KEY = "revoked_key"
    EXPIRED_SIGNATURE = "expired_signature"
    #: Made after the moment it is judged at, or before its key was.
    NOT_YET_VALID = "not_yet_valid"
    WEAK_DIGEST = "weak_digest"
    #: Over text whose line ends do not count, where bytes were to be signed; or the other way round.
    WRONG_FORM = "wrong_form"
    #: gpg knows the key and cannot check with it: an algorithm it does not have, a key that may not sign.
    UNCHECKABLE = "uncheckable"


class BadSignatureError(PgpError):
    """A signature that does not hold; `reason` says why."""

    def __init__(self, reason: Reason, text: str) -> None:
        """`text` is the sentence for people."""
        super().__init__(text)
        self.reason = reason
