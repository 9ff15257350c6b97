"""Canaries and verdicts as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signer import canary_dates
from signer.canary_changes import diff
from signer.canary_check import Reason, Standing
from signer.statement import moment_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

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
#: What is wrong with time alone: the canary is genuine all the same.
_LATE = {Reason.OVERDUE, Reason.EXPIRED}


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
    yield from map(_signature, verdict.signatures)
    yield from (f"fault: {each}" for each in verdict.faults)
    if verdict.statement is None:
        yield "verdict: refused"
        return
    is_valid = all(each.reason in _LATE for each in verdict.faults)
    is_revoked = any(each.reason is Reason.REVOKED_KEY for each in verdict.faults)
    state = canary_dates.state(verdict.statement, now, is_valid=is_valid, is_revoked=is_revoked)
    counted = f"{verdict.counted} of {verdict.needed} signatures"
    yield f"verdict: {'good' if verdict.is_good else 'refused'}, {counted}, state {state} at {moment_text(now)}"


def _signature(finding: Finding) -> str:
    signed = finding.signed
    if signed.made_at is None:
        return f"{signed.name}: {_STANDINGS[finding.standing]} ({signed.problem})"
    subkey = "" if signed.signer == signed.primary else f" with its subkey {signed.signer}"
    made = f"made by {signed.primary}{subkey} at {moment_text(signed.made_at)}"
    return f"{signed.name}: {made}: {_STANDINGS[finding.standing]}"
