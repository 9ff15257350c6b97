"""A feed key, made on the operator's machine: a primary key that stays there, and a subkey that goes to the service.

    primary, certifies alone (a passphrase, asked for by gpg's agent)     stays with the operator, and in the safe
      |-- signing subkey (no passphrase: nobody is there to type it)      goes to the service, and can be replaced

Who breaks into the service gets a subkey, which the primary revokes and replaces; readers pin the primary and see the
same fingerprint afterwards.

The subkey has no passphrase although the primary has: gpg takes `--passphrase ''` for the new subkey's, unless the
pinentry mode is loopback, and asks its agent for the primary's (g10/keygen.c, `generate_subkeypair`). A key that was
exported is tried out before it is called good: in a keyring like a service's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from signer import certificates, feed_key
from signer.faults import PgpError
from signer.pgp import Keyring
from signer.process import Gpg
from signer.verdict import is_fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from signer.process import Record

#: Days, weeks, months or years as gpg writes them; `never` for one that does not expire.
EXPIRES = re.compile(r"[1-9]\d{0,3}[dwmy]|never")
_NAME = re.compile(r"[^<>@\x00-\x1f\x7f-\x9f]{1,200}")
_EMAIL = re.compile(r"[A-Za-z0-9.!#$&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")

ADD_SUBKEY = "gpg --batch --passphrase '' --quick-add-key {} ed25519 sign 1y"


@dataclass(frozen=True, slots=True)
class Exported:
    """What leaves the operator's machine: the whole public key, and the secret part of one subkey, both armored."""

    primary: str
    subkey: str
    public: bytes
    secret: bytes

    @property
    def stem(self) -> str:
        """How its files' names begin: `feed-` and the key ID."""
        return f"feed-{self.primary[-16:]}"


class KeyMaker(Keyring):
    """A person's keyring, in which keys are made."""

    async def make(self, name: str, email: str, expires: str, *, has_passphrase: bool = True) -> str:
        """Make a feed key with its subkey; return the primary's fingerprint. Raises `PgpError`.

        Both expire after `expires` (`EXPIRES`). gpg's agent asks for the passphrase, unless there shall be none.
        """
        check_name(name)
        check_email(email)
        primary = await self._worker.run(lambda: self._make_primary(name, email, expires, is_protected=has_passphrase))
        try:
            await self._worker.run(lambda: self._add_subkey(primary, expires))
        except PgpError as error:
            raise PgpError(f"the key {primary} is made and has no subkey yet: {error}") from None
        return primary

    async def export_for_service(self, fingerprint: str, now: datetime) -> Exported:
        """Return what a service needs of a feed key: its newest signing subkey. Raises `PgpError`."""
        certificate = certificates.of_key(await self.certificates(), fingerprint)
        primary = certificate.fingerprint
        secrets = await self.secret_fingerprints() - {primary}
        if not any(each.can_sign and each.fingerprint in secrets for each in certificate.subkeys):
            raise PgpError(
                f"the key {primary} has no signing subkey whose secret part is here; make one: "
                f"{ADD_SUBKEY.format(primary)}"
            )
        subkey = certificates.signing_key(certificate, primary, secrets, now).fingerprint
        public = await self.export(primary, armored=True)
        secret = await self._worker.run(lambda: self._export_subkey(subkey))
        await _try_out(secret, primary, subkey, now)
        return Exported(primary, subkey, public, secret)

    async def drop_primary(self, fingerprint: str) -> None:
        """Take the secret part of a primary key away for good; what is left, a subkey, is what a service has.

        Nobody can prolong that key any more. Raises `PgpError` where the keyring has no such key.
        """
        certificate = certificates.of_key(await self.certificates(), fingerprint)
        # gpg's own way asks a person once more; its agent reads the file at each use
        secret = self._home / "private-keys-v1.d" / f"{certificate.keygrip}.key"
        await self._worker.run(lambda: secret.unlink(missing_ok=True))

    # --- on the worker --------------------------------------------------------------------------------------------

    def _make_primary(self, name: str, email: str, expires: str, *, is_protected: bool) -> str:
        wish = [
            *(() if is_protected else ("%no-protection",)),
            "Key-Type: EDDSA",
            "Key-Curve: ed25519",
            "Key-Usage: cert",
            f"Name-Real: {name}",
            f"Name-Email: {email}",
            f"Expire-Date: {_expiry(expires)}",
            "%commit",
            "",
        ]
        record = self._gpg.run(lambda: self._gpg.gen_key("\n".join(wish).encode()))
        return _made(record, "P", "the key")

    def _add_subkey(self, primary: str, expires: str) -> str:
        gpg = self._unprotected()
        record = gpg.run(lambda: gpg.add_subkey(primary, algorithm="ed25519", usage="sign", expire=_expiry(expires)))
        return _made(record, "S", "the subkey")

    def _export_subkey(self, subkey: str) -> bytes:
        gpg = self._unprotected()
        record = gpg.run(lambda: gpg.export_secret_subkey(subkey))
        if record.returncode != 0 or not record.data:
            raise PgpError(f"gpg does not hand out the secret part of the subkey {subkey}; was its passphrase given?")
        return record.data

    def _unprotected(self) -> _Gpg:
        """Return a gpg that gives new keys no passphrase; for those that have one the agent still asks."""
        return _Gpg(self._binary, self._home, deadline=self._deadline, options=("--passphrase", ""))


