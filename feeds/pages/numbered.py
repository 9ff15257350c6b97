"""Long lists on pages of their own, by number: `?page=2`. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from feeds.routes import NothingHereError

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

NUMBER = re.compile(r"[1-9][0-9]{0,5}")


def page_number(asked: str | None, count: int, size: int) -> int:
    """Return which page of `count` things, `size` a page, is asked for: the first unless it is said.

    Raises `NothingHereError` for one that there is not; the first is always there.
    """
    if asked is None:
        return 1
    if not NUMBER.fullmatch(asked) or (int(asked) > 1 and (int(asked) - 1) * size >= count):
        raise NothingHereError
    return int(asked)


def page_of(things: Sequence[T], number: int, size: int) -> Sequence[T]:
    """Return what stands on a page."""
    return things[(number - 1) * size : number * size]


def pages(count: int, size: int) -> int:
    """Return how many pages there are."""
    return max(1, -(-count // size))
