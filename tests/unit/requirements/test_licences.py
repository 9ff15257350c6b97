"""Licences: read from metadata, judged, and listed as the repository has them."""

from __future__ import annotations

import sys
from email.message import Message

import pytest

from requirements import licences, lock
from requirements.licences import LicenceError


def metadata(**fields: str | list[str]) -> Message:
    made = Message()
    for name, values in fields.items():
        for value in [values] if isinstance(values, str) else values:
            made[name.replace("_", "-")] = value
    return made


MIT, APACHE = "License :: OSI Approved :: MIT License", "License :: OSI Approved :: Apache Software License"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"License_Expression": "MIT OR GPL-3.0-only", "Classifier": APACHE}, "MIT OR GPL-3.0-only"),
        ({"Classifier": ["Typing :: Typed", MIT], "License": "whatever"}, "MIT"),
        ({"Classifier": [MIT, APACHE]}, "Apache-2.0 AND MIT"),
        ({"License": "3-Clause BSD License"}, "BSD-3-Clause"),
        ({"License": "Apache-2.0"}, "Apache-2.0"),
    ],
)
def test_a_licence_is_what_the_package_says_most_exactly(fields: dict[str, str | list[str]], expected: str) -> None:
    assert licences.licence_of("some", metadata(**fields)) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"License": "see LICENSE"},
        {"Classifier": "License :: OSI Approved :: BSD License"},
        {"Classifier": [MIT, "License :: Other/Proprietary License"]},
    ],
)
def test_what_is_not_known_is_an_error_that_names_the_package(fields: dict[str, str | list[str]]) -> None:
    with pytest.raises(LicenceError, match=r"^some: its metadata name no licence we know"):
        licences.licence_of("some", metadata(**fields))


def test_what_says_too_little_has_been_read() -> None:
    assert (
        licences.licence_of("jinja2", metadata(Classifier="License :: OSI Approved :: BSD License")) == "BSD-3-Clause"
    )


@pytest.mark.parametrize(
    ("expression", "is_allowed"),
    [
        ("MIT", True),
        ("MIT AND PSF-2.0", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only", False),
        ("MIT AND AGPL-3.0-or-later", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("MIT AND (GPL-3.0-only OR LGPL-3.0-only)", False),
    ],
)
def test_of_a_choice_the_better_counts_and_of_a_sum_the_worse(expression: str, *, is_allowed: bool) -> None:
    if is_allowed:
        licences.check("some", expression)
        return
    with pytest.raises(LicenceError, match=r"^some: .+ is not allowed"):
        licences.check("some", expression)


@pytest.mark.parametrize("expression", ["BSD", "MIT OR", "Nobody-1.0"])
def test_what_spdx_does_not_know_is_refused(expression: str) -> None:
    with pytest.raises(LicenceError, match=r"is not an SPDX expression$"):
        licences.check("some", expression)


@pytest.mark.skipif(
    sys.version_info[:2] != tuple(map(int, lock.IMAGE["python_version"].split("."))),
    reason="the image's Python reads it",
)
def test_the_list_in_the_repository_is_what_is_locked() -> None:
    assert licences.LIST.read_text() == licences.render(licences.rows()), "run: make licences"
