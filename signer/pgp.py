"""PGP as the rest of the code base knows it: bytes in, fingerprints pinned, nothing left to gpg's discretion.

    caller -> Keyring (this file) -> Worker (one thread, a short queue) -> Gpg (python-gnupg, killed at a deadline)
                                                                            |
    Signature, Certificate, or an exception  <-  verdict, certificates (pure)  <-  status lines, listings

What python-gnupg would do by itself, and why it is not asked to:

- `sign(keyid=...)` falls back to another key. `--local-user FINGERPRINT!` does not, and the key
  that signed is compared.
- A result is true after one good signature, also from an expired key's. `signer.verdict` judges every line.
- A file with two signatures is good or bad by their order. One file holds one signature here.
- A clear-signed document may stand in any text, and gpg cuts its lines at 19,993 bytes without a word. What is signed
  so is checked first, what is read is gpg's own output. The detached signature, over exact bytes, is the normative one.
- Passphrases are never passed. A service's key has none; an operator's agent asks for it (`is_interactive`).
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from runtime.clock import SystemClock
from signer import certificates
from signer.certificates import Certificate, Subkey
from signer.faults import (
    BadSignatureError,
    BusyError,
    GpgUnavailableError,
    NotClearSignableError,
    PgpError,
    Reason,
)
from signer.process import Gpg, stop_agents
from signer.verdict import Form, Signature, check_made, is_fingerprint, verified
from signer.worker import Worker

if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType

    from runtime.clock import Clock

__all__ = [
    "BadSignatureError",
    "BusyError",
    "Certificate",
    "GpgUnavailableError",
    "Keyring",
    "NotClearSignableError",
    "PgpError",
    "Reason",
    "Signature",
    "Subkey",
]

#: An agent's socket may have a path of 106 bytes, and the longest name it puts behind the folder's takes 20.
LONGEST_HOME = 86
#: How much later than ours the clock of whoever signed may be.
SKEW = timedelta(minutes=5)
#: gpg 2.2 cuts the lines of a clear-signed text here, on both sides, and calls the signature good (g10/textfilter.c).
LONGEST_LINE = 19_993

#: What only reads a keyring takes no lock, which would be a file: a full disk stops no signature.
_READING = ("--lock-never",)
_BLOCK, _END = b"-----BEGIN PGP SIGNATURE-----", b"-----END PGP SIGNATURE-----"
_CLEAR = re.compile(rb"^-----BEGIN PGP SIGNED MESSAGE-----[ \t\r]*$", re.MULTILINE)
_CHANGED_BY_CLEARSIGNING = re.compile(rb"\r|[ \t](?:\n|\Z)")
#: RFC 9580, 4.2: every packet begins with this bit, no text does.
_PACKET = 0x80


class Keyring:
    """A GnuPG home and what can be done with it; an async context manager.

    At the end its agents are stopped, and a private home is removed.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        gpg: str = "gpg",
        deadline: float = 10.0,
        most_waiting: int = 64,
        clock: Clock | None = None,
        is_interactive: bool = False,
    ) -> None:
        """Without `home`, make a private one. No gpg runs for longer than `deadline` seconds.

        `is_interactive` is for the keyring of a person: its agent may ask for passphrases and is left running.
        """
        self._given = home
        self._home = Path()
        self._binary = gpg
        self._deadline = deadline
        self._clock = clock or SystemClock()
        self._is_interactive = is_interactive
        self._worker = Worker("gpg", most=most_waiting)
        self._opened: Gpg | None = None

    @property
    def home(self) -> Path:
        """Where it is."""
        return self._home

    @property
    def version(self) -> tuple[int, ...]:
        """Which gpg this is."""
        found: tuple[int, ...] = self._gpg.version
        return found

    @property
    def binary(self) -> str:
        """Where this gpg is."""
        return shutil.which(self._binary) or self._binary

    async def __aenter__(self) -> Self:
        """Raise `PgpError` when the home is not fit, `GpgUnavailableError` when gpg is not."""
        try:
            await self._worker.run(self._open)
        except BaseException:
            await self._worker.close(self._close)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what has begun, or kill it when the context is left by an exception; stop the agents."""
        if kind is not None:
            self.abort()
        await self._worker.close(self._close)

    def abort(self) -> None:
        """Kill the gpg that runs, and let no other begin: calls that wait raise `GpgUnavailableError`."""
        if self._opened is not None:
            self._opened.abort()

    # --- keys -----------------------------------------------------------------------------------------------------

    async def import_certificates(self, content: bytes, *, secrets: bool = False) -> list[Certificate]:
        """Take certificates, armored or binary; return those that came. Raises `PgpError`.

        Secret keys are refused, and nothing is imported then, unless `secrets` allows them.
        """
        return await self._worker.run(lambda: self._import(content, secrets=secrets))

    async def certificates(self) -> list[Certificate]:
        """Return all there are."""
        return await self._worker.run(self._certificates)

    async def secret_fingerprints(self) -> frozenset[str]:
        """Return primary and subkeys whose secret part is here, or on a card that is: those of known certificates."""
        return await self._worker.run(self._secret_fingerprints)

    async def secret_keygrips(self) -> frozenset[str]:
        """Return the keygrips of all secret keys in the home, also of those whose certificate is not there."""
        return await self._worker.run(self._secret_keygrips)

    async def export(self, fingerprint: str, *, armored: bool) -> bytes:
        """Return a certificate as others need it: without what third parties have signed. Raises `PgpError`."""
        _check(fingerprint)
        return await self._worker.run(lambda: self._export(fingerprint, armored=armored))

    # --- signatures -----------------------------------------------------------------------------------------------

    async def sign(self, content: bytes, fingerprint: str) -> bytes:
        """Return an armored detached signature over these bytes, made by exactly this key. Raises `PgpError`."""
        _check(fingerprint)
        return await self._worker.run(lambda: self._sign(content, fingerprint, Form.DETACHED))

    async def clearsign(self, content: bytes, fingerprint: str) -> bytes:
        """Return a text as a clear-signed document, signed by exactly this key.

        Raises `NotClearSignableError` for what its signature does not hold fast: the end of long lines, blanks at the
        end of any, carriage returns. Raises `PgpError`.
        """
        _check(fingerprint)
        if _CHANGED_BY_CLEARSIGNING.search(content):
            raise NotClearSignableError(
                "a clear-signed text has no carriage returns and no blanks at the end of a line"
            )
        if any(len(line) > LONGEST_LINE for line in content.split(b"\n")):
            raise NotClearSignableError(f"a clear-signed text has no line of more than {LONGEST_LINE} bytes")
        return await self._worker.run(lambda: self._sign(content, fingerprint, Form.CLEAR))

    async def verify(self, content: bytes, signature: bytes, *, at: datetime | None = None) -> Signature:
        """Return who made a detached signature, armored or binary; raises `BadSignatureError`.

        Judged now, or as of `at`: whether keys had expired then. A key that is revoked by now counts as revoked
        whenever it signed. Compare `primary` with the fingerprint you have pinned.
        """
        _check_one_signature(signature)
        return await self._worker.run(lambda: self._verify(content, signature, at))

    async def read_clearsigned(self, document: bytes) -> tuple[bytes, Signature]:
        """Return the text of a clear-signed document, as gpg reads it, and who signed; raises `BadSignatureError`.

        The text ends in a line end, also where what was signed did not. What stands around it is not in there.
        """
        if len(_CLEAR.findall(document)) != 1:
            raise BadSignatureError(Reason.MALFORMED, "this is not one clear-signed document")
        return await self._worker.run(lambda: self._read(document))

    # --- on the worker --------------------------------------------------------------------------------------------

    @property
    def _gpg(self) -> Gpg:
        if self._opened is None:
            raise PgpError("this keyring is not open")
        return self._opened

    def _open(self) -> None:
        self._home = _private_home() if self._given is None else _fit(self._given)
        options = () if self._is_interactive else ("--pinentry-mode=error",)
        self._opened = Gpg(self._binary, self._home, deadline=self._deadline, options=options)

    def _close(self) -> None:
        if self._home != Path() and not self._is_interactive:
            stop_agents(self._home)
        if self._given is None and self._home != Path():
            shutil.rmtree(self._home, ignore_errors=True)

    def _import(self, content: bytes, *, secrets: bool) -> list[Certificate]:
        shown = self._gpg.run(lambda: self._gpg.scan_keys_mem(content))
        if certificates.holds_secrets(shown.data) and not secrets:
            raise PgpError("this is a secret key; it belongs to its owner alone, and nothing of it was imported")
        record = self._gpg.run(lambda: self._gpg.import_keys(content))
        taken = {value.split()[-1] for keyword, value in record.lines if keyword == "IMPORT_OK"}
        if record.returncode != 0 or not taken:
            raise PgpError("no certificate could be imported from this")
        return [certificate for certificate in self._certificates() if certificate.fingerprint in taken]

    def _certificates(self) -> list[Certificate]:
        return certificates.parse(self._listing(is_secret=False))

    def _secret_fingerprints(self) -> frozenset[str]:
        return certificates.secret_parts(self._listing(is_secret=True))

    def _listing(self, *, is_secret: bool) -> bytes:
        record = self._gpg.run(lambda: self._gpg.list_keys(secret=is_secret))
        if record.returncode != 0:
            raise PgpError(f"the keyring {self._home} cannot be read")
        return record.data

    def _secret_keygrips(self) -> frozenset[str]:
        return frozenset(path.stem for path in (self._home / "private-keys-v1.d").glob("*.key"))

    def _export(self, fingerprint: str, *, armored: bool) -> bytes:
        record = self._gpg.run(lambda: self._gpg.export_keys(fingerprint, armor=armored, minimal=True))
        if record.returncode != 0 or not record.data:
            raise PgpError(f"the keyring {self._home} has no certificate with the key {fingerprint}")
        return record.data

    def _sign(self, content: bytes, fingerprint: str, form: Form) -> bytes:
        is_clear = form is Form.CLEAR
        record = self._gpg.run(
            lambda: self._gpg.sign(
                content,
                clearsign=is_clear,
                detach=not is_clear,
                extra_args=[*_READING, "--local-user", f"{fingerprint}!"],
            )
        )
        assert record.returncode is not None  # noqa: S101 - `run` sees to it
        check_made(record.lines, record.returncode, fingerprint, form)
        return record.data

    def _verify(self, content: bytes, signature: bytes, at: datetime | None) -> Signature:
        with self._gpg.given(signature) as path:
            record = self._gpg.run(lambda: self._gpg.verify_data(path, content, extra_args=[*_READING, *_as_of(at)]))
        assert record.returncode is not None  # noqa: S101 - `run` sees to it
        latest = at or self._clock.now() + SKEW
        return verified(record.lines, record.returncode, latest=latest, form=Form.DETACHED)

    def _read(self, document: bytes) -> tuple[bytes, Signature]:
        record = self._gpg.run(lambda: self._gpg.decrypt(document, extra_args=[*_READING]))
        assert record.returncode is not None  # noqa: S101 - `run` sees to it
        latest = self._clock.now() + SKEW
        return record.data, verified(record.lines, record.returncode, latest=latest, form=Form.CLEAR)


def _check(fingerprint: str) -> None:
    """Let nothing but a fingerprint become an argument of gpg's."""
    if not is_fingerprint(fingerprint):
        raise PgpError("a fingerprint is 40 hex digits in upper case, without blanks")


