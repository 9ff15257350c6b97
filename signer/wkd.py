"""The Web Key Directory: under which name a key lies there, and what of the key does. Pure.

draft-koch-openpgp-webkey-service, section 3.1: the name is the local part of the address, in lower case, through SHA-1
and Z-Base-32; the key is binary and carries the user ID of the address. Other names of its owner are left out: whoever
asks for an address learns of no other one. gpg 2.2 has a filter for that which lets everything through, so packets are
told apart here.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple

from signer.faults import PgpError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALPHABET = "ybndrfg8ejkmcpqxot1uwisza345h769"
_QUINTET = 5
_ADDRESS = r"[^<>@\s]+@[^<>@\s]+"
_MAILBOX = re.compile(rf"(?:.*<({_ADDRESS})>|({_ADDRESS}))\s*", re.DOTALL)

#: RFC 9580, 5: packet types.
_SIGNATURE, _SECRET, _PUBLIC, _SECRET_SUBKEY, _USER_ID, _PUBLIC_SUBKEY, _ATTRIBUTE = 2, 5, 6, 7, 13, 14, 17
#: RFC 9580, 4.2: the first octet of a packet, and how its length is written.
_ALWAYS, _NEW_FORMAT = 0x80, 0x40
_ONE_OCTET, _TWO_OCTETS, _FIVE_OCTETS = 192, 224, 255
_INDETERMINATE = 3
_TRUNCATED = "this key ends in the middle"


class Mailbox(NamedTuple):
    """An address: the local part as it is written, the domain in lower case."""

    local: str
    domain: str

    def __str__(self) -> str:
        """As it is written in an envelope."""
        return f"{self.local}@{self.domain}"

    @property
    def place(self) -> tuple[str, str]:
        """Where its key lies: the domain, and the name there."""
        return self.domain, name_of(self.local)


class _Packet(NamedTuple):
    kind: int
    body: bytes
    whole: bytes


def zbase32(data: bytes) -> str:
    """Return bytes in Z-Base-32, without padding (draft, section 3.1, after Zooko O'Whielacronx)."""
    bits = "".join(f"{each:08b}" for each in data)
    bits += "0" * (-len(bits) % _QUINTET)
    return "".join(_ALPHABET[int(bits[start : start + _QUINTET], 2)] for start in range(0, len(bits), _QUINTET))


def name_of(local: str) -> str:
    """Return the name of a local part in the directory: 32 characters. ASCII letters alone are made small."""
    small = "".join(each.lower() if each.isascii() else each for each in local)
    return zbase32(hashlib.sha1(small.encode(), usedforsecurity=False).digest())


def mailbox(user_id: str) -> Mailbox | None:
    """Return the address of a user ID, `Name <local@domain>` or the address alone; None where it has none."""
    found = _MAILBOX.fullmatch(user_id)
    if found is None:
        return None
    local, _, domain = (found[1] or found[2]).rpartition("@")
    return Mailbox(local, domain.lower())


def user_ids(key: bytes) -> tuple[str, ...]:
    """Return all user IDs of a binary key, those that are revoked too; raises `PgpError`."""
    return tuple(_text(packet.body) for packet in _packets(key) if packet.kind == _USER_ID)


def only(key: bytes, place: tuple[str, str]) -> bytes:
    """Return a public key with the user IDs of one address alone, and without pictures; raises `PgpError`.

    `key` is binary, `place` that of the address. Signatures stand behind what they are about, so those of a user ID go
    with it.
    """
    kept, is_kept = [], True
    for packet in _packets(key):
        if packet.kind in {_SECRET, _SECRET_SUBKEY}:
            raise PgpError("this is a secret key; nothing of it is given away")
        if packet.kind in {_PUBLIC, _PUBLIC_SUBKEY}:
            is_kept = True
        elif packet.kind == _USER_ID:
            address = mailbox(_text(packet.body))
            is_kept = address is not None and address.place == place
        elif packet.kind == _ATTRIBUTE:
            is_kept = False
        elif packet.kind != _SIGNATURE:
            continue
        if is_kept:
            kept.append(packet.whole)
    return b"".join(kept)


def _text(user_id: bytes) -> str:
    """Return a user ID, line ends in it made blanks."""
    return " ".join(user_id.decode("utf-8", "replace").splitlines())


def _packets(data: bytes) -> Iterator[_Packet]:
    """Yield the packets of a key (RFC 9580, 4.2); raises `PgpError` for what is none."""
    start = 0
    while start < len(data):
        first = data[start]
        if not first & _ALWAYS:
            raise PgpError("this is no binary OpenPGP key")
        is_new = bool(first & _NEW_FORMAT)
        octets, length = (_new_length if is_new else _old_length)(data[start:])
        body = start + 1 + octets
        end = body + length
        if end > len(data):
            raise PgpError(_TRUNCATED)
        kind = first & 0x3F if is_new else (first & 0x3C) >> 2
        yield _Packet(kind, data[body:end], data[start:end])
        start = end


def _old_length(packet: bytes) -> tuple[int, int]:
    """Return how many octets the length takes, and the length (RFC 9580, 4.2.2)."""
    kind = packet[0] & 3
    if kind == _INDETERMINATE:
        raise PgpError("this key has a packet of unknown length")
    octets = 1 << kind
    return octets, _number(packet[1 : 1 + octets], octets)


def _new_length(packet: bytes) -> tuple[int, int]:
    """Return how many octets the length takes, and the length (RFC 9580, 4.2.1)."""
    first = _number(packet[1:2], 1)
    if first < _ONE_OCTET:
        return 1, first
    if first < _TWO_OCTETS:
        return 2, ((first - _ONE_OCTET) << 8) + _number(packet[2:3], 1) + _ONE_OCTET
    if first == _FIVE_OCTETS:
        return 5, _number(packet[2:6], 4)
    raise PgpError("this key has a packet in parts")


def _number(octets: bytes, size: int) -> int:
    if len(octets) < size:
        raise PgpError(_TRUNCATED)
    return int.from_bytes(octets, "big")
