"""The bodies of the API, in and out: validation, serialisation and documentation come from these."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from consumers.catalogue import CATALOGUE
from publisher.delivery.outcome import Result
from publisher.log import LOOKED_AT
from publisher.subscriptions import MAX_DESCRIPTION, MAX_FILTERS, MAX_OVERLAP

Status = Literal["active", "paused", "disabled"]
#: How a delivery stands, in a customer's words; `publisher/api/deliveries.py` maps the queue's.
DeliveryStatus = Literal["pending", "sending", "retrying", "delivered", "dropped", "cancelled"]
Algorithm = Literal["hmac-sha256", "ed25519"]
Text = Annotated[str, Field(max_length=MAX_DESCRIPTION)]
Filters = Annotated[list[str], Field(min_length=1, max_length=MAX_FILTERS)]


def _known_type(value: str) -> str:
    if value not in CATALOGUE:
        raise ValueError("must be an event type")
    return value


def _unset() -> Any:  # noqa: ANN401 - stands in for a value of any type, and is none
    return None


KnownType = Annotated[str, AfterValidator(_known_type), Field(json_schema_extra={"enum": list(CATALOGUE)})]


class In(BaseModel):
    """What a caller sends: nothing but what is named here."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Out(BaseModel):
    """What we answer."""

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)


# --- webhooks -------------------------------------------------------------------------------------------------------


class NewWebhook(In):
    """A subscription."""

    url: Annotated[
        str, Field(description="Where to deliver; https, on port 443 or 8443.", examples=["https://example.com/hooks"])
    ]
    events: Annotated[
        Filters, Field(description="Event types, `server.*` or `*`.", examples=[["server.*", "topup.confirmed"]])
    ]
    description: Annotated[Text, Field(description="A note for people.")] = ""
    algorithm: Annotated[Algorithm, Field(description="`ed25519` adds a public-key signature.")] = "hmac-sha256"
    retries: Annotated[int | None, Field(description="Attempts after the first; null follows the service.")] = None
    window: Annotated[
        int | None, Field(description="Seconds within which the last attempt ends; null follows the service.")
    ] = None


class WebhookChanges(In):
    """What may be changed; what is not named stays. `status` pauses, resumes and re-enables."""

    # A default of null would allow null, in what is checked and in what is documented: a field that is not named is
    # not in `model_fields_set`, and its value means nothing.
    url: str = Field(default_factory=_unset)
    events: Filters = Field(default_factory=_unset)
    description: Text = Field(default_factory=_unset)
    status: Literal["active", "paused"] = Field(default_factory=_unset)
    retries: int | None = Field(default_factory=_unset, description="Null follows the service.")
    window: int | None = Field(default_factory=_unset, description="Seconds; null follows the service.")


class Rotation(In):
    """How long the old secrets go on signing beside the new one."""

    overlap: Annotated[float | None, Field(ge=0, le=MAX_OVERLAP, description="Seconds; null follows the service.")] = (
        None
    )


class Webhook(Out):
    """A subscription as its owner sees it."""

    id: str
    url: str
    events: list[str]
    description: str
    status: Status
    disabled_reason: str | None
    algorithm: Algorithm
    retries: int | None
    window: int | None
    failing_since: datetime | None
    dropped: int
    last_result: Result | None
    created_at: datetime
    updated_at: datetime


class WebhookDetail(Webhook):
    """A subscription with the public keys its signatures can be verified with."""

    public_keys: list[str]


class WebhookCreated(WebhookDetail):
    """A new subscription; `secret` is shown this once."""

    secret: str


class SecretRotated(Out):
    """The new secret, shown this once."""

    id: str
    secret: str
    public_keys: list[str]
    overlap: float


class WebhookFilters(In):
    """What webhooks may be filtered by."""

    status: Status | None = None


class TestResult(Out):
    """What became of a test: one attempt, as it was made."""

    id: Annotated[str, Field(description="`webhook-id` of the message.")]
    delivery_id: str
    result: Result
    is_success: bool
    status_code: int | None
    duration_ms: int
    attempted_at: datetime
    request_headers: Annotated[
        dict[str, str] | None, Field(description="Without `host` and `content-length`; null if nothing was sent.")
    ]
    request_body: Annotated[str, Field(description="The exact text that was sent, JSON, as the signature covers it.")]
    response_body: Annotated[str | None, Field(description="The beginning of what came back.")]


