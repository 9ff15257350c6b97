"""The page of the peering record: whom one may meet where, what is announced since when, and a search among it.

Thousands of prefixes stand on pages of a hundred. The search is a plain form; its answer is a page like the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from feeds import peering
from feeds.pages import HTML, SEARCH_POLICY, slashed
from feeds.pages.kept import Kept
from feeds.pages.numbered import page_number, page_of, pages
from feeds.routes import Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from feeds.feed_watch import Documents
    from feeds.models import PeeringDocument, Prefix
    from feeds.pages import Site
    from feeds.peering import Network

PAGE = "/peering/"
#: Prefixes on a page, how many of anything else, and how much of a question is shown again.
LINES, MOST, LONGEST = 100, 40, 64


class Answer(NamedTuple):
    """What there is to a prefix or an address."""

    asked: Network
    exact: Sequence[Prefix]
    covering: Sequence[Prefix]
    within: Sequence[Prefix]


def routes(watch: Documents, site: Site) -> list[Route]:
    """Return the routes; below a provider's base path stands none of them."""
    page = _Page(watch, site)
    return [
        Route(PAGE, page.serve, "peering-page", "The peering record, as a page.", HTML, is_api=False),
        slashed(PAGE),
    ]


class _Page:
    def __init__(self, watch: Documents, site: Site) -> None:
        self._watch = watch
        self._kept = Kept(site, "peering.html", policy=SEARCH_POLICY)

    async def serve(self, request: web.Request) -> web.Response:
        latest = self._watch.peering
        document = latest.document if latest else None
        asked = request.query.get("prefix", "").strip()[:LONGEST]
        number = page_number(
            None if asked else request.query.get("page"), len(document.prefixes) if document else 0, LINES
        )
        return self._kept.answer(
            request, PAGE, lambda: values(document, asked, number), of=(latest,), asked=(asked, number)
        )


def values(document: PeeringDocument | None, asked: str, number: int) -> dict[str, Any]:
    """Return what a page shows: of a search its answer, else the prefixes that stand on page `number`."""
    wanted = of(asked)
    net: dict[str, Any] = dict(document.net) if document else {}
    prefixes = document.prefixes if document else []
    return {
        "document": document,
        "net": net,
        "asked": asked,
        "answer": answer(document, wanted) if document and wanted else None,
        "prefixes": page_of(prefixes, number, LINES),
        "page": number,
        "pages": pages(len(prefixes), LINES),
        "lines": LINES,
        "most": MOST,
        "exchanges": net.get("netixlan_set") or [],
        "facilities": net.get("netfac_set") or [],
        "contacts": [each for each in net.get("poc_set") or [] if each.get("visible") == "Public"],
    }


def of(asked: str) -> Network | None:
    """Return what is asked for: a prefix, also by an address within it, or an address; None for what is neither."""
    try:
        return peering.network(asked, strict=False)
    except ValueError:
        return None


def answer(document: PeeringDocument, wanted: Network) -> Answer:
    """Return what the record has of a prefix."""
    held: dict[str, list[Prefix]] = {"exact": [], "covering": [], "more_specific": []}
    for found in peering.find(document, wanted):
        if found.match is not None:
            held[found.match].append(found.prefix)
    return Answer(wanted, held["exact"], held["covering"], held["more_specific"])
