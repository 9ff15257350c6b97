"""The questions of `heliograph canary draft`: a person affirms each statement, one by one, or it is left out.

Nothing is affirmed by habit: an answer is a whole word, and what was typed before a question is thrown away.
"""

from __future__ import annotations

import sys
import termios
from typing import TYPE_CHECKING, Protocol

from publisher.cli.context import CommandError, CommandUsageError, printable
from signer.statement import JURISDICTIONS, SCOPE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from signer.canary_draft import DraftError
    from signer.statement import Affirmation, Statement

NOTHING_WRITTEN = "nothing is written"
_AS_REMOVAL = "and everyone will see that it was removed"
#: The option that gives a field of a statement.
_OPTIONS = {
    "provider": "--provider",
    "scope": "--scope",
    "jurisdictions": "--jurisdiction",
    "statements": "--statements",
    "signers": "--signer",
    "threshold": "--threshold",
    "freshness": "--block, --headline, --proofs",
    "retirement": "--retire",
}


class Talk(Protocol):
    """Somebody who reads and answers."""

    def tell(self, *lines: str) -> None:
        """Show lines."""
        ...

    def ask(self, question: str) -> bool:
        """Return what is answered, yes or no."""
        ...


class Terminal:
    """The person at the terminal."""

    def __init__(self) -> None:
        """Raises `CommandUsageError` where there is no terminal: nobody is there to affirm anything."""
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise CommandUsageError(
                "canary draft asks a person to affirm each statement: it runs on a terminal, by hand, and no other way"
            )

    def tell(self, *lines: str) -> None:
        """Show lines."""
        for line in lines:
            sys.stdout.write(f"{printable(line)}\n")
        sys.stdout.flush()

    def ask(self, question: str) -> bool:
        """Ask until the answer is the word yes or no; raises `CommandError` when the input ends."""
        while True:
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
            sys.stdout.write(f"{question} (yes/no) ")
            sys.stdout.flush()
            answer = sys.stdin.readline()
            if not answer:
                raise CommandError(f"the answers ended: {NOTHING_WRITTEN}")
            if (word := answer.strip().lower()) in {"yes", "no"}:
                return word == "yes"
            self.tell("Please type yes or no, the whole word.")


def in_options(error: DraftError) -> str:
    """Return what is wrong with a draft, with the option that gave it instead of the field. Pure."""
    option = _OPTIONS.get(error.field)
    return f"{option}: {error.text}" if option else str(error)


def affirm(
    statements: Sequence[Affirmation], before: Statement | None, talk: Talk
) -> tuple[tuple[Affirmation, ...], frozenset[str]]:
    """Ask about each statement; return those that are affirmed, and the ids that are known to be gone.

    Raises `CommandError` when nothing is affirmed, or something would go that shall not.
    """
    old = {each.id: each.text for each in before.statements} if before else {}
    new = {each.id for each in statements}
    affirmed: list[Affirmation] = []
    removed: set[str] = set()
    for number, each in enumerate(statements, 1):
        talk.tell("", f"{number} of {len(statements)}: {each.id}", f"    {each.text}")
        text = old.get(each.id)
        if text not in {None, each.text}:
            talk.tell(f"    before: {text}")
        if not _is_affirmed(talk, is_known=text is not None):
            removed |= {each.id} & old.keys()
            continue
        if text not in {None, each.text}:
            _confirm(talk, f"The text before goes, {_AS_REMOVAL}. Is that meant?", each.id)
            removed.add(each.id)
        affirmed.append(each)
    for missing in (each for each in old if each not in new):
        talk.tell("", f"no longer among the statements: {missing}", f"    {old[missing]}")
        _confirm(talk, f"It is left out, {_AS_REMOVAL}. Is that meant?", missing)
        removed.add(missing)
    if not affirmed:
        raise CommandError(f"no statement is affirmed: {NOTHING_WRITTEN} (--retire ends a canary)")
    return tuple(affirmed), frozenset(removed)


def narrow(scope: str, jurisdictions: Collection[str], before: Statement | None, talk: Talk) -> frozenset[str]:
    """Ask whether another scope and fewer jurisdictions are meant; return which are. Raises `CommandError`."""
    return frozenset(_narrowed(scope, jurisdictions, before, talk)) if before else frozenset()


def _narrowed(scope: str, jurisdictions: Collection[str], before: Statement, talk: Talk) -> Iterator[str]:
    if scope != before.scope:
        talk.tell("", f"the scope is now: {scope}", f"          before: {before.scope}")
        _confirm(talk, "Everyone will see that the scope has changed. Is that meant?", SCOPE)
        yield SCOPE
    if gone := [each for each in before.jurisdictions if each not in jurisdictions]:
        talk.tell("", f"jurisdictions that are gone: {', '.join(gone)}")
        _confirm(talk, "Everyone will see that they were removed. Is that meant?", JURISDICTIONS)
        yield JURISDICTIONS


def _is_affirmed(talk: Talk, *, is_known: bool) -> bool:
    """Ask until the statement is either affirmed or knowingly left out."""
    consequence = f"It is then left out, {_AS_REMOVAL}" if is_known else "It is then left out"
    while not talk.ask("Is this true?"):
        if talk.ask(f"{consequence}. Leave it out?"):
            return False
    return True


def _confirm(talk: Talk, question: str, name: str) -> None:
    if not talk.ask(question):
        raise CommandError(f"{name} shall stay as it was: {NOTHING_WRITTEN}; draft again with it")
