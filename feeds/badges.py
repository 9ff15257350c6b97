"""Badges for other people's pages: a small SVG that says in words and in colour how something does. Pure.

They stand on any background, so they bring their own, with a border that shows on white and on black. Fonts are the
reader's, and a text is fitted into its width: what is drawn there cannot run out of its box. Whoever does not see it
gets a title. There is no script, no style and nothing from elsewhere in it.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from feeds.models import ComponentStatus, Impact
from feeds.plain_text import cut, line
from signer.canary_dates import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feeds.models import Component, StatusDocument

CONTENT_TYPE = "image/svg+xml; charset=utf-8"
#: Seen on white and on black; white text on each of the others is read well (WCAG 2.2, 1.4.3).
BORDER, LABEL = "#768390", "#24292f"
GREEN, BLUE, AMBER, ORANGE, RED, GREY = "#1a7f37", "#0969da", "#8a6100", "#bc4c00", "#cf222e", "#57606a"
HEIGHT, PADDING, BASELINE, FONT_SIZE = 20, 7, 14, 11
FONTS = "Verdana,Geneva,DejaVu Sans,sans-serif"
#: Bytes of a text: a badge stands in a line of somebody else's.
MOST = 100
#: Of letters in Verdana at this size, in pixels: those that are narrow, those that are wide, all others, and those that
#: take a whole square. A guess: the text is fitted into whatever this says.
NARROW, WIDE = frozenset("ijltfrI.,:;'|!()[]/ "), frozenset("mwMWGOQ@%&")
WIDTHS = {"narrow": 4.3, "wide": 9.4, "other": 7.0, "square": 11.0}

#: What a component's status is called.
WORDS: Mapping[ComponentStatus, tuple[str, str]] = {
    ComponentStatus.OPERATIONAL: ("operational", GREEN),
    ComponentStatus.UNDER_MAINTENANCE: ("under maintenance", BLUE),
    ComponentStatus.DEGRADED_PERFORMANCE: ("degraded performance", AMBER),
    ComponentStatus.PARTIAL_OUTAGE: ("partial outage", ORANGE),
    ComponentStatus.MAJOR_OUTAGE: ("major outage", RED),
}
INDICATORS: Mapping[Impact, str] = {
    Impact.NONE: GREEN,
    Impact.MAINTENANCE: BLUE,
    Impact.MINOR: AMBER,
    Impact.MAJOR: ORANGE,
    Impact.CRITICAL: RED,
}
STATES: Mapping[State, str] = {
    State.CURRENT: GREEN,
    State.DUE: AMBER,
    State.OVERDUE: ORANGE,
    State.CHANGED: RED,
    State.EXPIRED: RED,
    State.INVALID: RED,
    State.REVOKED: RED,
    State.MISSING: RED,
}


class Badge(NamedTuple):
    """What is said of what, and the colour it is said in."""

    label: str
    value: str
    colour: str


OUT_OF_DATE = Badge("status", "not up to date", GREY)


def overall(document: StatusDocument) -> Badge:
    """Return how everything does."""
    if document.indicator is Impact.NONE and any(
        each.status is ComponentStatus.UNDER_MAINTENANCE for each in document.components
    ):
        return Badge("status", document.description, BLUE)
    return Badge("status", document.description, INDICATORS[document.indicator])


def of_component(component: Component, document: StatusDocument) -> Badge:
    """Return how a component does; of one that does not report, that it does not, unless something worse is known."""
    names = {group.id: group.name for group in document.groups}
    label = f"{names.get(component.group, component.group)} {component.name}" if component.group else component.name
    if component.status is ComponentStatus.OPERATIONAL and not component.is_reporting:
        return Badge(label, "not reporting", GREY)
    return Badge(label, *WORDS[component.status])


def of_canary(state: State) -> Badge:
    """Return how the warrant canary stands."""
    return Badge("warrant canary", str(state), STATES[state])


def svg(badge: Badge) -> bytes:
    """Return the badge as it is served."""
    label, value = cut(line(badge.label), MOST), cut(line(badge.value), MOST)
    left, right = _width(label), _width(value)
    first, second = left + 2 * PADDING, right + 2 * PADDING
    total, title = first + second, f"{label}: {value}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{HEIGHT}" viewBox="0 0 {total} {HEIGHT}" '
        f'role="img" aria-label={quoteattr(title)}><title>{escape(title)}</title>'
        f'<rect width="{total}" height="{HEIGHT}" rx="4" fill="{LABEL}"/>'
        f'<path d="M{first} 0h{second - 4}a4 4 0 0 1 4 4v{HEIGHT - 8}a4 4 0 0 1-4 4h-{second - 4}z" '
        f'fill="{badge.colour}"/>'
        f'<rect x=".5" y=".5" width="{total - 1}" height="{HEIGHT - 1}" rx="3.5" fill="none" stroke="{BORDER}"/>'
        f'<g fill="#fff" font-family="{FONTS}" font-size="{FONT_SIZE}" aria-hidden="true">'
        f"{_text(label, PADDING, left)}{_text(value, first + PADDING, right)}</g></svg>"
    ).encode()


def _text(text: str, start: int, width: int) -> str:
    return (
        f'<text x="{start}" y="{BASELINE}" textLength="{width}" lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
        if text
        else ""
    )


def _width(text: str) -> int:
    return round(sum(map(_letter, text)))


def _letter(letter: str) -> float:
    if unicodedata.combining(letter):
        return 0.0
    if unicodedata.east_asian_width(letter) in {"F", "W"}:
        return WIDTHS["square"]
    return WIDTHS["narrow" if letter in NARROW else "wide" if letter in WIDE else "other"]
