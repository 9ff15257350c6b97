"""Every message of the templates has its translation, and the translation keeps what is not words."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import pytest
from jinja2 import Environment

from feeds.languages import FOLDER, Language
from feeds.messages import Entry, parse
from feeds.pages import FOLDER as TEMPLATES

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHERS = [each for each in Language if each is not Language.ENGLISH]
#: What a translation has to keep: names of values, tags with what they have, what is to be typed or read off a screen.
PLACEHOLDER = re.compile(r"%\(\w+\)s")
KEPT = re.compile(r"</?[a-z]+[^>]*>|<code>[^<]*</code>|%\(\w+\)s")


class Message(NamedTuple):
    """What a template says, and which does."""

    id: str
    plural: str | None
    place: str


def messages() -> Iterator[Message]:
    """Yield every message of every template, as the pages ask for it."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.i18n"])
    environment.policies["ext.i18n.trimmed"] = True
    for path in sorted(TEMPLATES.rglob("*.html")):
        found = environment.extract_translations(path.read_text())  # type: ignore[attr-defined]  # of the extension
        for number, function, said in found:
            texts: tuple[str | None, ...] = (said,) if isinstance(said, str) else said
            is_plural = function in {"ngettext", "npgettext"}
            assert isinstance(texts[0], str), f"{path.name}:{number}: a message has to stand there as text"
            yield Message(texts[0], texts[1] if is_plural else None, f"{path.name}:{number}")


def catalogue(language: Language) -> dict[str, Entry]:
    path = FOLDER / f"{language}.po"
    return {entry.id: entry for entry in parse(path.read_text(), path.name)}


def kept(text: str) -> Counter[str]:
    return Counter(KEPT.findall(text))


def written(message: Message) -> str:
    """Return an entry to be filled in."""
    quoted = [each.replace("\\", "\\\\").replace('"', '\\"') for each in message[:2] if each is not None]
    if message.plural is None:
        return f'#: {message.place}\nmsgid "{quoted[0]}"\nmsgstr ""\n'
    return f'#: {message.place}\nmsgid "{quoted[0]}"\nmsgid_plural "{quoted[1]}"\nmsgstr[0] ""\nmsgstr[1] ""\n'


MESSAGES = {(each.id, each.plural): each for each in messages()}


def test_templates_have_messages_and_no_words_in_two_ways() -> None:
    assert len(MESSAGES) > 100
    # A trailing space, or one in front, would be lost on a translator.
    assert [each.place for each in MESSAGES.values() if each.id != each.id.strip()] == []


@pytest.mark.parametrize("language", OTHERS)
def test_no_message_lacks_a_translation(language: Language) -> None:
    entries = catalogue(language)
    missing = [
        written(each)
        for each in MESSAGES.values()
        if each.id not in entries
        or not entries[each.id].is_translated
        or (each.plural is not None and each.plural != entries[each.id].plural)
    ]
    assert not missing, f"add to {language}.po:\n\n" + "\n".join(missing)


@pytest.mark.parametrize("language", OTHERS)
def test_no_translation_is_of_a_message_that_has_gone(language: Language) -> None:
    said = {each.id for each in MESSAGES.values()}
    assert sorted(set(catalogue(language)) - said - {""}) == []


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_keeps_values_and_tags(language: Language) -> None:
    for entry in catalogue(language).values():
        if entry.plural is None:
            assert [kept(text) for text in entry.texts] == [kept(entry.id)] or entry.id == "", entry.id
            continue
        assert kept(entry.texts[0]) - kept(entry.id) == Counter(), entry.id  # one day may be "the last day"
        assert [kept(text) for text in entry.texts[1:]] == [kept(entry.plural)] * (len(entry.texts) - 1), entry.id


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_begins_and_ends_as_its_message_does(language: Language) -> None:
    for entry in catalogue(language).values():
        for text in entry.texts if entry.id else ():
            source = entry.plural or entry.id
            assert text == text.strip()
            assert (text[-1] in ".:") == (source[-1] in ".:"), text
            assert "  " not in text


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_says_what_it_is(language: Language) -> None:
    (head,) = catalogue(language)[""].texts
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    assert fields["Language"] == language
    assert fields["Content-Type"] == "text/plain; charset=UTF-8"
    forms = re.match(r"nplurals=(\d);", fields["Plural-Forms"])
    assert forms
    for entry in catalogue(language).values():
        assert entry.plural is None or len(entry.texts) == int(forms[1]), entry.id
