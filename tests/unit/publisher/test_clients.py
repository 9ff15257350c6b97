"""Who sent a request: nobody may say so but the connection itself, and whom the configuration trusts."""

from __future__ import annotations

import base64
import hashlib
import ssl
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from publisher.api.call import Client
from publisher.api.clients import Clients, address_of, fingerprint_of, is_in, parsed
from runtime.settings import load
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
PROXY = ip_address("10.0.0.1")
FINGERPRINT = "ab" * 32


# --- address ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ([], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["192.0.2.1"], "192.0.2.1"),
        (["192.0.2.9, 192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1, 10.9.9.9"], "192.0.2.1"),
        (["192.0.2.9, 192.0.2.1, 10.9.9.9 ,fd00::7"], "192.0.2.1"),
        (["192.0.2.9", "192.0.2.1", "10.9.9.9"], "192.0.2.1"),
        (["192.0.2.1", "10.9.9.9"], "192.0.2.1"),
        (["10.3.3.3, 10.2.2.2"], "10.3.3.3"),  # all of them ours: the one that began
        (["192.0.2.9, unknown"], "10.0.0.1"),
        (["192.0.2.9, unknown, 10.9.9.9"], "10.9.9.9"),
        (["192.0.2.9, , 10.9.9.9"], "10.9.9.9"),
        (["192.0.2.9,"], "10.0.0.1"),
        (["192.0.2.1:4711"], "192.0.2.1"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["[2001:db8::1]"], "2001:db8::1"),
        (["2001:DB8:0::1"], "2001:db8::1"),
        (["::ffff:192.0.2.1"], "192.0.2.1"),
        (["[::ffff:192.0.2.1]:4711"], "192.0.2.1"),
        (["192.0.2.9, ::ffff:10.9.9.9"], "192.0.2.9"),
        (["192.0.2.1:123456"], "10.0.0.1"),
        (["192.0.2.256"], "10.0.0.1"),
        (["192.0.2.01"], "10.0.0.1"),
        (["3221225985"], "10.0.0.1"),
        (["192.0.2.0/24"], "10.0.0.1"),
        (["[192.0.2.1]"], "192.0.2.1"),
        (["fe80::1%eth0"], "10.0.0.1"),
        (['"192.0.2.1"'], "10.0.0.1"),
        (["for=192.0.2.1"], "10.0.0.1"),
        (["192.0.2.1\ud83d"], "10.0.0.1"),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_not_ours(forwarded: list[str], client: str) -> None:
    assert str(address_of(PROXY, forwarded, TRUSTED)) == client


ADDRESSES = st.one_of(st.ip_addresses(), st.ip_addresses(network="10.0.0.0/8"))
PLACES = st.one_of(ADDRESSES.map(str), st.text(), st.sampled_from(["", "unknown", "[", "1.2.3.4:"]))


@given(claimed=st.lists(PLACES, max_size=5), heard=ADDRESSES, proxies=st.lists(st.ip_addresses(network="10.0.0.0/8")))
def test_nothing_a_client_claims_changes_who_it_is(claimed: list[str], heard: object, proxies: list[object]) -> None:
    by_ours = [str(heard), *map(str, proxies)]
    read = address_of(PROXY, [", ".join([*claimed, *by_ours])], TRUSTED)
    seen = parsed(str(heard))
    assert seen is not None
    if not is_in(seen, TRUSTED):
        assert read == seen == address_of(PROXY, by_ours, TRUSTED)


@given(st.text())
def test_what_is_no_address_is_none(text: str) -> None:
    address = parsed(text)
    assert address is None or parsed(str(address)) == address


# --- certificate -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = Authority(tmp_path_factory.mktemp("certificates")).bundle()
    return path.read_text()


def test_a_certificate_is_named_by_its_hash_or_by_itself(pem: str) -> None:
    der = ssl.PEM_cert_to_DER_cert(pem)
    expected = hashlib.sha256(der).hexdigest()
    encoded = base64.b64encode(der).decode()
    in_pairs = ":".join(expected[start : start + 2] for start in range(0, 64, 2))
    for header in (
        *(expected, expected.upper(), in_pairs, in_pairs.upper(), f"  {expected} "),
        *(quote(pem), quote(pem, safe=""), quote(pem, safe="+/="), pem.replace("\n", " ")),
        f":{encoded}:",
    ):
        assert fingerprint_of(header) == expected


def test_anything_else_names_none(pem: str) -> None:
    encoded = base64.b64encode(ssl.PEM_cert_to_DER_cert(pem)).decode()
    for header in (
        *("", ":", "::", ":::", "(null)", "-", FINGERPRINT[:-1], FINGERPRINT + "a", "g" * 64, f"sha256:{FINGERPRINT}"),
        *(f"{FINGERPRINT}, {FINGERPRINT}", FINGERPRINT[:-2] + ":ab", "\uff10" * 64),
        *(
            quote(pem * 2),
            quote(pem[:-30]),
            quote(pem.replace("CERTIFICATE", "PRIVATE KEY")),
            quote(pem[:80] + pem[90:]),
        ),
        *(f":{encoded[:-4]}:", f":{encoded}", f":{base64.b64encode(b'hello').decode()}:", ":AA=A:"),
        f":{encoded[:20]} {encoded[20:]}:",
    ):
        assert fingerprint_of(header) is None


