"""The walk of `heliograph verify`: what is it, what belongs to it, does it hold?

What something is shows in its bytes and in the headers that are given with it. Whether it is a canary, or shows one, is
asked first: under the one signature of an answer it is a fault. Nothing in there says whose signature counts: that has
been asked for before anything is read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from publisher.cli import verify_canary, verify_headers, verify_sources, verify_view, verify_webhook
from publisher.cli.context import CommandError, CommandUsageError
from publisher.cli.verify_canary import Chain, Link, Terms
from publisher.cli.verify_headers import WEBHOOK_SIGNATURE, HeaderError
from publisher.cli.verify_kind import is_canary, is_document, shows_canary
from publisher.cli.verify_outcome import Kind, Outcome, Problem, Reason, shown
from publisher.cli.verify_signed import judge_clear, judge_detached
from publisher.cli.verify_sources import UrlSource, Web
from signer.faults import GpgUnavailableError, PgpError
from signer.pgp import Keyring
from signer.statement import Document, StatementError, sha256
from signer.verification import CLEAR_SIGNED, DOCUMENT_TYPES, PinError, pin, visible_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from publisher.cli.verify_sources import FileSource
    from publisher.cli.verify_view import View

#: Where a webhook secret may stand beside a file.
SECRET_VARIABLE = "WEBHOOK_SECRET"  # noqa: S105 - a name


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asks for; files have been read, texts parsed."""

    #: The keyring that fingerprints are looked up in.
    home: Path
    signatures: Mapping[str, bytes]
    key_files: Mapping[str, bytes]
    fingerprints: Sequence[str]
    threshold: int | None
    is_whole: bool
    previous: Sequence[Path]
    headers: Mapping[str, str] | None
    secrets: Sequence[bytes]
    public_keys: Sequence[Ed25519PublicKey]
    now: datetime
    at: datetime | None
    is_any_age: bool
    expect: Kind | None


async def walk(name: str, asked: Asked, *, seconds: float) -> Outcome:
    """Verify what is at `name`, a file or a URL; each request may take `seconds`. Raises `CommandError`."""
    async with Web(seconds) as web:
        source = verify_sources.of(name, web)
        if asked.headers is not None and WEBHOOK_SIGNATURE in asked.headers:
            content = await source.content()
            outcome = _no_less_than_it_looks(_webhook(content, asked.headers, asked), content, asked)
        else:
            outcome = await _pgp(source, asked)
    if (asked.is_whole or asked.previous) and outcome.kind is not Kind.CANARY:
        raise CommandUsageError("--chain, --previous: only a canary has predecessors")
    if asked.expect is not None and outcome.kind is not asked.expect:
        found = Problem(Reason.ANOTHER_KIND, f"is of the kind {outcome.kind}, not {asked.expect}")
        return replace(outcome, problems=(*outcome.problems, found))
    return outcome


def _no_less_than_it_looks(outcome: Outcome, content: bytes, asked: Asked) -> Outcome:
    """Refuse a canary that came as something else; what only shows one passes where just this kind is expected."""
    if outcome.kind in {Kind.CANARY, Kind.DOCUMENT}:
        return outcome
    is_one = any(map(is_canary, (content, outcome.content, visible_text(content) or b"")))
    if not is_one and (asked.expect is outcome.kind or not shows_canary(content)):
        return outcome
    found = Problem(
        Reason.NOT_DETACHED,
        "this is how a canary looks, and a canary is exact bytes with a detached signature of each signer: verify those"
        + ("" if is_one else f"; --expect {outcome.kind} takes what only shows one"),
    )
    return replace(outcome, kind=Kind.CANARY if is_one else outcome.kind, problems=(found, *outcome.problems))


def _webhook(content: bytes, headers: Mapping[str, str], asked: Asked) -> Outcome:
    if not asked.secrets and not asked.public_keys:
        raise CommandUsageError(f"a webhook is verified with --secret FILE, {SECRET_VARIABLE} or --public-key whpk_…")
    return verify_webhook.judge(
        content, headers, secrets=asked.secrets, public_keys=asked.public_keys, now=asked.now,
        is_any_age=asked.is_any_age,
    )  # fmt: skip


async def _pgp(source: FileSource | UrlSource, asked: Asked) -> Outcome:
    """Judge what PGP has signed; raises `CommandError` where gpg cannot be asked."""
    if not asked.key_files and not asked.fingerprints:
        raise CommandUsageError("--key: name the public key, or its fingerprint, that you have from elsewhere")
    try:
        async with Keyring() as keyring:
            pinned = await pin(keyring, asked.key_files, asked.fingerprints, asked.home)
            if (asked.threshold or 1) > len(pinned):
                raise CommandUsageError(f"--threshold: is {asked.threshold}, of {len(pinned)} keys")
            content = await source.content()
            outcome = await _Walk(keyring, pinned, source, asked).judged(content)
            return _no_less_than_it_looks(outcome, content, asked)
    except PinError as error:
        raise CommandUsageError(f"--key: {error}") from None
    except GpgUnavailableError as error:
        raise CommandError(f"gpg cannot be asked: {error}") from None
    except PgpError as error:
        raise CommandError(str(error)) from None


