"""What is on the topics beside the control plane's events: credentials, telemetry, dead letters, announcements."""

from __future__ import annotations

from typing import Any

from consumers import telemetry as telemetry_records
from consumers.credential_records import API_KEY, SESSION
from consumers.deadletters import HEADER
from consumers.decode import Reason
from consumers.telemetry import POLICIES, REPORT, STATUSES, WINDOW
from feeds import canary_reminders
from publisher import failures
from publisher.api import audit
from publisher.api.audit import Action
from publisher.asyncapi import parts
from publisher.asyncapi.parts import COUNT, MOMENT, TEXT, closed
from publisher.delivery.outcome import Result

Json = dict[str, Any]

SHA256: Json = {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"}
DIGITS: Json = {"type": "string", "pattern": "^-?[0-9]+$"}
RESULT: Json = {"enum": [*map(str, Result), None]}
WORD: Json = {"type": "string", "minLength": 1, "maxLength": telemetry_records.MAX_NAME_CHARS}
TOTAL: Json = {**COUNT, "maximum": telemetry_records.MAX_COUNT}


def credentials() -> dict[str, Json]:
    """Return the messages of the credentials' topic."""
    value = {
        "type": "object",
        "properties": {
            "kind": {"enum": [API_KEY, SESSION]},
            "account": parts.ACCOUNT_ID,
            "secret_sha256": {**SHA256, "description": "Of an API key's secret part, in hex. A session has none."},
            "scopes": {"type": "array", "items": TEXT, "maxItems": 256},
            "cidrs": {
                "type": "array",
                "items": TEXT,
                "maxItems": 256,
                "description": "Where it may be used from; anywhere when there is none.",
            },
            "client_cert_sha256": {
                "description": "SHA-256 of client certificates one of which is needed; none is when there is none.",
                "anyOf": [SHA256, {"type": "array", "items": SHA256, "maxItems": 256}],
            },
            "expires_at": MOMENT,
            "tier": TEXT,
            "audit": {"type": "boolean", "description": "Whether the account wants to know what is done with it."},
        },
        "required": ["kind", "account"],
        "if": {"properties": {"kind": {"const": API_KEY}}},
        "then": {"required": ["secret_sha256", "scopes"]},
    }
    example = {
        "kind": API_KEY,
        "account": parts.AN_ACCOUNT,
        "secret_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "scopes": ["read-only"],
        "cidrs": ["192.0.2.0/24"],
        "expires_at": "2027-11-01T00:00:00Z",
        "tier": "standard",
        "audit": False,
    }
    bindings = parts.key("The credential's id.")
    return {
        "credential": {
            "summary": "A credential as it is from now on.",
            "contentType": parts.JSON_TYPE,
            "payload": value,
            "bindings": bindings,
            "examples": [{"payload": example}],
        },
        "credential.revoked": {
            "summary": "A tombstone, a record without a value: the credential is revoked.",
            "payload": {"type": "null"},
            "bindings": bindings,
        },
    }


def telemetry() -> dict[str, Json]:
    """Return the messages of the compute API's telemetry."""
    window = parts.open_to_more(
        {
            "type": {"const": WINDOW},
            "policy": {"enum": POLICIES},
            "window_start": MOMENT,
            "window_seconds": {"type": "integer", "minimum": 1, "maximum": telemetry_records.MAX_WINDOW_SECONDS},
            "allowed": TOTAL,
            "limited": TOTAL,
            "instance": {
                "type": ["string", "null"],
                "minLength": 1,
                "maxLength": telemetry_records.MAX_NAME_CHARS,
                "description": "The process that counted; needed where there are several. Random, anew at each start.",
            },
        },
        optional=("instance",),
    )
    check = parts.open_to_more(
        {
            "name": WORD,
            "status": {**WORD, "description": "The compute API's word for it; it is not shown."},
            "observed_value": {"type": ["number", "null"]},
            "unit": {"type": ["string", "null"], "maxLength": telemetry_records.MAX_NAME_CHARS},
        },
        optional=("observed_value", "unit"),
    )
    report = parts.open_to_more(
        {
            "type": {"const": REPORT},
            "component": {**WORD, "description": "`<bastion>/<service>`, or `<service>` for what bastions share."},
            "status": {"enum": STATUSES},
            "checks": {"type": "array", "items": check, "maxItems": telemetry_records.MAX_CHECKS},
            "time": {**MOMENT, "description": "The latest report of a component is the one that holds."},
        },
        optional=("checks",),
    )
    return {
        WINDOW: {
            "summary": "How many requests a policy let through and turned away in a window.",
            "contentType": parts.JSON_TYPE,
            "payload": window,
            "examples": [
                {
                    "payload": {
                        "type": WINDOW,
                        "policy": "read",
                        "window_start": "2026-11-01T09:30:00Z",
                        "window_seconds": 60,
                        "allowed": 41_210,
                        "limited": 17,
                        "instance": "5f0c1a9be2d47386",
                    }
                }
            ],
        },
        REPORT: {
            "summary": "How a component is, and what was looked at.",
            "contentType": parts.JSON_TYPE,
            "payload": report,
            "examples": [
                {
                    "payload": {
                        "type": REPORT,
                        "component": "STO/compute",
                        "status": "operational",
                        "checks": [
                            {"name": "api_latency", "status": "operational", "observed_value": 41.5, "unit": "ms"}
                        ],
                        "time": "2026-11-01T09:30:00Z",
                    }
                }
            ],
        },
    }


def dead_letters() -> dict[str, Json]:
    """Return the message of the dead letters' topic."""
    required: Json = {
        "reason": {"enum": list(map(str, Reason))},
        "detail": {**TEXT, "description": "What was wrong and where, without the content."},
        "topic": {**TEXT, "description": "Where the record came from, with the next three."},
        "partition": DIGITS,
        "offset": DIGITS,
        "timestamp": {**DIGITS, "description": "Of the record, in milliseconds."},
    }
    optional: Json = {
        name: {**DIGITS, "description": "How large it was: it is cut, the record was too large for this topic."}
        for name in ("original-bytes", "original-key-bytes", "original-headers-bytes")
    }
    example = {
        "reason": str(Reason.SCHEMA),
        "detail": "data.balance_usd: Field required",
        "topic": "controlplane.events",
        "partition": "3",
        "offset": "184467",
        "timestamp": "1793525402000",
    }
    return {
        "deadletter": {
            "summary": "A record that could not be handled: its key, value and headers as they were, and why.",
            "headers": {
                "type": "object",
                "properties": {HEADER + name: schema for name, schema in (required | optional).items()},
                "required": [HEADER + name for name in required],
            },
            "bindings": parts.key("That of the record; there may be none."),
            "examples": [{"headers": {HEADER + name: value for name, value in example.items()}}],
        }
    }


def announcements() -> dict[str, Json]:
    """Return the messages this service produces."""
    disabled = closed(
        {
            "endpoint_id": TEXT,
            "reason": {"enum": [failures.GONE, "failing"], "description": "It said so itself, or failed for too long."},
            "failing_since": {"anyOf": [MOMENT, {"type": "null"}]},
            "dropped": {**COUNT, "description": "Deliveries dropped since then."},
            "last_result": RESULT,
        }
    )
    dropped = closed(
        {
            "endpoint_id": TEXT,
            "delivery_id": TEXT,
            "message_id": TEXT,
            "event_type": TEXT,
            "attempts": COUNT,
            "last_result": RESULT,
        }
    )
    audited = closed(
        {
            "action": {"enum": list(map(str, Action))},
            "endpoint_id": TEXT,
            "changed": {"type": "array", "items": TEXT, "description": "Names of fields; never their values."},
            "actor": closed({"kind": {"enum": [API_KEY, SESSION]}, "id": TEXT}),
            "request_id": TEXT,
            "at": MOMENT,
        }
    )
    webhook, delivery, message = (
        "we_019e2f6a5c009f1c3a7be04d52c86b1e",
        "dlv_019e30b2d4855b90ce13f8a72d6604e1",
        "msg_019e30b2d4808d27f65c0e91ab344f7d",
    )
    return {
        failures.DISABLED: _announcement(
            failures.DISABLED,
            "A webhook was disabled: its receiver said it is gone, or kept failing.",
            disabled,
            {
                "endpoint_id": webhook,
                "reason": failures.GONE,
                "failing_since": None,
                "dropped": 0,
                "last_result": str(Result.GONE),
            },
        ),
        failures.DROPPED: _announcement(
            failures.DROPPED,
            "A delivery was given up. It stays in the log, and can be sent again until retention ends.",
            dropped,
            {
                "endpoint_id": webhook,
                "delivery_id": delivery,
                "message_id": message,
                "event_type": "server.provisioned",
                "attempts": 4,
                "last_result": str(Result.TIMEOUT),
            },
        ),
        audit.TYPE: _announcement(
            audit.TYPE,
            "Somebody did something to a webhook, of an account that wants to know.",
            audited,
            {
                "action": str(Action.UPDATED),
                "endpoint_id": webhook,
                "changed": ["events"],
                "actor": {"kind": API_KEY, "id": "k7f3a1"},
                "request_id": "req_019e30b31f002ab48d5e07c9f1637be0",
                "at": "2026-11-01T09:30:00+00:00",
            },
        ),
        **_reminders(),
    }


def _reminders() -> dict[str, Json]:
    """Return what the operator is told of the warrant canary."""
    dates: dict[str, Json] = {
        "sequence": {"type": "integer", "minimum": 1},
        "next_due": {**MOMENT, "description": "From then on it is overdue."},
        "expires_at": {**MOMENT, "description": "From then on it is expired."},
    }
    left = {
        "enum": [days for days in canary_reminders.DAYS.values() if days],
        "description": "Which reminder it is: no more than so many days are left.",
    }
    example = {"sequence": 31, "next_due": "2026-12-01T00:00:00Z", "expires_at": "2026-12-08T00:00:00Z"}
    return {
        canary_reminders.DUE: _announcement(
            canary_reminders.DUE,
            "The next warrant canary is due soon. Once seven days before, once on the last day.",
            closed(dates | {"days_left": left}),
            example | {"days_left": 7},
            is_public=True,
        ),
        canary_reminders.OVERDUE: _announcement(
            canary_reminders.OVERDUE,
            "The next warrant canary should have come, and everyone can see that it has not. Once.",
            closed(dates),
            example,
            is_public=True,
        ),
    }


def _announcement(event_type: str, summary: str, data: Json, example: Json, *, is_public: bool = False) -> Json:
    account = None if is_public else parts.AN_ACCOUNT
    return {
        "name": event_type,
        "title": event_type,
        "summary": summary,
        "contentType": parts.CLOUD_EVENT,
        "headers": parts.structured_headers(),
        "payload": parts.envelope(event_type, data, has_account=not is_public),
        "bindings": parts.key(f"`{canary_reminders.KEY}`: there is no account." if is_public else "The account."),
        "examples": [parts.structured_example(event_type, account, example)],
    }
