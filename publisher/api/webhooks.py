"""Webhooks: made, listed, changed, removed, tested, given new secrets; and the events there are."""

from __future__ import annotations

import functools
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from consumers import catalogue
from publisher import deliveries, endpoints
from publisher.api import audit, models
from publisher.api.audit import Action
from publisher.api.call import Items, Reply
from publisher.api.errors import ApiError
from publisher.delivery.outcome import Result
from publisher.delivery.tester import NotTestedError, Refusal
from publisher.profiles.model import Fault
from publisher.subscriptions import check_filters

if TYPE_CHECKING:
    from publisher.api.call import Call
    from publisher.delivery.tester import Tested
    from publisher.endpoints import Details

#: Why a test is not made: fault, code, message.
REFUSALS = {
    Refusal.UNDER_WAY: (Fault.CONFLICT, "test_under_way", "A test of this webhook is under way: wait for its answer."),
    Refusal.TOO_MANY: (Fault.CONFLICT, "too_many_tests", "Too many tests of yours are under way: wait for one."),
    Refusal.BUSY: (Fault.UNAVAILABLE, "busy", "The service is busy. Try again."),
}
RETRY_AFTER = {"Retry-After": "2"}


async def create(call: Call) -> Reply:
    """Subscribe a URL."""
    body: models.NewWebhook = call.body
    profile = call.services.profile
    webhook_id, secret = await call.services.directory.register(
        call.connection,
        account=call.account,
        url=body.url,
        events=check_filters(body.events, profile.events.types),
        description=body.description,
        retries=body.retries,
        window=body.window,
        algorithm=body.algorithm,
        most=profile.limits.tier(call.caller.tier).webhooks,
    )
    await audit.note(call.connection, call, Action.CREATED, webhook_id, changed=body.model_fields_set)
    detail = await _detail(call, await endpoints.read(call.connection, call.account, webhook_id))
    created = models.WebhookCreated(**dict(detail), secret=secret)
    return Reply(item=created.model_dump(), location=f"/webhooks/{webhook_id}")


async def list_all(call: Call) -> Reply:
    """List the account's webhooks, the oldest first."""
    asked, filters = call.query, call.query.filters or models.WebhookFilters()
    assert isinstance(filters, models.WebhookFilters)  # noqa: S101 - the operation's
    listed = await endpoints.list_of(
        call.connection,
        call.account,
        status=filters.status,
        newest_first=asked.is_descending,
        offset=asked.offset,
        limit=asked.size,
    )
    return Reply(items=Items([_webhook(each).model_dump() for each in listed.endpoints], listed.total))


async def read(call: Call) -> Reply:
    """Show one."""
    details = await endpoints.read(call.connection, call.account, call.path["webhook_id"])
    return Reply(item=(await _detail(call, details)).model_dump())


async def change(call: Call) -> Reply:
    """Change, pause, resume or re-enable one."""
    body: models.WebhookChanges = call.body
    webhook_id = call.path["webhook_id"]
    changes: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set}
    if "events" in changes:
        changes["events"] = check_filters(changes["events"], call.services.profile.events.types)
    details = await call.services.directory.update(call.connection, call.account, webhook_id, **changes)
    if changes:
        await audit.note(call.connection, call, Action.UPDATED, webhook_id, changed=changes)
    return Reply(item=(await _detail(call, details)).model_dump())


async def remove(call: Call) -> Reply:
    """Remove one; what waits for it is cancelled."""
    webhook_id = call.path["webhook_id"]
    cancelled = await deliveries.delete_endpoint(call.connection, call.account, webhook_id)
    await audit.note(call.connection, call, Action.DELETED, webhook_id)
    count = call.services.on_cancelled
    call.afterwards += [functools.partial(count, event_type, number) for event_type, number in cancelled.items()]
    return Reply()


async def test(call: Call) -> Reply:
    """Send a signed `webhook.test` now; answer with what became of it."""
    services, webhook_id = call.services, call.path["webhook_id"]
    async with services.connections.acquire(call.account) as connection:
        endpoint = await services.directory.of_owner(connection, call.account, webhook_id)
    try:
        tested = await services.tester.test(endpoint)
    except NotTestedError as error:
        fault, code, message = REFUSALS[error.refusal]
        raise ApiError(fault, code, message, headers=RETRY_AFTER) from None
    if call.caller.is_audited:
        async with services.connections.transaction(call.account) as connection:
            await audit.note(connection, call, Action.TESTED, webhook_id)
    return Reply(item=_tested(tested).model_dump())


async def rotate(call: Call) -> Reply:
    """Give one a new secret."""
    body: models.Rotation = call.body
    webhook_id, directory = call.path["webhook_id"], call.services.directory
    overlap = directory.overlap if body.overlap is None else body.overlap
    secret = await directory.rotate(call.connection, call.account, webhook_id, overlap=overlap)
    await audit.note(call.connection, call, Action.SECRET_ROTATED, webhook_id)
    public_keys = await endpoints.public_keys(call.connection, call.account, webhook_id)
    rotated = models.SecretRotated(id=webhook_id, secret=secret, public_keys=public_keys, overlap=overlap)
    return Reply(item=rotated.model_dump())


async def event_types(call: Call) -> Reply:
    """List the events there are."""
    asked = call.query
    types = _event_types(call.services.profile.events.types)
    chosen = types[::-1] if asked.is_descending else types
    return Reply(items=Items(chosen[asked.offset : asked.offset + asked.size], len(types)))


# --- what they look like --------------------------------------------------------------------------------------------


def _webhook(details: Details) -> models.Webhook:
    return models.Webhook.model_validate(details)


async def _detail(call: Call, details: Details) -> models.WebhookDetail:
    public_keys = await endpoints.public_keys(call.connection, call.account, details.id)
    return models.WebhookDetail(**dict(_webhook(details)), public_keys=public_keys)


def _tested(tested: Tested) -> models.TestResult:
    return models.TestResult(
        id=tested.message_id,
        delivery_id=tested.delivery_id,
        result=tested.result,
        is_success=tested.result is Result.OK,
        status_code=tested.status,
        duration_ms=tested.duration_ms,
        attempted_at=tested.attempted_at,
        request_headers=dict(tested.headers) if tested.headers else None,
        request_body=tested.body.decode(),
        response_body=tested.response,
    )


@functools.lru_cache(maxsize=4)  # schemas are dear to make, and a process has one profile
def _event_types(types: tuple[str, ...]) -> tuple[dict[str, Any], ...]:
    """Return the types by name."""
    made = []
    for event_type in types:
        model = catalogue.CATALOGUE[event_type]
        shown = {
            "type": event_type,
            "description": model.MEANING,
            "is_public": model.IS_PUBLIC,
            "schema": catalogue.schema(event_type),
            "example": model.EXAMPLE,
        }
        made.append(models.EventType.model_validate(shown).model_dump(by_alias=True))
    return tuple(sorted(made, key=itemgetter("type")))
