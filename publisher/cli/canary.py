"""`heliograph canary`: the operator's tool for the warrant canary. These run on an offline machine with gpg alone.

draft -> diff -> sign, by each signer -> verify. No server and no network is used, and of the settings only
`CANARY_KEYS` and `CANARY_THRESHOLD`, which options override. What is done beside the database is in canary_publish.py.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
import uvloop

from publisher.cli import canary_files as files
from publisher.cli import canary_pages as pages
from publisher.cli import context
from publisher.cli.canary_dialogue import NOTHING_WRITTEN, Terminal, affirm, in_options, narrow
from publisher.cli.context import CommandError, CommandUsageError
from publisher.cli.moments import parse_at
from runtime.clock import SystemClock
from runtime.lifecycle import EXIT_DONE, EXIT_FAILED
from runtime.settings import parse_fingerprint, variable
from signer import canary_changes
from signer.canary_check import Predecessor, Reason, check
from signer.canary_draft import Answers, DraftError, read_statements
from signer.canary_draft import draft as made_of
from signer.canary_signatures import read_signatures
from signer.certificates import signing_key
from signer.pgp import Keyring, PgpError
from signer.statement import JURISDICTIONS, SCOPE, Document, sha256, signature_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from publisher.cli.canary_dialogue import Talk
    from signer.canary_check import Signed

T = TypeVar("T")
group = typer.Typer(
    help="The warrant canary: draft, compare, sign and verify, offline; then publish it.", no_args_is_help=True
)

#: Seconds gpg may take where it asks a person for a passphrase, or for a card.
PATIENCE = 300.0

CanaryFile = Annotated[Path, typer.Argument(metavar="FILE", help="The canary, such as canary-12.json.")]


@group.command()
def draft(
    ctx: typer.Context,
    previous: Annotated[Path | None, typer.Option(metavar="FILE", help="The canary before this one.")] = None,
    *,
    first: Annotated[bool, typer.Option("--first", help="There is none before it.")] = False,
    provider: Annotated[str | None, typer.Option(help="Who makes the statement; that of the one before.")] = None,
    scope: Annotated[str | None, typer.Option(help="What it covers; that of the one before.")] = None,
    jurisdiction: Annotated[
        list[str] | None, typer.Option(help="ISO 3166 code; may be repeated. Those of the one before when none.")
    ] = None,
    statements: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML with [[statements]]. Those of the one before, or a set for a host."),
    ] = None,
    signer: Annotated[
        list[str] | None,
        typer.Option(metavar="FINGERPRINT", help="May be repeated. Those of the one before, or CANARY_KEYS."),
    ] = None,
    threshold: Annotated[int | None, typer.Option(help="How many of them must sign.")] = None,
    block: Annotated[str | None, typer.Option(metavar="HEIGHT:HASH", help="A recent Bitcoin block.")] = None,
    headline: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE: TITLE", help="Of today's news; may be repeated.")
    ] = None,
    proofs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON with block {height, hash} and headlines [{source, title}]."),
    ] = None,
    retire: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Draft a retirement instead: it ends the canary, whenever published."),
    ] = None,
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the draft goes.")] = Path(),
) -> int:
    """Draft a canary: affirm each statement, one by one, on a terminal. Writes canary-N.json, to be signed.

    A statement that is not affirmed is left out, after a second question, and the canary says so.
    """
    terminal = Terminal()
    if (previous is None) != first:
        raise CommandUsageError("name the canary before this one with --previous FILE, or say --first")
    before = files.read_document(previous) if previous else None
    past = before.statement if before else None
    settings = context.of(ctx).settings()
    signers = _fingerprints("--signer", signer) or (past.signers if past else settings.canary_keys)
    if threshold is None:
        inherited = past.threshold if past else settings.canary_threshold
        threshold = inherited if inherited is not None and not signer else len(signers)
    try:
        asked = read_statements(statements) if statements else past.statements if past else read_statements()
        answers = Answers(
            provider=_given("--provider", provider, past.provider if past else None),
            scope=_given("--scope", scope, past.scope if past else None),
            jurisdictions=_given("--jurisdiction", tuple(jurisdiction or ()), past.jurisdictions if past else None),
            statements=() if retire is not None else asked,
            signers=_given("--signer", signers, None),
            threshold=threshold,
            freshness=files.read_proofs(proofs, block, headline or ()),
            retirement=retire,
        )
        document = _drafted(before, answers, output, terminal)
    except DraftError as error:
        raise CommandUsageError(in_options(error)) from None
    path = output / document.name
    files.write_new(path, document.content)
    terminal.tell(f"{path} is written, sha256 {document.sha256}. Next: heliograph canary sign {path}")
    return EXIT_DONE


@group.command()
def diff(
    previous: Annotated[Path, typer.Argument(metavar="PREVIOUS", help="The canary before.")], file: CanaryFile
) -> int:
    """Say in words what a canary changes against the one before it."""
    before, after = files.read_document(previous), files.read_document(file)
    for line in canary_changes.words(canary_changes.diff(before.statement, after.statement)):
        context.say(line)
    return EXIT_DONE


@group.command()
def sign(
    file: CanaryFile,
    key: Annotated[
        str | None,
        typer.Option(metavar="FINGERPRINT", help="Whose signature; the one of the signers whose key is here."),
    ] = None,
) -> int:
    """Show a canary and sign it with a key of yours, from GNUPGHOME. Writes FILE.<end of the fingerprint>.asc."""
    document = files.read_document(file)
    statement = document.statement
    verdict = check(
        document.content, (), pinned=statement.signers, threshold=1, now=SystemClock().now(),
        previous=Predecessor.UNKNOWN,
    )  # fmt: skip
    for fault in verdict.faults:
        if fault.reason is not Reason.TOO_FEW_SIGNATURES:
            raise CommandError(f"{file}: is not signed: {fault}")
    wanted = _fingerprints("--key", [key] if key else None)
    if wanted and wanted[0] not in statement.signers:
        raise CommandError(f"{file}: {wanted[0]} is not among its signers: {', '.join(statement.signers)}")
    for line in pages.page(document):
        context.say(line)
    if sys.stdin.isatty():
        os.environ.setdefault("GPG_TTY", os.ttyname(sys.stdin.fileno()))  # where the agent asks for a passphrase
    primary, armored = uvloop.run(_sign(document, wanted or statement.signers, file))
    path = file.with_name(signature_name(file.name, primary))
    files.write_new(path, armored)
    context.say(f"{path} is written: the signature of {primary}")
    return EXIT_DONE


@group.command()
def verify(
    ctx: typer.Context,
    file: CanaryFile,
    *,
    signature: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="May be repeated; those beside the canary when none.")
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Public keys; may be repeated. Those in GNUPGHOME when none."),
    ] = None,
    pin: Annotated[
        list[str] | None,
        typer.Option(metavar="FINGERPRINT", help="Who counts; may be repeated. CANARY_KEYS when none."),
    ] = None,
    threshold: Annotated[
        int | None, typer.Option(min=1, help="How many must have signed; all that are pinned, or CANARY_THRESHOLD.")
    ] = None,
    previous: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The canary before; checks that this one follows it.")
    ] = None,
    first: Annotated[bool, typer.Option("--first", help="There is none before it; checks that.")] = False,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Judge as of then, such as 2026-11-02T12:00:00Z; now when none.")
    ] = None,
) -> int:
    """Say who signed a canary, and whether it is to be believed. Exit code 1 when not, or when it is overdue."""
    if previous is not None and first:
        raise CommandUsageError("--previous, --first: give one of them")
    settings = context.of(ctx).settings()
    pinned = _fingerprints("--pin", pin) or settings.canary_keys
    if not pinned:
        raise CommandUsageError(f"--pin: name the keys that count, here or in {variable('canary_keys')}")
    if threshold is None:
        threshold = len(pinned) if pin or settings.canary_threshold is None else settings.canary_threshold
    if threshold > len(pinned):
        raise CommandUsageError(f"--threshold: is {threshold}, of {len(pinned)} pinned keys")
    content = files.read(file)
    before = files.read_document(previous) if previous else Predecessor.NONE if first else Predecessor.UNKNOWN
    moment = parse_at(at)
    blobs = {str(path): files.read(path) for path in signature or files.signatures_beside(file)}
    certificates = [files.read(path) for path in key or ()]
    signatures = uvloop.run(_signatures(content, blobs, certificates, moment))
    now = moment or SystemClock().now()
    verdict = check(content, signatures, pinned=pinned, threshold=threshold, now=now, previous=before)
    for line in pages.report(file, sha256(content), verdict, now):
        context.say(line)
    return EXIT_DONE if verdict.is_good else EXIT_FAILED


# --- what was given -----------------------------------------------------------------------------------------------


def _drafted(before: Document | None, answers: Answers, output: Path, talk: Talk) -> Document:
    """Ask, and return what the answers make; raises `DraftError` before the first question where nothing could."""
    clock, past = SystemClock(), before.statement if before else None
    everything = frozenset({*(each.id for each in past.statements), SCOPE, JURISDICTIONS}) if past else frozenset[str]()
    trial = Document.of(made_of(before, replace(answers, removed=everything), clock.now()))
    files.check_folder("--output", output)
    files.refuse_existing(output / trial.name)
    talk.tell(pages.title(trial.statement))
    if answers.retirement is None:
        narrowed = narrow(answers.scope, answers.jurisdictions, past, talk)
        affirmed, removed = affirm(answers.statements, past, talk)
        answers = replace(answers, statements=affirmed, removed=removed | narrowed)
    document = Document.of(made_of(before, answers, clock.now()))
    changes = canary_changes.words(canary_changes.diff(past, document.statement)) if past else pages.page(document)
    talk.tell("", *changes, "")
    question = "This ends the canary for good, whenever it is published. Write it?"
    if not talk.ask(question if document.statement.is_retirement else f"Write {document.name}?"):
        raise CommandError(NOTHING_WRITTEN)
    return document


def _given(option: str, value: T | None, inherited: T | None) -> T:
    """Return what was given, else what the one before has; raises `CommandUsageError` where there is neither."""
    chosen = value or inherited
    if not chosen:
        raise CommandUsageError(f"{option}: is needed: there is no canary before this one to take it from")
    return chosen


def _fingerprints(option: str, values: Sequence[str] | None) -> tuple[str, ...]:
    """Return fingerprints as they are compared, each once; raises `CommandUsageError`."""
    try:
        return tuple(dict.fromkeys(map(parse_fingerprint, values or ())))
    except ValueError as error:
        raise CommandUsageError(f"{option}: {error}") from None


# --- gpg ----------------------------------------------------------------------------------------------------------


def own_home() -> Path:
    """Return the keyring of whoever runs this, where gpg would look for it."""
    return Path(os.environ.get("GNUPGHOME") or Path.home() / ".gnupg")


async def _sign(document: Document, wanted: Sequence[str], file: Path) -> tuple[str, bytes]:
    """Sign with the only key of `wanted` that is here; return its primary fingerprint and the signature, armored."""
    try:
        async with Keyring(own_home(), deadline=PATIENCE, is_interactive=True) as keyring:
            secret = await keyring.secret_fingerprints()
            known = await keyring.certificates()
            here = [each for each in known if each.fingerprint in wanted and each.fingerprints & secret]
            if len(here) != 1:
                why = f"{len(here)} have (name one with --key)" if here else "none has"
                raise CommandError(f"{file}: of {', '.join(wanted)}, {why} a secret key in {own_home()}")
            primary = here[0].fingerprint
            part = signing_key(here[0], primary, secret, SystemClock().now())
            return primary, await keyring.sign(document.content, part.fingerprint)
    except PgpError as error:
        raise CommandError(f"{file}: is not signed: {error}") from None


async def _signatures(
    content: bytes, blobs: dict[str, bytes], certificates: Sequence[bytes], at: datetime | None
) -> list[Signed]:
    try:
        async with Keyring(None if certificates else own_home(), is_interactive=not certificates) as keyring:
            for each in certificates:
                await keyring.import_certificates(each)
            return await read_signatures(keyring, content, blobs, at=at)
    except PgpError as error:
        raise CommandError(str(error)) from None
