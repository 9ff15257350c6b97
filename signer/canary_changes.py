"""What is different between a canary and the one before it: for the rule that nothing goes silently, and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from signer.statement import JURISDICTIONS, SCOPE, moment_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from signer.statement import Affirmation, Statement


@dataclass(frozen=True, slots=True)
class Reworded:
    """A statement whose text is another."""

    id: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Change:
    """Any other field; empty where it was, or is, not there."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Diff:
    """What a statement changes."""

    added: tuple[Affirmation, ...]
    removed: tuple[Affirmation, ...]
    reworded: tuple[Reworded, ...]
    same: int
    fields: tuple[Change, ...]


def vanished(previous: Statement, statement: Statement) -> frozenset[str]:
    """Return what `previous` said and `statement` does not: ids, and the names of the two fields that set the range.

    Word for word: a promise can be emptied under its own id, so another text is a removal too. So is another scope, as
    no program can tell a wider one from a narrower one; of jurisdictions, only those that are gone.
    """
    texts = {each.id: each.text for each in statement.statements}
    gone = {each.id for each in previous.statements if texts.get(each.id) != each.text}
    if previous.scope != statement.scope:
        gone.add(SCOPE)
    if not set(previous.jurisdictions) <= set(statement.jurisdictions):
        gone.add(JURISDICTIONS)
    return frozenset(gone)


def diff(previous: Statement | None, statement: Statement) -> Diff:
    """Compare; against nothing at all, everything is new."""
    before = {each.id: each for each in previous.statements} if previous else {}
    after = {each.id: each for each in statement.statements}
    return Diff(
        added=tuple(each for key, each in after.items() if key not in before),
        removed=tuple(each for key, each in before.items() if key not in after),
        reworded=tuple(
            Reworded(key, each.text, after[key].text)
            for key, each in before.items()
            if key in after and after[key].text != each.text
        ),
        same=sum(after.get(key) == each for key, each in before.items()),
        fields=tuple(_fields(previous, statement)),
    )


def words(found: Diff) -> list[str]:
    """Return a line for each difference: what is gone first, what only moves on last."""
    lines = [f"- removed    {each.id}: {each.text}" for each in found.removed]
    for each in found.reworded:
        lines += [f"- was        {each.id}: {each.before}", f"+ is now     {each.id}: {each.after}"]
    lines += [f"+ added      {each.id}: {each.text}" for each in found.added]
    lines += [
        f"  {change.name}: " + (f"{change.before or 'none'} -> {change.after or 'none'}") for change in found.fields
    ]
    statements = "statement stays as it was" if found.same == 1 else "statements stay as they were"
    return [*lines, f"  {found.same} {statements}"]


def _fields(previous: Statement | None, statement: Statement) -> Iterator[Change]:
    after = _shown(statement)
    before = _shown(previous) if previous else dict.fromkeys(after, "")
    for name, value in after.items():
        if before[name] != value:
            yield Change(name, before[name], value)


def _shown(statement: Statement) -> dict[str, str]:
    block = statement.freshness.block
    return {
        "retirement": statement.retirement or "",
        "provider": statement.provider,
        "scope": statement.scope,
        "jurisdictions": ", ".join(statement.jurisdictions),
        "signers": ", ".join(statement.signers),
        "threshold": str(statement.threshold),
        "acknowledged removals": ", ".join(statement.acknowledged_removals),
        "sequence": str(statement.sequence or ""),
        "issued at": _text(statement.issued_at),
        "next due": _text(statement.next_due),
        "expires at": _text(statement.expires_at),
        "block": f"{block.chain} {block.height} {block.hash}" if block else "",
        "headlines": "; ".join(f"{each.source}: {each.title}" for each in statement.freshness.headlines),
    }


def _text(moment: datetime | None) -> str:
    return moment_text(moment) if moment else ""
