"""The server with TLS of its own: what it takes, whom it knows by certificate, and what unfit files say."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from typing import TYPE_CHECKING

import pytest
import uvloop
from aiohttp import web
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from publisher.api.clients import Clients
from publisher.api.protocol import Bounds
from publisher.api.server import tls
from runtime.settings import Settings, SettingsError, load, variable
from tests.support.certificates import Authority
from tests.support.serving import serving

if TYPE_CHECKING:
    from pathlib import Path

WHO = b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def a_configuration(**values: object) -> Settings:
    return load(environ={variable(name): str(value) for name, value in values.items()})


def who_app(clients: Clients) -> web.Application:
    """Answer with the certificate a client is known by."""

    async def who(request: web.Request) -> web.Response:
        client = clients(request)
        assert clients(request) is client
        return web.Response(text=str(client.certificate))

    app = web.Application()
    app.router.add_get("/who", who)
    return app


async def known(settings: Settings, *clients: ssl.SSLContext) -> list[str]:
    """Return what the server knows of clients, one after the other."""
    async with serving(who_app(Clients.of(settings)), tls=tls(settings)) as served:
        return [(await served.ask(WHO, tls=client)).body.decode() for client in clients]


def with_certificate(authority: Authority, path: Path) -> ssl.SSLContext:
    client = authority.client()
    client.load_cert_chain(path)
    return client


def fingerprint(path: Path) -> str:
    pem = path.read_text().partition("-----END CERTIFICATE-----")
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[0] + pem[1])).hexdigest()


def test_without_a_certificate_there_is_no_tls() -> None:
    assert tls(a_configuration()) is None


def a_known_client(authority: Authority) -> tuple[Settings, Path]:
    server = authority.issued("server")
    settings = a_configuration(
        api_tls_certfile=server, api_tls_keyfile=server, api_tls_client_cafile=authority.bundle()
    )
    return settings, authority.issued("client")


async def test_a_client_is_known_by_its_certificate_and_may_have_none(authority: Authority) -> None:
    settings, client = a_known_client(authority)
    assert await known(settings, with_certificate(authority, client), authority.client()) == [
        fingerprint(client),
        "None",
    ]


def test_uvloop_knows_it_as_well(authority: Authority) -> None:
    settings, client = a_known_client(authority)
    assert uvloop.run(known(settings, with_certificate(authority, client))) == [fingerprint(client)]


async def test_who_is_not_asked_for_a_certificate_has_none(authority: Authority) -> None:
    server = authority.issued("server")
    settings = a_configuration(api_tls_certfile=server, api_tls_keyfile=server)
    assert await known(settings, with_certificate(authority, authority.issued("client"))) == ["None"]


async def test_a_certificate_of_another_authority_ends_the_connection(authority: Authority, tmp_path: Path) -> None:
    settings, _ = a_known_client(authority)
    (tmp_path / "other").mkdir()
    stranger = with_certificate(authority, Authority(tmp_path / "other").issued("client"))
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        await known(settings, stranger)


async def test_tls_before_1_2_is_refused(authority: Authority) -> None:
    server = authority.issued("server")
    made = tls(a_configuration(api_tls_certfile=server, api_tls_keyfile=server))
    assert made is not None
    assert made.minimum_version == ssl.TLSVersion.TLSv1_2
    assert made.verify_mode == ssl.CERT_NONE


async def test_a_handshake_that_is_not_ended_is_left(authority: Authority) -> None:
    async with serving(web.Application(), tls=authority.good(), bounds=Bounds(head=0.05)) as served:
        async with served.line() as line:
            assert await line.rest() == b""
        async with served.line() as line:
            line.send(bytes.fromhex("16030102"))
            assert await line.rest() == b""


# --- unfit files -----------------------------------------------------------------------------------------------------


def refused(**values: object) -> str:
    with pytest.raises(SettingsError) as caught:
        tls(a_configuration(**values))
    said = str(caught.value)
    assert "\n" not in said
    assert "hunter2" not in said
    return said


def test_a_file_without_a_certificate_is_named(authority: Authority, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("hunter2")
    server = authority.issued("server")
    both = "HELIOGRAPH_API_TLS_CERTFILE with HELIOGRAPH_API_TLS_KEYFILE: cannot be used ("
    assert refused(api_tls_certfile=empty, api_tls_keyfile=server).startswith(both)
    assert refused(api_tls_certfile=server, api_tls_keyfile=empty).startswith(both)
    assert refused(api_tls_certfile=server, api_tls_keyfile=authority.issued("other")).startswith(both)
    assert refused(api_tls_certfile=server, api_tls_keyfile=server, api_tls_client_cafile=empty).startswith(
        "HELIOGRAPH_API_TLS_CLIENT_CAFILE: cannot be used ("
    )


def test_an_encrypted_key_is_an_error_and_no_question(authority: Authority, tmp_path: Path) -> None:
    server, sealed = authority.issued("server"), tmp_path / "sealed.pem"
    key = load_pem_private_key(server.read_bytes(), password=None)
    sealed.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2")))
    said = refused(api_tls_certfile=server, api_tls_keyfile=sealed)
    assert said.startswith("HELIOGRAPH_API_TLS_CERTFILE with HELIOGRAPH_API_TLS_KEYFILE: cannot be used (")
