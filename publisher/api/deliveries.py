"""The customer's own log: deliveries listed and shown whole, sent again one by one or all that were missed."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, get_args

from publisher import deliveries, endpoints, ids, log, recovery
from publisher.api import audit, models
from publisher.api.audit import Action
from publisher.api.call import Items, Reply
from publisher.api.errors import ApiError, not_found
from publisher.deliveries import Redelivery
from publisher.profiles.model import Fault

if TYPE_CHECKING:
    from publisher.api.call import Call

#: The queue's states in a customer's words; what is not among them is called the same.
WORDS: dict[str, models.DeliveryStatus] = {"leased": "sending", "retry": "retrying"}
STATES = {status: status for status in get_args(models.DeliveryStatus)} | {word: state for state, word in WORDS.items()}
#: Why a delivery is not sent again: code and message.
REFUSALS = {
    Redelivery.UNDER_WAY: ("delivery_under_way", "This delivery is being attempted at this moment."),
    Redelivery.EXPIRED: ("payload_expired", "What this delivery sent is not kept any more."),
    Redelivery.ENDPOINT_INACTIVE: ("webhook_inactive", "The webhook is paused or disabled: enable it first."),
    Redelivery.QUEUE_FULL: ("queue_full", "Too many deliveries of your account wait: try again when some have ended."),
    Redelivery.TOO_MANY_ATTEMPTS: ("too_many_attempts", "This delivery has been attempted as often as may be."),
}


async def list_all(call: Call) -> Reply:
    """List a webhook's deliveries, the newest first."""
    webhook_id = call.path["webhook_id"]
    await endpoints.read(call.connection, call.account, webhook_id)
    asked, filters = call.query, call.query.filters or models.DeliveryFilters()
    assert isinstance(filters, models.DeliveryFilters)  # noqa: S101 - the operation's
    page = await log.list_deliveries(
        call.connection,
        call.account,
        webhook_id,
        filters=log.Filters(
            states=None if filters.status is None else [STATES[filters.status]],
            type=filters.type,
            since=filters.since,
            until=filters.until,
            last_result=filters.result,
        ),
        offset=asked.offset,
        limit=asked.size,
        oldest_first=not asked.is_descending,
    )
    anchor = {}
    if asked.is_descending and page.newest is not None:  # what comes while somebody leafs through comes before it
        moment = log.EPOCH + timedelta(milliseconds=ids.milliseconds(page.newest))
        anchor["until"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    shown = [_delivery(each).model_dump() for each in page.deliveries]
    return Reply(items=Items(shown, page.total, page.is_complete, anchor))


async def read(call: Call) -> Reply:
    """Show one with its attempts."""
    webhook_id = call.path["webhook_id"]
    await endpoints.read(call.connection, call.account, webhook_id)
    prefix = call.services.profile.headers.webhook_prefix
    whole = await log.read_delivery(
        call.connection, call.account, webhook_id, call.path["delivery_id"], header_prefix=prefix
    )
    if whole is None:
        raise not_found()
    shown = models.DeliveryDetail(
        **dict(_delivery(whole.delivery)),
        request_body=None if whole.body is None else whole.body.decode(),
        trace_id=whole.trace_id,
        attempt_log=[_attempt(each) for each in whole.attempts],
    )
    return Reply(item=shown.model_dump())


async def redeliver(call: Call) -> Reply:
    """Send one again, now."""
    webhook_id, delivery_id = call.path["webhook_id"], call.path["delivery_id"]
    verdict = await deliveries.redeliver(call.connection, call.account, webhook_id, delivery_id)
    if verdict is Redelivery.NOT_FOUND:
        raise not_found()
    if verdict is not Redelivery.QUEUED:
        raise ApiError(Fault.CONFLICT, *REFUSALS[verdict])
    await audit.note(call.connection, call, Action.REDELIVERED, webhook_id)
    owned = await deliveries.owned(call.connection, delivery_id)
    assert owned is not None  # noqa: S101 - this transaction has just moved it
    shown = models.Redelivered(id=delivery_id, webhook_id=webhook_id, status=_status(owned.state))
    return Reply(item=shown.model_dump())


async def recover(call: Call) -> Reply:
    """Send everything again that was not delivered in some time."""
    body: models.NewRecovery = call.body
    webhook_id = call.path["webhook_id"]
    recovery_id = await recovery.start(
        call.connection,
        call.services.ids,
        call.account,
        webhook_id,
        since=body.since,
        until=body.until,
        states=recovery.STATES if body.status is None else (body.status,),
    )
    await audit.note(call.connection, call, Action.RECOVERY_STARTED, webhook_id)
    return Reply(item=await _recovery(call, recovery_id), location=f"/webhooks/{webhook_id}/recoveries/{recovery_id}")


async def list_recoveries(call: Call) -> Reply:
    """List a webhook's recoveries, the newest first."""
    webhook_id, asked = call.path["webhook_id"], call.query
    await endpoints.read(call.connection, call.account, webhook_id)
    listed = await recovery.list_of(call.connection, call.account, webhook_id)
    page = [_shown(each) for each in listed[asked.offset : asked.offset + asked.size]]
    return Reply(items=Items(page, len(listed), is_complete=len(listed) < recovery.LISTED))


async def read_recovery(call: Call) -> Reply:
    """Show how far a recovery is."""
    await endpoints.read(call.connection, call.account, call.path["webhook_id"])
    return Reply(item=await _recovery(call, call.path["recovery_id"]))


# --- what they look like --------------------------------------------------------------------------------------------


def _status(state: str) -> models.DeliveryStatus:
    return WORDS.get(state) or state  # type: ignore[return-value]  # the rest are called the same: see the tests


def _delivery(delivery: log.Delivery) -> models.Delivery:
    fields: dict[str, Any] = asdict(delivery)
    del fields["first_try_at"]  # of its present schedule, which is our business
    state, webhook_id = fields.pop("state"), fields.pop("endpoint_id")
    return models.Delivery(**fields, status=_status(state), webhook_id=webhook_id)


def _attempt(attempt: log.Attempt) -> models.Attempt:
    return models.Attempt(
        number=attempt.number,
        attempted_at=attempt.attempted_at,
        result=attempt.result,
        status_code=attempt.status,
        duration_ms=attempt.duration_ms,
        request_headers=None if attempt.headers is None else dict(attempt.headers),
        response_body=attempt.response,
    )


async def _recovery(call: Call, recovery_id: str) -> dict[str, Any]:
    found = await recovery.read(call.connection, call.account, call.path["webhook_id"], recovery_id)
    if found is None:
        raise not_found()
    return _shown(found)


def _shown(found: recovery.Recovery) -> dict[str, Any]:
    fields: dict[str, Any] = asdict(found)
    statuses, webhook_id = fields.pop("states"), fields.pop("endpoint_id")
    return models.Recovery(**fields, statuses=list(statuses), webhook_id=webhook_id).model_dump()
