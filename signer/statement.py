"""The canary statement: what its signers affirm, as one model and as the exact bytes that are signed.

One detached signature of each signer covers the whole byte string, so no field of an older statement can stand in a
newer one. The bytes are canonical (RFC 8785), and nothing that the model does not name is taken: two programs that
read a statement read the same one. Keys are never taken from here; `signer.canary_check` holds the signers that are
named against those that the reader has pinned.

A *retirement* ends a canary for good. It is signed beforehand and published whenever it is needed, so it has no
number, no predecessor and no deadline.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    model_validator,
)

from signer.canonical import canonical

#: No statement is longer; what is, is not even parsed.
MAX_BYTES = 65_536
EARLIEST_YEAR, LATEST_YEAR = 2000, 9000
#: Under these names a scope or a list of jurisdictions is acknowledged to have become narrower.
SCOPE, JURISDICTIONS = "scope", "jurisdictions"
#: How much of a fingerprint stands in a file's name: the long key id.
TAIL = 16
#: Of a name that is not ours, this much is repeated.
LONGEST_PLACE = 64


class StatementError(ValueError):
    """Bytes are no statement; the text is one line and says where."""

    def __init__(self, text: str, *, is_canonical: bool = True) -> None:
        """`is_canonical` is False where only the way it is written is wrong."""
        super().__init__(text)
        self.is_canonical = is_canonical


def moment_text(moment: datetime) -> str:
    """Return RFC 3339 in UTC, to the second: `2026-11-01T00:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _whole_second(moment: datetime) -> datetime:
    if moment.microsecond:
        raise ValueError("has fractions of a second")
    if not EARLIEST_YEAR <= moment.year <= LATEST_YEAR:  # beyond, sums of dates would overflow
        raise ValueError(f"is not of the years {EARLIEST_YEAR} to {LATEST_YEAR}")
    return moment.astimezone(UTC)


def _printable(text: str) -> str:
    """Refuse what steers a terminal or hides on a page: control characters, line ends, changes of direction."""
    if not text.isprintable() or text != text.strip():
        raise ValueError("must be one line of printable characters, without spaces around it")
    return text


def _ascending(values: tuple[str, ...]) -> tuple[str, ...]:
    if list(values) != sorted(set(values)):
        raise ValueError("must be in ascending order, each once")
    return values


Moment = Annotated[AwareDatetime, AfterValidator(_whole_second), PlainSerializer(moment_text, when_used="json")]
Line = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(_printable)]
Id = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}\z")]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9A-F]{40}\z")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}\z")]
#: ISO 3166: a country, or a part of one.
Jurisdiction = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?\z")]
#: A block's work shows in its first digits; another 64 hexadecimal ones are some other hash.
BlockHash = Annotated[str, StringConstraints(pattern=r"^0{8}[0-9a-f]{56}\z")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Affirmation(_Part):
    """One thing the signers say is so. The id stays when the text changes."""

    id: Id
    text: Line

    @model_validator(mode="after")
    def _is_no_reserved_name(self) -> Self:
        if self.id in {SCOPE, JURISDICTIONS}:
            raise ValueError(f"{self.id!r} is not free to be an id")
        return self


class Block(_Part):
    """A block of a public chain."""

    chain: Literal["bitcoin"] = "bitcoin"
    height: Annotated[int, Field(ge=0, le=10**9)]
    hash: BlockHash


class Headline(_Part):
    """What a newspaper had on its first page."""

    source: Line
    title: Line


class Freshness(_Part):
    """What nobody could know earlier: proves that a statement is no older, says nothing of how new it is."""

    block: Block | None = None
    headlines: Annotated[tuple[Headline, ...], Field(max_length=20)] = ()


class Statement(_Part):
    """What is signed. Moments are UTC, to the second; fingerprints are whole ones of primary keys."""

    type: Literal["warrant-canary/1"] = "warrant-canary/1"
    provider: Line
    scope: Line
    jurisdictions: Annotated[tuple[Jurisdiction, ...], Field(min_length=1, max_length=100), AfterValidator(_ascending)]
    statements: Annotated[tuple[Affirmation, ...], Field(max_length=100)]
    #: What the predecessor said and this one does not, word for word; what became narrower.
    acknowledged_removals: Annotated[tuple[Id, ...], Field(max_length=200), AfterValidator(_ascending)] = ()
    sequence: Annotated[int, Field(ge=1, le=10**9)] | None
    previous_sha256: Sha256 | None
    issued_at: Moment
    next_due: Moment | None
    expires_at: Moment | None
    signers: Annotated[tuple[Fingerprint, ...], Field(min_length=1, max_length=50), AfterValidator(_ascending)]
    threshold: Annotated[int, Field(ge=1)]
    freshness: Freshness
    retirement: Line | None = None

    @property
    def is_retirement(self) -> bool:
        """Say whether this ends the canary."""
        return self.retirement is not None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.threshold > len(self.signers):
            raise ValueError(f"threshold is {self.threshold} of {len(self.signers)} signers")
        if self.is_retirement:
            for name in ("sequence", "previous_sha256", "next_due", "expires_at"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} has no place in a retirement")
            if self.statements or self.acknowledged_removals:
                raise ValueError("a retirement affirms nothing")
            return self
        self._is_whole()
        return self

    def _is_whole(self) -> None:
        for name in ("sequence", "next_due", "expires_at"):
            if getattr(self, name) is None:
                raise ValueError(f"{name} is missing")
        if (self.sequence == 1) != (self.previous_sha256 is None):
            raise ValueError("previous_sha256 is there from the second on, and not in the first")
        if self.sequence == 1 and self.acknowledged_removals:
            raise ValueError("acknowledged_removals: nothing came before the first")
        if not self.statements:
            raise ValueError("statements: there is none (what says nothing more is a retirement)")
        if len({each.id for each in self.statements}) < len(self.statements):
            raise ValueError("statements: an id stands twice")
        if self.freshness.block is None and not self.freshness.headlines:
            raise ValueError("freshness: neither a block nor a headline")


def encode(statement: Statement) -> bytes:
    """Return the bytes that are signed."""
    return canonical(statement.model_dump(mode="json"))


def sha256(content: bytes) -> str:
    """Return the digest by which a successor names these bytes, in lower-case hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class Document:
    """A statement and its exact bytes."""

    content: bytes
    statement: Statement

    @classmethod
    def of(cls, statement: Statement) -> Self:
        """Return a statement with its bytes."""
        return cls(encode(statement), statement)

    @classmethod
    def read(cls, content: bytes) -> Self:
        """Parse bytes; raises `StatementError` unless they are a statement, written canonically."""
        if len(content) > MAX_BYTES:
            raise StatementError(f"is longer than {MAX_BYTES} bytes")
        try:
            statement = Statement.model_validate_json(content)
        except ValidationError as error:
            raise StatementError(first_fault(error)) from None
        if encode(statement) != content:
            raise StatementError("is not canonical JSON (RFC 8785)", is_canonical=False)
        return cls(content, statement)

    @property
    def sha256(self) -> str:
        """The digest of the bytes."""
        return sha256(self.content)

    @property
    def name(self) -> str:
        """Return the name of its file."""
        number = self.statement.sequence
        return "canary-retirement.json" if number is None else f"canary-{number}.json"


def signature_name(name: str, fingerprint: str) -> str:
    """Return the name of the file beside `name` that holds the signature of the primary key `fingerprint`."""
    return f"{name}.{fingerprint[-TAIL:]}.asc"


def first_fault(error: ValidationError) -> str:
    """Return what is wrong first, and where, in one line; of names that others wrote, what is harmless and short."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(_place, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _place(part: int | str) -> str:
    text = str(part)
    cut = text if len(text) <= LONGEST_PLACE else f"{text[:LONGEST_PLACE]}…"
    return cut if cut.isprintable() else repr(cut)
