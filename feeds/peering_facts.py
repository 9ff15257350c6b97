"""Writes down what `peering.changed` says, and reads it back. Owns `peering_changes` and `peering_records`.

A row for each change, under the event it came in, so that the same event twice is one; the record that happened last
stays. Nothing depends on the order they come in: `feeds/peering.py` makes of the rows what stands. What is not known
to be fit for everyone's eyes is not written.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from consumers.decode import InvalidRecordError, Reason
from consumers.public_events import PeeringChanged
from feeds import marks, peering_record
from feeds.documents import Feed
from feeds.peering import STATUS, Change, Facts, Record
from signer.statement import EARLIEST_YEAR, LATEST_YEAR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    import asyncpg

    from consumers.events import Event
    from consumers.loop import AfterCommit
    from consumers.public_events import PeeringChange
    from feeds.peering import Kind
    from runtime.database import Connection

PREFIX: Kind = "prefix"
SESSION: Kind = "session"
#: Words for what happened, without the kind before them, and the one they are stored as. Others are stored as they are.
WORDS: Mapping[Kind, Mapping[str, str]] = {
    PREFIX: {
        **dict.fromkeys(("announce", "announced", "advertise", "advertised", "add", "added"), "announce"),
        **dict.fromkeys(("withdraw", "withdrawn", "withdrew", "remove", "removed"), "withdraw"),
    },
    SESSION: {
        **dict.fromkeys(("up", "established"), "session_up"),
        **dict.fromkeys(("down", "remove", "removed"), "session_down"),
    },
}
ORIGIN, PEER = "origin_asn", "peer_asn"
LARGEST_ASN = 2**32 - 1
NAME = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,200}")
#: Changes the history looks at, the newest (or oldest) of the time it is asked for.
LOOKED_AT = 10_000

#: The order of `feeds.peering.in_order`.
ORDER = 'happened_at{0}, event_id COLLATE "C"{0}, source COLLATE "C"{0}, place{0}'
ASCENDING, DESCENDING = ORDER.format(""), ORDER.format(" DESC")
COLUMNS = "asn, kind, subject, op, happened_at, source, event_id, place"
ADD = f"""
INSERT INTO peering_changes ({COLUMNS}, data)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[],
                     $8::integer[], $9::jsonb[])
ON CONFLICT DO NOTHING RETURNING place
"""  # noqa: S608 - ours
KEEP = """
INSERT INTO peering_records AS kept (asn, happened_at, event_id, record)
SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::jsonb[])
ON CONFLICT (asn) DO UPDATE
SET happened_at = excluded.happened_at, event_id = excluded.event_id, record = excluded.record
WHERE (excluded.happened_at, excluded.event_id COLLATE "C") > (kept.happened_at, kept.event_id COLLATE "C")
RETURNING asn
"""
#: Of each subject the change that began its state, with the AS that was named last: a standing needs no other.
STANDING = f"""
WITH told AS (
    SELECT *, lag(op) OVER (PARTITION BY kind, subject ORDER BY {ASCENDING}) AS op_before
    FROM peering_changes WHERE (kind, op) IN (SELECT * FROM unnest($1::text[], $2::text[]))
), begun AS (
    SELECT DISTINCT ON (kind, subject) {COLUMNS} FROM told WHERE op_before IS DISTINCT FROM op
    ORDER BY kind, subject, {DESCENDING}
), named AS (
    SELECT DISTINCT ON (kind, subject) kind, subject, data FROM told WHERE data <> '{{}}'
    ORDER BY kind, subject, {DESCENDING}
)
SELECT {COLUMNS}, coalesce(data, '{{}}') AS data FROM begun LEFT JOIN named USING (kind, subject)
"""  # noqa: S608 - ours
LAST = f"SELECT asn FROM peering_changes ORDER BY {DESCENDING} LIMIT 1"  # noqa: S608 - ours
RECORD = """
SELECT asn, happened_at, record FROM peering_records ORDER BY happened_at DESC, event_id COLLATE "C" DESC LIMIT 1
"""
#: What is not asked for is no condition: with `$1 IS NULL OR …` a kept plan could not use an index.
WANTED = f"""
FROM (
    SELECT * FROM peering_changes WHERE {{wanted}} ORDER BY {{order}} LIMIT {LOOKED_AT + 1}
) AS wanted
"""  # noqa: S608 - ours
PAGE = f"SELECT {COLUMNS}, data {WANTED} ORDER BY {{order}} OFFSET $1 LIMIT $2"
COUNT = f"SELECT count(*), max(happened_at) {WANTED}"


class Told(NamedTuple):
    """A change with the AS whose it is."""

    asn: int
    change: Change


class Page(NamedTuple):
    """Changes of the history and how many there are; `newest` is when the last that was looked at happened.

    When not `is_complete` there are more than `LOOKED_AT`, which is what `total` then says.
    """

    told: Sequence[Told]
    total: int
    is_complete: bool
    newest: datetime | None


class PeeringFacts:
    """The handler of `peering.changed`; it leaves other types alone."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` is called when something new is committed."""
        self._wake = wake

    async def __call__(self, connection: Connection, events: Sequence[Event]) -> AfterCommit | None:
        """Write down what `events` say, and mark the feed if any of it was new."""
        told = [each for event in events for each in changes_of(event)]
        added = await _add(connection, told) if told else False
        records = newest_records(events)
        kept = await _keep(connection, records) if records else False
        if not (added or kept):
            return None
        await marks.mark(connection, Feed.PEERING)
        return self._wake