# --- deliveries -----------------------------------------------------------------------------------------------------


class Delivery(Out):
    """A delivery in the customer's own log."""

    id: str
    webhook_id: str
    message_id: str
    type: str
    status: DeliveryStatus
    reason: str | None
    attempts: int
    last_result: Result | None
    next_attempt_at: datetime | None
    created_at: datetime
    ended_at: datetime | None


class Attempt(Out):
    """A request that was made and what came back."""

    number: int
    attempted_at: datetime
    result: Result
    status_code: int | None
    duration_ms: int
    request_headers: dict[str, str] | None
    response_body: str | None


class DeliveryDetail(Delivery):
    """A delivery with every attempt."""

    request_body: Annotated[
        str | None,
        Field(
            description="The exact text each attempt sent, JSON, as the signature covers it; null once retention has "
            "taken it."
        ),
    ]
    trace_id: Annotated[
        str | None,
        Field(
            description="What to quote when you ask us about this delivery, 32 hex digits; null once retention has "
            "taken the message.",
            examples=["4bf92f3577b34da6a3ce929d0e0e4736"],
        ),
    ]
    attempt_log: list[Attempt]


class DeliveryFilters(In):
    """What deliveries may be filtered by; `since` and `until` are times of their making, both included."""

    status: DeliveryStatus | None = None
    type: KnownType | None = None
    result: Result | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None


class NewRecovery(In):
    """What is to be sent again: everything not delivered that was made from `since` to `until` (now)."""

    since: AwareDatetime
    until: AwareDatetime | None = None
    status: Literal["dropped", "cancelled"] | None = None


class Recovery(Out):
    """A recovery and how far it is."""

    id: str
    webhook_id: str
    since: datetime
    until: datetime
    statuses: list[str]
    state: Literal["running", "done", "stopped"]
    queued: int
    expired: int
    created_at: datetime
    ended_at: datetime | None


class Redelivered(Out):
    """A delivery that is sent again."""

    id: str
    webhook_id: str
    status: DeliveryStatus


# --- numbers --------------------------------------------------------------------------------------------------------

Count = Annotated[int, Field(ge=0)]
#: A key of an object is a plain string.
ResultName = Annotated[str, Field(json_schema_extra={"enum": list(Result)})]
Seconds = Annotated[float, Field(ge=0)]


class Outcomes(Out):
    """How many deliveries ended how."""

    delivered: Count
    dropped: Count
    cancelled: Count


class Quantiles(Out):
    """How long half of the deliveries took at most, and 95 and 99 of a hundred, in seconds."""

    p50: Seconds
    p95: Seconds
    p99: Seconds


class RangeStats(Out):
    """What was made since then and has ended."""

    range: Literal["hour", "day", "week"]
    since: datetime
    outcomes: Outcomes
    results: Annotated[
        dict[ResultName, Count],
        Field(description="By the result of each one's last attempt; none where none was made."),
    ]
    latency: Annotated[
        Quantiles | None,
        Field(description="From the making of a delivery to its success, retries included; null where none arrived."),
    ]
    is_complete: Annotated[
        bool, Field(description=f"False where there are more than {LOOKED_AT:,}: these are the newest.")
    ]


class WaitingStats(Out):
    """How many deliveries have not ended."""

    pending: Count
    sending: Count
    retrying: Count


class WebhookStats(Out):
    """A webhook's deliveries, counted."""

    webhook_id: str
    ranges: list[RangeStats]
    last_delivered_at: Annotated[
        datetime | None, Field(description="Of what was made within the longest range; null where nothing arrived.")
    ]
    last_dropped_at: Annotated[datetime | None, Field(description="As above, of what was given up.")]
    waiting: Annotated[WaitingStats, Field(description=f"{LOOKED_AT:,} in all at most.")]


# --- event types ----------------------------------------------------------------------------------------------------


class EventType(Out):
    """An event one can subscribe to: the schema and an example of its `data`."""

    type: str
    description: str
    is_public: bool
    json_schema: Annotated[dict[str, Any], Field(alias="schema", serialization_alias="schema")]
    example: dict[str, Any]
