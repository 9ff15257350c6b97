"""Canaries as an operator would have made them, signed by nobody yet or as if gpg had found the signature good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from signer.canary_check import Signed
from signer.canary_draft import Answers, draft
from signer.statement import Affirmation, Block, Document, Freshness, Headline, Statement

ALICE, BOB, CAROL, MALLORY = (digit * 40 for digit in "ABCE")
STATEMENTS = (
    Affirmation(id="warrants", text="We have received no warrants."),
    Affirmation(id="gag-orders", text="We are under no gag order."),
    Affirmation(id="seizures", text="No server of ours was seized."),
)
FIRST = datetime(2026, 11, 1, 9, 30, tzinfo=UTC)


def freshness(number: int = 1) -> Freshness:
    """Return proofs that differ by their number."""
    block = Block(height=900_000 + number, hash=f"{number:064x}")
    return Freshness(block=block, headlines=(Headline(source="Paper", title=f"News of day {number}"),))


def answers(number: int = 1, **changes: Any) -> Answers:
    """Return what an operator affirms, or affirms with `changes`."""
    given: dict[str, Any] = {
        "provider": "NordBastion",
        "scope": "All bastions",
        "jurisdictions": ("FI", "IS", "NO", "SE"),
        "statements": STATEMENTS,
        "signers": (ALICE, BOB, CAROL),
        "threshold": 2,
        "freshness": freshness(number),
    }
    return Answers(**(given | changes))


def first(now: datetime = FIRST, **changes: Any) -> Document:
    """Return a first canary."""
    return Document.of(draft(None, answers(**changes), now))


def successor(previous: Document, now: datetime, **changes: Any) -> Document:
    """Return the canary after `previous`."""
    number = (previous.statement.sequence or 0) + 1
    return Document.of(draft(previous, answers(number, **changes), now))


def retirement(now: datetime = FIRST, **changes: Any) -> Document:
    """Return a retirement, signed beforehand."""
    given: dict[str, Any] = {"statements": (), "freshness": Freshness(), "retirement": "We stop."}
    return Document.of(draft(None, answers(**(given | changes)), now))


def altered(document: Document, **fields: Any) -> Document:
    """Return a canary whose maker did as he pleased; it still has the form of one."""
    given: dict[str, Any] = {name: getattr(document.statement, name) for name in Statement.model_fields}
    return Document.of(Statement(**(given | fields)))


def by(primary: str, document: Document, *, after: float = 60, signer: str = "", **changes: Any) -> Signed:
    """Return what gpg says of a good signature, made `after` seconds."""
    made_at = document.statement.issued_at + timedelta(seconds=after)
    return Signed(f"{primary[:1]}.asc", primary, signer or primary, **({"made_at": made_at} | changes))
