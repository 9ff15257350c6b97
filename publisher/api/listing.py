"""Lists: what a query asks for, in the profile's style, and the pages it leads to. Pure.

Nothing is guessed: a parameter that is unknown, empty, given twice or out of its range is refused by name, for a filter
that is silently ignored shows somebody more than they asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, urlencode

from publisher.api import validation
from publisher.api.errors import ApiError
from publisher.api.validation import FlawError, shown
from publisher.profiles.model import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multidict import MultiMapping
    from pydantic import BaseModel
    from yarl import URL

    from publisher.api.call import Items, Listing, Operation
    from publisher.profiles.model import Lists

DESCENDING = "-"
#: The furthest an offset may be; beyond it the database's counting would end in an error.
LAST_OFFSET = 2**31 - 1
NUMBER = re.compile(r"[0-9]{1,10}")
#: What PostgreSQL cannot store, so nothing can be found by it, and what nobody means.
UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked query: items `offset` to `offset + size`, the filters' model, the chosen fields (None: all)."""

    offset: int
    size: int
    filters: BaseModel | None
    fields: tuple[str, ...] | None
    sort: str | None
    is_descending: bool

    @property
    def page(self) -> int:
        """The page, from 1."""
        return self.offset // self.size + 1


def parse(query: MultiMapping[str], operation: Operation, style: Lists) -> Asked | None:
    """Return what a query asks of an operation's list, None for one that has no list.

    Numbers are ASCII digits. Filters are text that the listing's model understands. A field stands once in the answer
    however often it is named. Sorting goes by what the listing names, in either direction.

    Raises `ApiError` (refused) with `field` as the parameter was written: `unknown_parameter`, or `invalid_parameter`
    for one that is empty, given twice, or not what it must be.
    """
    listing = operation.listing
    filters = _filters(listing, style)
    choosable = _fields(operation.item) if listing and style.fields else ()
    sortable = tuple(dict.fromkeys(each.removeprefix(DESCENDING) for each in listing.sorts)) if listing else ()
    known = [style.position, style.size] if listing else []
    known += [style.fields] if style.fields and choosable else []
    known += [style.sort] if style.sort and sortable else []
    given = _checked(query, [*known, *filters])
    if listing is None:
        return None

    size = _number(given, style.size, 1, style.max_size, style.default_size)
    first = 1 if style.style == "page" else 0
    position = _number(given, style.position, first, LAST_OFFSET, first)
    offset = (position - 1) * size if style.style == "page" else position
    if offset > LAST_OFFSET:
        _refuse(style.position, f"must not lead beyond item {LAST_OFFSET}")
    sort = given.get(style.sort or "") or next(iter(listing.sorts), None)
    if sort is not None and sort.removeprefix(DESCENDING) not in sortable:
        _refuse(style.sort or "", f"must be one of {_either_way(sortable)}")
    return Asked(
        offset=offset,
        size=size,
        filters=_filtered(listing, {filters[name]: value for name, value in given.items() if name in filters}, style),
        fields=_chosen(given.get(style.fields or ""), choosable, style.fields or ""),
        sort=sort.removeprefix(DESCENDING) if sort else None,
        is_descending=sort is not None and sort.startswith(DESCENDING),
    )


def refuse_any(query: MultiMapping[str], known: Sequence[str] = ()) -> None:
    """Refuse whatever is asked of what is no list, but for the `known`; raises `ApiError` as `parse` does."""
    _checked(query, known)


