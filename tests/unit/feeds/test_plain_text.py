"""Text of the control plane: what is left out of it, and how much of it there is room for."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.plain_text import ELLIPSIS, cut, line, lines, weight


@given(st.text())
def test_plain_text_keeps_what_can_be_printed(text: str) -> None:
    kept = [each for each in "".join(text.split()) if each.isprintable()]
    for made in (line(text), lines(text)):
        left = [each for each in "".join(made.split()) if each.isprintable()]
        assert left == [each for each in kept if each not in "\ufffe\uffff"]
        assert made == made.strip()
    assert "\n" not in line(text)
    assert lines(lines(text)) == lines(text)


@pytest.mark.parametrize(
    ("given_text", "in_lines", "in_one"),
    [
        ("a\r\nb\rc\nd", "a\nb\nc\nd", "a b c d"),
        ("a\x85b\u2028c\u2029d\x0be\x0cf", "a\nb\nc\nd\ne\nf", "a b c d e f"),
        ("a\x00\x07\x1b[31m\x7f\x9bb", "a[31mb", "a[31mb"),
        ("a\ud800b\ufffec\uffff", "abc", "abc"),
        ("  a\n\n  b\t c \n", "a\n\n  b\t c", "a b c"),
        ("\x00", "", ""),
        ("a\u202eb\u202c c\u2066d", "ab cd", "ab cd"),
        ("\N{HEBREW LETTER ALEF}b", "\N{HEBREW LETTER ALEF}b", "\N{HEBREW LETTER ALEF}b"),
    ],
)
def test_text_has_line_ends_of_one_kind_and_no_control_characters(given_text: str, in_lines: str, in_one: str) -> None:
    assert lines(given_text) == in_lines
    assert line(given_text) == in_one


@given(st.text(), st.integers(min_value=weight(ELLIPSIS), max_value=200))
def test_what_is_cut_fits_and_is_how_the_text_begins(text: str, room: int) -> None:
    text = line(text)
    made = cut(text, room)
    assert len(html.escape(made).encode()) <= room
    if made != text:
        assert len(html.escape(text).encode()) > room
        assert made.endswith(ELLIPSIS)
        assert text.startswith(made.removesuffix(ELLIPSIS))


@pytest.mark.parametrize(
    ("text", "room", "expected"),
    [
        ("one two", 7, "one two"),
        ("one two six", 10, "one two…"),
        ("one two six", 9, "one…"),
        ("one two six seven", 14, "one two six…"),
        ("unbreakable", 8, "unbre…"),
        ("a unbreakable", 8, "a unb…"),
        ("<<<", 11, "&lt;&lt;…"),
        ("ååå", 6, "ååå"),
        ("åååå", 7, "åå…"),
    ],
)
def test_it_ends_with_a_word_where_that_leaves_enough(text: str, room: int, expected: str) -> None:
    assert html.escape(cut(text, room)) == expected
