"""What is announced, and what changed: the peering record asked by prefix, and its history.

Prefixes come from the newest signed document, so they are those it has; changes from what the control plane told.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, AwareDatetime, Field

from feeds import peering, peering_facts
from feeds.peering_facts import LARGEST_ASN
from publisher.api.call import Items, Reply
from publisher.api.errors import not_found
from publisher.api.models import In, Out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel

    from feeds.peering import Found
    from feeds.peering_facts import Told
    from publisher.api.call import Call


def _canonical(text: str) -> str:
    try:
        return str(peering.network(text))
    except ValueError:
        raise ValueError("must be a prefix such as 185.243.217.0/24, with no bits behind it, or an address") from None


Asn = Annotated[int, Field(ge=1, le=LARGEST_ASN)]
Range = Annotated[str, AfterValidator(_canonical), Field(examples=["185.243.217.0/24", "2a0e:8f02:f001::1"])]


class PrefixFilters(In):
    """What prefixes may be filtered by."""

    prefix: Annotated[
        Range | None,
        Field(
            description="A prefix or an address: what is known of this very one, of what lies within it, and, where it "
            "is not announced itself, the longest announced prefix that covers it."
        ),
    ] = None
    status: peering.PrefixStatus | None = None
    origin_asn: Asn | None = None


class PeeringPrefix(Out):
    """A prefix of the peering record."""

    prefix: str
    origin_asn: Annotated[Asn | None, Field(description="As the control plane names it; null where it does not.")]
    status: peering.PrefixStatus
    since: Annotated[datetime, Field(description="When that came to be.")]
    match: Annotated[
        peering.Match | None,
        Field(description="Why it answers the question for a prefix; null where none was asked for."),
    ]


class ChangeFilters(In):
    """What changes may be filtered by."""

    prefix: Annotated[Range | None, Field(description="Only changes of this very prefix.")] = None
    since: Annotated[AwareDatetime | None, Field(description="Only those that happened at this time or later.")] = None
    until: Annotated[AwareDatetime | None, Field(description="Only those that happened at this time or earlier.")] = (
        None
    )


class PeeringEntry(Out):
    """A change that was told of a prefix or a session."""

    at: Annotated[datetime, Field(description="When it happened.")]
    asn: Annotated[Asn, Field(description="Whose peering it is about.")]
    op: Annotated[str, Field(description="`announce`, `withdraw`, `session_up`, `session_down`, or another word.")]
    status: Annotated[
        peering.Status | None, Field(description="What it made of its subject; null if that was nothing.")
    ]
    prefix: str | None
    session: str | None
    origin_asn: Annotated[Asn | None, Field(description="The prefix's origin, where it was named.")]
    peer_asn: Annotated[Asn | None, Field(description="The session's peer, where it was named.")]


EXAMPLES: dict[type[BaseModel], dict[str, Any]] = {
    PeeringPrefix: {
        "prefix": "185.243.217.0/24",
        "origin_asn": 213232,
        "status": "announced",
        "since": "2026-03-02T08:00:00Z",
        "match": "exact",
    },
    PeeringEntry: {
        "at": "2026-03-02T08:00:00Z",
        "asn": 213232,
        "op": "announce",
        "status": "announced",
        "prefix": "185.243.217.0/24",
        "session": None,
        "origin_asn": 213232,
        "peer_asn": None,
    },
}


async def list_prefixes(call: Call) -> Reply:
    """List the prefixes of the record, or those that answer a question for one."""
    latest = call.services.feeds.peering if call.services.feeds else None
    if latest is None:
        raise not_found()
    asked, filters = call.query, call.query.filters or PrefixFilters()
    assert isinstance(filters, PrefixFilters)  # noqa: S101 - the operation's
    found: Sequence[Found] = [peering.Found(each, None) for each in latest.document.prefixes]
    if filters.prefix is not None:
        found = peering.find(latest.document, peering.network(filters.prefix))
    meant = [
        each
        for each in found
        if filters.status in {None, each.prefix.status} and filters.origin_asn in {None, each.prefix.origin_asn}
    ]
    if asked.is_descending:
        meant.reverse()
    shown = [
        PeeringPrefix(**dict(prefix), match=match).model_dump()
        for prefix, match in meant[asked.offset : asked.offset + asked.size]
    ]
    return Reply(items=Items(shown, len(meant), latest.document.is_complete))


async def list_changes(call: Call) -> Reply:
    """List what changed, the newest first."""
    asked, filters = call.query, call.query.filters or ChangeFilters()
    assert isinstance(filters, ChangeFilters)  # noqa: S101 - the operation's
    page = await peering_facts.history(
        call.connection,
        prefix=filters.prefix,
        since=filters.since,
        until=filters.until,
        offset=asked.offset,
        size=asked.size,
        is_descending=asked.is_descending,
    )
    anchor = {}
    if asked.is_descending and page.newest is not None:  # what comes while somebody leafs through comes before it
        anchor["until"] = page.newest.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return Reply(items=Items([_change(each).model_dump() for each in page.told], page.total, page.is_complete, anchor))


def _change(told: Told) -> PeeringEntry:
    change = told.change
    is_prefix = change.kind == peering_facts.PREFIX
    return PeeringEntry(
        at=change.happened_at.astimezone(UTC),
        asn=told.asn,
        op=change.op,
        status=change.status,
        prefix=change.subject if is_prefix else None,
        session=None if is_prefix else change.subject,
        origin_asn=change.other_asn if is_prefix else None,
        peer_asn=None if is_prefix else change.other_asn,
    )
