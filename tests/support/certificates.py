"""Certificates made on the spot: one authority, and servers that are good, expired, somebody else's, self-signed."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

DAY = timedelta(days=1)


class Authority:
    """Issues certificates for 127.0.0.1; `client` trusts nobody else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Heliograph test authority")
        now = datetime.now(UTC)
        self._certificate = (
            _builder(self._name, self._name, self._key, now - DAY, now + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def client(self) -> ssl.SSLContext:
        """Return a context that verifies like the default one, with this authority as the only root."""
        pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode()
        return ssl.create_default_context(cadata=pem)

    def bundle(self) -> Path:
        """Return a file that holds the authority's own certificate."""
        path = self._folder / "authority.pem"
        path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def issued(self, name: str) -> Path:
        """Return a file that holds a certificate and its key, for a server or a client."""
        self._server(name)
        return self._folder / f"{name}.pem"

    def good(self) -> ssl.SSLContext:
        return self._server("good")

    def expired(self) -> ssl.SSLContext:
        return self._server("expired", ends=-DAY / 24)

    def not_yet_valid(self) -> ssl.SSLContext:
        return self._server("early", begins=DAY / 24)

    def of_another_host(self) -> ssl.SSLContext:
        return self._server("other", host="127.0.0.2")

    def self_signed(self) -> ssl.SSLContext:
        return self._server("self", is_self_signed=True)

    def _server(
        self,
        name: str,
        *,
        host: str = "127.0.0.1",
        begins: timedelta = -2 * DAY,
        ends: timedelta = DAY,
        is_self_signed: bool = False,
    ) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        subject, now = _name(name), datetime.now(UTC)
        issuer, issuer_key = (subject, key) if is_self_signed else (self._name, self._key)
        certificate = (
            _builder(subject, issuer, key, now + begins, now + ends)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
            .sign(issuer_key, hashes.SHA256())
        )
        path = self._folder / f"{name}.pem"
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
