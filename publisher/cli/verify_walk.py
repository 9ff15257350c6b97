"""The walk of `heliograph verify`: what is it, what belongs to it, does it hold?

What something is shows in its bytes and in the headers that are given with it. Nothing in there says whose signature
counts: that has been asked for before anything is read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from publisher.cli import verify_canary, verify_headers, verify_sources, verify_view, verify_webhook
from publisher.cli.context import CommandError, CommandUsageError
from publisher.cli.verify_canary import Chain, Link, Terms
from publisher.cli.verify_headers import WEBHOOK_SIGNATURE, HeaderError
from publisher.cli.verify_outcome import Kind, Outcome, Problem, Reason, shown
from publisher.cli.verify_signed import judge_clear, judge_detached
from publisher.cli.verify_sources import UrlSource, Web
from signer.faults import GpgUnavailableError, PgpError
from signer.pgp import Keyring
from signer.statement import Document, StatementError, sha256
from signer.verification import CLEAR_SIGNED, PinError, pin

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


async def walk(name: str, asked: Asked, expect: Kind | None, *, seconds: float) -> Outcome:
    """Verify what is at `name`, a file or a URL; each request may take `seconds`. Raises `CommandError`."""
    async with Web(seconds) as web:
        source = verify_sources.of(name, web)
        if asked.headers is not None and WEBHOOK_SIGNATURE in asked.headers:
            outcome = _webhook(await source.content(), asked.headers, asked)
        else:
            outcome = await _pgp(source, asked)
    if expect is not None and outcome.kind is not expect:
        found = Problem(Reason.ANOTHER_KIND, f"this is a {outcome.kind}, not a {expect}")
        return replace(outcome, problems=(*outcome.problems, found))
    return outcome


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
            return await _Walk(keyring, pinned, source, asked).judged(await source.content())
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
            if asked.at is not None or (asked.threshold or 1) > 1:
                raise CommandUsageError("--at, --threshold: a clear-signed text has one signature, judged as of now")
            return await judge_clear(self.keyring, content, pinned=self.pinned)
        if asked.headers is not None:
            return await self._detached(content, _in_headers(asked.headers), asked.headers)
        view = verify_view.parse(content)
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
        if verify_canary.is_canary(content):
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
        if asked.is_whole or asked.previous:
            raise CommandUsageError("--chain, --previous: only a canary has predecessors")
        return await self._detached(content, signatures)

    async def _detached(
        self, content: bytes, signatures: Mapping[str, bytes], headers: Mapping[str, str] | None = None
    ) -> Outcome:
        return await judge_detached(
            self.keyring, content, signatures, pinned=self.pinned, threshold=self.asked.threshold or 1,
            at=self.asked.at, headers=headers,
        )  # fmt: skip

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
