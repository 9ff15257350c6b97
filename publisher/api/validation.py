"""What is wrong with what a caller sent, in plain words: the one place that reads what pydantic finds. Pure.

Bodies and queries are checked by models of one kind and refused in the same words. Of what was sent only the name of
an unknown field is repeated, cut short: an answer is no mirror.
"""

from __future__ import annotations

import enum
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic_core import ErrorDetails

M = TypeVar("M", bound=BaseModel)

#: Characters of what a caller sent that an answer repeats.
CUT = 100
#: A time as the documentation has it (RFC 3339); pydantic would also take seconds since the epoch.
MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]", re.ASCII)
A_TIME = "must be a time such as 2026-11-01T00:00:00Z"
AN_OFFSET = "must have an offset from UTC, or Z: 2026-11-01T00:00:00Z"

#: What pydantic says in words of its own trade; the rest reads well once "should" is "must".
WORDS = {
    "missing": "must be given",
    "timezone_aware": AN_OFFSET,
    "datetime_type": A_TIME,
    "datetime_parsing": A_TIME,
    "datetime_from_date_parsing": A_TIME,
    "datetime_object_invalid": A_TIME,
}


class Kind(enum.Enum):
    """What is wrong: a field is not there, is not known, is not what it must be, or everything is nested too deep."""

    MISSING = enum.auto()
    UNKNOWN = enum.auto()
    INVALID = enum.auto()
    NESTED = enum.auto()


class FlawError(ValueError):
    """The first thing that is wrong: `path` leads to the field, `reason` is what follows its name in a sentence."""

    def __init__(self, kind: Kind, path: Iterable[str | int], reason: str) -> None:
        """Name the field by its `path` from the top."""
        super().__init__(reason)
        self.kind = kind
        self.path = tuple(path)
        self.reason = reason

    @property
    def field(self) -> str:
        """The path with dots: `events.3`."""
        return shown(".".join(map(str, self.path)))


def of_json(model: type[M], raw: bytes, content: Mapping[str, Any]) -> M:
    """Check a JSON object, strictly; `content` is what `raw` says. Raises `FlawError`.

    Unknown members are refused before anything in them is looked at: a body full of them costs its parsing alone.
    """
    if model.model_config.get("extra") == "forbid":
        for name in content:
            if name not in model.model_fields:
                raise _unknown(name, model)
    return _checked(model, content, lambda: model.model_validate_json(raw))


def of_strings(model: type[M], strings: Mapping[str, str]) -> M:
    """Check fields that come as text, as in a query; raises `FlawError`."""
    return _checked(model, strings, lambda: model.model_validate_strings(dict(strings)))


def shown(text: str) -> str:
    """Return what may be repeated of a caller's text: its beginning, without halves of surrogate pairs."""
    cut = text if len(text) <= CUT else f"{text[: CUT - 1]}…"
    return cut.encode(errors="replace").decode()


def _checked(model: type[M], sent: Mapping[str, Any], validate: Callable[[], M]) -> M:
    try:
        made = validate()
    except ValidationError as error:
        raise _flaw(error.errors(include_url=False, include_input=False)[0], model) from None
    for name, value in made:
        if isinstance(value, datetime):
            _check_moment(name, value, sent.get(name))
    return made


def _flaw(found: ErrorDetails, model: type[BaseModel]) -> FlawError:
    kind, path = found["type"], found["loc"] or ("body",)
    if kind == "json_invalid":  # the text is JSON, or it would not have come here
        return FlawError(Kind.NESTED, path, "is nested too deep")
    if kind == "missing":
        return FlawError(Kind.MISSING, path, WORDS[kind])
    if kind == "extra_forbidden":
        return _unknown(str(path[-1]), model)
    said = found["msg"].removeprefix("Value error, ").removesuffix(f" after validation, not {_actual(found)}")
    return FlawError(Kind.INVALID, path, WORDS.get(kind) or re.sub(r"^\w+ should ", "must ", said))


def _unknown(name: str, model: type[BaseModel]) -> FlawError:
    return FlawError(Kind.UNKNOWN, (name,), f"is not known (there is: {', '.join(model.model_fields) or 'nothing'})")


def _actual(found: ErrorDetails) -> object:
    return found.get("ctx", {}).get("actual_length")


def _check_moment(name: str, value: datetime, sent: object) -> None:
    """Refuse numbers, and times that UTC puts outside of the years there are: the database cannot take those."""
    if isinstance(sent, str) and not MOMENT.match(sent):
        raise FlawError(Kind.INVALID, (name,), A_TIME)
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise FlawError(Kind.INVALID, (name,), "must be in the years 1 to 9999 of UTC") from None
