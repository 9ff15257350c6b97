"""From what the operator affirms to the statement that is signed. Pure; the questions are asked elsewhere."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from signer import canary_dates
from signer.canary_changes import vanished
from signer.statement import Affirmation, Document, Freshness, Statement, first_fault

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

#: What a hosting provider can usually say: narrow ones, so that each can be dropped without the others.
FOR_A_HOST = Path(__file__).with_name("host_statements.toml")
_AFFIRMATIONS = TypeAdapter(tuple[Affirmation, ...])


class DraftError(ValueError):
    """What was given makes no statement; the text is one line, and begins with the `field` where it is that one's."""

    def __init__(self, text: str, field: str = "") -> None:
        """`text` is what is wrong, with `field` or with all together."""
        super().__init__(f"{field}: {text}" if field else text)
        self.field = field
        self.text = text


@dataclass(frozen=True, slots=True)
class Answers:
    """What a statement is made from. `removed` is what the operator knows to be gone: ids, `scope`, `jurisdictions`."""

    provider: str
    scope: str
    jurisdictions: Collection[str]
    statements: tuple[Affirmation, ...]
    signers: Collection[str]
    threshold: int
    freshness: Freshness
    removed: frozenset[str] = frozenset()
    retirement: str | None = None


def draft(previous: Document | None, answers: Answers, now: datetime) -> Statement:
    """Return the successor of `previous`, the first where there is none, issued `now` (the second it falls in).

    Raises `DraftError`: something is not as a statement has it; something of the predecessor is gone that the operator
    does not know to be; nothing follows a retirement; the clock stands before the predecessor.
    """
    issued_at = now.replace(microsecond=0)
    before = previous.statement if previous else None
    if before is not None and before.is_retirement:
        raise DraftError("the predecessor is a retirement: nothing follows it")
    if before is not None and issued_at <= before.issued_at:
        raise DraftError("the clock of this machine stands before the predecessor's issued_at: set it, and draft again")
    due = None if answers.retirement is not None else canary_dates.next_due(issued_at)
    made = _made(
        provider=answers.provider,
        scope=answers.scope,
        jurisdictions=tuple(sorted(set(answers.jurisdictions))),
        statements=answers.statements,
        signers=tuple(sorted(set(answers.signers))),
        threshold=answers.threshold,
        freshness=answers.freshness,
        retirement=answers.retirement,
        issued_at=issued_at,
        next_due=due,
        expires_at=due and canary_dates.expires_at(due),
        sequence=(before.sequence or 0) + 1 if before and due else 1 if due else None,
        previous_sha256=previous.sha256 if previous and due else None,
    )
    if before is None or made.is_retirement:
        return made
    gone = vanished(before, made)
    if silently := gone - answers.removed:
        raise DraftError(f"gone, and not said to be: {', '.join(sorted(silently))}")
    return _made(
        **{name: getattr(made, name) for name in Statement.model_fields}
        | {"acknowledged_removals": tuple(sorted(gone))}
    )


def read_statements(path: Path = FOR_A_HOST) -> tuple[Affirmation, ...]:
    """Read a set of statements, in its order: TOML, `[[statements]]` with `id` and `text`. Raises `DraftError`."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
        if told.keys() != {"statements"}:
            raise DraftError(f"{path}: must hold [[statements]] and nothing else")
        return _AFFIRMATIONS.validate_python(told["statements"])
    except OSError as error:
        raise DraftError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DraftError(f"{path}: is not TOML ({error})") from None
    except ValidationError as error:
        raise DraftError(f"{path}: statements: {first_fault(error)}") from None


def _made(**fields: Any) -> Statement:  # noqa: ANN401 - the model checks each
    try:
        return Statement(**fields)
    except ValidationError as error:
        raise _fault(error, fields) from None


def _fault(error: ValidationError, given: dict[str, Any]) -> DraftError:
    """Say what is wrong first, in words for whoever gave it."""
    where = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
    said = first_fault(error)
    field = str(where[0]) if where else re.split(r"\W", said, maxsplit=1)[0]
    if field not in Statement.model_fields:
        return DraftError(said)
    match field, where:
        case "jurisdictions", (_, int(position)):
            text = f"{given[field][position]!r} is not an ISO 3166 code, such as SE or US-NY"
        case "threshold", _:
            text = f"is {given[field]}, of {len(given['signers'])} signers"
        case _:
            text = said.partition(": ")[2] or said
    return DraftError(text, field)
