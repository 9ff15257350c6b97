"""What the peering page shows of the record."""

from __future__ import annotations

import pytest

from feeds.peering_page import LINES, answer, of, values
from tests.support import feed_documents as made

RECORD = made.peering(250)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("185.240.1.0/24", "185.240.1.0/24"),
        ("185.240.1.7", "185.240.1.7/32"),
        ("185.240.1.7/24", "185.240.1.0/24"),
        ("2A0E:B100::1", "2a0e:b100::1/128"),
        ("", None),
        ("nonsense", None),
        ("185.240.1.7/33", None),
        ("1/2/3", None),
    ],
)
def test_a_question_is_a_prefix_or_an_address(asked: str, expected: str | None) -> None:
    found = of(asked)
    assert (found and str(found)) == expected


def test_an_answer_tells_apart_why_a_prefix_is_in_it() -> None:
    exact, inside = of("185.240.1.0/24"), of("185.240.1.7")
    around = of("185.240.0.0/22")
    assert exact is not None
    assert inside is not None
    assert around is not None
    assert [each.prefix for each in answer(RECORD, exact).exact] == ["185.240.1.0/24"]
    assert [each.prefix for each in answer(RECORD, inside).covering] == ["185.240.1.0/24"]
    assert len(answer(RECORD, around).within) == 4


def test_a_page_has_its_own_prefixes() -> None:
    first, last = values(RECORD, "", 1), values(RECORD, "", 3)
    assert (len(first["prefixes"]), len(last["prefixes"]), first["pages"]) == (LINES, 50, 3)
    assert first["prefixes"][0] is RECORD.prefixes[0]
    assert last["prefixes"][-1] is RECORD.prefixes[-1]


def test_contacts_that_are_not_for_all_are_not_shown() -> None:
    assert [each["role"] for each in values(RECORD, "", 1)["contacts"]] == ["NOC"]


def test_without_a_record_there_is_nothing_to_show() -> None:
    shown = values(None, "185.240.1.0/24", 1)
    assert (shown["document"], shown["answer"], shown["pages"], shown["net"]) == (None, None, 1, {})
