"""All operations of the API in one table: what `app.py` routes, `openapi/` describes and the tests walk through."""

from __future__ import annotations

from feeds import canary_routes
from publisher.api import deliveries, incidents, models, peering, stats, transparency, transparency_models, webhooks
from publisher.api.call import Access, Listing, Mode, Operation
from publisher.delivery.egress import UrlFault
from publisher.profiles.model import Fault, LimitClass

READ, WRITE, AUTH = LimitClass.READ, LimitClass.WRITE, LimitClass.AUTH

WEBHOOKS = "/webhooks"
EVENT_TYPES = f"{WEBHOOKS}/event-types"
WEBHOOK = f"{WEBHOOKS}/{{webhook_id}}"
DELIVERIES = f"{WEBHOOK}/deliveries"
DELIVERY = f"{DELIVERIES}/{{delivery_id}}"
RECOVERIES = f"{WEBHOOK}/recoveries"
PEERING = "/transparency/peering"
INCIDENTS = "/transparency/incidents"

#: Why a URL cannot be an endpoint, as codes.
URL_CODES = tuple(f"url_{fault}" for fault in UrlFault)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="create_webhook", method="POST", path=WEBHOOKS, handler=webhooks.create,
        summary="Subscribe a URL to events.",
        description="The answer shows the secret that signs, this once.",
        access=Access.WRITE, counts_as=WRITE, mode=Mode.CHANGE, status=201,
        body=models.NewWebhook, item=models.WebhookCreated,
        faults=frozenset({Fault.CONFLICT}), codes=(*URL_CODES, "too_many_webhooks"),
    ),
    Operation(
        name="list_webhooks", method="GET", path=WEBHOOKS, handler=webhooks.list_all,
        summary="List webhooks, the oldest first.",
        access=Access.READ, counts_as=READ, mode=Mode.READ, item=models.Webhook,
        listing=Listing(filters=models.WebhookFilters, sorts=("created_at",)),
    ),
    Operation(
        name="list_event_types", method="GET", path=EVENT_TYPES, handler=webhooks.event_types,
        summary="List the events one can subscribe to, with schemas and examples.",
        access=Access.READ, counts_as=READ, mode=Mode.READ, item=models.EventType,
        listing=Listing(sorts=("type",)),
    ),
    Operation(
        name="get_webhook", method="GET", path=WEBHOOK, handler=webhooks.read,
        summary="Show a webhook.",
        access=Access.READ, counts_as=READ, mode=Mode.READ, item=models.WebhookDetail,
        faults=frozenset({Fault.NOT_FOUND}),
    ),
    Operation(
        name="update_webhook", method="PATCH", path=WEBHOOK, handler=webhooks.change,
        summary="Change, pause, resume or re-enable a webhook.",
        description="What is not named stays. What happens while a webhook is paused is not kept for it.",
        access=Access.WRITE, counts_as=WRITE, mode=Mode.CHANGE, body=models.WebhookChanges, item=models.WebhookDetail,
        faults=frozenset({Fault.NOT_FOUND}), codes=URL_CODES,
    ),
    Operation(
        name="delete_webhook", method="DELETE", path=WEBHOOK, handler=webhooks.remove,
        summary="Remove a webhook.",
        description="Deliveries that wait for it are cancelled.",
        access=Access.WRITE, counts_as=WRITE, mode=Mode.CHANGE, status=204,
        faults=frozenset({Fault.NOT_FOUND}),
    ),
    Operation(
        name="test_webhook", method="POST", path=f"{WEBHOOK}/test", handler=webhooks.test,
        summary="Send a signed `webhook.test` now and answer with the attempt's result.",
        description="The answer takes as long as the receiver, within the attempt's timeout. Tests are not in the log.",
        access=Access.WRITE, counts_as=WRITE, mode=Mode.REMOTE, item=models.TestResult,
        faults=frozenset({Fault.NOT_FOUND, Fault.CONFLICT}), codes=("test_under_way", "too_many_tests"),
    ),
    Operation(
        name="rotate_secret", method="POST", path=f"{WEBHOOK}/secret", handler=webhooks.rotate,
        summary="Give a webhook a new secret.",
        description="Old secrets sign beside it until the overlap ends. The answer shows the new one, this once.",
        access=Access.WRITE, counts_as=AUTH, mode=Mode.CHANGE, body=models.Rotation, is_body_optional=True,
        item=models.SecretRotated, faults=frozenset({Fault.NOT_FOUND}),
    ),
    Operation(
        name="get_webhook_stats", method="GET", path=f"{WEBHOOK}/stats", handler=stats.read,
        summary="Show how a webhook's deliveries ended lately, and how long they took.",
        access=Access.READ, counts_as=READ, mode=Mode.READ, item=models.WebhookStats,
        faults=frozenset({Fault.NOT_FOUND}),
    ),
    Operation(
        name="list_deliveries", method="GET", path=DELIVERIES, handler=deliveries.list_all,
        summary="List a webhook's deliveries, the newest first.",
        access=Access.READ, counts_as=READ, mode=Mode.READ, item=models.Delivery,
        listing=Listing(filters=models.DeliveryFilters, sorts=("-created_at", "created_at")),
        faults=frozenset({Fault.NOT_FOUND}),
    ),
    Operation(
        name="get_delivery", method="GET", path=DELIVERY, handler=deliveries.read,
        summary="Show a delivery with its attempts, what was sent and what came back.",
        access=Access.READ, counts_as=READ, mode=Mode.READ, item=models.DeliveryDetail,
        faults=frozenset({Fault.NOT_FOUND}),
    ),
    Operation(
        name="redeliver", method="POST", path=f"{DELIVERY}/redeliver", handler=deliveries.redeliver,
        summary="Send a delivery again, now.",
        access=Access.WRITE, counts_as=WRITE, mode=Mode.CHANGE, status=202, item=models.Redelivered,
        faults=frozenset({Fault.NOT_FOUND, Fault.CONFLICT}),
        codes=("delivery_under_way", "payload_expired", "webhook_inactive", "queue_full", "too_many_attempts"),
    ),
    Operation(
        name="recover", method="POST", path=f"{WEBHOOK}/recover", handler=deliveries.recover,
        summary="Send everything again that was not delivered in some time, each exactly once.",
        access=Access.WRITE, counts_as=WRITE, mode=Mode.CHANGE, status=202, body=models.NewRecovery,
        item=models.Recovery, faults=frozenset({Fault.NOT_FOUND, Fault.CONFLICT}),
        codes=("webhook_inactive", "recovery_running"),
    ),
    Operation(
        name="list_recoveries", method="GET", path=RECOVERIES, handler=deliveries.list_recoveries,
        summary="List a webhook's recoveries, the newest first.",
        access=Access.READ, counts_as=READ, mode=Mode.READ, item=models.Recovery, listing=Listing(),
        faults=frozenset({Fault.NOT_FOUND}),
    ),
    Operation(
        name="get_recovery", method="GET", path=f"{RECOVERIES}/{{recovery_id}}", handler=deliveries.read_recovery,
        summary="Show how far a recovery is.",
        access=Access.READ, counts_as=READ, mode=Mode.READ, item=models.Recovery,
        faults=frozenset({Fault.NOT_FOUND}),
    ),
    Operation(
        name="list_canaries", method="GET", path=canary_routes.HISTORY, handler=transparency.list_canaries,
        summary="List all warrant canaries that were published, the newest first.",
        access=Access.PUBLIC, counts_as=READ, mode=Mode.READ, item=transparency_models.CanarySummary,
        listing=Listing(sorts=("-number", "number")),
    ),
    Operation(
        name="get_canary_of_history", method="GET", path=f"{canary_routes.HISTORY}/{{sequence}}",
        handler=transparency.read_canary,
        summary="Show a warrant canary of the history, with what was signed.",
        description="It has no state: what it was worth is for its reader to judge. The statement that ended a canary "
        "for good has no sequence; it is the last by its number.",
        access=Access.PUBLIC, counts_as=READ, mode=Mode.READ, item=transparency_models.CanaryRecord,
        faults=frozenset({Fault.NOT_FOUND}),
    ),
    Operation(
        name="list_peering_prefixes", method="GET", path=f"{PEERING}/prefixes", handler=peering.list_prefixes,
        summary="List the prefixes of the peering record, by address.",
        description="As of now, as in the newest signed document. Asked for a prefix or an address, it answers with "
        "the prefix itself, with those within it, and with the longest announced one that covers it where it is not "
        "announced itself; the other filters narrow that down.",
        access=Access.PUBLIC, counts_as=READ, mode=Mode.MEMORY, item=peering.PeeringPrefix,
        listing=Listing(filters=peering.PrefixFilters, sorts=("prefix", "-prefix")),
        faults=frozenset({Fault.NOT_FOUND}),
    ),
    Operation(
        name="list_peering_changes", method="GET", path=f"{PEERING}/history", handler=peering.list_changes,
        summary="List changes of prefixes and sessions, the newest first.",
        description="A list of more than 10,000 is cut there: `until` leads on.",
        access=Access.PUBLIC, counts_as=READ, mode=Mode.READ, item=peering.PeeringEntry,
        listing=Listing(filters=peering.ChangeFilters, sorts=("-at", "at")),
    ),
    Operation(
        name="list_incidents", method="GET", path=INCIDENTS, handler=incidents.list_all,
        summary="List incidents and maintenance, with all updates.",
        description="From the newest signed document, which is at `incidents.json`.",
        access=Access.PUBLIC, counts_as=READ, mode=Mode.MEMORY, item=incidents.Reported,
        listing=Listing(filters=incidents.IncidentFilters, sorts=("-started_at", "started_at", "-updated_at")),
        faults=frozenset({Fault.NOT_FOUND}),
    ),
    Operation(
        name="get_incident", method="GET", path=f"{INCIDENTS}/{{incident_id}}", handler=incidents.read,
        summary="Show an incident or a maintenance, with all updates.",
        access=Access.PUBLIC, counts_as=READ, mode=Mode.MEMORY, item=incidents.Reported,
        faults=frozenset({Fault.NOT_FOUND}),
    ),
)  # fmt: skip