class _Gpg(Gpg):
    """Where python-gnupg has no call for it."""

    def export_secret_subkey(self, fingerprint: str) -> None:
        """Export one subkey with its secret part; of the primary key goes a stub without one."""
        process = self._open_subprocess(["--armor", "--export-secret-subkeys", f"{fingerprint}!"])
        self._collect_output(process, self.result_map["export"](self), stdin=process.stdin)


def check_name(name: str) -> None:
    """Raise `PgpError` for a name gpg could misread: its wish list has a line for each part."""
    if not _NAME.fullmatch(name) or name != name.strip():
        raise PgpError(f"{name!r} is not a name for a key: up to 200 characters in one line, without <, > and @")


def check_email(email: str) -> None:
    """Raise `PgpError` for what is no address, or one that gpg could misread."""
    if not _EMAIL.fullmatch(email):
        raise PgpError(f"{email!r} is not an address such as feeds@provider.example")


def _expiry(expires: str) -> str:
    return "0" if expires == "never" else expires


def _made(record: Record, letter: str, what: str) -> str:
    """Return the fingerprint of what gpg says it has made; raises `PgpError`."""
    made = _created(record.lines, letter)
    if record.returncode != 0 or made is None:
        raise PgpError(f"gpg has not made {what}; was the passphrase given?")
    return made


def _created(lines: Sequence[tuple[str, str]], letter: str) -> str | None:
    """Read `KEY_CREATED <B|P|S> <fingerprint>`; None where there is none of this kind."""
    for keyword, value in lines:
        kind, _, fingerprint = value.partition(" ")
        if keyword == "KEY_CREATED" and kind == letter and is_fingerprint(fingerprint.strip()):
            return fingerprint.strip()
    return None


async def _try_out(secret: bytes, primary: str, subkey: str, now: datetime) -> None:
    """Do with it what a service will: take it into an empty keyring, admit it, sign. Raises `PgpError`."""
    async with Keyring() as service:
        await service.import_certificates(secret, secrets=True)
        if primary in await service.secret_fingerprints():
            raise PgpError(f"gpg put the secret part of the primary key {primary} into what a service gets")
        key = await feed_key.admit(service, primary, (), now)
        try:
            await service.sign(b"trial", key.signer)
        except PgpError:
            raise PgpError(
                f"a service could not sign with the subkey {subkey}: it has a passphrase, which nobody would type. "
                f"Make another one: {ADD_SUBKEY.format(primary)}"
            ) from None
