"""JSON Feed 1.1 (jsonfeed.org)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from feeds.syndication import html_of, text_of
from signer.statement import moment_text

if TYPE_CHECKING:
    from feeds.syndication import Channel, Entry

CONTENT_TYPE = "application/feed+json"
VERSION = "https://jsonfeed.org/version/1.1"


def json_feed(channel: Channel) -> bytes:
    """Return the feed. `_signed` is an extension of ours, as the format allows: what it was made from. Pure."""
    author = {"name": channel.author, "url": channel.author_url}
    return orjson.dumps({
        "version": VERSION,
        "title": channel.title,
        "home_page_url": channel.page_url,
        "feed_url": channel.url,
        "description": channel.subtitle,
        "language": "en",
        "authors": [author],
        "_signed": {
            "about": channel.page_url,
            "document_url": channel.document_url,
            "signature_url": f"{channel.document_url}.asc",
        },
        "items": [_item(each) for each in channel.entries],
    })  # fmt: skip


def _item(entry: Entry) -> dict[str, object]:
    return {
        "id": entry.id,
        "url": entry.url,
        "title": entry.title,
        "content_html": html_of(entry),
        "content_text": text_of(entry),
        "date_published": moment_text(entry.published),
        "date_modified": moment_text(entry.updated),
        "tags": list(entry.tags),
    }
