"""RSS 2.0, for readers that know no Atom; what it has no word for is said in Atom's (RFC 4287).

It has one date for an item, by which readers sort and notice. So `pubDate` is the last update's: a date that never
moved would hide updates, and an id that moved would show them as something new.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import format_datetime
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement

from feeds import atom
from feeds.syndication import html_of
from signer.statement import moment_text

if TYPE_CHECKING:
    from datetime import datetime

    from feeds.syndication import Channel, Entry

CONTENT_TYPE = "application/rss+xml; charset=utf-8"
MEDIA_TYPE = "application/rss+xml"


def rss(channel: Channel) -> bytes:
    """Return the feed. Pure."""
    root = Element("rss", {"version": "2.0", "xmlns:atom": atom.NAMESPACE})
    made = SubElement(root, "channel")
    atom.text(made, "title", channel.title)
    atom.text(made, "link", channel.page_url)
    atom.text(made, "description", channel.subtitle)
    atom.text(made, "language", "en")
    atom.text(made, "lastBuildDate", _date(channel.updated))
    atom.text(made, "generator", "Heliograph")
    atom.text(made, "docs", "https://www.rssboard.org/rss-specification")
    atom.link(made, "atom:link", "self", channel.url, MEDIA_TYPE)
    atom.link(made, "atom:link", "via", channel.document_url, atom.JSON)
    for each in channel.entries:
        _item(made, each)
    return atom.written(root)


def _item(channel: Element, entry: Entry) -> None:
    made = SubElement(channel, "item")
    atom.text(made, "title", entry.title)
    atom.text(made, "link", entry.url)
    SubElement(made, "guid", {"isPermaLink": "false"}).text = entry.id
    atom.text(made, "pubDate", _date(entry.updated))
    atom.text(made, "atom:published", moment_text(entry.published))
    atom.text(made, "atom:updated", moment_text(entry.updated))
    for tag in entry.tags:
        atom.text(made, "category", tag)
    atom.text(made, "description", html_of(entry))


def _date(moment: datetime) -> str:
    """Return a date of RFC 822 with the year of RFC 2822, in UTC."""
    return format_datetime(moment.astimezone(UTC))
