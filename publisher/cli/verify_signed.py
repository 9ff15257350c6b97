"""Documents and answers that keys have signed: exact bytes with detached signatures, and clear-signed text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from publisher.cli.verify_headers import CONTENT_DIGEST, digest_fault
from publisher.cli.verify_kind import is_document
from publisher.cli.verify_outcome import Kind, Outcome, Problem, Reason, shown
from signer.canary_signatures import read_signatures
from signer.faults import BadSignatureError
from signer.statement import moment_text, sha256
from signer.verification import unix_lines, visible_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from signer.canary_check import Signed
    from signer.pgp import Keyring
    from signer.verdict import Signature

#: Keys of a JSON object that are shown where it does not say what it is.
MOST_KEYS = 6


async def judge_detached(
    keyring: Keyring,
    content: bytes,
    signatures: Mapping[str, bytes],
    *,
    pinned: Sequence[str],
    threshold: int,
    at: datetime | None,
    kind: Kind,
    headers: Mapping[str, str] | None = None,
) -> Outcome:
    """Judge bytes by their detached signatures: `threshold` distinct pinned keys must have signed.

    They are what `kind` says; with `headers`, those of an answer, `Content-Digest` must fit where there is one. Raises
    `PgpError`.
    """
    signed = await read_signatures(keyring, content, signatures, at=at)
    standings = list(_weighed(signed, pinned))
    counted = standings.count("")
    problems: list[Problem] = []
    if not signed:
        problems.append(Problem(Reason.NO_SIGNATURE, "there is none beside it; name it with --signature FILE"))
    elif counted < threshold:
        problems.append(Problem(Reason.TOO_FEW_SIGNATURES, f"{counted} of {threshold}, by distinct keys you named"))
    notes: list[str] = []
    if headers is not None and CONTENT_DIGEST not in headers:
        notes.append("there is no Content-Digest")
    elif headers is not None and (fault := digest_fault(headers[CONTENT_DIGEST], content)):
        problems.append(Problem(Reason.WRONG_DIGEST, fault))
    return Outcome(
        kind=kind,
        what=what_is(content),
        sha256=sha256(content),
        problems=tuple(problems),
        details=tuple(_line(each, fault) for each, fault in zip(signed, standings, strict=True)),
        notes=tuple(notes),
        summary=f"{counted} of {threshold} signatures",
        fields={
            "threshold": threshold,
            "counted": counted,
            "signatures": [_field(each, fault) for each, fault in zip(signed, standings, strict=True)],
        },
        content=content,
    )


async def judge_clear(keyring: Keyring, document: bytes, *, pinned: Sequence[str]) -> Outcome:
    """Judge a clear-signed text: what stands there must be what gpg has read, and nothing else. Raises `PgpError`."""
    problems: list[Problem] = []
    text, made = b"", None
    try:
        text, made = await keyring.read_clearsigned(document)
    except BadSignatureError as error:
        problems.append(Problem(error.reason, str(error)))
    if made is not None and made.primary not in pinned:
        problems.append(Problem(Reason.NOT_PINNED, f"{made.primary} has signed, which is not a key you named"))
    if made is not None and visible_text(document) != unix_lines(text):
        problems.append(
            Problem(
                Reason.NOT_ALL_SIGNED,
                "something here is not signed: around the text, in its headers, or blanks at the ends of lines",
            )
        )
    if problems:
        text = b""
    return Outcome(
        kind=Kind.RESPONSE,
        what=f"clear-signed {what_is(text)}" if text else "clear-signed text",
        sha256=sha256(text or document),
        problems=tuple(problems),
        details=(f"signature {_made(made.primary, made.signer, made.made_at)}",) if made else (),
        notes=("the digest is that of the text within, as gpg has read it",) if text else (),
        summary="1 of 1 signatures" if text else "0 of 1 signatures",
        fields={"threshold": 1, "counted": int(bool(text)), "signatures": [_of_clear(made)] if made else []},
        content=text,
    )


def what_is(content: bytes) -> str:
    """Say in a few words what bytes are. Pure."""
    try:
        read = orjson.loads(content)
    except orjson.JSONDecodeError:
        return f"{len(content)} bytes"
    if not isinstance(read, dict):
        return "JSON"
    if is_document(content):
        return f"document {read['type']}"
    if isinstance(read.get("type"), str):
        return shown(f"JSON of the type {read['type']}")
    keys = ", ".join(list(read)[:MOST_KEYS])
    return shown(f"JSON with {keys}{', …' if len(read) > MOST_KEYS else ''}")


def _weighed(signed: Sequence[Signed], pinned: Sequence[str]) -> Iterator[str]:
    """Yield why each signature does not count, and nothing for one that does."""
    seen: set[str] = set()
    for each in signed:
        if each.problem:
            yield f"is not good ({each.problem})"
        elif each.primary not in pinned:
            yield "does not count: this is not a key you named"
        elif each.primary in seen:
            yield "does not count: this primary key has signed already"
        else:
            seen.add(each.primary)
            yield ""


def _line(signed: Signed, fault: str) -> str:
    if signed.made_at is None:
        return f"{signed.name}: {fault}"
    return f"{signed.name}: {_made(signed.primary, signed.signer, signed.made_at)}: {fault or 'counts'}"


def _made(primary: str, signer: str, made_at: datetime) -> str:
    subkey = "" if signer == primary else f" with its subkey {signer}"
    return f"made by {primary}{subkey} at {moment_text(made_at)}"


def _field(signed: Signed, fault: str) -> dict[str, object]:
    return {
        "name": signed.name,
        "primary": signed.primary or None,
        "signer": signed.signer or None,
        "made_at": moment_text(signed.made_at) if signed.made_at else None,
        "problem": fault or None,
    }


def _of_clear(made: Signature) -> dict[str, object]:
    return {"name": None, "primary": made.primary, "signer": made.signer, "made_at": moment_text(made.made_at)}
