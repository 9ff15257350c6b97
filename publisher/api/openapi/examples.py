"""An example for every body of the API, in and out: one customer's story, so that ids agree from one to the next.

The tests hold each against its model and its schema.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from consumers import catalogue
from consumers.events import ServerProvisioned
from feeds import canary
from feeds.documents import Published, Signature
from publisher.api import incidents, models, peering, transparency_models
from publisher.api.openapi import feed_examples
from publisher.delivery.headers import fixed, of_attempt
from signer.statement import Affirmation, Block, Document, Freshness, Headline, Statement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

Json = dict[str, Any]

WEBHOOK_ID = "we_019e2f6a5c009f1c3a7be04d52c86b1e"
MESSAGE_ID = "msg_019e30b2d4808d27f65c0e91ab344f7d"
DELIVERY_ID = "dlv_019e30b2d4855b90ce13f8a72d6604e1"
RECOVERY_ID = "rcv_019e31c07a10e6d2894fb75a3c10d8f2"
REQUEST_ID = "req_019e30b31f002ab48d5e07c9f1637be0"
INCIDENT_ID = incidents.EXAMPLE["id"]
TRACE = "2026-11-01T09:30:02.184000Z"
STATS: Json = {
    "webhook_id": WEBHOOK_ID,
    "ranges": [
        {
            "range": "hour",
            "since": "2026-11-01T08:30:03Z",
            "outcomes": {"delivered": 1, "dropped": 0, "cancelled": 0},
            "results": {"2xx": 1},
            "latency": {"p50": 0.271, "p95": 0.271, "p99": 0.271},
            "is_complete": True,
        },
        {
            "range": "day",
            "since": "2026-10-31T09:30:03Z",
            "outcomes": {"delivered": 212, "dropped": 0, "cancelled": 0},
            "results": {"2xx": 212},
            "latency": {"p50": 0.094, "p95": 0.31, "p99": 61.7},
            "is_complete": True,
        },
        {
            "range": "week",
            "since": "2026-10-25T09:30:03Z",
            "outcomes": {"delivered": 1480, "dropped": 3, "cancelled": 0},
            "results": {"2xx": 1480, "timeout": 3},
            "latency": {"p50": 0.096, "p95": 0.34, "p99": 418.2},
            "is_complete": True,
        },
    ],
    "last_delivered_at": "2026-11-01T09:30:02.271000Z",
    "last_dropped_at": "2026-10-28T03:12:44.905000Z",
    "waiting": {"pending": 0, "sending": 0, "retrying": 1},
}
#: Of no use: 32 bytes that count from 0.
SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # noqa: S105 - see above
SIGNATURE = "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="
TIMESTAMP = 1_793_525_402
AGENT = "Heliograph/1 (+https://api.example.com)"
SIGNER = "6F3C0A9D52E81B47C0D3A9F8E4B7251D9C6E80F3"
#: Of no use: what gpg would have between these lines.
ARMORED = "-----BEGIN PGP SIGNATURE-----\n\niHUEABYKAB0WIQRvPAqdUugbR8DTqfjktyUdnG6A8wU=\n-----END PGP SIGNATURE-----\n"
CANARY = Document.of(
    Statement(
        provider="Example Hosting",
        scope="All services of Example Hosting",
        jurisdictions=("FI", "SE"),
        statements=(Affirmation(id="gag-orders", text="We are under no gag order."),),
        sequence=1,
        previous_sha256=None,
        issued_at=datetime(2026, 11, 1, 8, tzinfo=UTC),
        next_due=datetime(2026, 12, 1, tzinfo=UTC),
        expires_at=datetime(2026, 12, 8, tzinfo=UTC),
        signers=(SIGNER,),
        threshold=1,
        freshness=Freshness(
            block=Block(height=921_000, hash=f"{'0' * 19}1d2c5a7f7f9c1e8b3a46d05bb2f91e7c8a60d4e3f5b21"),
            headlines=(Headline(source="Example Times", title="Rain expected in the north"),),
        ),
    )
)


def message(event_type: str, data: Mapping[str, Any]) -> Json:
    """Return the body of a webhook."""
    return {
        "id": MESSAGE_ID,
        "type": event_type,
        "timestamp": "2026-11-01T09:30:00Z",
        "sequence": 3,
        "data": dict(data),
    }


def sent_headers(event_type: str, prefix: str) -> dict[str, str]:
    """Return the headers of a webhook, `prefix` being the provider's."""
    return fixed(AGENT) | of_attempt(
        message_id=MESSAGE_ID,
        event_type=event_type,
        delivery_id=DELIVERY_ID,
        attempt=1,
        timestamp=TIMESTAMP,
        signature=SIGNATURE,
        prefix=prefix,
    )


