"""How large a document may be, for it is signed as a whole: what does not fit is left out, and that is said. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

    P = TypeVar("P", bound=BaseModel)

#: Bytes of a document in canonical JSON. The signer takes a little more (`signer.protocol.MAX_CONTENT`).
MOST_BYTES = 3_670_016


def size(part: BaseModel) -> int:
    """Return how many bytes a part takes in canonical JSON at most, with its comma.

    pydantic's JSON differs in the order, and in `100.0` where canonical JSON has `100`.
    """
    return len(part.model_dump_json().encode()) + 1


def first_that_fit(parts: Iterable[P], most_bytes: int) -> list[P]:
    """Return the first ones that fit, up to the first that does not: what counts most stands first."""
    fitting: list[P] = []
    left = most_bytes
    for part in parts:
        left -= size(part)
        if left < 0:
            break
        fitting.append(part)
    return fitting