def values(asked: Asked, items: Items) -> dict[str, Any]:
    """Return what the profile's list template is filled with; of each item the chosen fields, in the order asked."""
    chosen = asked.fields
    return {
        "items": [item if chosen is None else {name: item[name] for name in chosen} for item in items.items],
        "page": asked.page,
        "per_page": asked.size,
        "total": items.total,
        "total_pages": -(-items.total // asked.size),
        "offset": asked.offset,
        "has_previous": asked.offset > 0,
        "has_next": asked.offset + asked.size < items.total,
        "is_complete": items.is_complete,
    }


def links(url: URL, asked: Asked, items: Items, style: Lists) -> dict[str, str]:
    """Return the `Link` header (RFC 8288: first, prev, next, last) to the other pages, empty when there is one page.

    Links are relative references: a path and all parameters of the request, with the list's anchor where the caller
    named no such filter.
    """
    last = max(0, items.total - 1) // asked.size * asked.size
    if asked.offset == last == 0:
        return {}
    offsets = {"first": 0, "prev": None, "next": None, "last": last}
    if asked.offset > 0:
        offsets["prev"] = min(max(0, asked.offset - asked.size), last)
    if asked.offset + asked.size < items.total:
        offsets["next"] = asked.offset + asked.size
    kept = {name: value for name, value in url.query.items() if name != style.position}
    for name, value in items.anchor.items():
        kept.setdefault(written(name, style), value)

    def reference(offset: int) -> str:
        position = offset // asked.size + 1 if style.style == "page" else offset
        return f"{url.raw_path}?{urlencode({**kept, style.position: str(position)}, quote_via=quote)}"

    there = [f'<{reference(offset)}>; rel="{name}"' for name, offset in offsets.items() if offset is not None]
    return {"Link": ", ".join(there)}


def written(field: str, style: Lists) -> str:
    """Return how a query names the filter by a field."""
    return f"filter[{field}]" if style.filters == "bracket" else field


def _filters(listing: Listing | None, style: Lists) -> dict[str, str]:
    """Return each filter as it is written in a query, and the field of the model it is."""
    model = listing.filters if listing else None
    return {written(name, style): name for name in model.model_fields} if model else {}


def _fields(item: type[BaseModel] | None) -> tuple[str, ...]:
    """Return the members an item has in an answer."""
    return tuple(field.serialization_alias or name for name, field in item.model_fields.items()) if item else ()


def _checked(query: MultiMapping[str], known: Sequence[str]) -> dict[str, str]:
    """Return the parameters given, each of them known, once there, and not empty."""
    given: dict[str, str] = {}
    for name, value in query.items():
        if name not in known:
            raise ApiError(
                Fault.REFUSED,
                "unknown_parameter",
                f"{shown(name)!r} is no parameter here (there is: {', '.join(known) or 'none'}).",
                field=shown(name),
            )
        if name in given:
            _refuse(name, "must be given once")
        if not value:
            _refuse(name, "must not be empty")
        if UNFIT.search(value):
            _refuse(name, "must not hold control characters")
        given[name] = value
    return given


def _number(given: Mapping[str, str], name: str, least: int, most: int, default: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    number = int(text) if NUMBER.fullmatch(text) else -1
    if not least <= number <= most:
        _refuse(name, f"must be a number from {least} to {most}")
    return number


def _filtered(listing: Listing, strings: Mapping[str, str], style: Lists) -> BaseModel | None:
    if listing.filters is None:
        return None
    try:
        return validation.of_strings(listing.filters, strings)
    except FlawError as flaw:
        _refuse(written(str(flaw.path[0]), style), flaw.reason)


def _chosen(asked: str | None, choosable: Sequence[str], parameter: str) -> tuple[str, ...] | None:
    if asked is None:
        return None
    names = tuple(dict.fromkeys(asked.split(",")))
    for name in names:
        if name not in choosable:
            _refuse(parameter, f"{shown(name)!r} is no field (there is: {', '.join(choosable)})")
    return names


def _either_way(names: Sequence[str]) -> str:
    return ", ".join(f"{name}, {DESCENDING}{name}" for name in names)


def _refuse(parameter: str, reason: str) -> NoReturn:
    raise ApiError(Fault.REFUSED, "invalid_parameter", f"{parameter}: {reason}", field=parameter)
