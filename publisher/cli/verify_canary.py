"""A canary and its predecessors, gathered from files or from a history, and judged as one chain."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import orjson

from publisher.cli import canary_files as files
from publisher.cli.canary_pages import distance, signature_line, title
from publisher.cli.context import CommandError, CommandUsageError
from publisher.cli.verify_kind import is_canary
from publisher.cli.verify_outcome import Kind, Outcome, Problem, Reason
from publisher.cli.verify_sources import FileSource, MissingError
from signer.canary_check import Predecessor, check_chain
from signer.canary_signatures import read_signatures
from signer.statement import Document, StatementError, moment_text, sha256
from signer.verification import LATE, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from publisher.cli.verify_sources import UrlSource
    from signer.canary_check import Finding, Signed, Verdict
    from signer.pgp import Keyring
    from signer.statement import Statement

#: Eighty years of months: a history that goes on longer is not walked.
LONGEST_CHAIN = 1_000


class Link(NamedTuple):
    """A canary with its signature files by name."""

    name: str
    content: bytes
    signatures: Mapping[str, bytes]


class Chain(NamedTuple):
    """Canaries from the oldest to the newest; `gap` says why there is none before the oldest, if one should be."""

    links: Sequence[Link]
    gap: str = ""


class Terms(NamedTuple):
    """Whose signatures count, how many of them, when it is, and what is asked of the chain.

    `at` is the moment to judge keys at where it is not the present one. With `is_whole` the chain must begin with the
    first canary.
    """

    pinned: Sequence[str]
    threshold: int
    now: datetime
    at: datetime | None = None
    is_any_age: bool = False
    is_whole: bool = False


# --- gathering ----------------------------------------------------------------------------------------------------


async def of_files(newest: Link, paths: Sequence[Path]) -> Chain:
    """Return the canary after those of files and folders, each once, in the order of their numbers.

    Of a folder its canaries up to this one are taken. Raises `CommandUsageError`, and `CommandError` for a file that
    is named and holds no canary.
    """
    number = _sequence(newest.content) or LONGEST_CHAIN
    found: dict[bytes, tuple[int, Link]] = {}
    for path in paths:
        for each in sorted(path.glob("*.json")) if path.is_dir() else (path,):
            content = files.read(each)
            sequence = _sequence(content)
            if sequence is None and each is path:
                raise CommandError(f"{path}: is no canary with a number")
            if sequence is not None and content != newest.content and (each is path or sequence <= number):
                link = Link(str(each), content, await FileSource(each).signatures())
                found[content] = (sequence, link)
    return Chain([*(link for _, link in sorted(found.values(), key=lambda pair: pair[0])), newest])


async def of_history(newest: Link, source: UrlSource, number: int | None) -> Chain:
    """Walk from a canary down to the first, along `previous_sha256`; stop where a link does not hold.

    `number` is that of a retirement, which has none of its own. Raises `CommandError`, `CommandUsageError`.
    """
    document = _read(newest.content)
    if document is None:
        return Chain([newest])
    below = document.statement.sequence or number
    if below is None:
        raise CommandUsageError("--chain: a retirement has no number: name it by its address in the history")
    if below > LONGEST_CHAIN:
        raise CommandError(f"--chain: a history of {below} canaries is not walked, of {LONGEST_CHAIN} at most")
    links = [newest]
    for each in range(below - 1, 0, -1):
        place = source.predecessor(each)
        try:
            content = await place.content()
        except MissingError as error:
            return Chain(links, str(error))
        before = _read(content)
        links.insert(0, Link(place.name, content, await place.signatures(before.statement.signers if before else ())))
        expected = document.statement.previous_sha256
        if before is None or (expected is not None and before.sha256 != expected):
            return Chain(links)
        document = before
    return Chain(links)


def _read(content: bytes) -> Document | None:
    try:
        return Document.read(content)
    except StatementError:
        return None


def _sequence(content: bytes) -> int | None:
    """Return the number of what means to be a canary, None where there is none."""
    try:
        found = orjson.loads(content)["sequence"] if is_canary(content) else None
    except (orjson.JSONDecodeError, KeyError):
        return None
    return found if isinstance(found, int) else None


# --- judging ------------------------------------------------------------------------------------------------------


async def judge(keyring: Keyring, chain: Chain, terms: Terms) -> Outcome:
    """Judge a canary, and that each follows from the one before it; raises `PgpError`."""
    links = chain.links
    signed = [
        (link.content, await _signed(keyring, link, _read(after.content) if after else None, terms))
        for link, after in zip(links, (*links[1:], None), strict=True)
    ]
    before = Predecessor.NONE if terms.is_whole and not chain.gap else Predecessor.UNKNOWN
    verdicts = check_chain(signed, pinned=terms.pinned, threshold=terms.threshold, now=terms.now, before=before)
    newest = verdicts[-1] if len(verdicts) == len(links) else None
    problems = [Problem(Reason.MISSING_PREDECESSOR, chain.gap)] if chain.gap else []
    for link, verdict in zip(links, verdicts, strict=False):
        where = "" if verdict is newest else f"{_named(verdict)} ({link.name}): "
        problems += [
            Problem(fault.reason, f"{where}{fault.detail}")
            for fault in verdict.faults
            if not (terms.is_any_age and fault.reason in LATE)
        ]
    if newest is not None and newest.statement is not None and newest.statement.is_retirement and not terms.is_any_age:
        problems.append(Problem(Reason.ENDED, "its signers have ended the canary for good; --any-age takes it"))
    return _outcome(links, verdicts, newest, tuple(problems), terms)


async def _signed(keyring: Keyring, link: Link, after: Document | None, terms: Terms) -> list[Signed]:
    """Ask gpg about the signatures of a link; of a superseded one keys may have expired since its successor."""
    found = await read_signatures(keyring, link.content, link.signatures, at=terms.at)
    if after is None or after.statement.issued_at >= terms.now:
        return found
    then = {
        each.name: each
        for each in await read_signatures(
            keyring,
            link.content,
            {each.name: link.signatures[each.name] for each in found if each.problem},
            at=after.statement.issued_at,
        )
    }
    return [then.get(each.name, each) for each in found]


def _outcome(
    links: Sequence[Link],
    verdicts: Sequence[Verdict],
    newest: Verdict | None,
    problems: tuple[Problem, ...],
    terms: Terms,
) -> Outcome:
    statement = newest.statement if newest else None
    details = [signature_line(finding) for finding in newest.signatures] if newest else []
    fields: dict[str, object] = {"threshold": terms.threshold, "counted": 0, "state": "invalid", "signatures": []}
    summary = ""
    if newest is not None and statement is not None:
        state = state_of(newest, terms.now)
        details += _dates(statement, terms.now)
        summary = f"{newest.counted} of {newest.needed} signatures, state {state} at {moment_text(terms.now)}"
        fields |= _fields(statement, terms.now) | {
            "threshold": newest.needed,
            "counted": newest.counted,
            "state": state,
            "signatures": [_field(finding) for finding in newest.signatures],
        }
    if len(links) > 1 or terms.is_whole:
        details.append(f"chain: {len(links)} canaries, from {_named(verdicts[0])} on")
        fields["chain"] = [
            {
                "source": link.name,
                "sequence": verdict.statement.sequence if verdict.statement else None,
                "sha256": sha256(link.content),
                "counted": verdict.counted,
                "faults": [fault.reason for fault in verdict.faults],
            }
            for link, verdict in zip(links, verdicts, strict=False)
        ]
    return Outcome(
        kind=Kind.CANARY,
        what=title(statement) if statement else "canary",
        sha256=sha256(links[-1].content),
        problems=problems,
        details=tuple(details),
        summary=summary,
        fields=fields,
        content=links[-1].content,
    )


# --- in words -----------------------------------------------------------------------------------------------------


def _named(verdict: Verdict) -> str:
    statement = verdict.statement
    if statement is None:
        return "what is no canary"
    return "the retirement" if statement.is_retirement else f"canary {statement.sequence}"


def _field(finding: Finding) -> dict[str, object]:
    signed = finding.signed
    return {
        "name": signed.name,
        "primary": signed.primary or None,
        "signer": signed.signer or None,
        "made_at": moment_text(signed.made_at) if signed.made_at else None,
        "standing": finding.standing,
        "problem": signed.problem or None,
    }


def _dates(statement: Statement, now: datetime) -> Iterator[str]:
    yield f"issued {moment_text(statement.issued_at)}, {distance(statement.issued_at, now)}"
    if statement.next_due is not None and statement.expires_at is not None:
        yield (
            f"next due {moment_text(statement.next_due)}, {distance(statement.next_due, now)}; "
            f"expires {moment_text(statement.expires_at)}, {distance(statement.expires_at, now)}"
        )


def _fields(statement: Statement, now: datetime) -> dict[str, object]:
    due, expiry = statement.next_due, statement.expires_at
    return {
        "sequence": statement.sequence,
        "issued_at": moment_text(statement.issued_at),
        "next_due": moment_text(due) if due else None,
        "expires_at": moment_text(expiry) if expiry else None,
        "days_left": (due - now).days if due else None,
    }
