"""Whose a request is, and what it counts as."""

from __future__ import annotations

import socket
from typing import NamedTuple, Self

READ, WRITE, AUTH = "read", "write", "auth"
POLICIES = (READ, WRITE, AUTH)
#: Methods that change nothing (RFC 9110, section 9.2.1).
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
#: The network an IPv6 address counts as, in bytes; and what IPv4 addresses look like among them.
NETWORK_BYTES = 8
MAPPED = bytes(10) + b"\xff\xff"


class Caller(NamedTuple):
    """Who is counted. `tier` is the credential's word for its tier, None for the profile's default."""

    subject: str
    tier: str | None = None
    is_address: bool = False

    @classmethod
    def key(cls, credential: str, tier: str | None = None) -> Self:
        """Return the caller with a credential, by its id: never by the secret part."""
        return cls(f"key:{credential}", tier)

    @classmethod
    def address(cls, address: str) -> Self:
        """Return the caller without one, by its address; one of IPv6 counts as its /64, which one customer has."""
        return cls(f"address:{network_of(address)}", is_address=True)


def by_method(method: str, path: str) -> str | None:  # noqa: ARG001 - the shape of every such function
    """Count what changes nothing as `read` and all else as `write`. Pure."""
    return READ if method in SAFE else WRITE


def network_of(address: str) -> str:
    """Return the part of an address that stands for one caller; what is no IPv6 address stands for itself. Pure."""
    if ":" not in address:
        return address
    try:
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except (OSError, ValueError):
        return address
    if packed.startswith(MAPPED):
        return socket.inet_ntoa(packed.removeprefix(MAPPED))
    return packed[:NETWORK_BYTES].hex()
