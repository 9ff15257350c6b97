"""Who may be called: a customer names the URL, and must not reach through us what it cannot reach itself.

Three layers, because each alone has a hole:

1. `Rules.check_url`, at registration and again at each attempt: a strict grammar of its own, so that no two parsers
   can disagree about where a URL points (backslashes, userinfo, octal and integer addresses, dots at the end).
2. `VettedResolver`: a name is refused if *any* of its answers is; only vetted answers are passed on. The connector
   never asks it about address literals.
3. `Rules.make_socket`, the connector's socket factory: sees the address of every connect, literal or resolved, and
   decides.

What is refused are the special-purpose ranges of the IANA registries and multicast; of IPv6 everything outside
2000::/3. `ipaddress.is_global` is no substitute: it changes with the Python version and passes multicast, NAT64 and
6to4. An operator adds ranges (EGRESS_DENY); an allow-list (EGRESS_ALLOW) exists for development only.

A kept-alive connection is reused for at most as long as a DNS answer is believed (`transport.DNS_CACHE` seconds), so
what is called stays what was vetted, and a name that turns to a private address is blocked within that time. The
cost is one new connection, with its TLS handshake, in so many seconds for each busy endpoint.
"""

from __future__ import annotations

import enum
import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from aiohttp.abc import AbstractResolver
from yarl import URL

from publisher.delivery.outcome import BlockedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.abc import ResolveResult

    from runtime.settings import Settings

Network = IPv4Network | IPv6Network

MAX_URL_CHARS = 2048
MAX_HOST_CHARS = 253

