"""What `heliograph verify` has found, for people and for machines. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from publisher.cli.context import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Of what others wrote, this much is shown in a line.
LONGEST_SHOWN = 120


class Kind(enum.StrEnum):
    """What can be verified; `bytes` are whatever else has a detached signature."""

    CANARY = "canary"
    DOCUMENT = "document"
    RESPONSE = "response"
    WEBHOOK = "webhook"
    BYTES = "bytes"


class Reason(enum.StrEnum):
    """Why something is not verified, beside the reasons of a canary and of a signature."""

    NO_SIGNATURE = "no_signature"
    NOT_PINNED = "not_pinned"
    TOO_FEW_SIGNATURES = "too_few_signatures"
    NOT_ALL_SIGNED = "not_all_signed"
    WRONG_DIGEST = "wrong_digest"
    BAD_HEADER = "bad_header"
    BAD_TIMESTAMP = "bad_timestamp"
    BAD = "bad"
    MISSING_PREDECESSOR = "missing_predecessor"
    #: The page says something else than the signed document it shows.
    CONTRADICTED = "contradicted"
    NO_CANARY = "no_canary"
    ANOTHER_KIND = "another_kind"
    #: A retirement: genuine, and the end of the canary.
    ENDED = "ended"
    #: A canary, or something that shows one, under a signature that is none of a canary's.
    NOT_DETACHED = "not_detached"
    NOT_A_DOCUMENT = "not_a_document"


class Problem(NamedTuple):
    """A reason, and where it shows."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Verified where there is no problem. `details` are lines for people, `fields` the same for machines."""

    kind: Kind
    what: str
    sha256: str
    problems: tuple[Problem, ...]
    details: tuple[str, ...] = ()
    #: What does not count against it.
    notes: tuple[str, ...] = ()
    summary: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    #: The bytes that were signed.
    content: bytes = b""

    @property
    def is_verified(self) -> bool:
        """Say whether all holds."""
        return not self.problems

    def lines(self, source: str) -> Iterator[str]:
        """Yield what a person reads; the verdict is the last line."""
        yield f"{source}: {self.what}"
        yield f"sha256 {self.sha256}"
        yield from self.details
        yield from (f"note: {each}" for each in self.notes)
        yield from (f"fault: {each.reason}: {each.detail}" for each in self.problems)
        verdict = "verified" if self.is_verified else "NOT VERIFIED"
        yield f"{verdict}: {self.summary}" if self.summary else verdict

    def json(self, source: str) -> dict[str, Any]:
        """Return what a machine reads."""
        return {
            "source": source,
            "verified": self.is_verified,
            "kind": self.kind,
            "what": self.what,
            "sha256": self.sha256,
            "faults": [each._asdict() for each in self.problems],
            "notes": list(self.notes),
            **self.fields,
        }


def shown(text: str) -> str:
    """Return what others wrote so that it can stand in a line: printable, short."""
    line = printable(text[: LONGEST_SHOWN + 1])
    return line if len(line) <= LONGEST_SHOWN else f"{line[:LONGEST_SHOWN]}…"
