"""One way to write a JSON value (RFC 8785), so that who builds a document again gets the bytes that were signed."""

from __future__ import annotations

from typing import Any

import rfc8785


def canonical(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return `value` as canonical JSON: UTF-8, keys sorted by UTF-16, no white space, no line end.

    Raises ValueError for what JSON cannot say the same way everywhere: integers beyond 2**53 - 1, NaN, lone surrogates.
    """
    return rfc8785.dumps(value)