@dataclass(frozen=True, slots=True)
class _Walk:
    """With the keys in place: from bytes to an outcome."""

    keyring: Keyring
    pinned: Sequence[str]
    source: FileSource | UrlSource
    asked: Asked

    async def judged(self, content: bytes) -> Outcome:
        asked = self.asked
        if _is_clear_signed(content):
            is_shown = shows_canary(visible_text(content) or content)
            if not is_shown and (asked.at is not None or self._needed() > 1):
                raise CommandUsageError(
                    "--at, --threshold, several fingerprints: a clear-signed text has one signature, judged as of now; "
                    "--threshold 1 takes that of any of the keys"
                )
            return await judge_clear(self.keyring, content, pinned=self.pinned)
        if asked.headers is not None:
            return await self._detached(content, _in_headers(asked.headers), Kind.RESPONSE, asked.headers)
        is_no_page = asked.expect is Kind.BYTES or is_canary(content)
        view = None if is_no_page else verify_view.parse(content)
        if view is None:
            return await self._document(content)
        if view.document is None:
            return _no_canary(content, view)
        outcome = await self._document(view.document, view)
        if differing := verify_view.contradictions(view):
            found = Problem(Reason.CONTRADICTED, f"the page differs from the document it shows: {', '.join(differing)}")
            return replace(outcome, problems=(*outcome.problems, found))
        return replace(outcome, notes=(*outcome.notes, *_of_state(view, outcome)))

    async def _document(self, content: bytes, view: View | None = None) -> Outcome:
        """Judge exact bytes, with the signatures of the page they were in or else those beside the source."""
        asked = self.asked
        signatures = asked.signatures or (view.signatures if view else await self.source.signatures(_signers(content)))
        if is_canary(content):
            terms = Terms(
                pinned=self.pinned,
                threshold=asked.threshold or len(self.pinned),
                now=asked.now,
                at=asked.at,
                is_any_age=asked.is_any_age,
                is_whole=asked.is_whole,
            )
            chain = await self._chain(Link(self.source.name, content, signatures), view)
            return await verify_canary.judge(self.keyring, chain, terms)
        if asked.expect is Kind.BYTES:
            return await self._detached(content, signatures, Kind.BYTES)
        if is_document(content):
            return await self._detached(content, signatures, Kind.DOCUMENT)
        return _no_document(await self._detached(content, signatures, Kind.BYTES))

    async def _detached(
        self, content: bytes, signatures: Mapping[str, bytes], kind: Kind, headers: Mapping[str, str] | None = None
    ) -> Outcome:
        return await judge_detached(
            self.keyring, content, signatures, pinned=self.pinned, threshold=self._needed(), at=self.asked.at,
            kind=kind, headers=headers,
        )  # fmt: skip

    def _needed(self) -> int:
        """Return how many must have signed what is no canary: who names fingerprints means each of them."""
        return self.asked.threshold or (len(self.pinned) if self.asked.fingerprints else 1)

    async def _chain(self, newest: Link, view: View | None) -> Chain:
        if self.asked.previous:
            return await verify_canary.of_files(newest, self.asked.previous)
        if self.asked.is_whole and isinstance(self.source, UrlSource):
            number = view.says.get("number") if view else self.source.canary_number()
            return await verify_canary.of_history(newest, self.source, number if isinstance(number, int) else None)
        return Chain([newest])


def _is_clear_signed(content: bytes) -> bool:
    """Say whether a clear-signed text is in there; also where something stands before it, which is then refused."""
    return content.startswith(CLEAR_SIGNED) or b"\n" + CLEAR_SIGNED in content


def _signers(content: bytes) -> tuple[str, ...]:
    try:
        return Document.read(content).statement.signers
    except StatementError:
        return ()


def _in_headers(headers: Mapping[str, str]) -> dict[str, bytes]:
    """Return an answer's detached signature by the header's name; raises `CommandUsageError` where there is none."""
    try:
        name = verify_headers.signature_header(headers)
    except HeaderError as error:
        raise CommandUsageError(f"--headers: {error}") from None
    if name is None:
        raise CommandUsageError(f"--headers: there is neither {WEBHOOK_SIGNATURE} nor X-NB-Signature among them")
    return {name: verify_headers.decoded(headers[name]) or b""}


def _no_document(outcome: Outcome) -> Outcome:
    """Refuse bytes that somebody has signed, and nobody has published: the feed key signs whatever a customer asks."""
    signers = sorted({each["primary"] for each in outcome.fields["signatures"] if not each["problem"]})
    found = Problem(
        Reason.NOT_A_DOCUMENT,
        f"{'signed by ' + ', '.join(signers) if signers else 'signed by none of the keys'}, but not a document this "
        f"service publishes ({', '.join(sorted(DOCUMENT_TYPES))}); an answer is verified with its --headers, "
        "anything else with --expect bytes",
    )
    return replace(outcome, problems=(*outcome.problems, found))


def _no_canary(content: bytes, view: View) -> Outcome:
    return Outcome(
        kind=Kind.CANARY,
        what="a page without a signed document",
        sha256=sha256(content),
        problems=(Problem(Reason.NO_CANARY, "nothing signed is shown: there is nothing to verify"),),
        fields={"state": view.says.get("state") if isinstance(view.says.get("state"), str) else None},
    )


def _of_state(view: View, outcome: Outcome) -> list[str]:
    """Return a note where a page's own word on the state is another: pages are kept in caches."""
    said, found = view.says.get("state"), outcome.fields.get("state")
    if not isinstance(said, str) or found is None or said == found:
        return []
    return [f"the page, which is not signed, says {shown(said)}; what is signed says {found}"]