# --- what an event says, pure -----------------------------------------------------------------------------------------


def changes_of(event: Event) -> Iterator[Told]:
    """Yield the changes an event tells of; one of a session that nothing names is none.

    Raises `InvalidRecordError` for an event of a year that not every format can write.
    """
    if not isinstance(event.data, PeeringChanged):
        return
    if not EARLIEST_YEAR <= event.time.year <= LATEST_YEAR:
        raise InvalidRecordError(
            Reason.HANDLER, f"its time is not of the years {EARLIEST_YEAR} to {LATEST_YEAR}", event.type
        )
    for place, change in enumerate(event.data.changes):
        kind = _kind(change)
        subject = str(change.prefix) if kind == PREFIX else _name(change)
        if subject is None:
            continue
        told = Change(
            event.time, event.id, event.source, place, kind, subject, op_of(kind, change.op), _other_asn(kind, change)
        )
        yield Told(event.data.asn, told)


def op_of(kind: Kind, word: str) -> str:
    """Return what a change is stored as: `announce`, `withdraw`, `session_up`, `session_down`, or `word` itself."""
    plain = re.sub(r"[\s.-]+", "_", word.strip().lower()).removeprefix(f"{kind}_")
    return WORDS[kind].get(plain, word)


def newest_records(events: Iterable[Event]) -> dict[int, tuple[datetime, str, dict[str, Any]]]:
    """Return of each AS the record that happened last: its moment, its event's id, what may be published of it."""
    newest: dict[int, tuple[datetime, str, dict[str, Any]]] = {}
    for event in events:
        if not isinstance(event.data, PeeringChanged) or event.data.record is None:
            continue
        held = newest.get(event.data.asn)
        if held is None or (event.time, event.id) > held[:2]:
            newest[event.data.asn] = event.time, event.id, peering_record.allowed(event.data.record)
    return newest


def _kind(change: PeeringChange) -> Kind:
    """Say what a change is about: the one it names, and of both the one its word is for."""
    if change.prefix is None:
        return SESSION
    is_of_session = change.session is not None and (SESSION, op_of(SESSION, change.op)) in STATUS
    return SESSION if is_of_session and (PREFIX, op_of(PREFIX, change.op)) not in STATUS else PREFIX


def _name(change: PeeringChange) -> str | None:
    """Return what a session is called: its name, or else exchange, peer and addresses; None where it has none."""
    session = change.session
    if not isinstance(session, dict):
        return session
    name = session.get("name")
    if not isinstance(name, str):
        peer = _asn(session.get(PEER))
        said = [session.get("ix"), peer and f"AS{peer}", session.get("ipaddr4"), session.get("ipaddr6")]
        name = " ".join(each for each in said if isinstance(each, str))
    return name if NAME.fullmatch(name) else None


