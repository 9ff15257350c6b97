"""Every request has an id: the caller's own, if it can do no harm in a header and a log line, or a new one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publisher.ids import Ids

#: What is echoed.
HARMLESS = re.compile(r"[\w.:-]{1,64}", re.ASCII)
PREFIX = "req"


def request_id(given: str | None, ids: Ids) -> str:
    """Return the id of a request that came with `given`."""
    return given if given and HARMLESS.fullmatch(given) else ids.new(PREFIX)
