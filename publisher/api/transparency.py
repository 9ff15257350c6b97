"""What was published for all to see, as resources: the canaries of the history.

The newest canary, and whatever is served byte for byte, are routes of the feeds (`feeds/canary_routes.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from feeds import canary, documents
from feeds.canary_routes import NUMBER
from feeds.documents import Feed
from publisher.api.call import Items, Reply
from publisher.api.errors import not_found

if TYPE_CHECKING:
    from publisher.api.call import Call


async def list_canaries(call: Call) -> Reply:
    """List all that were published, the newest first."""
    asked, connection = call.query, call.connection
    newest = await documents.last(connection, Feed.CANARY)
    page = await documents.page(
        connection, Feed.CANARY, offset=asked.offset, size=asked.size, is_descending=asked.is_descending
    )
    items = [canary.summary(each, is_latest=each.number == newest) for each in page]
    return Reply(items=Items(items, await documents.count(connection, Feed.CANARY)))


async def read_canary(call: Call) -> Reply:
    """Show one."""
    number = call.path["sequence"]
    published = await documents.read(call.connection, Feed.CANARY, int(number)) if NUMBER.fullmatch(number) else None
    if published is None:
        raise not_found()
    newest = await documents.last(call.connection, Feed.CANARY)
    return Reply(item=canary.record(published, is_latest=published.number == newest))
