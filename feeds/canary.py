"""The canary as readers get it: how it stands, what was signed, since when and until when that holds. Pure.

    Standing (judged beforehand) + now -> view          the state is made from signed dates at every reading
    Published                          -> record        what was published stays, so it has no state

Neither is signed. The bytes in `signed.document` are, and whoever doubts the service verifies those.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from signer.canary_check import Reason
from signer.canary_dates import LEAD, SKEW, State
from signer.statement import Document, StatementError, moment_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from feeds.canary_standing import Standing
    from feeds.documents import Published
    from signer.statement import Statement

#: A fault that no verdict has: nobody's signature counts here.
NOTHING_PINNED = "no_pinned_keys"
#: All codes of faults, a closed set.
FAULTS = (*map(str, Reason), NOTHING_PINNED)
#: Seconds a reader may keep the view: another canary may come at any time.
LONGEST_AGE = 60
_TICK = timedelta(microseconds=1)


class Watched(Protocol):
    """Who knows how the newest canary stands: `feeds.canary_watch.CanaryWatch`."""

    @property
    def standing(self) -> Standing:
        """The newest canary as it was last judged; the same object for as long as nothing changed."""
        ...

    @property
    def judged_at(self) -> datetime | None:
        """When it was, None before the first time."""
        ...


def view(standing: Standing, now: datetime, history_url: str) -> dict[str, Any]:
    """Return what is served of the newest canary: JSON values, null where there is nothing to say.

    `number` is its place in the history, which a retirement has too; its `sequence` is null. `state_until` is when the
    state next changes by itself, and the view with it: nothing else in it depends on the time. `retirement` tells a
    canary that was ended from one whose keys were revoked, which has null there. `faults` are codes. `threshold` is how
    many signatures it takes here.
    """
    ends = until(standing, now)
    published = standing.published
    return {
        "state": str(standing.state(now)),
        "state_until": ends and moment_text(ends),
        "retirement": standing.statement and standing.statement.retirement,
        "faults": faults(standing),
        "number": published and published.number,
        **_dates(standing.statement),
        "published_at": published and moment_text(published.published_at),
        "statement": standing.statement and standing.statement.model_dump(mode="json"),
        "signed": published and _signed(published, standing.needed or None),
        "history_url": history_url,
    }


def record(published: Published, *, is_latest: bool) -> dict[str, Any]:
    """Return a canary of the history: JSON values. `threshold` is what its statement asks for."""
    statement = read(published)
    return {
        **summary(published, is_latest=is_latest),
        "statement": statement and statement.model_dump(mode="json"),
        "signed": _signed(published, statement.threshold if statement else None),
    }


def summary(published: Published, *, is_latest: bool) -> dict[str, Any]:
    """Return a line of the history: JSON values; `acknowledged_removals` are null where the bytes are no statement."""
    statement = read(published)
    return {
        "number": published.number,
        "is_latest": is_latest,
        "is_retirement": statement is not None and statement.is_retirement,
        "acknowledged_removals": list(statement.acknowledged_removals) if statement else None,
        **_dates(statement),
        "published_at": moment_text(published.published_at),
        "sha256": published.sha256,
        "signers": [each.fingerprint for each in published.signatures],
    }


def read(published: Published) -> Statement | None:
    """Return what was published as a statement, None where it is none any more."""
    try:
        return Document.read(published.content).statement
    except StatementError:
        return None


def faults(standing: Standing) -> list[str]:
    """Return why the newest canary is not to be believed, as codes of `FAULTS`, each once."""
    found = list(dict.fromkeys(str(each.reason) for each in standing.faults))
    if found or standing.published is None or standing.statement is not None:
        return found
    try:
        Document.read(standing.published.content)
    except StatementError as error:
        return [str(Reason.MALFORMED if error.is_canonical else Reason.NOT_CANONICAL)]
    return [NOTHING_PINNED]


# --- how long it holds ------------------------------------------------------------------------------------------------


def until(standing: Standing, now: datetime) -> datetime | None:
    """Return when the state changes if nothing else does; the moment itself belongs to the next one. None: never."""
    state = standing.state(now)
    return next((each for each in _boundaries(standing) if each > now and standing.state(each) is not state), None)


def modified(standing: Standing, now: datetime) -> datetime | None:
    """Return since when the view is what it is: its canary was published, or a signed date has passed.

    None where that cannot be told from what is signed: there is no canary, or it is not believed. Whoever asks only by
    date then always gets the view, and cannot miss that it is believed again.
    """
    if standing.published is None or standing.faults or standing.state(now) in {State.INVALID, State.MISSING}:
        return None
    state = standing.state(now)
    begun = [
        each for each in _boundaries(standing) if each <= now and standing.state(each - _TICK) is not state
    ]  # fmt: skip
    return min(now, max([standing.published.published_at, *begun]))


def max_age(ends: datetime | None, now: datetime) -> int:
    """Return for how many whole seconds a view made at `now` may be kept: never beyond the end of its state."""
    if ends is None:
        return LONGEST_AGE
    return max(0, min(LONGEST_AGE, int((ends - now).total_seconds())))


def _boundaries(standing: Standing) -> Sequence[datetime]:
    """Return all moments, in order, at which a state may change by itself."""
    statement = standing.statement
    if statement is None:
        return ()
    dated = [statement.issued_at - SKEW]
    if statement.next_due is not None and statement.expires_at is not None:
        dated += [statement.next_due - LEAD, statement.next_due, statement.expires_at]
    return sorted(dated)


# --- parts ------------------------------------------------------------------------------------------------------------


def _dates(statement: Statement | None) -> dict[str, Any]:
    if statement is None:
        return {"sequence": None, "issued_at": None, "next_due": None, "expires_at": None}
    return {
        "sequence": statement.sequence,
        "issued_at": moment_text(statement.issued_at),
        "next_due": statement.next_due and moment_text(statement.next_due),
        "expires_at": statement.expires_at and moment_text(statement.expires_at),
    }


def _signed(published: Published, threshold: int | None) -> dict[str, Any]:
    """Return what was signed and by whom; bytes that are no text are shown with replacement characters."""
    return {
        "document": published.content.decode("utf-8", "replace"),
        "sha256": published.sha256,
        "signatures": [
            {"fingerprint": each.fingerprint, "armored": each.armored.decode("ascii", "replace")}
            for each in published.signatures
        ],
        "threshold": threshold,
    }
