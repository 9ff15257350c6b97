"""`heliograph keys init` and `keys export`: a feed key, made and handed to a service; on the operator's machine.

Two files leave it: the public key, for everybody, and the secret part of one signing subkey, for the service. The
primary key stays. What to do with each is said in the end, with the commands to do it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import uvloop

from publisher.cli import canary_files as files
from publisher.cli.canary import PATIENCE, own_home
from publisher.cli.context import CommandError, CommandUsageError
from runtime.clock import SystemClock
from runtime.lifecycle import EXIT_DONE
from runtime.settings import parse_fingerprint, variable
from signer.keymaking import EXPIRES, KeyMaker, check_email, check_name
from signer.pgp import PgpError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from signer.keymaking import Exported

#: Of the file with a secret in it, and of a keyring.
OWNER_ALONE, OWNERS_FOLDER = 0o600, 0o700

Home = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="The keyring; GNUPGHOME, or gpg's own, when none is named.")
]
Output = Annotated[Path, typer.Option(metavar="FOLDER", help="Where the two files go.")]


def init(
    name: Annotated[str, typer.Option(help="Who signs, such as 'NordBastion feeds'.")],
    email: Annotated[str, typer.Option(help="The address of the key; at your domain, readers can find it by that.")],
    *,
    home: Home = None,
    expires: Annotated[str, typer.Option(help="Such as 18m or 2y, or never; can be prolonged.")] = "2y",
    output: Output = Path(),
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="The primary key gets none: for trying out, or a machine in a safe.")
    ] = False,
) -> int:
    """Make a feed key: a primary key that stays here, and a signing subkey for the service.

    Writes feed-<16 digits>.asc (public) and feed-<16 digits>.signing-subkey.asc (secret, for the service alone).
    """
    if not EXPIRES.fullmatch(expires):
        raise CommandUsageError(f"--expires: {expires!r} is not a number with d, w, m or y, such as 2y, nor never")
    for option, value, check in (("--name", name, check_name), ("--email", email, check_email)):
        try:
            check(value)
        except PgpError as error:
            raise CommandUsageError(f"{option}: {error}") from None
    files.check_folder("--output", output)
    keyring = _keyring(home, is_new=True)
    primary, exported = uvloop.run(_make(keyring, name, email, expires, has_passphrase=not no_passphrase))
    typer.echo(f"{primary} is made: the feed key of {name} <{email}>")
    _hand_over(exported, keyring, output)
    return EXIT_DONE


def export(
    key: Annotated[str, typer.Option(metavar="FINGERPRINT", help="The feed key.")],
    *,
    home: Home = None,
    output: Output = Path(),
) -> int:
    """Write the two files of a feed key that is there: with its newest signing subkey, after that was replaced."""
    try:
        fingerprint = parse_fingerprint(key)
    except ValueError as error:
        raise CommandUsageError(f"--key: {error}") from None
    files.check_folder("--output", output)
    keyring = _keyring(home, is_new=False)
    _hand_over(uvloop.run(_export(keyring, fingerprint)), keyring, output)
    return EXIT_DONE


def _keyring(home: Path | None, *, is_new: bool) -> Path:
    """Return the keyring to use, made where it is to be `is_new`; raises `CommandUsageError`."""
    chosen = home or own_home()
    if is_new:
        try:
            chosen.mkdir(mode=OWNERS_FOLDER, exist_ok=True)
        except OSError as error:
            raise CommandUsageError(f"--home: {chosen} cannot be made ({error.strerror})") from None
    if sys.stdin.isatty():
        os.environ.setdefault("GPG_TTY", os.ttyname(sys.stdin.fileno()))  # where the agent asks for a passphrase
    return chosen


async def _make(keyring: Path, name: str, email: str, expires: str, *, has_passphrase: bool) -> tuple[str, Exported]:
    try:
        async with KeyMaker(keyring, deadline=PATIENCE, is_interactive=True) as maker:
            primary = await maker.make(name, email, expires, has_passphrase=has_passphrase)
            return primary, await maker.export_for_service(primary, SystemClock().now())
    except PgpError as error:
        raise CommandError(f"{keyring}: {error}") from None


async def _export(keyring: Path, fingerprint: str) -> Exported:
    try:
        async with KeyMaker(keyring, deadline=PATIENCE, is_interactive=True) as maker:
            return await maker.export_for_service(fingerprint, SystemClock().now())
    except PgpError as error:
        raise CommandError(f"{keyring}: {error}") from None


def _hand_over(exported: Exported, keyring: Path, output: Path) -> None:
    public, secret = (output / f"{exported.stem}{suffix}" for suffix in (".asc", ".signing-subkey.asc"))
    for path in (public, secret):
        files.refuse_existing(path)
    files.write_new(public, exported.public)
    files.write_new(secret, exported.secret, mode=OWNER_ALONE)
    for line in _words(exported, keyring, public, secret):
        typer.echo(line)


def _words(exported: Exported, keyring: Path, public: Path, secret: Path) -> Iterator[str]:
    """Yield what is where now, and what to do with it. Pure."""
    revocation = keyring / "openpgp-revocs.d" / f"{exported.primary}.rev"
    yield f"{public} is written: the public key, for everybody"
    yield f"{secret} is written: the secret part of the signing subkey {exported.subkey}, without a passphrase"
    yield ""
    yield "Here stays:"
    yield f"  the primary key, in {keyring}. Back it up offline, with {revocation}, which revokes it."
    yield "To the service goes:"
    yield f"  {public}, into the folder of {variable('public_keys')}"
    yield f"  {secret}, into its keyring, by a way nobody else reads; then delete the file on both sides:"
    yield f'    gpg --homedir "${variable("gnupghome")}" --batch --import {public.name} {secret.name}'
    yield f"  {variable('feed_key')}={exported.primary}"