@given(st.text())
def test_no_header_makes_it_fail(header: str) -> None:
    assert fingerprint_of(header) in {None, header.strip().replace(":", "").lower()}


# --- from a request --------------------------------------------------------------------------------------------------


class Transport:
    """As much of a transport as a request looks at; that of real connections is in the tests of the server."""

    def __init__(self, peer: object, certificate: bytes | None) -> None:
        self._extra = {"peername": peer, "ssl_object": self if certificate else None, "sslcontext": None}
        self._certificate = certificate

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._extra.get(name, default)

    def getpeercert(self, *, binary_form: bool) -> bytes | None:
        assert binary_form
        return self._certificate


def read(clients: Clients, peer: object, *headers: tuple[str, str], certificate: bytes | None = None) -> Client:
    request = make_mocked_request("GET", "/", CIMultiDict(headers), transport=Transport(peer, certificate))
    client = clients(request)
    assert clients(request) is client
    return client


FORWARDED = ("X-Forwarded-For", "192.0.2.1")
NAMED = ("X-Client-Cert", FINGERPRINT)
OWN = hashlib.sha256(b"certificate").hexdigest()
DIRECT = Clients(has_certificates=True)
BEHIND = Clients(TRUSTED, has_certificates=True)
NAMING = Clients(TRUSTED, certificate_header="X-Client-Cert", has_certificates=True)


@pytest.mark.parametrize(
    ("clients", "peer", "headers", "client"),
    [
        (DIRECT, "192.0.2.7", [FORWARDED, NAMED], Client("192.0.2.7", OWN)),
        (BEHIND, "192.0.2.7", [FORWARDED, NAMED], Client("192.0.2.7", OWN)),
        (NAMING, "192.0.2.7", [FORWARDED, NAMED], Client("192.0.2.7", OWN)),
        (BEHIND, "10.0.0.1", [], Client("10.0.0.1", OWN)),
        (BEHIND, "10.0.0.1", [FORWARDED, NAMED], Client("192.0.2.1", None)),  # the certificate is the proxy's
        (NAMING, "10.0.0.1", [FORWARDED, NAMED], Client("192.0.2.1", FINGERPRINT)),
        (NAMING, "10.0.0.1", [NAMED], Client("10.0.0.1", FINGERPRINT)),
        (NAMING, "10.0.0.1", [FORWARDED], Client("192.0.2.1", None)),
        (NAMING, "10.0.0.1", [], Client("10.0.0.1", None)),
        (NAMING, "10.0.0.1", [FORWARDED, NAMED, NAMED], Client("192.0.2.1", None)),
        (NAMING, "::ffff:10.0.0.1", [FORWARDED, NAMED], Client("192.0.2.1", FINGERPRINT)),
        (NAMING, "fd00::1", [FORWARDED, NAMED], Client("192.0.2.1", FINGERPRINT)),
        (DIRECT, "::ffff:192.0.2.7", [], Client("192.0.2.7", OWN)),
        (DIRECT, "fe80::1%eth0", [], Client("fe80::1", OWN)),
        (Clients(), "192.0.2.7", [], Client("192.0.2.7", None)),
        (NAMING, None, [FORWARDED, NAMED], Client("local", None)),
    ],
)
def test_only_a_trusted_peer_speaks_for_others(
    clients: Clients, peer: str | None, headers: list[tuple[str, str]], client: Client
) -> None:
    peername = "" if peer is None else (peer, 4711)
    assert read(clients, peername, *headers, certificate=b"certificate") == client


def test_a_client_without_a_certificate_has_none() -> None:
    assert read(DIRECT, ("192.0.2.7", 4711)) == Client("192.0.2.7", None)


def test_the_configuration_says_whom_to_trust(tmp_path: Path) -> None:
    server = str(Authority(tmp_path).issued("server"))
    trusting = {"trusted_proxies": "10.0.0.0/8,fd00::/8", "client_cert_header": "X-Client-Cert"}
    tls = {"api_tls_certfile": server, "api_tls_keyfile": server, "api_tls_client_cafile": server}

    def of(values: dict[str, str]) -> Clients:
        return Clients.of(load(environ={f"HELIOGRAPH_{name.upper()}": value for name, value in values.items()}))

    peer, other = ("10.0.0.1", 4711), ("192.0.2.7", 4711)
    assert read(of(trusting), peer, FORWARDED, NAMED) == Client("192.0.2.1", FINGERPRINT)
    assert read(of(trusting), other, FORWARDED, NAMED, certificate=b"certificate") == Client("192.0.2.7", None)
    assert read(of(tls), other, FORWARDED, NAMED, certificate=b"certificate") == Client("192.0.2.7", OWN)
    assert read(of({}), peer, FORWARDED, NAMED, certificate=b"certificate") == Client("10.0.0.1", None)
