"""Whether a client takes gzip, as RFC 9110 has it."""

from __future__ import annotations

import pytest

from feeds.serving import takes_gzip


@pytest.mark.parametrize(
    ("given", "is_taken"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("br, gzip", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("gzip ; q=0.001", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip;Q=0.0", False),
        ("identity", False),
        ("x-gzip", False),
        ("*", False),
    ],
)
def test_gzip_is_for_those_who_name_it(given: str | None, is_taken: bool) -> None:  # noqa: FBT001 - a table
    headers = {} if given is None else {"Accept-Encoding": given}
    assert takes_gzip(headers) is is_taken
