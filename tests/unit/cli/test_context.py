"""What others wrote reaches a terminal as text: it steers nothing, and is no line of its own."""

from __future__ import annotations

import unicodedata

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.cli.context import printable, say, say_json

anything = st.text(st.characters(exclude_categories=()), max_size=60)  # halves of surrogate pairs too
STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def steers(text: str) -> list[str]:
    return [each for each in text if unicodedata.category(each) in STEERING and each != "\n"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Café 東京 é ok", "Café 東京 é ok"),
        ('it\'s "so" \\ far', 'it\'s "so" \\ far'),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\r\tc\0", r"a\nb\r\tc\x00"),
        ("\x7f\x9b", r"\x7f\x9b"),
        ("\u202egpj.exe\u2066", r"\u202egpj.exe\u2066"),
        ("\u2028\u200b\ufeff", r"\u2028\u200b\ufeff"),
        ("\udcff", r"\udcff"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_is_to_be_kept_is_kept() -> None:
    assert printable("\ta\r\n", keeps="\t") == "\ta\\r\\n"


@given(text=anything)
def test_whatever_it_is_it_is_one_line_and_harmless(text: str) -> None:
    made = printable(text)
    assert made.isprintable()
    assert not steers(made)
    assert printable(made) == made


def test_a_line_is_printed_where_it_belongs(capsys: pytest.CaptureFixture[str]) -> None:
    say("out\n")
    say("\x1b", err=True)
    assert capsys.readouterr() == ("out\\n\n", "\\x1b\n")


@given(text=st.text(max_size=60))
def test_a_machine_reads_what_was_there(text: str) -> None:
    assert orjson.loads(printed({text: [text]})) == {text: [text]}


@given(text=anything)
def test_json_for_machines_is_as_harmless_on_a_terminal(text: str) -> None:
    made = printed({text: [text]})
    assert not steers(made)
    assert all(each == "\n" or each.isprintable() for each in made)
    assert len(orjson.loads(made)) == 1


def printed(value: object) -> str:
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("typer.echo", lines.append)
        say_json(value)
    [text] = lines
    return text
