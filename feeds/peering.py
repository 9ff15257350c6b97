"""The peering record: what was told of it -> what is announced now, since when, and by whom. Pure.

Changes come late, twice and in any order. What counts is when they happened: a subject's state is that of its last
change, and holds since the first of the changes that say the same without one in between that says another thing.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_left, bisect_right
from datetime import UTC
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from feeds import peering_record
from feeds.models import PeeringDocument, Prefix, Session
from feeds.room import MOST_BYTES, first_that_fit, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Kind = Literal["prefix", "session"]
#: What a change is about.
Subject = tuple[Kind, str]
PrefixStatus = Literal["announced", "withdrawn"]
Status = PrefixStatus | Literal["up", "down"]
Match = Literal["exact", "covering", "more_specific"]

#: What a change makes of its subject; any other word makes nothing of it.
STATUS: Mapping[tuple[str, str], Status] = {
    ("prefix", "announce"): "announced",
    ("prefix", "withdraw"): "withdrawn",
    ("session", "session_up"): "up",
    ("session", "session_down"): "down",
}
ANNOUNCED: Status = "announced"
IS_THERE: frozenset[Status] = frozenset({"announced", "up"})
#: What is no longer there is kept in the document while it is among so many, the newest; the history has all.
MOST_GONE = 5_000
#: Characters of the longest way to write a prefix, and some.
LONGEST = 64


class Change(NamedTuple):
    """A change as it is stored: `subject` is a prefix in canonical text, or a session's name.

    `other_asn` is the AS it names: of a prefix its origin, of a session the peer's. `place` is its own in its event.
    """

    happened_at: datetime
    event_id: str
    source: str
    place: int
    kind: Kind
    subject: str
    op: str
    other_asn: int | None = None

    @property
    def status(self) -> Status | None:
        """What it makes of its subject."""
        return STATUS.get((self.kind, self.op))


class Record(NamedTuple):
    """A network's record: the fields that may be published, and whose it is."""

    asn: int
    happened_at: datetime
    fields: Mapping[str, Any]


class Facts(NamedTuple):
    """What a document is made from.

    `changes` are all there are, or as many as `standing` needs. `asn` is whose the last of all of them was.
    """

    changes: Sequence[Change] = ()
    record: Record | None = None
    asn: int | None = None


class Standing(NamedTuple):
    """How a subject stands since when; `other_asn` is the AS that was named last."""

    status: Status
    since: datetime
    other_asn: int | None


class Found(NamedTuple):
    """A prefix of the record, and why it answers a question; None where nothing was asked."""

    prefix: Prefix
    match: Match | None


#: The order of changes: a withdrawal and an announcement in one event stand in theirs.
in_order = attrgetter("happened_at", "event_id", "source", "place")


def build(facts: Facts, *, provider: str, now: datetime) -> PeeringDocument:
    """Return the document of a provider; the same facts give the same one all day (UTC).

    What only repeats what is known does not move `as_of`, and moments ahead of `now` have no part in it. Where there is
    more than can be signed, sessions come first, then the shortest of the announced prefixes, which cover the others:
    so the longest match of what is left out is there more often than not. What is gone comes last.
    """
    fields = facts.record.fields if facts.record else {}
    asn = facts.record.asn if facts.record else facts.asn
    there, gone = _parted(standing(facts.changes))
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    moments = [each.since for _, each in [*there, *gone]] + ([facts.record.happened_at] if facts.record else [])
    frame = PeeringDocument(
        provider=provider,
        as_of=max((each for each in moments if day < each <= now), default=day),
        net=peering_record.complete(fields, asn=asn, name=provider),
        prefixes=[],
        sessions=[],
        is_complete=False,
    )
    parts = first_that_fit((_part(*each) for each in [*there, *gone]), MOST_BYTES - size(frame))
    return frame.model_copy(
        update={
            "prefixes": sorted((each for each in parts if isinstance(each, Prefix)), key=_order),
            "sessions": sorted((each for each in parts if isinstance(each, Session)), key=attrgetter("session")),
            "is_complete": len(parts) >= len(there) and peering_record.is_whole(frame.net, fields),
        }
    )