#: IANA IPv4 Special-Purpose Address Registry, and multicast (224/4), as of 2026.
REFUSED_V4 = tuple(
    IPv4Network(network)
    for network in [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    ]
)
#: Of IPv6 only global unicast is called, less the special-purpose ranges inside it.
CALLED_V6 = IPv6Network("2000::/3")
REFUSED_V6 = tuple(
    IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
#: Addresses that answer to every machine of a hosting provider with that machine's secrets.
WIRE_SERVERS = ("168.63.129.16/32",)

#: Names that never belong to a customer on the public Internet (RFC 6761, 6762, 7686, 8375, 9476; ICANN: .internal).
RESERVED_TLDS = frozenset({"alt", "arpa", "internal", "invalid", "local", "localhost", "onion", "test"})

_URL = re.compile(
    r"(?P<scheme>[a-z]+)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::(?P<port>[1-9][0-9]{0,4}))?(?:[/?][!-~]*)?",
    re.IGNORECASE,
)
_LABEL = re.compile(r"(?!xn--$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)


class UrlFault(enum.StrEnum):
    """Why a URL cannot be an endpoint: a closed set, which the API shows."""

    TOO_LONG = "too_long"
    MALFORMED = "malformed"
    SCHEME = "scheme_not_allowed"
    PORT = "port_not_allowed"
    NAME = "host_not_valid"
    HOST = "host_not_allowed"
    ADDRESS = "address_not_allowed"


class RefusedUrlError(ValueError):
    """A URL that may not be an endpoint; the text says why, and never what a name resolves to."""

    def __init__(self, fault: UrlFault, detail: str) -> None:
        """Keep the fault: the text is for people."""
        super().__init__(detail)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be called. `allow` beats everything, and is empty in production; `deny` adds to what is refused."""

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    ports: frozenset[int] = frozenset({443, 8443})

    @classmethod
    def parse(cls, *, allow: Iterable[str] = (), deny: Iterable[str] = (), ports: Iterable[int] = (443, 8443)) -> Rules:
        """Return the rules for CIDRs as text; raises ValueError naming the one that is none."""
        return cls(
            tuple(ip_network(each) for each in allow),
            tuple(ip_network(each) for each in (*WIRE_SERVERS, *deny)),
            frozenset(ports),
        )

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """Return the rules of a configuration."""
        return cls.parse(allow=settings.egress_allow, deny=settings.egress_deny, ports=settings.egress_ports)

    def may_call(self, address: str) -> bool:
        """Say whether an address, written canonically, may be connected to."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if self.is_allowed(address):
            return True
        if any(parsed in network for network in self.deny):
            return False
        if parsed.version == 4:  # noqa: PLR2004 - the IP version
            return not any(parsed in network for network in REFUSED_V4)
        return parsed in CALLED_V6 and not any(parsed in network for network in REFUSED_V6)

    def is_allowed(self, address: str) -> bool:
        """Say whether the development allow-list names an address."""
        parsed = ip_address(address)
        return any(parsed in network for network in self.allow)

    def check_url(self, text: str) -> URL:
        """Return a URL that may be an endpoint, as far as its text can tell; raise `RefusedUrlError` otherwise.

        https to a public name or a canonical public address, on the ports allowed. What the development
        allow-list names may be called over http too, and on any port.
        """
        if len(text) > MAX_URL_CHARS:
            raise RefusedUrlError(UrlFault.TOO_LONG, f"must be at most {MAX_URL_CHARS} characters")
        match = _URL.fullmatch(text)
        if match is None or "\\" in text or "#" in text:
            raise RefusedUrlError(
                UrlFault.MALFORMED,
                "must be https://host[:port][/path][?query] in ASCII, without user, backslash or fragment",
            )
        scheme, host, port = match["scheme"].lower(), match["host"].lower(), match["port"]
        is_exempt = self._check_host(host)
        if scheme != "https" and not (scheme == "http" and is_exempt):
            raise RefusedUrlError(UrlFault.SCHEME, "must begin with https://")
        if port is not None and int(port) not in self.ports and not (is_exempt and int(port) <= 65535):  # noqa: PLR2004 - the largest port
            allowed = ", ".join(map(str, sorted(self.ports)))
            raise RefusedUrlError(UrlFault.PORT, f"the port must be one of {allowed}")
        url = URL(text)
        try:
            _ = url.host  # decodes punycode, which may not be any
        except ValueError:
            raise RefusedUrlError(UrlFault.NAME, "the host is not a valid name") from None
        return url

    def _check_host(self, host: str) -> bool:
        """Refuse a host by its text; say whether the allow-list exempts it."""
        literal = host[1:-1] if host.startswith("[") else host if _ends_in_number(host) else None
        if literal is not None:
            if not _is_canonical(literal):
                raise RefusedUrlError(UrlFault.ADDRESS, "an address must be written canonically")
            if not self.may_call(literal):
                raise RefusedUrlError(
                    UrlFault.ADDRESS, "this address is not called: it is private, reserved, or closed by this service"
                )
            return self.is_allowed(literal)
        if host == "localhost" and self.allow:
            return True  # what it resolves to is vetted like any other name
        labels = host.split(".")
        if len(host) > MAX_HOST_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
            raise RefusedUrlError(UrlFault.NAME, "the host is not a valid name")
        if len(labels) == 1 or labels[-1] in RESERVED_TLDS:
            raise RefusedUrlError(UrlFault.HOST, "the host is not a public name")
        return False

    def make_socket(self, addr_info: tuple[Any, ...]) -> socket.socket:
        """Return a socket for the connector; raise `BlockedError` if its address may not be called."""
        family, kind, protocol, _, address = addr_info
        if not self.may_call(address[0]):
            raise BlockedError("the address is not called")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)  # noqa: FBT003 - the standard library takes it by position only
        return made


class VettedResolver(AbstractResolver):
    """Passes on what `inner` answers if every answer may be called; raises `BlockedError` otherwise."""

    def __init__(self, rules: Rules, inner: AbstractResolver) -> None:
        """Ask `inner`; close it at the end."""
        self._rules = rules
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the vetted answers for `host`; none at all counts as refused."""
        answers = await self._inner.resolve(host, port, family)
        if not answers or not all(self._rules.may_call(answer["host"]) for answer in answers):
            raise BlockedError("the name leads to an address that is not called")
        return answers

    async def close(self) -> None:
        """Close the resolver that is asked."""
        await self._inner.close()


def _ends_in_number(host: str) -> bool:
    """Say whether parsers may take `host` for an IPv4 address (WHATWG URL, "ends in a number")."""
    last = host.rstrip(".").rpartition(".")[2]
    return last.isdigit() or re.fullmatch(r"0x[0-9a-f]*", last) is not None


def _is_canonical(literal: str) -> bool:
    try:
        return ip_address(literal).compressed == literal
    except ValueError:
        return False
