"""The frame of all pages: what it escapes, where it leads, and whether one can read it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from feeds import pages
from feeds.pages import FOLDER, Link, Site, assets, day, grouped

SHEET = (FOLDER / "site.css").read_text()
#: Text and what it stands on; WCAG 2.2, 1.4.3 wants 4.5.
PAIRS = [
    *((ink, paper) for ink in ("ink", "ink-quiet", "accent") for paper in ("paper", "surface", "sunken")),
    ("accent-ink", "accent"),
    *((tone, f"{tone}-paper") for tone in ("good", "warn", "bad")),
    *(("ink", f"{tone}-paper") for tone in ("warn", "bad", "neutral")),
]
ENOUGH = 4.5


def colours(scheme: str) -> dict[str, str]:
    light, dark = SHEET.split("@media (prefers-color-scheme: dark)")
    found = dict(re.findall(r"--([\w-]+): #([0-9a-f]{6});", light))
    return found if scheme == "light" else found | dict(re.findall(r"--([\w-]+): #([0-9a-f]{6});", dark))


def luminance(colour: str) -> float:
    """As WCAG 2.2 defines it."""
    parts = (int(colour[start : start + 2], 16) / 255 for start in (0, 2, 4))
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "paper"), PAIRS)
def test_text_can_be_read_in_light_and_dark(ink: str, paper: str, scheme: str) -> None:
    known = colours(scheme)
    lighter, darker = sorted((luminance(known[ink]), luminance(known[paper])), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= ENOUGH


def test_every_colour_has_a_dark_twin() -> None:
    dark = SHEET.split("@media (prefers-color-scheme: dark)")[1]
    assert set(colours("light")) == set(re.findall(r"--([\w-]+): #", dark))


def test_the_sheet_loads_nothing() -> None:
    assert not re.search(r"url\(|@import|//", SHEET)


def page(site: Site, path: str = "/pgp/") -> str:
    made = site.render("keys.html", path, keys=[], threshold=0, canary_count=0, address=None, has_security=False)
    return made.content.decode()


SITE = Site(
    "A <b> & C", "https://p.example/", "https://api.p.example", "/v1", None, (Link("/pgp/", "K"), Link("/s/", "S"))
)


def test_names_are_escaped() -> None:
    assert "A &lt;b&gt; &amp; C" in page(SITE)
    assert "<b>" not in page(SITE)


def test_links_lead_through_the_root_and_name_the_page_one_is_on() -> None:
    made = page(SITE)
    assert '<a href="../pgp/" aria-current="page">K</a>' in made
    assert '<a href="../s/">S</a>' in made
    assert f'href="..{pages.ASSETS}/site.css"' in made
    assert f'href="../..{pages.ASSETS}/site.css"' in page(SITE, "/a/b/")


def test_a_page_has_no_script_and_nothing_inline() -> None:
    made = page(SITE)
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|javascript:", made)


def test_the_onion_service_is_pointed_to_page_by_page() -> None:
    onion = Site("P", "https://p.example/", "https://api.p.example", "/v1", "http://x.onion/")
    assert onion.headers("/pgp/")["Onion-Location"] == "http://x.onion/pgp/"
    assert "Onion-Location" not in SITE.headers("/pgp/")


def test_files_stand_below_what_they_are() -> None:
    assert [route.path for route in assets()] == [f"{pages.ASSETS}/site.css", f"{pages.ASSETS}/icon.svg"]
    assert re.fullmatch(r"/pages/[0-9a-f]{16}", pages.ASSETS)


def test_dates_and_fingerprints_are_written_for_people() -> None:
    assert day(datetime(2026, 11, 1, tzinfo=UTC)) == "1 November 2026"
    assert " ".join(grouped("0123456789ABCDEF" * 2 + "01234567")) == "0123 4567 89AB CDEF 0123 4567 89AB CDEF 0123 4567"
