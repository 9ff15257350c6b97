"""gpg's listing of keys -> certificates, and which key of one signs. Pure.

From the bytes gpg wrote: python-gnupg splits its listing at every character Python takes for a line end, and a user ID
in UTF-8 has those in the middle (an Å ends in one). The format is GnuPG's
`doc/DETAILS`, "Format of the colon listings".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from signer.faults import PgpError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

_ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})")
_FIELDS = 21
_VALIDITY, _CREATED, _EXPIRES, _USER_ID, _CAPABILITIES, _TOKEN = 1, 5, 6, 9, 11, 14
#: Where fingerprint and keygrip stand in their own records.
_VALUE = 9
_PRIMARY, _SUBKEY = frozenset({b"pub", b"sec"}), frozenset({b"sub", b"ssb"})


@dataclass(frozen=True, slots=True)
class Subkey:
    """A key below a primary key; the certificate's own primary key has the same fields."""

    fingerprint: str
    #: Names the key pair itself, whatever certificate it is in; gpg calls the secret part's file by it.
    keygrip: str
    created_at: datetime
    expires_at: datetime | None
    is_revoked: bool
    can_sign: bool

    def is_usable(self, now: datetime) -> bool:
        """Say whether it may sign at this moment."""
        return self.can_sign and not self.is_revoked and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class Certificate(Subkey):
    """A public key as others get it: a primary key, names that are not revoked, subkeys."""

    user_ids: tuple[str, ...] = ()
    subkeys: tuple[Subkey, ...] = ()

    @property
    def keys(self) -> tuple[Subkey, ...]:
        """The primary key and the subkeys."""
        return (self, *self.subkeys)

    @property
    def fingerprints(self) -> frozenset[str]:
        """Of the primary key and the subkeys."""
        return frozenset(key.fingerprint for key in self.keys)


def parse(listing: bytes) -> list[Certificate]:
    """Return the certificates of a listing made with `--with-colons --fixed-list-mode --with-keygrip`."""
    made: list[Certificate] = []
    for kind, fields, extra in _keys(_records(listing)):
        key = Subkey(
            fingerprint=extra.get(b"fpr", ""),
            keygrip=extra.get(b"grp", ""),
            created_at=_moment(fields[_CREATED]) or datetime.fromtimestamp(0, UTC),
            expires_at=_moment(fields[_EXPIRES]),
            is_revoked=fields[_VALIDITY] == b"r",
            can_sign=b"s" in fields[_CAPABILITIES] and fields[_VALIDITY] not in {b"i", b"d"},
        )
        if kind in _PRIMARY:
            common = (key.fingerprint, key.keygrip, key.created_at, key.expires_at, key.is_revoked, key.can_sign)
            made.append(Certificate(*common, user_ids=_user_ids(extra)))
        elif made:
            made[-1] = replace(made[-1], subkeys=(*made[-1].subkeys, key))
    return made


def secret_parts(listing: bytes) -> frozenset[str]:
    """Return the fingerprints of a listing of secret keys whose secret part can be used here: in a file, on a card."""
    return frozenset(
        extra[b"fpr"]
        for kind, fields, extra in _keys(_records(listing))
        if kind in {b"sec", b"ssb"} and fields[_TOKEN] != b"#" and b"fpr" in extra
    )


def holds_secrets(listing: bytes) -> bool:
    """Say whether anything listed is a secret key."""
    return any(fields[0] in {b"sec", b"ssb"} for fields in _records(listing))


def of_key(certificates: Iterable[Certificate], fingerprint: str) -> Certificate:
    """Return the certificate that has this key, as its primary one or below; raises `PgpError`."""
    for certificate in certificates:
        if fingerprint in certificate.fingerprints:
            return certificate
    raise PgpError(f"the keyring has no certificate with the key {fingerprint}")


def signing_key(certificate: Certificate, fingerprint: str, secrets: Collection[str], now: datetime) -> Subkey:
    """Return the key that signs for `fingerprint`; raises `PgpError` when none can.

    A subkey signs for itself. For the primary key signs the newest of its subkeys that can (`secrets` are the
    fingerprints whose secret part is there), or else the primary key: that one may be kept elsewhere.
    """
    asked = [key for key in certificate.keys if key.fingerprint == fingerprint]
    if fingerprint == certificate.fingerprint:
        asked = [*sorted(certificate.subkeys, key=lambda key: key.created_at, reverse=True), certificate]
    if certificate.is_revoked:
        raise PgpError(f"the key {fingerprint} has been revoked")
    here = [key for key in asked if key.can_sign and key.fingerprint in secrets]
    if not here:
        raise PgpError(f"the keyring has no secret part of {fingerprint} that can sign")
    usable = [key for key in here if key.is_usable(now)]
    if not usable or not (certificate.expires_at is None or now < certificate.expires_at):
        raise PgpError(f"the key {fingerprint} has expired or has been revoked; prolong it, or make a new one")
    return usable[0]


def _records(listing: bytes) -> Iterator[list[bytes]]:
    for line in listing.split(b"\n"):
        fields = line.rstrip(b"\r").split(b":")
        yield [*fields, *[b""] * (_FIELDS - len(fields))]


def _keys(records: Iterable[list[bytes]]) -> Iterator[tuple[bytes, list[bytes], dict[bytes, str]]]:
    """Yield each key with what follows it: its fingerprint, its keygrip, and the user IDs, one a line."""
    current: tuple[bytes, list[bytes], dict[bytes, str]] | None = None
    for fields in records:
        kind = fields[0]
        if kind in _PRIMARY | _SUBKEY:
            if current:
                yield current
            current = (kind, fields, {})
        elif current and kind in {b"fpr", b"grp"}:
            current[2].setdefault(kind, fields[_VALUE].decode("ascii", "replace"))
        elif current and kind == b"uid" and fields[_VALIDITY] != b"r":
            current[2][b"uid"] = current[2].get(b"uid", "") + _text(fields[_USER_ID]) + "\n"
    if current:
        yield current


def _user_ids(extra: dict[bytes, str]) -> tuple[str, ...]:
    return tuple(extra.get(b"uid", "").split("\n")[:-1])


def _text(escaped: bytes) -> str:
    """Return a user ID, line ends in it made blanks."""
    raw = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), escaped)
    return " ".join(raw.decode("utf-8", "replace").split("\n"))


def _moment(seconds: bytes) -> datetime | None:
    return datetime.fromtimestamp(int(seconds), UTC) if seconds.isdigit() else None
