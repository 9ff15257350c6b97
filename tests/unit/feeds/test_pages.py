"""The frame of all pages: what it escapes, where it leads, and whether one can read it."""

from __future__ import annotations

import re

import pytest

from feeds import pages
from feeds.pages import FOLDER, Link, Site, assets, grouped, segment, web_address

SHEET = (FOLDER / "site.css").read_text()
#: Text and what it stands on; WCAG 2.2, 1.4.3 wants 4.5.
PAIRS = [
    *((ink, paper) for ink in ("ink", "ink-quiet", "accent") for paper in ("paper", "surface", "sunken")),
    ("accent-ink", "accent"),
    *((tone, f"{tone}-paper") for tone in ("good", "warn", "bad", "info")),
    *(("ink", f"{tone}-paper") for tone in ("warn", "bad", "neutral")),
]
ENOUGH = 4.5
#: Bars and what they stand on; WCAG 2.2, 1.4.11 wants 3.
BARS, ENOUGH_FOR_BARS = ("good", "info", "warn", "partial", "bad", "silent"), 3


def colours(scheme: str) -> dict[str, str]:
    light, dark = SHEET.split("@media (prefers-color-scheme: dark)")
    found = dict(re.findall(r"--([\w-]+): #([0-9a-f]{6});", light))
    return found if scheme == "light" else found | dict(re.findall(r"--([\w-]+): #([0-9a-f]{6});", dark))


def luminance(colour: str) -> float:
    """As WCAG 2.2 defines it."""
    parts = (int(colour[start : start + 2], 16) / 255 for start in (0, 2, 4))
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str, scheme: str) -> float:
    known = colours(scheme)
    lighter, darker = sorted((luminance(known[one]), luminance(known[other])), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "paper"), PAIRS)
def test_text_can_be_read_in_light_and_dark(ink: str, paper: str, scheme: str) -> None:
    assert contrast(ink, paper, scheme) >= ENOUGH


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("bar", BARS)
@pytest.mark.parametrize("paper", ["surface", "paper"])
def test_bars_can_be_seen_in_light_and_dark(bar: str, paper: str, scheme: str) -> None:
    assert contrast(f"bar-{bar}", paper, scheme) >= ENOUGH_FOR_BARS


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


@pytest.mark.parametrize(
    ("policy", "scripts", "forms"),
    [(pages.POLICY, False, False), (pages.LIVE_POLICY, True, False), (pages.SEARCH_POLICY, False, True)],
)
def test_a_policy_lets_a_page_do_what_it_needs(policy: str, *, scripts: bool, forms: bool) -> None:
    allowed = dict(each.split(" ", 1) for each in policy.split("; "))
    assert len(allowed) == policy.count(";") + 1
    assert allowed["default-src"] == "'none'"
    assert ("script-src" in allowed, "connect-src" in allowed) == (scripts, scripts)
    assert allowed["form-action"] == ("'self'" if forms else "'none'")
    assert set(allowed.values()) <= {"'none'", "'self'"}


def test_files_stand_below_what_they_are() -> None:
    assert [route.path for route in assets()] == [
        f"{pages.ASSETS}/{name}" for name in ("site.css", "icon.svg", "site.js")
    ]
    assert re.fullmatch(r"/pages/[0-9a-f]{16}", pages.ASSETS)


def test_fingerprints_are_written_for_people() -> None:
    assert " ".join(grouped("0123456789ABCDEF" * 2 + "01234567")) == "0123 4567 89AB CDEF 0123 4567 89AB CDEF 0123 4567"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inc_2026_1107", "inc_2026_1107"),
        ("a/b?c#d", "a%2Fb%3Fc%23d"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("a..b", "a..b"),
        ("å", "%C3%A5"),
    ],
)
def test_an_id_is_one_segment_of_a_path(text: str, expected: str) -> None:
    assert segment(text) == expected


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        ("https://p.example/", True),
        ("http://p.example/", True),
        ("javascript:alert(1)", False),
        ("//p.example", False),
        ("telnet://p.example", False),
        (7, False),
        (None, False),
    ],
)
def test_a_link_leads_to_the_web_alone(value: object, *, is_one: bool) -> None:
    assert web_address(value) == (value if is_one else "")
