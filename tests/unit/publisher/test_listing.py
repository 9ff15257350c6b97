"""What a query asks of a list, in both styles, and how it is refused: by name, in plain words, and never by a crash."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict
from yarl import URL

from publisher.api import listing, models
from publisher.api.errors import ApiError
from publisher.api.listing import LAST_OFFSET, Asked
from publisher.api.operations import OPERATIONS
from publisher.delivery.outcome import Result
from publisher.profiles.model import Fault, Lists
from tests.support.lists import (
    BY_NAME,
    DELIVERIES,
    ODD,
    OFFSETS,
    PAGES,
    PATH,
    WEBHOOKS,
    Colour,
    OddFilters,
    asked,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from publisher.api.call import Operation

LISTS = [operation for operation in OPERATIONS if operation.listing]
STYLES = st.sampled_from([PAGES, OFFSETS])


def refused(query: str, operation: Operation = DELIVERIES, style: Lists = PAGES) -> tuple[str, str | None, str]:
    with pytest.raises(ApiError) as caught:
        listing.parse(URL(f"{PATH}?{query}", encoded=True).query, operation, style)
    assert caught.value.fault is Fault.REFUSED
    return caught.value.code, caught.value.field, caught.value.message


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_without_a_query_it_is_the_first_page_of_everything() -> None:
    assert asked("") == Asked(0, 20, models.DeliveryFilters(), None, "created_at", is_descending=True)
    assert asked("", style=OFFSETS).size == 50
    assert asked("", WEBHOOKS) == Asked(0, 20, models.WebhookFilters(), None, "created_at", is_descending=False)
    assert asked("", BY_NAME["list_recoveries"]) == Asked(0, 20, None, None, None, is_descending=False)


@pytest.mark.parametrize(
    ("query", "style", "offset", "size", "page"),
    [
        ("page=1", PAGES, 0, 20, 1),
        ("page=3&per_page=7", PAGES, 14, 7, 3),
        ("per_page=1", PAGES, 0, 1, 1),
        ("per_page=100", PAGES, 0, 100, 1),
        ("page=03", PAGES, 40, 20, 3),
        (f"page={2**31}&per_page=1", PAGES, None, None, None),
        (f"page={2**31 - 1}&per_page=1", PAGES, 2**31 - 2, 1, 2**31 - 1),
        ("page=107374183", PAGES, 2_147_483_640, 20, 107_374_183),
        ("page=107374184", PAGES, None, None, None),
        ("offset=0", OFFSETS, 0, 50, 1),
        ("offset=5&limit=10", OFFSETS, 5, 10, 1),
        ("offset=10&limit=10", OFFSETS, 10, 10, 2),
        (f"offset={2**31 - 1}&limit=200", OFFSETS, 2**31 - 1, 200, 10_737_419),
        (f"offset={2**31}", OFFSETS, None, None, None),
    ],
)
def test_a_position_is_counted_in_the_house_style_as_far_as_anybody_counts(
    query: str, style: Lists, offset: int | None, size: int | None, page: int | None
) -> None:
    if offset is None:
        assert refused(query, style=style)[:2] == ("invalid_parameter", style.position)
        return
    found = asked(query, style=style)
    assert (found.offset, found.size, found.page) == (offset, size, page)


@pytest.mark.parametrize(
    "text", ["0", "-1", "+1", "1.0", "1e1", "%201", "1%0a", "x", "٣", "²", "0x1", "9" * 5000, "1_0"]
)
@pytest.mark.parametrize("name", ["page", "per_page"])
def test_a_number_is_ascii_digits_in_its_range(name: str, text: str) -> None:
    code, field, message = refused(f"{name}={text}")
    assert (code, field) == ("invalid_parameter", name)
    assert (
        text == "1%0a" or message == f"{name}: must be a number from 1 to {100 if name == 'per_page' else LAST_OFFSET}"
    )


def test_a_size_beyond_the_house_style_is_refused() -> None:
    assert refused("per_page=101")[2] == "per_page: must be a number from 1 to 100"
    assert refused("limit=201", style=OFFSETS)[2] == "limit: must be a number from 1 to 200"
    assert refused("limit=0", style=OFFSETS)[1] == "limit"


def test_a_filter_is_what_the_model_makes_of_its_text() -> None:
    query = "filter[status]=dropped&filter[type]=server.power.on&filter[since]=2026-11-01T00:00:00%2B02:00"
    assert asked(query).filters == models.DeliveryFilters(
        status="dropped", type="server.power.on", since=datetime(2026, 10, 31, 22, tzinfo=UTC)
    )
    assert asked("filter%5Bresult%5D=2xx").filters == models.DeliveryFilters(result=Result.OK)
    odd = asked("filter[colour]=red&filter[count]=5&filter[is_new]=true", ODD).filters
    assert odd == OddFilters(colour=Colour.RED, count=5, is_new=True)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("filter[status]=lost", "must be 'pending', 'sending', 'retrying', 'delivered', 'dropped' or 'cancelled'"),
        ("filter[status]=DROPPED", "must be 'pending'"),
        ("filter[status]=", "must not be empty"),
        ("filter[since]=2026-11-01T00:00:00", "must have an offset from UTC, or Z"),
        ("filter[since]=2026-11-01T00:00:00+02:00", "must be a time such as"),  # a plus that was not encoded
        ("filter[since]=1793491200", "must be a time such as"),
        ("filter[since]=-1", "must be a time such as"),
        ("filter[since]=2026-11-01", "must"),
        ("filter[until]=9999-12-31T23:59:59-01:00", "must be in the years 1 to 9999 of UTC"),
        ("filter[type]=a%00b", "must not hold control characters"),
        ("filter[type]=a%0d%0ab", "must not hold control characters"),
        ("filter[type]=%7f", "must not hold control characters"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_as_it_was_written(query: str, reason: str) -> None:
    name = query.partition("=")[0]
    code, field, message = refused(query)
    assert (code, field) == ("invalid_parameter", name)
    assert message.startswith(f"{name}: {reason}")
    assert refused(query.replace("filter[", "").replace("]", ""), style=OFFSETS)[0] == "invalid_parameter"


def test_half_a_surrogate_pair_is_refused_before_it_does_harm() -> None:
    with pytest.raises(ApiError, match="control characters"):
        listing.parse(MultiDict({"filter[type]": "\udcff"}), DELIVERIES, PAGES)
    with pytest.raises(ApiError) as caught:
        listing.parse(MultiDict({"\udcff": "x"}), DELIVERIES, PAGES)
    assert orjson.dumps([caught.value.message, caught.value.field])


def test_fields_are_those_of_the_items_each_once_in_the_order_asked() -> None:
    assert asked("fields=type,id,type").fields == ("type", "id")
    assert asked("fields=schema", BY_NAME["list_event_types"]).fields == ("schema",)


@pytest.mark.parametrize("names", ["colour", "id,", ",id", "id,,type", "id, type", "ID", "id;type", "json_schema", "*"])
def test_a_field_that_items_do_not_have_is_refused(names: str) -> None:
    code, field, message = refused(f"fields={names}")
    assert (code, field) == ("invalid_parameter", "fields")
    assert "(there is: id, webhook_id, message_id, type, " in message
    assert refused("fields=")[:2] == ("invalid_parameter", "fields")


@pytest.mark.parametrize(
    ("query", "operation", "sort", "is_descending"),
    [
        ("", WEBHOOKS, "created_at", False),
        ("sort=created_at", WEBHOOKS, "created_at", False),
        ("sort=-created_at", WEBHOOKS, "created_at", True),
        ("", DELIVERIES, "created_at", True),
        ("sort=created_at", DELIVERIES, "created_at", False),
        ("sort=-created_at", DELIVERIES, "created_at", True),
        ("sort=-type", BY_NAME["list_event_types"], "type", True),
    ],
)
def test_sorting_goes_either_way_and_by_default_the_first_one(
    query: str, operation: Operation, sort: str, *, is_descending: bool
) -> None:
    found = asked(query, operation)
    assert (found.sort, found.is_descending) == (sort, is_descending)


@pytest.mark.parametrize("text", ["id", "--created_at", "-", "Created_at", "created_at,id", "+created_at"])
def test_sorting_by_anything_else_is_refused(text: str) -> None:
    assert refused(f"sort={text}") == ("invalid_parameter", "sort", "sort: must be one of created_at, -created_at")


@pytest.mark.parametrize(
    "query", ["page=1&page=1", "filter[status]=dropped&filter[status]=sending", "fields=id&fields=type", "sort=&sort="]
)
def test_what_is_given_twice_is_refused(query: str) -> None:
    name = query.partition("=")[0]
    code, field, message = refused(query)
    assert (code, field) == ("invalid_parameter", name)
    assert message in {f"{name}: must be given once", f"{name}: must not be empty"}


@pytest.mark.parametrize(
    ("query", "operation", "style"),
    [
        ("colour=red", DELIVERIES, PAGES),
        ("Page=1", DELIVERIES, PAGES),
        ("offset=0", DELIVERIES, PAGES),
        ("page=1", DELIVERIES, OFFSETS),
        ("status=dropped", DELIVERIES, PAGES),
        ("filter[status]=dropped", DELIVERIES, OFFSETS),
        ("filter[colour]=red", DELIVERIES, PAGES),
        ("filter[status=dropped", DELIVERIES, PAGES),
        ("filter[]=x", DELIVERIES, PAGES),
        ("=1", DELIVERIES, PAGES),
        ("sort=created_at", BY_NAME["list_recoveries"], PAGES),
        ("page=1", BY_NAME["get_webhook"], PAGES),
        ("x", BY_NAME["create_webhook"], PAGES),
        ("sort=id", DELIVERIES, PAGES.model_copy(update={"sort": None})),
        ("fields=id", DELIVERIES, PAGES.model_copy(update={"fields": None})),
    ],
)
def test_what_is_not_known_is_refused_by_name(query: str, operation: Operation, style: Lists) -> None:
    name = query.partition("=")[0]
    code, field, message = refused(query, operation, style)
    assert (code, field) == ("unknown_parameter", name)
    assert message.startswith(f"{name!r} is no parameter here (there is: ")


def test_what_there_is_is_told() -> None:
    there = "page, per_page, fields, sort, filter[status], filter[type], filter[result], filter[since], filter[until]"
    assert refused("x=1")[2] == f"'x' is no parameter here (there is: {there})."
    assert refused("x=1", BY_NAME["get_webhook"])[2] == "'x' is no parameter here (there is: none)."


def test_an_operation_without_a_list_is_asked_nothing() -> None:
    for operation in OPERATIONS:
        assert (listing.parse(URL(PATH).query, operation, PAGES) is None) == (operation.listing is None)


def test_a_name_without_end_is_not_repeated_without_end() -> None:
    code, field, message = refused("x" * 8000 + "=1")
    assert (code, field) == ("unknown_parameter", "x" * 99 + "…")
    assert len(message) < 400
    assert len(refused("fields=" + "x" * 8000)[2]) < 400


# --- whatever comes --------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(
    [
        "page",
        "per_page",
        "offset",
        "limit",
        "fields",
        "sort",
        "filter[since]",
        "filter[status]",
        "since",
        "type",
        "status",
    ]
)
TEXTS = st.text() | st.from_regex(r"[0-9]{1,12}", fullmatch=True) | st.datetimes().map(str)
QUERIES = st.lists(st.tuples(NAMES | st.text(), TEXTS), max_size=4)


def _survives(query: MultiDict[str] | Any, operation: Operation, style: Lists) -> None:
    try:
        found = listing.parse(query, operation, style)
    except ApiError as error:
        if error.fault is Fault.REFUSED and orjson.dumps([error.code, error.message, error.field]):
            return
        raise
    assert (found is None) == (operation.listing is None)
    if found is not None:
        assert 0 <= found.offset <= LAST_OFFSET
        assert 1 <= found.size <= style.max_size
        assert found.fields is None or found.fields


@given(QUERIES, st.sampled_from(OPERATIONS), STYLES)
def test_no_parameters_do_more_than_be_refused(
    query: list[tuple[str, str]], operation: Operation, style: Lists
) -> None:
    _survives(MultiDict(query), operation, style)


@given(st.text(st.characters(max_codepoint=0x7E, min_codepoint=0x21, exclude_characters="#")), st.sampled_from(LISTS))
def test_no_query_string_does_more_than_be_refused(text: str, operation: Operation) -> None:
    _survives(URL(f"{PATH}?{text}", encoded=True).query, operation, PAGES)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "status": st.sampled_from(["dropped", "delivered", "lost"]),
            "type": st.text(),
            "result": st.sampled_from(["2xx", "tls", "x"]),
            "since": st.datetimes(timezones=st.just(UTC)).map(str) | st.text(),
        },
    )
)
def test_filters_mean_the_same_in_brackets_and_without(filters: dict[str, str]) -> None:
    assert _filters_of({f"filter[{name}]": text for name, text in filters.items()}, PAGES) == _filters_of(
        filters, OFFSETS
    )


def _filters_of(query: Mapping[str, str], style: Lists) -> object:
    try:
        found = listing.parse(MultiDict(query), DELIVERIES, style)
    except ApiError as error:
        return error.code, (error.field or "").removeprefix("filter[").removesuffix("]")
    return found and found.filters
