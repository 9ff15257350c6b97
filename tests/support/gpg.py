"""Keys of every kind, made on the spot with gpg itself, and an independent verifier for what they sign.

Homes have short names: an agent's socket has to fit into 107 bytes.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pysequoia

from signer.process import stop_agents

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "Feed <feed@provider.example>"
FOREVER, YEAR = "0", "1y"


@dataclass(frozen=True, slots=True)
class Home:
    """A GnuPG home of a test's own."""

    path: Path

    def gpg(self, *arguments: str, content: bytes = b"", at: str | None = None) -> bytes:
        """Run gpg on it, at a moment of one's own choosing (`20260101T000000`); return what it wrote."""
        faked = ["--faked-system-time", f"{at}!"] if at else []
        command = ["gpg", "--homedir", str(self.path), "--batch", "--quiet", "--no-tty", "--yes", *faked, *arguments]
        ran = subprocess.run(command, input=content, capture_output=True, check=False)
        assert ran.returncode == 0, ran.stderr.decode(errors="replace")
        return ran.stdout

    def make(
        self,
        name: str = NAME,
        *,
        algorithm: str = "ed25519",
        usage: str = "sign",
        expires: str = YEAR,
        at: str | None = None,
    ) -> str:
        """Make a key pair without a passphrase; return its fingerprint."""
        before = set(self.fingerprints())
        secretly = ("--pinentry-mode", "loopback", "--passphrase", "")
        self.gpg(*secretly, "--quick-generate-key", name, algorithm, usage, expires, at=at)
        [made] = [each for each in self.fingerprints() if each not in before]
        return made

    def add_subkey(self, primary: str, *, usage: str = "sign", expires: str = YEAR, at: str | None = None) -> str:
        """Add a subkey; return its fingerprint."""
        before = set(self.fingerprints())
        secretly = ("--pinentry-mode", "loopback", "--passphrase", "")
        self.gpg(*secretly, "--quick-add-key", primary, "ed25519", usage, expires, at=at)
        [made] = [each for each in self.fingerprints() if each not in before]
        return made

    def fingerprints(self) -> list[str]:
        """Return all there are, primaries and subkeys, in gpg's order."""
        listing = self.gpg("--with-colons", "--fixed-list-mode", "--with-subkey-fingerprint", "--list-keys").decode()
        return [line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:")]

    def public(self, fingerprint: str) -> bytes:
        """Export a certificate."""
        return self.gpg("--armor", "--export", fingerprint)

    def secret(self, fingerprint: str) -> bytes:
        """Export a secret key, primary and subkeys."""
        return self.gpg("--armor", "--export-secret-keys", fingerprint)

    def secret_subkey(self, subkey: str) -> bytes:
        """Export one subkey's secret part and its primary key as a stub: what a service gets."""
        return self.gpg("--armor", "--export-secret-subkeys", f"{subkey}!")

    def take(self, keys: bytes) -> None:
        """Import whatever it is."""
        self.gpg("--import", content=keys)

    def revoke(self, fingerprint: str) -> None:
        """Revoke a key with the certificate gpg made beside it."""
        prepared = (self.path / "openpgp-revocs.d" / f"{fingerprint}.rev").read_text()
        self.take(prepared.replace(":-----BEGIN", "-----BEGIN").encode())

    def revoke_subkey(self, primary: str, index: int = 1) -> None:
        """Revoke a subkey, by its number in the listing, as one would by hand."""
        answers = f"key {index}\nrevkey\ny\n0\n\ny\nsave\n".encode()
        self.gpg("--command-fd", "0", "--pinentry-mode", "loopback", "--edit-key", primary, content=answers)

    def sign(self, content: bytes, *options: str, key: str, at: str | None = None) -> bytes:
        """Sign in whatever way the options say; detached and armored by default."""
        return self.gpg("--local-user", f"{key}!", *(options or ("--armor", "--detach-sign")), content=content, at=at)


@contextlib.contextmanager
def home() -> Iterator[Home]:
    """Yield an empty one; stop its agent at the end."""
    with tempfile.TemporaryDirectory(prefix="hgk-", ignore_cleanup_errors=True) as folder:
        path = Path(folder).resolve()
        try:
            yield Home(path)
        finally:
            stop_agents(path)


def sequoia_detached(content: bytes, signature: bytes, certificate: bytes) -> tuple[str, str]:
    """Verify with an implementation that is not gpg; return the fingerprints of the primary key and of the signer."""
    known = pysequoia.Cert.from_bytes(certificate)
    found = pysequoia.verify(content, lambda _: [known], signature=pysequoia.Sig.from_bytes(signature))
    [valid] = found.valid_sigs
    return valid.certificate.upper(), valid.signing_key.upper()


def sequoia_clear(document: bytes, certificate: bytes) -> tuple[bytes, str]:
    """Read a clear-signed document with an implementation that is not gpg; return its text and the primary key."""
    known = pysequoia.Cert.from_bytes(certificate)
    found = pysequoia.verify(document, lambda _: [known])
    [valid] = found.valid_sigs
    assert found.bytes is not None
    return found.bytes, valid.certificate.upper()
