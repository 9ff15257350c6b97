"""Where a list leads: counts at every edge, links that carry on, walks through pages that skip and repeat nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from publisher.api import listing, models
from publisher.api.call import Items
from publisher.api.listing import Asked
from publisher.profiles import templates
from publisher.profiles.model import LIST_VALUES
from tests.support.lists import DELIVERIES, ODD, OFFSETS, PAGES, PATH, asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from publisher.api.call import Operation
    from publisher.profiles.model import Lists


def page(offset: int = 0, size: int = 20, *, fields: tuple[str, ...] | None = None) -> Asked:
    return Asked(offset, size, None, fields, None, is_descending=False)


@pytest.mark.parametrize(
    ("offset", "size", "total", "expected"),
    [
        (0, 20, 0, (1, 0, False, False)),
        (0, 20, 1, (1, 1, False, False)),
        (0, 20, 20, (1, 1, False, False)),
        (0, 20, 21, (1, 2, False, True)),
        (20, 20, 21, (2, 2, True, False)),
        (20, 20, 40, (2, 2, True, False)),
        (60, 20, 21, (4, 2, True, False)),
        (5, 10, 16, (1, 2, True, True)),
        (5, 10, 15, (1, 2, True, False)),
    ],
)
def test_counts_are_right_at_every_edge(
    offset: int, size: int, total: int, expected: tuple[int, int, bool, bool]
) -> None:
    found = listing.values(page(offset, size), Items([], total))
    assert found.keys() == LIST_VALUES
    assert (found["page"], found["total_pages"], found["has_previous"], found["has_next"]) == expected
    assert (found["offset"], found["per_page"], found["total"], found["is_complete"]) == (offset, size, total, None)


def test_they_fill_the_templates_of_the_profiles() -> None:
    found = listing.values(page(), Items([{"id": "a"}], 1, is_complete=False))
    assert templates.fill(PAGES.body, found) == {
        "data": [{"id": "a"}],
        "meta": {"page": 1, "per_page": 20, "total": 1, "total_pages": 1, "is_complete": False},
    }
    assert templates.fill(OFFSETS.body, found)["total_result_count"] == 1


@given(st.lists(st.sampled_from(sorted(models.Delivery.model_fields)), min_size=1))
def test_an_item_has_the_fields_that_were_chosen_and_no_others(names: list[str]) -> None:
    item = {name: f"the {name}" for name in models.Delivery.model_fields}
    found = listing.values(asked(f"fields={','.join(names)}"), Items([item, item], 2))
    for each in found["items"]:
        assert list(each) == list(dict.fromkeys(names))
        assert each == {name: item[name] for name in names}


# --- where it leads --------------------------------------------------------------------------------------------------


def led(url: URL, operation: Operation, style: Lists, items: Items) -> dict[str, str]:
    """Return the links of an answer, by relation."""
    found = listing.parse(url.query, operation, style)
    assert found is not None
    header = listing.links(url, found, items, style)
    assert header.keys() <= {"Link"}
    text = header.get("Link", "")
    assert text.isascii()
    links = {name: target for target, name in re.findall(r'<([^<>"\s]+)>; rel="(\w+)"', text)}
    assert text == ", ".join(f'<{target}>; rel="{name}"' for name, target in links.items())
    return links


def of(query: str, total: int, style: Lists = PAGES, **anchor: str) -> dict[str, str]:
    return led(URL(f"{PATH}?{query}", encoded=True), DELIVERIES, style, Items([], total, anchor=anchor))


def test_one_page_leads_nowhere() -> None:
    assert of("", 0) == of("", 20) == of("per_page=100", 100) == of("", 50, OFFSETS) == {}


def test_pages_lead_to_the_first_the_last_and_their_neighbours() -> None:
    assert of("", 41) == {"first": f"{PATH}?page=1", "next": f"{PATH}?page=2", "last": f"{PATH}?page=3"}
    assert of("page=2", 41) == {
        "first": f"{PATH}?page=1", "prev": f"{PATH}?page=1", "next": f"{PATH}?page=3", "last": f"{PATH}?page=3",
    }  # fmt: skip
    assert of("page=3", 41) == {"first": f"{PATH}?page=1", "prev": f"{PATH}?page=2", "last": f"{PATH}?page=3"}
    assert of("page=2", 40).keys() == {"first", "prev", "last"}
    assert of("offset=100&limit=50", 120, OFFSETS) == {
        "first": f"{PATH}?limit=50&offset=0",
        "prev": f"{PATH}?limit=50&offset=50",
        "last": f"{PATH}?limit=50&offset=100",
    }


def test_beyond_the_end_the_way_back_leads_to_what_there_is() -> None:
    assert of("page=9", 41) == {"first": f"{PATH}?page=1", "prev": f"{PATH}?page=3", "last": f"{PATH}?page=3"}
    assert of("page=9", 0) == {"first": f"{PATH}?page=1", "prev": f"{PATH}?page=1", "last": f"{PATH}?page=1"}
    assert of("offset=5&limit=10", 12, OFFSETS)["prev"] == f"{PATH}?limit=10&offset=0"


def test_links_carry_all_other_parameters_encoded() -> None:
    query = "filter[name]=a%26b%3Ec%22%C3%A9+d%2Be&page=2&per_page=5&fields=id,type"
    links = led(URL(f"{PATH}?{query}", encoded=True), ODD, PAGES, Items([], 30))
    assert links.keys() == {"first", "prev", "next", "last"}
    for target in links.values():
        assert dict(URL(target, encoded=True).query) | {"page": "2"} == dict(URL(f"?{query}", encoded=True).query)
        assert target.startswith(f"{PATH}?filter%5Bname%5D=a%26b%3Ec%22%C3%A9%20d%2Be&per_page=5&")


def test_links_keep_the_path_as_it_came() -> None:
    url = URL("/v1/webhooks/a%20b%3E%C3%A9/deliveries", encoded=True)
    for target in led(url, DELIVERIES, PAGES, Items([], 30)).values():
        assert target.startswith("/v1/webhooks/a%20b%3E%C3%A9/deliveries?page=")


def test_links_carry_the_anchor_unless_the_caller_gave_one() -> None:
    moment = "2026-11-01T00:00:00.000+00:00"
    assert of("", 41, until=moment)["next"] == (
        f"{PATH}?filter%5Buntil%5D=2026-11-01T00%3A00%3A00.000%2B00%3A00&page=2"
    )
    assert URL(of("", 51, OFFSETS, until=moment)["next"], encoded=True).query["until"] == moment
    own = "2026-01-01T00:00:00Z"
    assert URL(of(f"filter[until]={own}", 41, until=moment)["last"]).query["filter[until]"] == own


class Log:
    """A list that grows while somebody walks through it: item n was made at second n."""

    def __init__(self, count: int) -> None:
        self.count = count

    def answer(self, found: Asked) -> Items:
        """Answer as an operation does: newest first, anchored at the newest there is; or oldest first."""
        until = getattr(found.filters, "until", None)
        end = self.count if until is None else int(until.timestamp()) + 1
        matching = range(end)[:: -1 if found.is_descending else 1]
        anchor = {}
        if found.is_descending and end:
            anchor["until"] = datetime.fromtimestamp(end - 1, UTC).isoformat()
        chosen = matching[found.offset : found.offset + found.size]
        return Items([{"id": str(number)} for number in chosen], len(matching), anchor=anchor)


def walk(log: Log, query: str, style: Lists, *, by: str, grow: Callable[[], int]) -> tuple[list[int], list[list[int]]]:
    """Follow links of one relation to the end; return the items seen, and page by page."""
    url = URL(f"{PATH}?{query}", encoded=True)
    pages: list[list[int]] = []
    while len(pages) < 200:
        found = listing.parse(url.query, DELIVERIES, style)
        assert found is not None
        items = log.answer(found)
        pages.append([int(item["id"]) for item in items.items])
        links = led(url, DELIVERIES, style, items)
        log.count += grow()
        if by not in links:
            return [each for some in pages for each in some], pages
        url = URL(links[by], encoded=True)
    raise AssertionError("the links lead in a circle")


SIZES = st.integers(min_value=1, max_value=7)
GROWTHS = st.lists(st.integers(min_value=0, max_value=3), max_size=30)
STYLES = st.sampled_from([PAGES, OFFSETS])


@given(st.integers(min_value=0, max_value=40), SIZES, GROWTHS, STYLES)
def test_a_walk_from_the_newest_sees_everything_there_was_once_whatever_comes(
    count: int, size: int, growths: list[int], style: Lists
) -> None:
    left = iter(growths)
    seen, pages = walk(Log(count), f"{style.size}={size}", style, by="next", grow=lambda: next(left, 0))
    assert seen == list(reversed(range(count)))
    assert all(len(each) == size for each in pages[:-1])


@given(st.integers(min_value=0, max_value=40), SIZES, GROWTHS, STYLES)
def test_a_walk_from_the_oldest_sees_everything_once_and_what_comes_as_well(
    count: int, size: int, growths: list[int], style: Lists
) -> None:
    left = iter(growths)
    log = Log(count)
    seen, _ = walk(log, f"sort=created_at&{style.size}={size}", style, by="next", grow=lambda: next(left, 0))
    assert seen == list(range(len(seen)))
    assert len(seen) >= count


@given(st.integers(min_value=1, max_value=40), SIZES, STYLES)
def test_a_walk_back_from_the_last_sees_the_same(count: int, size: int, style: Lists) -> None:
    url = URL(f"{PATH}?sort=created_at&{style.size}={size}")
    found = listing.parse(url.query, DELIVERIES, style)
    assert found is not None
    last = led(url, DELIVERIES, style, Log(count).answer(found)).get("last", str(url))
    _, pages = walk(Log(count), URL(last, encoded=True).raw_query_string, style, by="prev", grow=lambda: 0)
    assert [each for some in reversed(pages) for each in some] == list(range(count))


@given(st.integers(min_value=0, max_value=30), SIZES, st.integers(min_value=0, max_value=30))
def test_a_walk_from_any_offset_sees_the_rest_once(count: int, size: int, offset: int) -> None:
    query = f"sort=created_at&offset={offset}&limit={size}"
    seen, _ = walk(Log(count), query, OFFSETS, by="next", grow=lambda: 0)
    assert seen == list(range(offset, count))