def of_models(prefix: str, test: Json) -> dict[type[BaseModel], Json]:
    """Return an example for each model; `prefix` begins the provider's headers, `test` is the body of a test."""
    provisioned = ServerProvisioned.TYPE
    webhook = {
        "id": WEBHOOK_ID,
        "url": "https://example.com/hooks",
        "events": ["server.*", "topup.confirmed"],
        "description": "Provisioning bot",
        "status": "active",
        "disabled_reason": None,
        "algorithm": "hmac-sha256",
        "retries": None,
        "window": None,
        "failing_since": None,
        "dropped": 0,
        "last_result": "2xx",
        "created_at": "2026-11-01T08:00:00Z",
        "updated_at": "2026-11-01T08:00:00Z",
    }
    detail = webhook | {"public_keys": []}
    attempt = {
        "number": 1,
        "attempted_at": TRACE,
        "result": "2xx",
        "status_code": 204,
        "duration_ms": 87,
        "request_headers": sent_headers(provisioned, prefix),
        "response_body": "",
    }
    delivery = {
        "id": DELIVERY_ID,
        "webhook_id": WEBHOOK_ID,
        "message_id": MESSAGE_ID,
        "type": provisioned,
        "status": "delivered",
        "reason": None,
        "attempts": 1,
        "last_result": "2xx",
        "next_attempt_at": None,
        "created_at": "2026-11-01T09:30:02Z",
        "ended_at": "2026-11-01T09:30:02.271000Z",
    }
    return {
        models.NewWebhook: {
            "url": webhook["url"],
            "events": webhook["events"],
            "description": webhook["description"],
        },
        models.WebhookChanges: {"events": ["*"], "status": "paused"},
        models.Rotation: {"overlap": 3600},
        models.NewRecovery: {"since": "2026-11-01T00:00:00Z", "status": "dropped"},
        models.Webhook: webhook,
        models.WebhookDetail: detail,
        models.WebhookCreated: detail | {"secret": SECRET, "last_result": None},
        models.SecretRotated: {"id": WEBHOOK_ID, "secret": SECRET, "public_keys": [], "overlap": 86400.0},
        models.TestResult: {
            "id": MESSAGE_ID,
            "delivery_id": DELIVERY_ID,
            "result": "2xx",
            "is_success": True,
            "status_code": 204,
            "duration_ms": 87,
            "attempted_at": TRACE,
            "request_headers": sent_headers(test["type"], prefix),
            "request_body": _text(test),
            "response_body": "",
        },
        models.Delivery: delivery,
        models.DeliveryDetail: delivery
        | {
            "request_body": _text(message(provisioned, ServerProvisioned.EXAMPLE)),
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "attempt_log": [attempt],
        },
        models.Redelivered: {"id": DELIVERY_ID, "webhook_id": WEBHOOK_ID, "status": "pending"},
        models.Recovery: {
            "id": RECOVERY_ID,
            "webhook_id": WEBHOOK_ID,
            "since": "2026-11-01T00:00:00Z",
            "until": "2026-11-02T00:00:00Z",
            "statuses": ["dropped"],
            "state": "running",
            "queued": 128,
            "expired": 0,
            "created_at": "2026-11-02T00:00:00Z",
            "ended_at": None,
        },
        models.EventType: {
            "type": provisioned,
            "description": ServerProvisioned.MEANING,
            "is_public": ServerProvisioned.IS_PUBLIC,
            "schema": catalogue.schema(provisioned),
            "example": ServerProvisioned.EXAMPLE,
        },
        models.WebhookStats: STATS,
        **peering.EXAMPLES,
        incidents.Reported: incidents.EXAMPLE,
        **feed_examples.DOCUMENTS,
        **_canaries(),
    }


def _canaries() -> dict[type[BaseModel], Json]:
    published = Published(
        number=1,
        content=CANARY.content,
        sha256=CANARY.sha256,
        published_at=datetime(2026, 11, 1, 9, 12, 40, tzinfo=UTC),
        signatures=(Signature(SIGNER, ARMORED.encode()),),
    )
    summary, record = (make(published, is_latest=True) for make in (canary.summary, canary.record))
    view = {key: value for key, value in record.items() if key in transparency_models.Canary.model_fields}
    return {
        transparency_models.CanarySummary: summary,
        transparency_models.CanaryRecord: record,
        transparency_models.Canary: view
        | {
            "state": "current",
            "state_until": "2026-11-24T00:00:00Z",
            "retirement": None,
            "faults": [],
            "history_url": "https://api.example.com/v1/transparency/canary/history",
        },
    }


def _text(body: Json) -> str:
    return orjson.dumps(body).decode()
