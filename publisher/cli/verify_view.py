"""Pages that show a signed document, such as `/v1/transparency/canary`. Pure.

The page is not signed, the bytes in it are. So the document is taken out and verified by itself, and what the page says
beside it is held against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from signer.canary_dates import State
from signer.statement import sha256, signature_name
from signer.verdict import is_fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator

#: More signatures than any statement has signers are not looked at.
MOST_SIGNATURES = 50
#: What the page repeats of a canary.
_REPEATED = ("sequence", "issued_at", "next_due", "expires_at")


class View(NamedTuple):
    """The signed bytes, None where the page says there are none; its signatures by name; all that the page says."""

    document: bytes | None
    signatures: dict[str, bytes]
    says: dict[str, Any]


def parse(content: bytes) -> View | None:
    """Return what a page shows, None for what is no such page."""
    says = _object(content)
    if says is None or "signed" not in says:
        return None
    signed = says["signed"]
    if signed is None or (isinstance(signed, dict) and signed.get("document", "") is None):
        return View(None, {}, says)
    if not isinstance(signed, dict) or not isinstance(signed.get("document"), str):
        return None
    try:
        return View(signed["document"].encode(), dict(_signatures(signed.get("signatures"))), says)
    except UnicodeEncodeError:
        return None


def _signatures(listed: object) -> Iterator[tuple[str, bytes]]:
    """Yield them by names of their own, with the fingerprint the page gives: who signed, gpg says."""
    for number, each in enumerate(listed[:MOST_SIGNATURES] if isinstance(listed, list) else (), 1):
        if isinstance(each, dict) and isinstance(each.get("armored"), str):
            claimed = each.get("fingerprint")
            known = claimed if isinstance(claimed, str) and is_fingerprint(claimed) else "unnamed"
            yield signature_name(f"signature-{number}", known), each["armored"].encode()


def contradictions(view: View) -> list[str]:
    """Return in what a page differs from the document it shows, field by field."""
    assert view.document is not None  # noqa: S101 - nothing is shown, nothing contradicts it
    found = []
    if view.says["signed"].get("sha256", sha256(view.document)) != sha256(view.document):
        found.append("sha256")
    signed = _object(view.document) or {}
    found += [name for name in _REPEATED if name in signed and view.says.get(name) != signed[name]]
    if signed.get("retirement") is not None and view.says.get("state", State.REVOKED) != State.REVOKED:
        found.append("state")
    statement = view.says.get("statement")
    if isinstance(statement, dict):
        found += [f"statement.{name}" for name in statement if name in signed and statement[name] != signed[name]]
    return found


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        read = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return read if isinstance(read, dict) else None
