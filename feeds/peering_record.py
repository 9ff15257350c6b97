"""PeeringDB's words for a network: which of them are published, of which type, and what stands where nothing is known.

What the control plane gives is written down only as far as it is in these tables: whatever else it sends, a session's
password above all, is gone before it is stored. A value of another type than PeeringDB's goes the same way. Pure.

Fields and values are those of PeeringDB's API, `net` with `netixlan_set`, `netfac_set` and `poc_set`.
"""

from __future__ import annotations

import ipaddress
import re
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from feeds.room import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Fields = Mapping[str, "Kind"]

#: The greatest integer that canonical JSON can write (RFC 8785, 3.2.2.3).
GREATEST = 2**53 - 1
#: What neither PostgreSQL nor a reader wants in a text; lines may end in it.
UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
#: A page makes links of these.
URL = re.compile(r"(https?|telnet|ssh)://[!-~]{1,2000}")
#: Characters of a text, as in events, and of one in a list; how many such a list has at most.
LONGEST, LONGEST_LISTED, MOST_LISTED = 20_000, 200, 100
#: Bytes of the exchanges, facilities and contacts in a document.
MOST_OF_SETS = MOST_BYTES // 3
#: Who is told of a contact; everybody is told of these alone.
PUBLIC = "Public"


class Kind(NamedTuple):
    """What a value has to be, and what stands in its place where there is none."""

    fits: Callable[[Any], bool]
    empty: Any


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST and not UNFIT.search(value)


def _is_listed(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= MOST_LISTED
        and all(_is_text(each) and len(each) <= LONGEST_LISTED for each in value)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= GREATEST


def _is_url(value: object) -> bool:
    return isinstance(value, str) and URL.fullmatch(value) is not None


def _is_address(value: object) -> bool:
    try:
        return isinstance(value, str) and "%" not in value and bool(ipaddress.ip_address(value))
    except ValueError:
        return False


def _one_of(*values: str) -> Kind:
    return Kind(lambda value: isinstance(value, str) and value in values, "")


NUMBER = Kind(_is_number, None)
TEXT = Kind(_is_text, "")
WORD = Kind(_is_text, None)
FLAG = Kind(lambda value: isinstance(value, bool), None)
ADDRESS = Kind(_is_address, None)
LINK = Kind(_is_url, "")
TEXTS = Kind(_is_listed, [])

NET: Fields = {
    "id": NUMBER,
    "org_id": NUMBER,
    "name": TEXT,
    "aka": TEXT,
    "name_long": TEXT,
    "website": LINK,
    "asn": NUMBER,
    "looking_glass": LINK,
    "route_server": LINK,
    "irr_as_set": TEXT,
    "info_type": TEXT,
    "info_types": TEXTS,
    "info_prefixes4": NUMBER,
    "info_prefixes6": NUMBER,
    "info_traffic": TEXT,
    "info_ratio": TEXT,
    "info_scope": TEXT,
    "info_unicast": FLAG,
    "info_multicast": FLAG,
    "info_ipv6": FLAG,
    "info_never_via_route_servers": FLAG,
    "ix_count": NUMBER,
    "fac_count": NUMBER,
    "notes": TEXT,
    "policy_url": LINK,
    "policy_general": _one_of("Open", "Selective", "Restrictive", "No"),
    "policy_locations": _one_of(
        "Not Required", "Preferred", "Required - US", "Required - EU", "Required - International"
    ),
    "policy_ratio": FLAG,
    "policy_contracts": _one_of("Not Required", "Private Only", "Required"),
    "status_dashboard": LINK,
    "created": WORD,
    "updated": WORD,
    "status": WORD,
}
SETS: Mapping[str, Fields] = {
    "netixlan_set": {
        "id": NUMBER,
        "net_id": NUMBER,
        "ix_id": NUMBER,
        "name": TEXT,
        "ixlan_id": NUMBER,
        "notes": TEXT,
        "speed": NUMBER,
        "asn": NUMBER,
        "ipaddr4": ADDRESS,
        "ipaddr6": ADDRESS,
        "is_rs_peer": FLAG,
        "bfd_support": FLAG,
        "operational": FLAG,
        "created": WORD,
        "updated": WORD,
        "status": WORD,
    },
    "netfac_set": {"id": NUMBER, "name": TEXT, "city": TEXT, "country": TEXT, "local_asn": NUMBER},
    "poc_set": {
        "id": NUMBER,
        "role": TEXT,
        "visible": TEXT,
        "name": TEXT,
        "phone": TEXT,
        "email": TEXT,
        "url": LINK,
    },
}


def allowed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a record what may be published: known fields of the right type, and contacts that are for everybody."""
    kept = _fitting(given, NET)
    for name, fields in SETS.items():
        entries = given.get(name)
        if isinstance(entries, list):
            kept[name] = [_fitting(each, fields) for each in entries if isinstance(each, dict) and _is_open(name, each)]
    return kept


def complete(kept: Mapping[str, Any], *, asn: int | None, name: str) -> dict[str, Any]:
    """Return a record with every field of `net`, null or empty where nothing is known.

    `asn` is whose record it is, whatever it says itself; `name` stands in where it has none. What is not counted is
    counted here. Of each set it has the first entries, as many as `MOST_OF_SETS` has room for.
    """
    made = {**_filled(kept, NET), "asn": asn}
    made["name"] = made["name"] or name
    for each, fields in SETS.items():
        made[each] = [_filled(entry, fields) for entry in kept.get(each, [])]
    for count, entries in (("ix_count", "netixlan_set"), ("fac_count", "netfac_set")):
        if made[count] is None and entries in kept:
            made[count] = _places(made[entries])
    left = MOST_OF_SETS
    for each in SETS:
        made[each], left = _first_that_fit(made[each], left)
    return made


def is_whole(made: Mapping[str, Any], kept: Mapping[str, Any]) -> bool:
    """Say whether what `complete` made of a record has every entry of its sets."""
    return all(len(made[each]) == len(kept.get(each, [])) for each in SETS)


def _first_that_fit(entries: list[dict[str, Any]], most_bytes: int) -> tuple[list[dict[str, Any]], int]:
    """Return the first entries that fit, and the bytes that are left."""
    left = most_bytes
    for place, entry in enumerate(entries):
        taken = len(orjson.dumps(entry)) + 1
        if taken > left:
            return entries[:place], left
        left -= taken
    return entries, left


def _fitting(given: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    return {name: given[name] for name, kind in fields.items() if name in given and kind.fits(given[name])}


def _filled(kept: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    return {name: copy(kept.get(name, kind.empty)) for name, kind in fields.items()}


def _is_open(name: str, entry: Mapping[str, Any]) -> bool:
    return name != "poc_set" or entry.get("visible") == PUBLIC


def _places(entries: list[dict[str, Any]]) -> int:
    """Count exchanges or facilities: one may be there with several ports."""
    return len({each.get("ix_id") or each["name"] or each["id"] for each in entries})