def _other_asn(kind: Kind, change: PeeringChange) -> int | None:
    given: dict[str, Any] = change.model_extra or {}
    if kind == PREFIX:
        return _asn(given.get(ORIGIN))
    within = change.session if isinstance(change.session, dict) else {}
    return _asn(given.get(PEER, within.get(PEER)))


def _asn(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 1 <= value <= LARGEST_ASN else None


# --- the tables -------------------------------------------------------------------------------------------------------


async def read(connection: Connection) -> Facts:
    """Return what the document is made from; the caller's transaction has to see one moment."""
    rows = await connection.fetch(STANDING, *map(list, zip(*STATUS, strict=True)))
    record = await connection.fetchrow(RECORD)
    asn = await connection.fetchval(LAST)
    return await asyncio.to_thread(_facts, rows, record, asn)


async def history(
    connection: Connection,
    *,
    prefix: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    offset: int = 0,
    size: int = 20,
    is_descending: bool = True,
) -> Page:
    """Return `size` changes from `offset` on, the newest first or last: of one prefix, from `since` to `until`."""
    order = DESCENDING if is_descending else ASCENDING
    asked: Mapping[str, object] = {"subject = ": prefix, "happened_at >= ": since, "happened_at <= ": until}
    given = {column: value for column, value in asked.items() if value is not None}

    def query(template: str, taken: int) -> str:
        conditions = [f"{column}${number}" for number, column in enumerate(given, taken + 1)]
        conditions += ["kind = 'prefix'"] if prefix is not None else []
        return template.format(wanted=" AND ".join(conditions) or "true", order=order)

    count = await connection.fetchrow(query(COUNT, 0), *given.values())
    assert count is not None  # noqa: S101 - an aggregate has a row
    total = min(count[0], LOOKED_AT)
    size = max(0, min(size, LOOKED_AT - offset))
    rows = await connection.fetch(query(PAGE, 2), offset, size, *given.values())
    return Page([_told(row) for row in rows], total, count[0] <= LOOKED_AT, count[1])


async def _add(connection: Connection, told: Sequence[Told]) -> bool:
    """Add what is new; in one order, so that no two deadlock."""
    rows = [
        (
            asn,
            each.kind,
            each.subject,
            each.op,
            each.happened_at,
            each.source,
            each.event_id,
            each.place,
            _data(each),
        )
        for asn, each in sorted(told, key=lambda each: (each.change.source, each.change.event_id, each.change.place))
    ]
    return bool(await connection.fetch(ADD, *map(list, zip(*rows, strict=True))))


async def _keep(connection: Connection, records: Mapping[int, tuple[datetime, str, dict[str, Any]]]) -> bool:
    """Keep records that are newer than those there are; in one order, so that no two deadlock."""
    rows = [(asn, moment, event_id, orjson.dumps(kept).decode()) for asn, (moment, event_id, kept) in records.items()]
    return bool(await connection.fetch(KEEP, *map(list, zip(*sorted(rows), strict=True))))


def _facts(rows: Sequence[asyncpg.Record], record: asyncpg.Record | None, asn: int | None) -> Facts:
    return Facts(
        changes=[_told(row).change for row in rows],
        record=Record(record["asn"], record["happened_at"], orjson.loads(record["record"])) if record else None,
        asn=asn,
    )


def _data(change: Change) -> str:
    named = ORIGIN if change.kind == PREFIX else PEER
    return orjson.dumps({} if change.other_asn is None else {named: change.other_asn}).decode()


def _told(row: asyncpg.Record) -> Told:
    [other] = orjson.loads(row["data"]).values() or [None]
    change = Change(
        row["happened_at"], row["event_id"], row["source"], row["place"], row["kind"], row["subject"], row["op"], other
    )
    return Told(row["asn"], change)