def standing(changes: Iterable[Change]) -> dict[Subject, Standing]:
    """Return how every subject stands, by kind and name, whatever order the changes come in."""
    held: dict[Subject, Standing] = {}
    for change in sorted(changes, key=in_order):
        if (status := change.status) is None:
            continue
        key = change.kind, change.subject
        before = held.get(key)
        since = before.since if before and before.status == status else change.happened_at
        named = change.other_asn if change.other_asn is not None or before is None else before.other_asn
        held[key] = Standing(status, since, named)
    return held


def network(text: str, *, strict: bool = True) -> Network:
    """Return a prefix, or an address as one of full length; raises ValueError for what is neither.

    Unless it is `strict` an address with a length is the prefix around it.
    """
    if len(text) > LONGEST or "%" in text:  # a zone is of somebody's machine
        raise ValueError("is no prefix and no address")
    return ipaddress.ip_network(text, strict=strict)


def find(document: PeeringDocument, wanted: Network) -> list[Found]:
    """Return what the record has of a prefix, or of an address as one of full length, in the order of the document.

    The prefix itself, announced or not; where it is not announced the longest announced one that covers it; and
    everything within it. Only the search for what covers it goes through all of them.
    """
    prefixes = document.prefixes
    at = bisect_left(prefixes, _place(wanted), key=_order)
    end = bisect_right(prefixes, _last(wanted), key=_order)
    within = prefixes[at:end]
    exact = within[:1] if within and within[0].prefix == str(wanted) else []
    found = [Found(each, "exact") for each in exact]
    if not any(each.status == ANNOUNCED for each in exact):
        found = [*_covering(prefixes, wanted), *found]
    return found + [Found(each, "more_specific") for each in within[len(exact) :]]


def _covering(prefixes: Sequence[Prefix], wanted: Network) -> Iterator[Found]:
    """Yield the longest announced prefix around another, if there is one."""
    announced = {each.prefix: each for each in prefixes if each.status == ANNOUNCED}
    for length in range(wanted.prefixlen - 1, -1, -1):
        found = announced.get(str(wanted.supernet(new_prefix=length)))
        if found is not None:
            yield Found(found, "covering")
            return


def _parted(held: Mapping[Subject, Standing]) -> tuple[list[tuple[Subject, Standing]], list[tuple[Subject, Standing]]]:
    """Return what is there, what counts most first, and of what is gone the newest; of one moment the first by name."""
    there = sorted((item for item in held.items() if item[1].status in IS_THERE), key=_weight)
    gone = [item for item in held.items() if item[1].status not in IS_THERE]
    gone.sort(key=lambda item: (-item[1].since.timestamp(), item[0]))
    return there, gone[:MOST_GONE]


def _weight(item: tuple[Subject, Standing]) -> tuple[bool, int, str]:
    kind, subject = item[0]
    return kind == "prefix", int(subject.rpartition("/")[2]) if kind == "prefix" else 0, subject


def _part(key: Subject, standing: Standing) -> Prefix | Session:
    kind, subject = key
    said = {"status": standing.status, "since": standing.since}
    if kind == "prefix":
        return Prefix.model_validate({"prefix": subject, "origin_asn": standing.other_asn, **said})
    return Session.model_validate({"session": subject, "peer_asn": standing.other_asn, **said})


def _order(prefix: Prefix) -> tuple[int, int, int]:
    return _place(ipaddress.ip_network(prefix.prefix))


def _place(network: Network) -> tuple[int, int, int]:
    """Return where a prefix stands: by family, address, length."""
    return network.version, int(network.network_address), network.prefixlen


def _last(network: Network) -> tuple[int, int, int]:
    """Return the last place within a prefix."""
    return network.version, int(network.broadcast_address), network.max_prefixlen
