"""The languages of the pages: which one a reader gets, its messages, and how it writes dates and numbers.

English is written in the templates. Another language is a row of `LANGUAGES` and a catalogue `pages/messages/<tag>.po`.

    Accept-Language -> choose -> Language -> translations (gettext), day, minute, percent

The catalogues are text. They are compiled when they are first asked for, so there is no compiled file to forget.
"""

from __future__ import annotations

import enum
import functools
import gettext
import io
import re
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from feeds import messages

if TYPE_CHECKING:
    from datetime import datetime

FOLDER = Path(__file__).parent / "pages" / "messages"
ANY = "*"
#: RFC 9110, 12.4.2.
WEIGHT = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)
#: RFC 4647, 2.1: a basic language range.
RANGE = re.compile(r"[a-z]{1,8}(?:-[a-z0-9]{1,8})*", re.IGNORECASE)
NO_BREAK = "\N{NO-BREAK SPACE}"


class Language(enum.StrEnum):
    """A language of the pages, as its tag (BCP 47): what `lang` in HTML and `Content-Language` say."""

    ENGLISH = "en"
    SWEDISH = "sv"


DEFAULT = Language.ENGLISH
TAGS = frozenset(map(str, Language))


class _Written(NamedTuple):
    """How a language writes: months, what stands between day and time, in a time, before a fraction, before `%`."""

    months: tuple[str, ...]
    at: str
    hours: str
    decimal: str
    percent: str


_ENGLISH = "January February March April May June July August September October November December"
_SWEDISH = "januari februari mars april maj juni juli augusti september oktober november december"
_WRITTEN = {
    Language.ENGLISH: _Written(tuple(_ENGLISH.split()), ", ", ":", ".", "%"),
    Language.SWEDISH: _Written(tuple(_SWEDISH.split()), f" kl.{NO_BREAK}", ".", ",", f"{NO_BREAK}%"),
}


def choose(header: str | None) -> Language:
    """Return the language for an `Accept-Language`, English where it names none of ours. Pure.

    RFC 9110, 12.5.4, by lookup (RFC 4647, 3.4): a range stands for what is before its last hyphens too, so `sv-FI` gets
    `sv`. The greatest weight wins, then the first in the header, then the order of `Language`. `q=0` refuses. A part
    that is not well-formed counts for nothing. Who refuses everything gets English: better than nothing to read.
    """
    refused: set[str] = set()
    wanted: list[tuple[float, str]] = []
    for part in (header or "").split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        weight = _weight(parameters)
        if weight is None or not (name == ANY or RANGE.fullmatch(name)):
            continue
        if weight > 0:
            wanted.append((weight, name.lower()))
        else:
            refused.add(name.lower())
    named = {found for _, name in wanted if (found := _lookup(name, refused))}
    for _, name in sorted(wanted, key=lambda each: -each[0]):  # stable: equals stay as they were given
        if name == ANY:
            found = next((each for each in Language if each not in named | refused), None)
        else:
            found = _lookup(name, refused)
        if found:
            return found
    return DEFAULT


@functools.cache
def translations(language: Language) -> gettext.NullTranslations:
    """Return the messages of a language; those of English are the templates' own.

    Raises `messages.CatalogueError` for a catalogue that cannot be read, which a test sees before anyone else.
    """
    if language is DEFAULT:
        return gettext.NullTranslations()
    path = FOLDER / f"{language}.po"
    compiled = messages.compiled(messages.parse(path.read_text(encoding="utf-8"), path.name))
    return gettext.GNUTranslations(io.BytesIO(compiled))


def day(moment: datetime, language: Language = DEFAULT) -> str:
    """Return a day in UTC: `1 November 2026`, `1 november 2026`. Pure."""
    moment = moment.astimezone(UTC)
    return f"{moment.day} {_WRITTEN[language].months[moment.month - 1]} {moment.year}"


def minute(moment: datetime, language: Language = DEFAULT) -> str:
    """Return a moment in UTC: `1 November 2026, 04:12 UTC`, `1 november 2026 kl. 04.12 UTC`. Pure."""
    moment, written = moment.astimezone(UTC), _WRITTEN[language]
    return f"{day(moment, language)}{written.at}{moment:%H}{written.hours}{moment:%M} UTC"


def percent(value: float, places: int = 2, language: Language = DEFAULT) -> str:
    """Return a number of hundredths: `99.98%`, `99,98 %` with a space that does not break. Pure."""
    written = _WRITTEN[language]
    return f"{value:.{places}f}".replace(".", written.decimal) + written.percent


def _weight(parameters: list[str]) -> float | None:
    """Return the weight of a part, 1 where none is given, None where it is not well-formed."""
    if not parameters:
        return 1.0
    found = WEIGHT.fullmatch(parameters[0]) if len(parameters) == 1 else None
    return float(found[1]) if found else None


def _lookup(name: str, refused: set[str]) -> Language | None:
    """Return our language for a range: itself, or what it is a kind of; None for one that is refused."""
    parts = name.split("-")
    for size in range(len(parts), 0, -1):
        shorter = "-".join(parts[:size])
        if shorter in refused:
            return None
        if shorter in TAGS:
            return Language(shorter)
    return None
