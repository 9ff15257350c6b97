"""Text of the control plane made fit for any format: line ends of one kind, nothing that XML or a terminal trips over.

All formats take it from here, so that all say the same.
"""

from __future__ import annotations

import re

#: What XML 1.0 (2.2) forbids, and the control characters it merely discourages. Line ends and tabs are not among them.
FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def lines(text: str) -> str:
    r"""Return text with `\n` for every line end Unicode knows, and no other control character but tabs. Pure."""
    return FORBIDDEN.sub("", "\n".join(text.splitlines())).strip()


def line(text: str) -> str:
    """Return text in one line, with one space where there was white space. Pure."""
    return " ".join(FORBIDDEN.sub("", " ".join(text.splitlines())).split())
