"""Incidents and maintenance as entries of a feed: what Atom, RSS and JSON Feed say alike. Pure.

    IncidentsDocument -> channel -> Channel with its Entry… -> feeds/atom.py, rss.py, json_feed.py

An entry has one id for ever, made of what it is about and not of an address, for addresses move. Its `updated` moves
with every update, and all updates are inside: a reader that shows an entry again shows the whole story. Titles and
bodies are plain text of the control plane: they become markup in `html_of` alone.
"""

from __future__ import annotations

import html
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from feeds.languages import minute
from feeds.models import Maintenance
from feeds.pages import segment
from feeds.plain_text import line, lines
from signer.statement import moment_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from feeds.models import Incident, IncidentsDocument, Update
    from feeds.pages import Site

#: Entries of a feed, as many as Statuspage gives.
MOST = 50
#: Ids are derived from it (RFC 9562, 5.5). With another one every reader would show everything as new.
NAMESPACE = uuid.UUID("c8e4d2a6-4f0b-4c8e-9d57-31b7a60f52ce")
STATUS_PAGE = "/status/"
BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")
#: What has an id of its own.
INCIDENT, MAINTENANCE, FEED, CALENDAR = "incident", "maintenance", "feed", "calendar"
#: Where the page of each is: below these, by its id.
INCIDENT_PAGES, MAINTENANCE_PAGES = f"{STATUS_PAGE}incidents/", f"{STATUS_PAGE}maintenance/"


