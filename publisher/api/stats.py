"""A webhook's own numbers, for its owner alone: what no metric may tell, because it would name a customer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from publisher import endpoints, stats
from publisher.api import models
from publisher.api.call import Reply

if TYPE_CHECKING:
    from publisher.api.call import Call

LONGEST = "week"


async def read(call: Call) -> Reply:
    """Show a webhook's numbers."""
    webhook_id = call.path["webhook_id"]
    await endpoints.read(call.connection, call.account, webhook_id)
    found = await stats.of_endpoint(call.connection, call.account, webhook_id, now=call.services.clock.now())
    longest = found.ended[LONGEST]
    shown = models.WebhookStats(
        webhook_id=webhook_id,
        ranges=[_range(ended) for ended in found.ended.values()],
        last_delivered_at=longest.last_delivered_at,
        last_dropped_at=longest.last_dropped_at,
        waiting=models.WaitingStats(
            pending=found.waiting["pending"], sending=found.waiting["leased"], retrying=found.waiting["retry"]
        ),
    )
    return Reply(item=shown.model_dump())


def _range(ended: stats.Ended) -> models.RangeStats:
    return models.RangeStats.model_validate(
        {
            "range": ended.range,
            "since": ended.since,
            "outcomes": ended.outcomes,
            "results": ended.results,
            "latency": dict(zip(models.Quantiles.model_fields, ended.seconds, strict=True)) if ended.seconds else None,
            "is_complete": ended.is_complete,
        }
    )
