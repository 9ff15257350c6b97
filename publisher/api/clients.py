"""Who is at the other end of a connection: the peer, or whom a trusted proxy says it speaks for.

Both things a proxy may say, an address and a certificate, are believed of those in `trusted_proxies` only, because
anybody can send the headers. The two readers, `address_of` and `fingerprint_of`, are pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import unquote

from aiohttp import hdrs, web
from cryptography import x509

from publisher.api.call import Client

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Network

    from runtime.settings import Settings

    Address = IPv4Address | IPv6Address
    Networks = Sequence[IPv4Network | IPv6Network]

#: What the peer of a unix socket is called: it has no address. It is trusted with nothing.
LOCAL = "local"
#: How an address may be written in X-Forwarded-For: bare, with a port, in brackets.
WRITTEN = re.compile(r"(?P<v4>[0-9.]+)(:\d{1,5})?|\[(?P<v6>[0-9A-Fa-f:.]+)\](:\d{1,5})?|(?P<bare>[0-9A-Fa-f:.]+)")
#: A fingerprint is the SHA-256 in hex, its pairs perhaps apart.
FINGERPRINT = re.compile(r"[0-9A-Fa-f]{64}|([0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}")
PEM = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")

#: Peers that are remembered, with what their address means: many requests come over one connection.
PEERS = 1024

_CLIENT = web.RequestKey("heliograph_client", Client)


class _Peer(NamedTuple):
    """An address, None of a unix socket; and who that is, None for a proxy that has to say so."""

    address: Address | None
    client: Client | None


class Clients:
    """Reads peers and proxies' headers."""

    def __init__(
        self, trusted: Networks = (), *, certificate_header: str | None = None, has_certificates: bool = False
    ) -> None:
        """`has_certificates` says that our own TLS asks clients for one."""
        self._trusted = tuple(trusted)
        self._certificate_header = certificate_header
        self._has_certificates = has_certificates
        self._peer = lru_cache(maxsize=PEERS)(self._peer_of)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what a configuration trusts."""
        return cls(
            [ip_network(network) for network in settings.trusted_proxies],
            certificate_header=settings.client_cert_header,
            has_certificates=settings.api_tls_client_cafile is not None,
        )

    def __call__(self, request: web.Request) -> Client:
        """Return who sent a request; read once for each request."""
        known = request.get(_CLIENT)
        if known is None:
            known = request[_CLIENT] = self.read(request)
        return known

    def _peer_of(self, remote: str) -> _Peer:
        """Say who is at the other end of a connection, whatever comes over it."""
        peer = parsed(remote)
        if peer is None:
            return _Peer(None, Client(LOCAL))
        return _Peer(peer, None if is_in(peer, self._trusted) else Client(str(peer)))

    def read(self, request: web.BaseRequest) -> Client:
        """Return the same, read anew."""
        peer, stranger = self._peer(request.remote or "")
        if stranger is not None:
            return stranger if peer is None else self._with_own(stranger, request)
        assert peer is not None  # noqa: S101 - it is trusted
        forwarded = request.headers.getall(hdrs.X_FORWARDED_FOR, ())
        address = str(address_of(peer, forwarded, self._trusted))
        if self._certificate_header is not None:
            named = request.headers.getall(self._certificate_header, ())
            return Client(address, fingerprint_of(named[0]) if len(named) == 1 else None)
        # Behind a proxy, the certificate of the connection is the proxy's.
        return Client(address, None if forwarded else self._own(request))

    def _with_own(self, client: Client, request: web.BaseRequest) -> Client:
        return Client(client.address, self._own(request)) if self._has_certificates else client

    def _own(self, request: web.BaseRequest) -> str | None:
        """Return the certificate that our own TLS has verified."""
        if not self._has_certificates or request.transport is None:
            return None
        tls = request.transport.get_extra_info("ssl_object")
        certificate: bytes | None = tls.getpeercert(binary_form=True) if tls is not None else None
        return hashlib.sha256(certificate).hexdigest() if certificate else None


def parsed(text: str) -> Address | None:
    """Return an address without its zone, an IPv4-mapped one as IPv4; None for what is none. Pure."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def is_in(address: Address, networks: Networks) -> bool:
    """Say whether an address is in one of the networks. Pure."""
    return any(address in network for network in networks)


def address_of(peer: Address, forwarded: Sequence[str], trusted: Networks) -> Address:
    """Return whom a trusted `peer` speaks for, by its X-Forwarded-For headers in order. Pure.

    Each proxy appends whom it heard from, so the list is read from the right for as long as those in it are trusted:
    the first that is not is the client, and what stands left of it is that client's own claim. The same holds for what
    is left of something unreadable, an empty place included: somebody trusted put it there and could not say who it
    was, so the client is the last one that can be believed.
    """
    address = peer
    for header in reversed(forwarded):
        for text in reversed(header.split(",")):
            written = WRITTEN.fullmatch(text.strip())
            named = parsed(written["v4"] or written["v6"] or written["bare"]) if written else None
            if named is None:
                return address
            address = named
            if not is_in(address, trusted):
                return address
    return address


def fingerprint_of(header: str) -> str | None:
    """Return the SHA-256 in lower-case hex of the certificate a header names; None for what names none. Pure.

    Taken are the hash itself, the certificate as URL-encoded PEM (nginx' `$ssl_client_escaped_cert`), and as the
    structured field `Client-Cert` of RFC 9440.
    """
    text = header.strip()
    if FINGERPRINT.fullmatch(text):
        return text.replace(":", "").lower()
    if pem := PEM.fullmatch(unquote(text).strip()):
        encoded = "".join(pem[1].split())
    elif text.startswith(":") and text.endswith(":"):
        encoded = text[1:-1]
    else:
        return None
    try:
        certificate = base64.b64decode(encoded, validate=True)
        x509.load_der_x509_certificate(certificate)
    except (binascii.Error, ValueError):
        return None
    return hashlib.sha256(certificate).hexdigest()
