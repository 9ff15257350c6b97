"""Is this canary to be believed? A verdict from bytes, signatures, pinned keys, the predecessor and a moment. Pure.

What counts is what the reader has pinned: m distinct primary keys of n. What a statement says about its signers can
only ask for more. The mathematics of a signature has been judged before (`signer.canary_signatures`); here it is a fact
like the others. Reasons are a closed set.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from signer import canary_dates
from signer.canary_changes import vanished
from signer.canary_dates import SKEW
from signer.statement import Document, Statement, StatementError, moment_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime


class Reason(enum.StrEnum):
    """Why a canary is not to be believed."""

    MALFORMED = "malformed"
    NOT_CANONICAL = "not_canonical"
    UNPINNED_SIGNER = "unpinned_signer"
    TOO_FEW_SIGNATURES = "too_few_signatures"
    REVOKED_KEY = "revoked_key"
    BAD_DATES = "bad_dates"
    FROM_THE_FUTURE = "from_the_future"
    OVERDUE = "overdue"
    EXPIRED = "expired"
    ANOTHER_CANARY = "another_canary"
    AFTER_RETIREMENT = "after_retirement"
    WRONG_SEQUENCE = "wrong_sequence"
    BROKEN_CHAIN = "broken_chain"
    NOT_NEWER = "not_newer"
    STALE_PROOFS = "stale_proofs"
    VANISHED = "vanished"
    NOT_VANISHED = "not_vanished"
    #: Not of a canary but of who holds it: a newer one was there, and is gone; it could not be checked for long.
    ROLLED_BACK = "rolled_back"
    NOT_JUDGED = "not_judged"


class Standing(enum.StrEnum):
    """What a signature is worth here."""

    COUNTS = "counts"
    NOT_GOOD = "not_good"
    REVOKED = "revoked"
    NOT_PINNED = "not_pinned"
    NOT_A_SIGNER = "not_a_signer"
    REPEATED = "repeated"
    BEFORE_ISSUED = "before_issued"
    FROM_THE_FUTURE = "from_the_future"


class Predecessor(enum.Enum):
    """What is known of a predecessor that is not given."""

    NONE = "there is none: this must be the first"
    UNKNOWN = "not looked at"


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature file after gpg has judged it. Of a good one, fingerprints of 40 upper-case hexadecimal digits.

    `problem` is empty for a good one, else says why it is not.
    """

    name: str
    primary: str = ""
    signer: str = ""
    made_at: datetime | None = None
    problem: str = ""
    is_revoked: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A signature and its worth."""

    signed: Signed
    standing: Standing


@dataclass(frozen=True, slots=True)
class Fault:
    """A reason, and where it shows."""

    reason: Reason
    detail: str

    def __str__(self) -> str:
        """Return both, for people."""
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a canary came to. `statement` is None only where the bytes are none; `needed` is m."""

    statement: Statement | None
    faults: tuple[Fault, ...]
    signatures: tuple[Finding, ...] = ()
    needed: int = 0

    @property
    def is_good(self) -> bool:
        """Say whether the canary is to be believed."""
        return not self.faults

    @property
    def counted(self) -> int:
        """Return how many signatures count."""
        return sum(each.standing is Standing.COUNTS for each in self.signatures)


def check(
    content: bytes,
    signatures: Sequence[Signed],
    *,
    pinned: Collection[str],
    threshold: int,
    now: datetime,
    previous: Document | Predecessor,
    is_superseded: bool = False,
) -> Verdict:
    """Judge a canary as of `now`; one that is superseded may be late, as it need not be the newest.

    `pinned` are whole fingerprints of primary keys; `threshold` of them must have signed, or as many as the statement
    asks for if that is more. `previous` must have been judged itself. All faults are found, not only the first; bytes
    that are no statement have that one alone.
    """
    try:
        document = Document.read(content)
    except StatementError as error:
        reason = Reason.MALFORMED if error.is_canonical else Reason.NOT_CANONICAL
        return Verdict(None, (Fault(reason, str(error)),))
    statement = document.statement
    needed = max(threshold, statement.threshold)
    findings = _weighed(statement, signatures, frozenset(pinned), now)
    faults = (
        *_of_signers(statement, findings, frozenset(pinned), threshold),
        *_of_dates(statement, now),
        *(() if is_superseded else _of_lateness(statement, now)),
        *_of_chain(statement, previous),
    )
    return Verdict(statement, faults, findings, needed)


def check_chain(
    chain: Sequence[tuple[bytes, Sequence[Signed]]],
    *,
    pinned: Collection[str],
    threshold: int,
    now: datetime,
    before: Predecessor = Predecessor.NONE,
) -> list[Verdict]:
    """Judge canaries in their order, from the first on; stop at the first that is no statement.

    All but the last are superseded. `pinned` must hold the keys of all times; `before` is what came before the first.
    """
    verdicts: list[Verdict] = []
    previous: Document | Predecessor = before
    for position, (content, signatures) in enumerate(chain, 1):
        verdict = check(
            content, signatures, pinned=pinned, threshold=threshold, now=now, previous=previous,
            is_superseded=position < len(chain),
        )  # fmt: skip
        verdicts.append(verdict)
        if verdict.statement is None:
            break
        previous = Document(content, verdict.statement)
    return verdicts


# --- signatures ---------------------------------------------------------------------------------------------------


