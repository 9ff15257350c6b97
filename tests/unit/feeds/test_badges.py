"""Badges: what each says, that it is well-formed whatever it is about, and that it can be read on any page."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds import badges
from feeds.badges import MOST, Badge, svg
from feeds.models import ComponentStatus, Impact
from feeds.plain_text import weight
from signer.canary_dates import State
from tests.support import feed_documents

SVG = "{http://www.w3.org/2000/svg}"
QUIET = feed_documents.quiet_status()
UP, MAINTAINED = ComponentStatus.OPERATIONAL, ComponentStatus.UNDER_MAINTENANCE
COLOURS = {name: value for name, value in vars(badges).items() if isinstance(value, str) and value.startswith("#")}


def luminance(colour: str) -> float:
    """Return WCAG's relative luminance."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("name", ["LABEL", "GREEN", "BLUE", "AMBER", "ORANGE", "RED", "GREY"])
def test_white_text_is_read_well_on_every_colour(name: str) -> None:
    assert contrast(COLOURS[name], "#ffffff") >= 4.5


@pytest.mark.parametrize("page", ["#ffffff", "#000000", "#0d1117", "#f6f8fa"])
def test_the_border_shows_on_light_and_dark_pages(page: str) -> None:
    assert contrast(badges.BORDER, page) >= 3


@pytest.mark.parametrize("impact", Impact)
def test_everything_is_said_in_the_documents_words(impact: Impact) -> None:
    badge = badges.overall(QUIET.model_copy(update={"indicator": impact, "description": "How it is"}))
    assert (badge.label, badge.value) == ("status", "How it is")
    assert badge.colour == badges.INDICATORS[impact]
    assert (badge.colour == badges.GREEN) == (impact is Impact.NONE)


def test_maintenance_is_not_green() -> None:
    under = QUIET.components[0].model_copy(update={"status": MAINTAINED})
    document = QUIET.model_copy(update={"components": [under, *QUIET.components[1:]]})
    assert badges.overall(document).colour == badges.BLUE


@pytest.mark.parametrize("status", ComponentStatus)
@pytest.mark.parametrize("is_reporting", [True, False])
def test_a_component_says_how_it_is_and_green_only_while_it_reports(
    status: ComponentStatus,
    is_reporting: bool,  # noqa: FBT001 - a table
) -> None:
    component = QUIET.components[0].model_copy(update={"status": status, "is_reporting": is_reporting})
    badge = badges.of_component(component, QUIET)
    assert badge.label == "Stockholm Compute"
    if status is UP and not is_reporting:
        assert (badge.value, badge.colour) == ("not reporting", badges.GREY)
    else:
        assert badge.value == status.replace("_", " ")
        assert (badge.colour == badges.GREEN) == (status is UP)


def test_a_component_is_called_by_its_bastion_if_it_has_one() -> None:
    shared = next(each for each in QUIET.components if each.group is None)
    assert badges.of_component(shared, QUIET).label == "Control panel"
    elsewhere = shared.model_copy(update={"group": "XXX"})
    assert badges.of_component(elsewhere, QUIET).label == "XXX Control panel"


@pytest.mark.parametrize("state", State)
def test_a_canary_is_green_only_when_it_is_current(state: State) -> None:
    badge = badges.of_canary(state)
    assert (badge.label, badge.value) == ("warrant canary", str(state))
    assert (badge.colour == badges.GREEN) == (state is State.CURRENT)


@given(st.text(max_size=64), st.text(max_size=64))
def test_any_text_makes_a_picture_with_a_title_and_nothing_but_it(label: str, value: str) -> None:
    drawn = svg(Badge(label, value, badges.GREEN))
    root = ET.fromstring(drawn)  # noqa: S314 - our own
    title = root.findtext(f"{SVG}title")
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == title
    if label.isprintable() and value.isprintable() and max(weight(label), weight(value)) <= MOST:
        assert title == f"{' '.join(label.split())}: {' '.join(value.split())}"
    assert {each.tag.removeprefix(SVG) for each in root.iter()} <= {"svg", "title", "rect", "path", "g", "text"}
    allowed = {"role", "aria-label", "aria-hidden", "width", "height", "viewBox", "x", "y", "rx", "d", "fill", "stroke"}
    allowed |= {"textLength", "lengthAdjust", "font-family", "font-size"}
    assert {name for each in root.iter() for name in each.attrib} <= allowed


@given(st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=64))
def test_a_text_stays_within_its_box(text: str) -> None:
    root = ET.fromstring(svg(Badge(text, text, badges.RED)))  # noqa: S314 - our own
    total = int(root.attrib["width"])
    assert root.attrib["viewBox"] == f"0 0 {total} 20"
    spans = [(int(each.attrib["x"]), int(each.attrib["textLength"])) for each in root.iter(f"{SVG}text")]
    (first, width), (second, same) = spans
    assert width == same > 0
    assert first == badges.PADDING
    assert second == first + width + 2 * badges.PADDING
    assert second + same + badges.PADDING == total


def test_it_is_small_and_asks_nothing_of_anybody() -> None:
    drawn = svg(badges.overall(feed_documents.status())).decode()
    assert len(drawn) < 1500
    assert re.findall(r"https?://[^\"]*", drawn) == ["http://www.w3.org/2000/svg"]


WORSE = [badges.GREEN, badges.BLUE, badges.AMBER, badges.ORANGE, badges.RED]


@pytest.mark.parametrize(
    "colours",
    [
        [
            badges.INDICATORS[each]
            for each in (Impact.NONE, Impact.MAINTENANCE, Impact.MINOR, Impact.MAJOR, Impact.CRITICAL)
        ],
        [badges.WORDS[each][1] for each in ComponentStatus],
        [badges.STATES[each] for each in (State.CURRENT, State.DUE, State.OVERDUE, State.EXPIRED)],
    ],
)
def test_what_is_worse_looks_worse(colours: list[str]) -> None:
    places = [WORSE.index(each) for each in colours]
    assert sorted(set(places)) == places
    assert WORSE[places[-1]] == badges.RED


@pytest.mark.parametrize("state", [State.CHANGED, State.INVALID, State.REVOKED, State.MISSING])
def test_a_canary_that_is_not_to_be_relied_on_is_red(state: State) -> None:
    assert badges.STATES[state] == badges.RED


@pytest.mark.parametrize(("text", "expected"), [("a", 7), ("a\u0301", 7), ("il", 9), ("mm", 19), ("\u754c\u754c", 22)])
def test_a_text_has_the_room_its_letters_take(text: str, expected: int) -> None:
    root = ET.fromstring(svg(Badge(text, "up", badges.GREEN)))  # noqa: S314 - our own
    assert next(root.iter(f"{SVG}text")).attrib["textLength"] == str(expected)


def test_a_long_name_makes_no_long_picture() -> None:
    root = ET.fromstring(svg(Badge("name " * 1000, "up", badges.GREEN)))  # noqa: S314 - our own
    assert int(root.attrib["width"]) < 800
    assert root.attrib["aria-label"].endswith("name…: up")


def test_a_name_turns_nothing_around() -> None:
    assert b"<title>evil: down</title>" in svg(Badge("\u202eevil", "down", badges.RED))


def test_what_looks_like_markup_is_text() -> None:
    drawn = svg(Badge("<script>&\"'", "]]>--", badges.RED))
    root = ET.fromstring(drawn)  # noqa: S314 - our own
    assert [each.text for each in root.iter(f"{SVG}text")] == ["<script>&\"'", "]]>--"]
    assert b"<script" not in drawn
