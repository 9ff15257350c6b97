"""Catalogues: what is read of them, what is refused, and that GNU gettext makes the same of them."""

from __future__ import annotations

import gettext
import io
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.languages import FOLDER
from feeds.messages import CatalogueError, Entry, compiled, parse

if TYPE_CHECKING:
    from pathlib import Path

HEAD = Entry("", None, ("Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=(n != 1);\n",))
CATALOGUE = r"""
# A comment of a translator.
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\n"

#: somewhere.html
msgid "Maintenance"
msgstr "Underhåll"

msgctxt "of a month"
msgid "May"
msgstr "Maj"

msgid "%(num)s day"
msgid_plural "%(num)s days"
msgstr[0] "%(num)s dag"
msgstr[1] "%(num)s dagar"

#, fuzzy
msgid "Doubted"
msgstr "Tvivlat"

msgid "Open"
msgstr ""

#~ msgid "Gone"
#~ msgstr "Borta"

msgid "A \"quote\",\n"
"in two lines\\"
msgstr "Ett \"citat\",\n"
"på två rader\\"
"""


def loaded(entries: list[Entry]) -> gettext.GNUTranslations:
    return gettext.GNUTranslations(io.BytesIO(compiled(entries)))


def test_a_catalogue_is_read_and_what_is_not_translated_stays_as_it_was() -> None:
    made = loaded(parse(CATALOGUE, "sv.po"))
    assert made.gettext("Maintenance") == "Underhåll"
    assert made.pgettext("of a month", "May") == "Maj"
    assert made.gettext("May") == "May"
    assert [made.ngettext("%(num)s day", "%(num)s days", each) for each in (1, 5)] == ["%(num)s dag", "%(num)s dagar"]
    assert made.gettext('A "quote",\nin two lines\\') == 'Ett "citat",\npå två rader\\'
    assert [made.gettext(each) for each in ("Doubted", "Open", "Gone")] == ["Doubted", "Open", "Gone"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('msgid "a"', "sv.po:1: an entry needs"),
        ('\n\nmsgstr "a"', "sv.po:3: an entry needs"),
        ('msgid "a"\nmsgstr[0] "b"', "an entry needs"),
        ('msgid "a"\nmsgid_plural "b"\nmsgstr "c"', "an entry needs"),
        ('msgid "a"\nmsgid_plural "b"\nmsgstr[0] "c"\nmsgstr[2] "d"', "an entry needs"),
        ('msgid "a"\nmsgstr "b"\nmsgid "c"\nmsgstr "d"', "keywords once"),
        ('"a"', 'keywords once, each with a string; not: "a"'),
        ('msgid "a"\nmsgstr b', "not: msgstr b"),
        ("msgid 'a'\nmsgstr \"b\"", "not: msgid 'a'"),
        ('msgid "a"\nmsgstr "b" "c" + "d"', "not one string"),
        ('msgid "a"\nmsgstr "b\\"', "not one string"),
        ('msgid "a"\nmsgstr "b"\n\nmsgid "a"\nmsgstr "c"', "sv.po:4: 'a' is there twice: keep one"),
    ],
)
def test_what_is_not_well_formed_is_refused_with_its_place(text: str, complaint: str) -> None:
    with pytest.raises(CatalogueError) as raised:
        parse(text, "sv.po")
    assert complaint in str(raised.value)


@given(st.dictionaries(st.text(min_size=1).filter(lambda each: not set(each) & {"\0", "\4"}), st.text(min_size=1)))
def test_whatever_is_translated_is_found_again(given_texts: dict[str, str]) -> None:
    texts = {each: text.replace("\0", "") or "-" for each, text in given_texts.items()}
    made = loaded([HEAD, *(Entry(each, None, (text,)) for each, text in texts.items())])
    assert {each: made.gettext(each) for each in texts} == texts


@pytest.mark.skipif(shutil.which("msgfmt") is None, reason="GNU gettext is not installed")
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.po")), ids=lambda path: path.name)
def test_gnu_gettext_makes_the_same_of_our_catalogues(path: Path, tmp_path: Path) -> None:
    subprocess.run(["msgfmt", "--check-format", "-o", tmp_path / "made.mo", path], check=True)
    theirs = gettext.GNUTranslations(io.BytesIO((tmp_path / "made.mo").read_bytes()))
    assert loaded(parse(path.read_text(), path.name))._catalog == theirs._catalog  # type: ignore[attr-defined]
