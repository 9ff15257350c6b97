"""Lists as tests ask for them: both house styles, an operation with every kind of filter, a query as it is written."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from yarl import URL

from publisher import profiles
from publisher.api import listing
from publisher.api.call import Listing
from publisher.api.models import In
from publisher.api.operations import OPERATIONS

if TYPE_CHECKING:
    from publisher.api.call import Operation
    from publisher.api.listing import Asked
    from publisher.profiles.model import Lists

PAGES = profiles.load("nordbastion").lists
OFFSETS = profiles.load(str(Path(__file__).parent / "profiles" / "tiny.toml")).lists
BY_NAME = {operation.name: operation for operation in OPERATIONS}
DELIVERIES, WEBHOOKS = BY_NAME["list_deliveries"], BY_NAME["list_webhooks"]
PATH = "/v1/webhooks/we_1/deliveries"


class Colour(StrEnum):
    RED = "red"


class OddFilters(In):
    """Filters of the kinds no operation has yet."""

    name: str | None = None
    colour: Colour | None = None
    count: int | None = None
    is_new: bool | None = None


ODD = replace(DELIVERIES, listing=Listing(filters=OddFilters))


def asked(query: str, operation: Operation = DELIVERIES, style: Lists = PAGES) -> Asked:
    found = listing.parse(URL(f"{PATH}?{query}", encoded=True).query, operation, style)
    assert found is not None
    return found
