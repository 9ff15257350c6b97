"""Canaries, verdicts and how the newest canary stands, as lines for people. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from signer import canary_dates
from signer.canary_changes import diff
from signer.canary_check import Standing
from signer.statement import moment_text
from signer.verification import state_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from feeds.canary_publishing import Publication
    from feeds.canary_standing import Standing as Newest
    from signer.canary_check import Finding, Verdict
    from signer.statement import Document, Statement

_STANDINGS = {
    Standing.COUNTS: "counts",
    Standing.NOT_GOOD: "is not good",
    Standing.REVOKED: "is not good",
    Standing.NOT_PINNED: "does not count: this key is not pinned",
    Standing.NOT_A_SIGNER: "does not count: this key is not among the statement's signers",
    Standing.REPEATED: "does not count: this primary key has signed already",
    Standing.BEFORE_ISSUED: "does not count: made before the statement was issued",
    Standing.FROM_THE_FUTURE: "does not count: made in the future",
}
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def title(statement: Statement) -> str:
    """Name a statement in a few words."""
    what = "retirement of the canary" if statement.is_retirement else f"canary {statement.sequence}"
    return f"{what} of {statement.provider}"


def page(document: Document) -> list[str]:
    """Return all that is signed."""
    statement = document.statement
    fields = [f"  {each.name}: {each.after}" for each in diff(None, statement).fields]
    affirmed = [f"  {each.id}: {each.text}" for each in statement.statements]
    return [title(statement), *fields, *(["statements:"] if affirmed else []), *affirmed, f"sha256 {document.sha256}"]


def report(path: Path, digest: str, verdict: Verdict, now: datetime) -> Iterator[str]:
    """Yield what a check found: a line for the canary, one for each signature, one for each fault, the verdict."""
    named = title(verdict.statement) if verdict.statement else "no canary"
    yield f"{path}: {named}, sha256 {digest}"
    yield from map(signature_line, verdict.signatures)
    yield from (f"fault: {each}" for each in verdict.faults)
    if verdict.statement is None:
        yield "verdict: refused"
        return
    state = state_of(verdict, now)
    counted = f"{verdict.counted} of {verdict.needed} signatures"
    yield f"verdict: {'good' if verdict.is_good else 'refused'}, {counted}, state {state} at {moment_text(now)}"


def publication(made: Publication, now: datetime, *, location: str, is_anybody_told: bool) -> Iterator[str]:
    """Yield what was published, what it is worth now, where it is and who is told; `location` is its URL."""
    published, named = made.published, title(made.statement)
    if not made.is_new:
        yield f"{named} is published already, since {moment_text(published.published_at)}: nothing is done"
        yield "its state: heliograph canary status"
        return
    number = "" if made.statement.sequence else f", as number {published.number}"
    yield f"{named} is published{number}"
    yield _line("state", canary_dates.state(made.statement, now))
    yield from _dates(made.statement, now)
    yield _line("sha256", published.sha256)
    yield _line("signed by", ", ".join(each.fingerprint for each in published.signatures))
    yield _line("served at", location)
    yield _line("told", "its subscribers, by canary.updated" if is_anybody_told else "nobody has subscribed to it")


def standing(newest: Newest, history: int, now: datetime) -> Iterator[str]:
    """Yield how the newest canary stands, of `history` that are stored."""
    yield _line("state", newest.state(now))
    if newest.published is None:
        yield "no canary has been published: heliograph canary publish"
        return
    published = newest.published
    named = title(newest.statement) if newest.statement else f"number {published.number}, whose bytes are none"
    yield _line("newest", named)
    if newest.statement:
        yield from _dates(newest.statement, now)
    yield _line("published", f"{moment_text(published.published_at)}, {distance(published.published_at, now)}")
    yield _line("sha256", published.sha256)
    counted = sum(each.standing is Standing.COUNTS for each in newest.signatures)
    yield _line("signatures", f"{counted} of {newest.needed}")
    yield from (f"  {signature_line(each)}" for each in newest.signatures)
    yield from (f"fault: {each}" for each in newest.faults)
    yield _line("history", f"{history} published")


def distance(moment: datetime, now: datetime) -> str:
    """Return how far away a moment is, in the largest unit that there is one of: `in 12 days`, `3 hours ago`."""
    seconds = (moment - now) // timedelta(seconds=1)
    past = (now - moment) // timedelta(seconds=1)
    for name, length in _UNITS:
        count = max(seconds, past) // length
        if count:
            unit = name if count == 1 else f"{name}s"
            return f"in {count} {unit}" if seconds > 0 else f"{count} {unit} ago"
    return "now"


def _dates(statement: Statement, now: datetime) -> Iterator[str]:
    dates = {"issued at": statement.issued_at, "next due": statement.next_due, "expires at": statement.expires_at}
    for name, moment in dates.items():
        if moment is not None:
            yield _line(name, f"{moment_text(moment)}, {distance(moment, now)}")


def _line(name: str, value: str) -> str:
    return f"{name:<12}{value}"


def signature_line(finding: Finding) -> str:
    """Return a signature's maker, and what it is worth."""
    signed = finding.signed
    if signed.made_at is None:
        return f"{signed.name}: {_STANDINGS[finding.standing]} ({signed.problem})"
    subkey = "" if signed.signer == signed.primary else f" with its subkey {signed.signer}"
    made = f"made by {signed.primary}{subkey} at {moment_text(signed.made_at)}"
    return f"{signed.name}: {made}: {_STANDINGS[finding.standing]}"
