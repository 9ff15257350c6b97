"""Which language a reader gets, and how it writes dates and numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.languages import FOLDER, Language, choose, day, minute, percent, translations

EN, SV = Language.ENGLISH, Language.SWEDISH
MOMENT = datetime(2026, 11, 7, 4, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, EN),
        ("", EN),
        ("*", EN),
        ("sv", SV),
        ("SV", SV),
        ("sv-SE,sv;q=0.9,en;q=0.8", SV),
        ("sv-Latn-FI", SV),  # what it is a kind of
        ("svx", EN),
        ("s", EN),
        ("en-GB,en;q=0.9,sv;q=0.8", EN),
        ("fi-FI,fi;q=0.9,sv;q=0.8,en;q=0.7", SV),  # a Finn without Finnish
        ("fi,de;q=0.5", EN),
        ("en;q=0.5,sv;q=0.6", SV),
        ("en;q=0.6,sv;q=0.599", EN),
        ("sv;q=0.5,en;q=0.5", SV),  # equals: the first
        ("en;q=0.5,sv;q=0.5", EN),
        ("sv;q=0", EN),
        ("sv;q=0.000", EN),
        ("sv;q=0.001", SV),
        ("sv-SE;q=0.9,sv;q=0", EN),
        ("sv,sv-SE;q=0", SV),
        ("en;q=0", EN),  # there is nothing else it asks for
        ("en;q=0,*", SV),
        ("en;q=0.1,*;q=0.5", SV),  # the star is whatever is not named
        ("en-US;q=0.1,*;q=0.5", SV),
        ("sv;q=0.1,*;q=0.5", EN),
        ("fi,*;q=0.1", EN),
        ("*;q=0", EN),
        (" sv ; q=0.9 , en ; q=0.8 ", SV),
        ("sv;Q=0.9,en;q=0.8", SV),
        ("sv;q=1.000,en", SV),
        ("sv;q=1.001,en;q=0.1", EN),  # not well-formed
        ("sv;q=2,en;q=0.1", EN),
        ("sv;q=-1,en;q=0.1", EN),
        ("sv;q=.9,en;q=0.1", EN),
        ("sv;q=0.1234,en;q=0.1", EN),
        ("sv;q=,en;q=0.1", EN),
        ("sv;level=1,en;q=0.1", EN),
        ("sv;q=1;q=1,en;q=0.1", EN),
        ("sv_SE", EN),
        ("sv-,en;q=0.1", EN),
        (",,;,sv", SV),
        ("*-SE,sv;q=0.5", SV),
    ],
)
def test_the_language_is_chosen_as_rfc_9110_has_it(header: str | None, language: Language) -> None:
    assert choose(header) is language


@given(st.text(alphabet="svena-*;q=01.,\t ", max_size=60) | st.text())
def test_whatever_is_asked_for_there_is_a_language(header: str) -> None:
    assert choose(header) in Language


def test_dates_are_written_as_the_language_does() -> None:
    assert (day(MOMENT), minute(MOMENT)) == ("7 November 2026", "7 November 2026, 04:02 UTC")
    assert (day(MOMENT, SV), minute(MOMENT, SV)) == (
        "7 november 2026",
        "7 november 2026 kl.\N{NO-BREAK SPACE}04.02 UTC",
    )


@pytest.mark.parametrize("language", Language)
def test_every_month_has_its_name(language: Language) -> None:
    names = [day(datetime(2026, month, 1, tzinfo=UTC), language) for month in range(1, 13)]
    assert len(set(names)) == 12
    assert names[4] == {EN: "1 May 2026", SV: "1 maj 2026"}[language]


def test_moments_are_in_utc_wherever_they_come_from() -> None:
    eastern = datetime(2027, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert (day(eastern), minute(eastern)) == ("31 December 2026", "31 December 2026, 23:30 UTC")


def test_numbers_are_written_as_the_language_does() -> None:
    assert (percent(99.984), percent(100, 0), percent(99.5, 1)) == ("99.98%", "100%", "99.5%")
    assert (percent(99.984, language=SV), percent(100, 0, SV)) == ("99,98\N{NO-BREAK SPACE}%", "100\N{NO-BREAK SPACE}%")


def test_english_is_what_the_templates_say_and_swedish_is_not() -> None:
    assert translations(EN).gettext("Maintenance") == "Maintenance"
    assert translations(SV).gettext("Maintenance") == "Underhåll"
    assert translations(SV).gettext("Nobody has translated this") == "Nobody has translated this"
    assert [translations(SV).ngettext("%(num)s day", "%(num)s days", each) for each in (0, 1, 2)] == [
        "%(num)s dagar", "%(num)s dag", "%(num)s dagar",
    ]  # fmt: skip


def test_every_language_but_english_has_a_catalogue() -> None:
    assert {path.stem for path in FOLDER.glob("*.po")} == set(Language) - {EN}
