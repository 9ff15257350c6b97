"""What is it? Asked of bytes before anything else, so that nothing passes for less than what it looks like. Pure.

A canary counts by m of n signatures, everything else by fewer. So whatever a reader could take for a canary is none of
the other kinds, however it is written: in another case, behind a byte order mark, with a name that stands there twice.
"""

from __future__ import annotations

import json
import re

import orjson

from signer.verification import DOCUMENT_TYPES

_CANARY = "warrant-canary"
#: What makes a canary even where its type is another one.
_SHAPE = frozenset({"sequence", "statements", "next_due"})
_NAMED = re.compile(rf"{_CANARY}\s*/\s*[0-9]", re.IGNORECASE)
#: JSON's escape, of which the backslashes are gone: a document within a document has several.
_ESCAPED = re.compile(r"u([0-9a-f]{4})", re.IGNORECASE)


def is_canary(content: bytes) -> bool:
    """Say whether bytes mean to be a canary, whether or not they are a whole one."""
    members = _members(content)
    if {name.casefold() for name, _ in members} >= _SHAPE:
        return True
    types = [value for name, value in members if name.strip().casefold() == "type"]
    return any(isinstance(each, str) and each.strip().casefold().startswith(_CANARY) for each in types)


def shows_canary(content: bytes) -> bool:
    """Say whether bytes are a canary or have one somewhere within, as a page has, and a text around one."""
    text = content.replace(b"\0", b"").replace(b"\\", b"").decode(errors="replace")
    plain = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
    return any(map(_NAMED.search, (text, plain))) or is_canary(content)


def is_document(content: bytes) -> bool:
    """Say whether bytes are a document as the service publishes them: a JSON object of one of its types."""
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError:
        return False
    types = [value for name, value in _members(content) if name == "type"]
    return len(types) == 1 and isinstance(types[0], str) and types[0] in DOCUMENT_TYPES


def _members(content: bytes) -> tuple[tuple[str, object], ...]:
    """Return the members of a JSON object, each as often as it stands there; nothing for what is no object.

    In each encoding in which some program reads JSON, and with a byte order mark.
    """
    try:
        read = json.loads(content, object_pairs_hook=tuple, parse_int=str)
    except (ValueError, RecursionError):
        return ()
    return read if isinstance(read, tuple) else ()
