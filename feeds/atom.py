"""Atom (RFC 4287).

Written through `xml.etree`: it escapes whatever it is given, so no line of ours has to remember to. Content is escaped
HTML, not XHTML: the same text as in RSS and JSON Feed, and every reader knows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, tostring

from feeds.syndication import html_of
from signer.statement import moment_text

if TYPE_CHECKING:
    from feeds.syndication import Channel, Entry

CONTENT_TYPE = "application/atom+xml; charset=utf-8"
MEDIA_TYPE, HTML, JSON = "application/atom+xml", "text/html", "application/json"
NAMESPACE = "http://www.w3.org/2005/Atom"


def atom(channel: Channel) -> bytes:
    """Return the feed. Pure."""
    root = Element("feed", {"xmlns": NAMESPACE, "xml:lang": "en"})
    text(root, "id", channel.id)
    text(root, "title", channel.title)
    text(root, "subtitle", channel.subtitle)
    text(root, "updated", moment_text(channel.updated))
    link(root, "link", "self", channel.url, MEDIA_TYPE)
    link(root, "link", "alternate", channel.page_url, HTML)
    link(root, "link", "via", channel.document_url, JSON)
    author = SubElement(root, "author")
    text(author, "name", channel.author)
    text(author, "uri", channel.author_url)
    text(root, "generator", "Heliograph")
    for each in channel.entries:
        _entry(root, each)
    return written(root)


def written(root: Element) -> bytes:
    """Return a document with its declaration, in UTF-8."""
    content: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return content


def text(parent: Element, name: str, content: str) -> None:
    """Add an element with nothing but text."""
    SubElement(parent, name).text = content


def link(parent: Element, name: str, relation: str, url: str, media_type: str) -> None:
    """Add a link (RFC 4287, 4.2.7); `name` is that of the element, with its prefix in a feed of another format."""
    SubElement(parent, name, {"rel": relation, "href": url, "type": media_type})


def _entry(root: Element, entry: Entry) -> None:
    made = SubElement(root, "entry")
    text(made, "id", entry.id)
    text(made, "title", entry.title)
    text(made, "published", moment_text(entry.published))
    text(made, "updated", moment_text(entry.updated))
    link(made, "link", "alternate", entry.url, HTML)
    for tag in entry.tags:
        SubElement(made, "category", {"term": tag})
    SubElement(made, "content", {"type": "html"}).text = html_of(entry)
