"""`heliograph verify`: a stranger with a public key verifies what was published. Needs gpg, and no setting.

    source -> what is it? -> signatures and headers beside it -> verdict -> lines, or JSON
              (canary, document, answer, webhook, or any bytes)

Which keys count, the command line says alone. Of a URL its siblings are fetched too, of a file nothing; what comes is
bounded in size and in time.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import uvloop

from publisher.cli import canary_files as files
from publisher.cli import verify_headers, verify_webhook
from publisher.cli.canary import own_home
from publisher.cli.context import CommandUsageError, say, say_json
from publisher.cli.moments import parse_at
from publisher.cli.verify_headers import HeaderError
from publisher.cli.verify_outcome import Kind  # noqa: TC001 - typer reads the annotation of the command
from publisher.cli.verify_walk import SECRET_VARIABLE, Asked, walk
from publisher.secrets import PREFIX
from runtime.clock import SystemClock
from runtime.lifecycle import EXIT_DONE, EXIT_FAILED
from runtime.settings import parse_fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

#: A file of public keys is no longer.
MOST_KEY_BYTES = 2**20
SECONDS = 20.0


def verify(
    source: Annotated[str, typer.Argument(metavar="URL|FILE", help="What to verify; https, or http of this machine.")],
    *,
    signature: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Detached; may be repeated. Those beside it when none."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|FINGERPRINT",
            help="Whose signature counts; may be repeated. With fingerprints they alone count, and files, or the "
            "keyring in GNUPGHOME, only bring the keys; without, every key of the files counts. Of several "
            "fingerprints each must have signed, unless --threshold asks for fewer.",
        ),
    ] = None,
    threshold: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many keys must have signed. Left out: of a canary all that count, of anything else all "
            "fingerprints that are named, or one key of the files.",
        ),
    ] = None,
    chain: Annotated[
        bool, typer.Option("--chain", help="Verify a canary's predecessors too, down to the first.")
    ] = False,
    previous: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE|FOLDER", help="Canaries before this one; may be repeated. Of a URL, its history."),
    ] = None,
    headers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of an answer or a webhook: as `curl -D` writes them, or a JSON object."),
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(metavar="FILE", help=f"With {PREFIX}… of a webhook, one a line; or the variable WEBHOOK_SECRET."),
    ] = None,
    public_key: Annotated[
        list[str] | None, typer.Option(metavar="whpk_…", help="Of a webhook; may be repeated.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Judge as of then, such as 2026-11-02T12:00:00Z; now when none.")
    ] = None,
    any_age: Annotated[
        bool,
        typer.Option(
            "--any-age", help="Take what is late or over: an old webhook, a canary that is overdue, a retirement."
        ),
    ] = False,
    expect: Annotated[
        Kind | None,
        typer.Option(
            help="What it must be, for scripts: a signature under something else is no answer. Only with `bytes` "
            "anything with a detached signature will do, unless it looks like a canary."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the bytes that were signed, if all holds.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=600, help="Seconds for each request.")] = SECONDS,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Verify a canary, a document, a signed answer or a webhook, with keys you have from elsewhere.

    Exit code 0 when verified; 1 when not, when a canary is late, or when a retirement has ended it; 2 when it cannot be
    asked so. Needs no setting and, for files, no network.
    """
    key_files, fingerprints = _keys(key or ())
    moment = parse_at(at)
    asked = Asked(
        home=own_home(),
        signatures={str(path): files.read(path) for path in signature or ()},
        key_files=key_files,
        fingerprints=fingerprints,
        threshold=threshold,
        is_whole=chain,
        previous=previous or (),
        headers=_headers(headers) if headers else None,
        secrets=_secrets(secret),
        public_keys=_public_keys(public_key or ()),
        now=moment or SystemClock().now(),
        at=moment,
        is_any_age=any_age,
        expect=expect,
    )
    if output is not None:
        files.refuse_existing(output)
    outcome = uvloop.run(walk(source, asked, seconds=timeout))
    if as_json:
        say_json(outcome.json(source))
    else:
        for line in outcome.lines(source):
            say(line)
    if output is not None and outcome.is_verified:
        files.write_new(output, outcome.content)
    return EXIT_DONE if outcome.is_verified else EXIT_FAILED


# --- what was given -----------------------------------------------------------------------------------------------


def _keys(given: Sequence[str]) -> tuple[dict[str, bytes], list[str]]:
    """Tell files from fingerprints; raises `CommandUsageError`."""
    contents: dict[str, bytes] = {}
    fingerprints = []
    for each in given:
        try:
            fingerprints.append(parse_fingerprint(each))
        except ValueError:
            path = Path(each)
            if not path.exists():
                raise CommandUsageError(
                    f"--key: {each!r} is neither a file nor a fingerprint of 40 hexadecimal digits"
                ) from None
            contents[each] = files.read(path, MOST_KEY_BYTES)
    return contents, fingerprints


def _headers(path: Path) -> dict[str, str]:
    try:
        return verify_headers.parse(files.read(path))
    except HeaderError as error:
        raise CommandUsageError(f"--headers: {path}: {error}") from None


def _secrets(name: str | None) -> list[bytes]:
    """Read webhook secrets; raises `CommandUsageError`, which repeats none."""
    if name is not None and name.strip().startswith(PREFIX):
        raise CommandUsageError(
            "--secret: takes a file, not the secret: every user of a machine can read its command lines; "
            f"write it into a file, or into {SECRET_VARIABLE}"
        )
    given = os.environ.get(SECRET_VARIABLE) if name is None else None
    if name is None and not given:
        return []
    where = SECRET_VARIABLE if name is None else f"--secret: {name}"
    try:
        return verify_webhook.secrets_of(given or files.read(Path(name or "")).decode())
    except UnicodeDecodeError:
        raise CommandUsageError(f"{where}: is not text") from None
    except ValueError as error:
        raise CommandUsageError(f"{where}: {error}") from None


def _public_keys(given: Sequence[str]) -> list[Ed25519PublicKey]:
    try:
        return [verify_webhook.public_key(each) for each in given]
    except ValueError as error:
        raise CommandUsageError(f"--public-key: {error}") from None
