"""Reads a catalogue of messages as translators write it (PO) and compiles it to what `gettext` loads (MO).

The standard library reads compiled catalogues alone, and GNU gettext need not be where this runs. What is read of the
format: comments, `msgctxt`, `msgid`, `msgid_plural`, `msgstr`, `msgstr[n]`, strings over several lines; entries with an
empty line between them, as every tool writes them. One that is fuzzy or empty is no translation, as for GNU msgfmt.
"""

from __future__ import annotations

import ast
import re
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: The GNU gettext manual, "The Format of GNU MO Files": little-endian, revision 0, seven words of header.
MAGIC, REVISION, HEADER = 0x950412DE, 0, 28
CONTEXT_END, PLURAL_END = "\x04", "\x00"
LINE = re.compile(r'(?P<key>msgctxt|msgid_plural|msgid|msgstr(?:\[[0-9]\])?)?\s*(?P<text>".*")')
FUZZY = re.compile(r"#,.*\bfuzzy\b")


class CatalogueError(ValueError):
    """A catalogue that is not well-formed; says the file, the line, and what is wrong."""


class Entry(NamedTuple):
    """A message and its translations, one for each plural form; the header has an empty `id`."""

    id: str
    plural: str | None
    texts: tuple[str, ...]
    context: str | None = None
    is_fuzzy: bool = False

    @property
    def key(self) -> str:
        """What `gettext` looks it up by."""
        context = "" if self.context is None else f"{self.context}{CONTEXT_END}"
        return f"{context}{self.id}"

    @property
    def is_translated(self) -> bool:
        """Whether there is a text for every form, and nobody doubts it."""
        return not self.is_fuzzy and bool(self.texts) and all(self.texts)


def parse(text: str, name: str) -> list[Entry]:
    """Return the entries of a catalogue; `name` is said in errors. Raises `CatalogueError`. Pure."""
    entries: dict[str, Entry] = {}
    for where, lines in _paragraphs(text, name):
        entry = _entry(lines, where)
        if entry is not None and entry.key in entries:
            raise CatalogueError(f"{where}: {entry.id!r} is there twice: keep one")
        if entry is not None:
            entries[entry.key] = entry
    return list(entries.values())


def compiled(entries: Iterable[Entry]) -> bytes:
    """Return a compiled catalogue of what is translated. Pure."""
    pairs = sorted(
        (
            (each.key if each.plural is None else f"{each.key}{PLURAL_END}{each.plural}").encode(),
            PLURAL_END.join(each.texts).encode(),
        )
        for each in entries
        if each.is_translated
    )
    start = HEADER + 16 * len(pairs)
    ids, texts = b"".join(key + b"\0" for key, _ in pairs), b"".join(text + b"\0" for _, text in pairs)
    head = struct.pack("<7I", MAGIC, REVISION, len(pairs), HEADER, HEADER + 8 * len(pairs), 0, start)
    return b"".join([
        head,
        _table([key for key, _ in pairs], start),
        _table([text for _, text in pairs], start + len(ids)),
        ids,
        texts,
    ])  # fmt: skip


def _table(strings: Sequence[bytes], start: int) -> bytes:
    """Return length and place of each string, the first at `start`; a zero byte follows each."""
    made = b""
    for each in strings:
        made += struct.pack("<2I", len(each), start)
        start += len(each) + 1
    return made


def _paragraphs(text: str, name: str) -> Iterator[tuple[str, list[str]]]:
    """Yield what stands between empty lines, with the place of its first line."""
    lines: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line.strip():
            lines.append(line.strip())
        elif lines:
            yield f"{name}:{number - len(lines)}", lines
            lines = []


def _entry(lines: Sequence[str], where: str) -> Entry | None:
    """Return the entry of a paragraph, None for one of comments alone."""
    found: dict[str, str] = {}
    key = ""
    for line in lines:
        if line.startswith("#"):
            continue
        matched = LINE.fullmatch(line)
        if matched is None or (matched["key"] or key) == "" or matched["key"] in found:
            raise CatalogueError(f"{where}: one entry in a paragraph, keywords once, each with a string; not: {line}")
        key = matched["key"] or key
        found[key] = found.get(key, "") + _unquoted(matched["text"], where)
    if not found:
        return None
    texts = sorted(each for each in found if each.startswith("msgstr"))
    plural = found.get("msgid_plural")
    expected = ["msgstr"] if plural is None else [f"msgstr[{number}]" for number in range(len(texts))]
    if "msgid" not in found or not texts or texts != expected:
        raise CatalogueError(f"{where}: an entry needs a msgid and its msgstr, with a plural numbered from 0")
    is_fuzzy = any(FUZZY.match(line) for line in lines)
    return Entry(found["msgid"], plural, tuple(found[each] for each in texts), found.get("msgctxt"), is_fuzzy)


def _unquoted(text: str, where: str) -> str:
    """Return what a string in quotes says; its escapes are C's, of which Python's are a superset."""
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        value = None
    if not isinstance(value, str):
        raise CatalogueError(f"{where}: not one string in double quotes: {text}")
    return value