def _check_one_signature(signature: bytes) -> None:
    """Look at the outside only: how many packets are within, gpg says."""
    text = signature.strip()
    if text[:1] >= bytes([_PACKET]):
        return
    if text.count(_BLOCK) > 1:
        raise BadSignatureError(Reason.SEVERAL_SIGNATURES, "there are several signatures; one file holds one")
    if not (text.startswith(_BLOCK) and text.endswith(_END)) or text.count(b"-----BEGIN PGP") > 1:
        raise BadSignatureError(Reason.MALFORMED, "this is no detached signature")


def _as_of(at: datetime | None) -> list[str]:
    """Have gpg take `at` for now, standing still."""
    return [] if at is None else ["--faked-system-time", f"{at.astimezone(UTC):%Y%m%dT%H%M%S}!"]


def _private_home() -> Path:
    """Return a new folder, in /tmp where the usual place is too deep for the agent's sockets."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="hg-")).resolve()
        if len(os.fsencode(folder)) <= LONGEST_HOME:
            return folder
        folder.rmdir()
        return Path(tempfile.mkdtemp(prefix="hg-", dir="/tmp"))
    except OSError as error:
        raise PgpError(f"no private keyring can be made in {tempfile.gettempdir()} ({error.strerror})") from None


def _fit(given: Path) -> Path:
    """Return the home to use; raises `PgpError` when others could read it, or no agent could listen in it."""
    home = given.expanduser().resolve()
    try:
        status = home.stat()
    except OSError as error:
        raise PgpError(f"the keyring {home} cannot be used ({error.strerror})") from None
    if not stat.S_ISDIR(status.st_mode):
        raise PgpError(f"the keyring {home} is not a folder")
    if len(os.fsencode(home)) > LONGEST_HOME:
        raise PgpError(f"the path of the keyring {home} has more than {LONGEST_HOME} bytes: its agent could not listen")
    if status.st_uid != os.geteuid():
        raise PgpError(f"the keyring {home} belongs to another user")
    if stat.S_IMODE(status.st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        raise PgpError(f"the keyring {home} is open to others (chmod 700 {home})")
    return home
