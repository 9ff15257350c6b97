"""What may be asked of the peering record: prefixes and addresses in any spelling, and nothing that is almost one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from publisher.api.errors import ApiError
from publisher.api.peering import ChangeFilters, PrefixFilters
from tests.support.lists import BY_NAME, asked

if TYPE_CHECKING:
    from publisher.api.call import Operation

PREFIXES, CHANGES = BY_NAME["list_peering_prefixes"], BY_NAME["list_peering_changes"]
both = pytest.mark.parametrize("operation", [PREFIXES, CHANGES], ids=lambda each: each.name)


@both
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("185.243.217.0/24", "185.243.217.0/24"),
        ("185.243.217.9", "185.243.217.9/32"),
        ("2A0E:8F02:F001:0::/48", "2a0e:8f02:f001::/48"),
        ("::1", "::1/128"),
    ],
)
def test_a_prefix_or_an_address_is_taken_in_any_spelling(operation: Operation, written: str, meant: str) -> None:
    filters = asked(f"filter[prefix]={written}", operation).filters
    assert isinstance(filters, PrefixFilters | ChangeFilters)
    assert filters.prefix == meant


@both
@pytest.mark.parametrize(
    "written",
    ["x", "185.243.217.1/24", "1", "10.0.0.0/33", "10.0.0.0/-1", "fe80::1%25eth0", "1" * 100, "%D9%A1.1.1.1", "0" * 65],
)
def test_what_is_neither_is_refused_with_an_example(operation: Operation, written: str) -> None:
    with pytest.raises(ApiError, match=r"^filter\[prefix\]: must be a prefix such as 185\.243\.217\.0/24") as refused:
        asked(f"filter[prefix]={written}", operation)
    assert refused.value.code == "invalid_parameter"


@pytest.mark.parametrize(
    "query", ["filter[status]=up", "filter[origin_asn]=0", "filter[origin_asn]=4294967296", "sort=since"]
)
def test_other_questions_are_refused(query: str) -> None:
    with pytest.raises(ApiError):
        asked(query, PREFIXES)