def _weighed(
    statement: Statement, signatures: Sequence[Signed], pinned: frozenset[str], now: datetime
) -> tuple[Finding, ...]:
    seen: set[str] = set()
    findings = []
    for each in signatures:
        standing = _standing(statement, each, pinned, now)
        if standing is Standing.COUNTS and each.primary in seen:
            standing = Standing.REPEATED
        elif standing is Standing.COUNTS:
            seen.add(each.primary)
        findings.append(Finding(each, standing))
    return tuple(findings)


def _standing(statement: Statement, signed: Signed, pinned: frozenset[str], now: datetime) -> Standing:
    """Return what a signature is worth by itself. Its time is its signer's word: it shows an honest mistake."""
    if signed.is_revoked:
        return Standing.REVOKED
    if signed.problem or signed.made_at is None:
        return Standing.NOT_GOOD
    if signed.primary not in pinned:
        return Standing.NOT_PINNED
    if signed.primary not in statement.signers:
        return Standing.NOT_A_SIGNER
    if signed.made_at < statement.issued_at - SKEW:
        return Standing.BEFORE_ISSUED
    return Standing.FROM_THE_FUTURE if signed.made_at > now + SKEW else Standing.COUNTS


def _of_signers(
    statement: Statement, findings: Sequence[Finding], pinned: frozenset[str], threshold: int
) -> Iterator[Fault]:
    if strangers := [each for each in statement.signers if each not in pinned]:
        yield Fault(Reason.UNPINNED_SIGNER, f"names signers that are not pinned: {', '.join(strangers)}")
    counted = sum(each.standing is Standing.COUNTS for each in findings)
    needed = max(threshold, statement.threshold)
    if counted < needed:
        yield Fault(
            Reason.TOO_FEW_SIGNATURES, f"{counted} of {needed} signatures, by distinct pinned keys among its signers"
        )
        if any(each.standing is Standing.REVOKED for each in findings):
            yield Fault(Reason.REVOKED_KEY, "a key that signed it is revoked")


# --- dates and chain ----------------------------------------------------------------------------------------------


def _of_dates(statement: Statement, now: datetime) -> Iterator[Fault]:
    if fault := canary_dates.date_fault(statement):
        yield Fault(Reason.BAD_DATES, fault)
    if statement.issued_at > now + SKEW:
        yield Fault(Reason.FROM_THE_FUTURE, f"issued_at is {moment_text(statement.issued_at)}")


def _of_lateness(statement: Statement, now: datetime) -> Iterator[Fault]:
    if statement.expires_at is not None and now >= statement.expires_at:
        yield Fault(Reason.EXPIRED, f"expires_at is {moment_text(statement.expires_at)}")
    elif statement.next_due is not None and now >= statement.next_due:
        yield Fault(Reason.OVERDUE, f"next_due is {moment_text(statement.next_due)}")


def _of_chain(statement: Statement, previous: Document | Predecessor) -> Iterator[Fault]:
    if previous is Predecessor.UNKNOWN:
        return
    if isinstance(previous, Predecessor):
        if statement.is_retirement:
            yield Fault(Reason.BROKEN_CHAIN, "there is no canary that it could end")
        elif statement.sequence != 1:
            yield Fault(Reason.WRONG_SEQUENCE, f"sequence is {statement.sequence}, and there is none before it")
        return
    before = previous.statement
    if before.is_retirement:
        yield Fault(Reason.AFTER_RETIREMENT, "the canary has been ended: nothing follows")
        return
    if statement.provider != before.provider:
        yield Fault(Reason.ANOTHER_CANARY, f"provider is {statement.provider!r}, was {before.provider!r}")
    if statement.is_retirement:
        if statement.scope != before.scope:
            yield Fault(Reason.ANOTHER_CANARY, f"it ends {statement.scope!r}, not {before.scope!r}")
        return
    yield from _of_link(statement, previous)
    yield from _of_content(statement, before)


def _of_link(statement: Statement, previous: Document) -> Iterator[Fault]:
    before = previous.statement
    assert before.sequence is not None  # noqa: S101 - only a retirement has none
    if statement.sequence != before.sequence + 1:
        yield Fault(Reason.WRONG_SEQUENCE, f"sequence is {statement.sequence}, must be {before.sequence + 1}")
    if statement.previous_sha256 != previous.sha256:
        yield Fault(Reason.BROKEN_CHAIN, f"previous_sha256 is not that of the predecessor, {previous.sha256}")
    if statement.issued_at <= before.issued_at:
        yield Fault(Reason.NOT_NEWER, f"issued_at is not after the predecessor's, {moment_text(before.issued_at)}")


def _of_content(statement: Statement, before: Statement) -> Iterator[Fault]:
    if _is_stale(statement, before):
        yield Fault(Reason.STALE_PROOFS, "freshness holds nothing that the predecessor could not have held")
    gone = vanished(before, statement)
    said = set(statement.acknowledged_removals)
    if gone - said:
        yield Fault(Reason.VANISHED, f"gone without acknowledgement: {', '.join(sorted(gone - said))}")
    if said - gone:
        yield Fault(Reason.NOT_VANISHED, f"acknowledged as gone, and is not: {', '.join(sorted(said - gone))}")


def _is_stale(statement: Statement, before: Statement) -> bool:
    """Say whether each proof was there already: no later block, no other headline."""
    block, old = statement.freshness.block, before.freshness.block
    is_later = block is not None and (old is None or block.height > old.height)
    return not is_later and set(statement.freshness.headlines) <= set(before.freshness.headlines)
