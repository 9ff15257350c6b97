"""Text of the control plane made fit for any format: line ends of one kind, nothing that XML or a terminal trips over.

All formats and all pages take it from here, so that all say the same.
"""

from __future__ import annotations

import html
import re

#: What XML 1.0 (2.2) forbids, and the control characters it merely discourages. Line ends and tabs are not among them.
#: Then what turns the direction of all that follows, beyond the text it stands in: not for markup (Unicode Technical
#: Report 20, 3.1). Letters have a direction of their own.
FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]")
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def lines(text: str) -> str:
    r"""Return text with `\n` for every line end Unicode knows, and no other control character but tabs. Pure."""
    return FORBIDDEN.sub("", "\n".join(text.splitlines())).strip()


def line(text: str) -> str:
    """Return text in one line, with one space where there was white space. Pure."""
    return " ".join(FORBIDDEN.sub("", " ".join(text.splitlines())).split())


def weight(text: str) -> int:
    """Return how many bytes a text takes in HTML. Pure."""
    return len(html.escape(text).encode())


def cut(text: str, room: int) -> str:
    """Return a text that takes at most `room` bytes in HTML, with an ellipsis for what was left out. Pure.

    It ends with a word, unless the one that is cut takes more than half of it.
    """
    if weight(text) <= room:
        return text
    left, end = room - weight(ELLIPSIS), 0
    for end, letter in enumerate(text):  # noqa: B007 - where it ended is the answer
        left -= weight(letter)
        if left < 0:
            break
    kept = text[:end]
    whole = kept if text[end].isspace() else kept.rpartition(" ")[0]
    return (whole if len(whole) * 2 >= end else kept).rstrip() + ELLIPSIS