class Said(NamedTuple):
    """An update in plain text: its status in words, its body in lines."""

    status: str
    at: datetime
    body: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An incident or a maintenance, in plain text."""

    id: str
    url: str
    title: str
    published: datetime
    updated: datetime
    tags: tuple[str, ...]
    #: What is known beside what was said: a word, and text.
    facts: tuple[tuple[str, str], ...]
    #: The newest first.
    said: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class Channel:
    """A feed: what it is of, where it and its page are, and its entries, the last updated first."""

    id: str
    title: str
    subtitle: str
    author: str
    author_url: str
    page_url: str
    url: str
    #: Where what it is made of is, as it was signed.
    document_url: str
    updated: datetime
    entries: tuple[Entry, ...]


def channel(document: IncidentsDocument, site: Site, path: str, component: str | None = None) -> Channel:
    """Return the feed at `path`: of everything, or of what concerns a component. An empty one is as old as its day."""
    entries = newest(document, site, component)
    return Channel(
        id=uuid_of(document.provider, FEED, component or "").urn,
        title=f"{site.name} status: {line(component)}" if component else f"{site.name} status",
        subtitle="Incidents and maintenance, each with everything that was said of it.",
        author=site.name,
        author_url=site.home,
        page_url=f"{site.public_url}{STATUS_PAGE}",
        url=f"{site.public_url}{path}",
        document_url=document_url(site),
        updated=max((each.updated for each in entries), default=document.as_of),
        entries=entries,
    )


def newest(document: IncidentsDocument, site: Site, component: str | None = None) -> tuple[Entry, ...]:
    """Return the entries that were updated last, at most `MOST`; those of a component if one is named.

    By update and not by age: an old incident that is updated comes back, or its readers would not hear of it.
    """
    subjects: list[Incident | Maintenance] = [*document.incidents, *document.maintenances]
    concerned = [each for each in subjects if is_of(component, each.components)]
    concerned.sort(key=lambda each: (each.updated_at, each.created_at, each.id), reverse=True)
    return tuple(entry_of(each, document.provider, site) for each in concerned[:MOST])


def entry_of(subject: Incident | Maintenance, provider: str, site: Site) -> Entry:
    """Return the entry of an incident or a maintenance."""
    kind = kind_of(subject)
    return Entry(
        id=uuid_of(provider, kind, subject.id).urn,
        url=page_of(subject, site),
        title=title_of(subject),
        published=subject.created_at,
        updated=subject.updated_at,
        tags=(kind, str(subject.status), *(each for each in map(line, subject.components) if each)),
        facts=tuple(facts_of(subject)),
        said=said_of(subject.updates),
    )


def is_of(component: str | None, components: Iterable[str]) -> bool:
    """Say whether what names `components` concerns one; everything does where none is named.

    What concerns `STO` as a whole concerns `STO/compute`, and the feed of `STO` has what concerns anything there.
    """
    if component is None:
        return True
    return any(f"{each}/".startswith(f"{component}/") or component.startswith(f"{each}/") for each in components)


def with_groups(components: Iterable[str]) -> set[str]:
    """Return the components there are feeds of: those given, and what stands before a slash in them."""
    found = set()
    for each in components:
        parts = each.split("/")
        found |= {"/".join(parts[:size]) for size in range(1, len(parts) + 1)}
    return {each for each in found if each}


def uuid_of(provider: str, kind: str, key: str) -> uuid.UUID:
    """Return what identifies a thing for ever (RFC 4287, 4.2.6.1): a UUID of whose it is, what, and which."""
    return uuid.uuid5(NAMESPACE, f"{provider}\n{kind}\n{key}")


def kind_of(subject: Incident | Maintenance) -> str:
    """Return what it is."""
    return MAINTENANCE if isinstance(subject, Maintenance) else INCIDENT


def title_of(subject: Incident | Maintenance) -> str:
    """Return a title in one line; for one that has none, because its first event is late, which it is."""
    return line(subject.title) or f"{kind_of(subject).capitalize()} {line(subject.id)}"


def page_of(subject: Incident | Maintenance, site: Site) -> str:
    """Return where its page is."""
    pages = MAINTENANCE_PAGES if isinstance(subject, Maintenance) else INCIDENT_PAGES
    return f"{site.public_url}{pages}{segment(subject.id)}"


def document_url(site: Site) -> str:
    """Return where incidents and maintenance are as they were signed; the signature is beside it, with `.asc`."""
    return f"{site.public_url}{site.base}/transparency/incidents.json"


def said_of(updates: Iterable[Update]) -> tuple[Said, ...]:
    """Return updates as text, in their order."""
    return tuple(Said(words(each.status), each.created_at, lines(each.body)) for each in updates)


def words(status: str) -> str:
    """Return a status as people read it: `in_progress` is `In progress`."""
    return status.replace("_", " ").capitalize()


def html_of(entry: Entry) -> str:
    """Return an entry's content as HTML: what is known of it, then each update."""
    facts = (f"<p><strong>{html.escape(name)}:</strong> {html.escape(text)}</p>" for name, text in entry.facts)
    said = (
        f'<p><time datetime="{moment_text(each.at)}">{minute(each.at)}</time><br>\n'
        f"<strong>{html.escape(each.status)}</strong></p>\n{_paragraphs(each.body)}"
        for each in entry.said
    )
    return "\n".join([*facts, *said])


def text_of(entry: Entry) -> str:
    """Return an entry's content as plain text."""
    facts = "\n".join(f"{name}: {text}" for name, text in entry.facts)
    said = (f"{minute(each.at)}: {each.status}\n{each.body}" for each in entry.said)
    return "\n\n".join(each for each in (facts, *said) if each)


def facts_of(subject: Incident | Maintenance) -> Iterator[tuple[str, str]]:
    """Yield what is known of it beside what was said: a word, and text."""
    if isinstance(subject, Maintenance):
        yield "Scheduled", f"{minute(subject.scheduled_for)} to {minute(subject.scheduled_until)}"
    else:
        yield "Impact", words(subject.impact)
    if subject.components:
        yield "Components", ", ".join(line(each) for each in subject.components)


def _paragraphs(text: str) -> str:
    parts = (html.escape(each).replace("\n", "<br>\n") for each in BLANK_LINES.split(text) if each)
    return "\n".join(f"<p>{each}</p>" for each in parts)
