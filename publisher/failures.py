"""What follows from failure, in the transaction that records it.

A delivery that is dropped is announced. An endpoint that answers 410 is disabled; so is one without a single
success for `disable_after` seconds in which at least `disable_dropped` deliveries were dropped: density, not one
exhausted event. The control plane hears of both and can write to the customer. This file decides nothing else and
owns no table: endpoints keep how they are doing, announcements wait in the outbox.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from consumers.announcements import Announcement, announce
from publisher import endpoint_failures
from publisher.deliveries import Dropped
from publisher.delivery.outcome import Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from publisher.endpoint_failures import Disabled
    from publisher.queue import Recorded
    from runtime.database import Connection, Pool

logger = logging.getLogger(__name__)

DROPPED, DISABLED = "webhook.delivery.dropped", "webhook.disabled"
GONE = "gone"


async def follow(connection: Connection, recorded: Sequence[Recorded]) -> None:
    """Note failures and successes, announce what was dropped, disable what is gone."""
    failed = [each for each in recorded if each.finished.result is not Result.OK]
    theirs = [each for each in failed if each.finished.result is not Result.INTERNAL]  # no customer pays for our faults
    drops = Counter(each.endpoint_id for each in theirs if each.finished.state == "dropped")
    last = {each.endpoint_id: str(each.finished.result) for each in theirs}
    await endpoint_failures.note_results(
        connection,
        [(endpoint_id, drops[endpoint_id], result) for endpoint_id, result in last.items()],
        {each.endpoint_id for each in recorded if each.finished.result is Result.OK},
    )
    said = _dropped(_as_dropped(each) for each in failed if each.finished.state == "dropped")
    gone = sorted({each.endpoint_id for each in failed if each.finished.result is Result.GONE})
    if gone:
        said += _disabled(await endpoint_failures.disable(connection, gone, GONE))
    if said:
        await announce(connection, said)


async def announce_dropped(connection: Connection, dropped: Iterable[Dropped]) -> None:
    """Announce what the operator gave up."""
    await announce(connection, _dropped(dropped))


async def disable_failing(pool: Pool, *, after: float, dropped: int) -> None:
    """Disable and announce endpoints that have been failing for `after` seconds with `dropped` deliveries dropped."""
    async with pool.acquire() as connection, connection.transaction():
        disabled = await endpoint_failures.disable_failing(connection, after_seconds=after, dropped=dropped)
        if disabled:
            await announce(connection, _disabled(disabled))


def _as_dropped(each: Recorded) -> Dropped:
    done = each.finished
    return Dropped(
        each.account, each.delivery_id, each.endpoint_id, each.message_id, each.type, done.number, str(done.result)
    )


def _dropped(deliveries: Iterable[Dropped]) -> list[Announcement]:
    return [
        Announcement(
            DROPPED,
            each.account,
            each.account,
            {
                "endpoint_id": each.endpoint_id,
                "delivery_id": each.delivery_id,
                "message_id": each.message_id,
                "event_type": each.type,
                "attempts": each.attempts,
                "last_result": each.last_result,
            },
        )
        for each in deliveries
    ]


def _disabled(endpoints_: Iterable[Disabled]) -> list[Announcement]:
    said = []
    for each in endpoints_:
        logger.warning("endpoint %s is disabled (%s)", each.id, each.reason)
        said.append(
            Announcement(
                DISABLED,
                each.account_id,
                each.account_id,
                {
                    "endpoint_id": each.id,
                    "reason": each.reason,
                    "failing_since": each.failing_since.isoformat() if each.failing_since else None,
                    "dropped": each.dropped,
                    "last_result": each.last_result,
                },
            )
        )
    return said
