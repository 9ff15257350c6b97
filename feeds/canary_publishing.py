"""A canary is published: verified by the keys that are pinned here, stored as it was signed, announced. All or nothing.

    lock -> newest stored -> verdict -> removals acknowledged? -> documents -> canary.updated -> commit

Nothing here can make a canary, or prolong one: what is stored is what came from the operator, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feeds import documents
from feeds.canary_events import announcement
from feeds.canary_standing import judged_at, out_of_step
from feeds.documents import Feed, NumberTakenError, Published, Signature
from runtime.advisory_locks import AdvisoryLock
from signer.canary_check import Predecessor, Standing
from signer.statement import Document, Statement, StatementError, sha256

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from consumers.loop import AfterCommit, Handler
    from runtime.clock import Clock
    from runtime.database import Connection
    from signer.canary_check import Verdict
    from signer.canary_judge import Pins

#: Two who publish at once come one after the other: the second sees what the first has published.
ALONE = f"SELECT pg_advisory_xact_lock(hashtextextended('canary', {AdvisoryLock.DOCUMENTS}))"
ARMOR = b"-----BEGIN PGP SIGNATURE-----"


class RefusedError(Exception):
    """A canary is not published; `reasons` are all there are, `verdict` is there when it was judged."""

    def __init__(self, *reasons: str, verdict: Verdict | None = None) -> None:
        """Join the reasons into one line."""
        super().__init__("; ".join(reasons))
        self.reasons = reasons
        self.verdict = verdict


@dataclass(frozen=True, slots=True)
class Publication:
    """What is published; not `is_new` where the same bytes were already, and nothing was done.

    `after_commit` is what the handler that announced wants called.
    """

    published: Published
    statement: Statement
    is_new: bool
    after_commit: AfterCommit | None = None


async def publish(
    connection: Connection,
    content: bytes,
    signatures: Mapping[str, bytes],
    *,
    pins: Pins,
    acknowledged: Collection[str],
    clock: Clock,
    announce: Handler,
    source: str,
    location: str,
) -> Publication:
    """Publish a canary or a retirement, in a transaction of its own, as its signers made it; `signatures` by name.

    `acknowledged` must be exactly what the statement says is gone, so that nobody publishes that without knowing.
    `announce` is called within the transaction with the `canary.updated` that says so: whatever it raises undoes all.
    `source` is that event's, `location` the URL of the canary. Raises `RefusedError`, and `PgpError` when gpg or the
    public keys cannot be had; nothing is stored then.
    """
    async with connection.transaction():
        await connection.execute(ALONE)
        newest = await documents.latest(connection, Feed.CANARY)
        previous = _read(newest)
        if newest is not None and isinstance(previous, Document) and newest.content == content:
            return Publication(newest, previous.statement, is_new=False)
        now = clock.now()
        verdict = await pins.judge(content, signatures, now=now, previous=previous, at=judged_at(now))
        statement = verdict.statement
        if not verdict.is_good or statement is None:
            raise RefusedError(*map(str, verdict.faults), verdict=verdict)
        number = (newest.number if newest else 0) + 1
        reasons = (
            *unacknowledged(statement, acknowledged),
            *_unfit(verdict, signatures),
            *map(str, out_of_step(statement, number)),
        )
        if reasons:
            raise RefusedError(*reasons, verdict=verdict)
        made = Published(number, content, sha256(content), now, counting(verdict, signatures))
        try:
            await documents.save(connection, Feed.CANARY, number, content, signatures=made.signatures, published_at=now)
        except NumberTakenError as error:
            raise RefusedError(f"{error} by somebody else in this moment: look at that one first") from None
        after = await announce(connection, [announcement(made, statement, source=source, location=location)])
    return Publication(made, statement, is_new=True, after_commit=after)


def unacknowledged(statement: Statement, acknowledged: Collection[str]) -> Iterator[str]:
    """Yield what is wrong with an acknowledgement of removals: what it lacks, with what to type, what it has too many.

    Pure.
    """
    said, given = set(statement.acknowledged_removals), set(acknowledged)
    if missing := sorted(said - given):
        options = " ".join(f"--acknowledge-removed {each}" for each in missing)
        yield f"it removes {', '.join(missing)}, and everyone will see that; if that is meant, add {options}"
    if superfluous := sorted(given - said):
        yield f"--acknowledge-removed: it does not remove {', '.join(superfluous)}"


def counting(verdict: Verdict, signatures: Mapping[str, bytes]) -> tuple[Signature, ...]:
    """Return the signatures that count, one for each primary key, as they came, in the order of fingerprints. Pure."""
    counted = [each.signed for each in verdict.signatures if each.standing is Standing.COUNTS]
    return tuple(sorted(Signature(each.primary, signatures[each.name]) for each in counted))


def _unfit(verdict: Verdict, signatures: Mapping[str, bytes]) -> Iterator[str]:
    """Yield which of the signatures that count cannot be served as a text."""
    for each in verdict.signatures:
        blob = signatures[each.signed.name]
        if each.standing is Standing.COUNTS and not (blob.strip().startswith(ARMOR) and blob.isascii()):
            yield f"{each.signed.name}: is not armored, or not in ASCII: gpg --armor makes it so"


def _read(newest: Published | None) -> Document | Predecessor:
    """Return what the next canary follows; raises `RefusedError` where what is stored is no canary any more."""
    if newest is None:
        return Predecessor.NONE
    try:
        return Document.read(newest.content)
    except StatementError as error:
        raise RefusedError(
            f"what is stored as canary {newest.number} is none ({error}): somebody changed it; restore that row first"
        ) from None
