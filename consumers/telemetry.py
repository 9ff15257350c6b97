"""A record of the compute API's telemetry -> what it says, or why it says nothing. Pure: `now` is passed in.

Records are plain JSON without ids, so one that comes twice cannot be told from two: whoever handles them makes sure
that it does not matter. Unknown members are ignored. What is too long, not finite or not yet possible is a dead letter,
because all of it is kept, and some of it shown to everybody.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import msgspec
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from consumers.decode import MAX_RECORD_BYTES, InvalidRecordError, Reason, describe, first_line, schema_reason

if TYPE_CHECKING:
    from consumers.decode import Record

WINDOW, REPORT = "ratelimit.window", "health.report"
TYPES = (WINDOW, REPORT)
#: How far a producer's clock may be ahead. The latest report of a component counts, so one from the future would hide
#: all that come before its time.
MAX_AHEAD = timedelta(minutes=5)
MAX_NAME_CHARS, MAX_CHECKS = 64, 100
#: A window of a day is the longest that a limit of requests has anywhere.
MAX_WINDOW_SECONDS = 86_400
#: The largest number of which every JSON reader has each digit (RFC 8259, section 6).
MAX_COUNT = 2**53 - 1

Status = Literal["operational", "degraded_performance", "partial_outage", "major_outage", "under_maintenance"]
STATUSES: tuple[str, ...] = get_args(Status)
Policy = Literal["read", "write", "auth"]
POLICIES: tuple[str, ...] = get_args(Policy)


def _printable(text: str) -> str:
    """Take what shows as it is written: no control characters, and none that turn or hide what stands beside them."""
    if not text.isprintable() or text != text.strip():
        raise ValueError("has characters that do not show, or blanks around it")
    return text


def _component(text: str) -> str:
    parts = text.split("/")
    if len(parts) > 2 or not all(parts) or any(part != part.strip() for part in parts):  # noqa: PLR2004 - the text says which
        raise ValueError("is neither `<service>` nor `<bastion>/<service>`")
    return text


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is not a moment that has a year") from None


Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS), AfterValidator(_printable)]
Unit = Annotated[str, StringConstraints(max_length=MAX_NAME_CHARS), AfterValidator(_printable)]
Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]


class _Said(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class RateLimitWindow(_Said):
    """How many requests a policy let through and turned away in a window that began at `window_start` (UTC).

    `instance` tells apart the processes that count: two of them have the same windows, with other numbers in them.
    """

    type: Literal["ratelimit.window"]
    policy: Policy
    window_start: Moment
    window_seconds: Annotated[int, Field(ge=1, le=MAX_WINDOW_SECONDS)]
    allowed: Count
    limited: Count
    instance: Name | None = None

    @property
    def moment(self) -> datetime:
        """What must not be in the future."""
        return self.window_start


class Check(_Said):
    """One thing that was looked at; `status` is the producer's word for it."""

    name: Name
    status: Name
    observed_value: Annotated[float, Field(allow_inf_nan=False)] | None = None
    unit: Unit | None = None


class HealthReport(_Said):
    """How a component (`STO/compute`, or `panel`) was at `time` (UTC), and what was looked at."""

    type: Literal["health.report"]
    component: Annotated[Name, AfterValidator(_component)]
    status: Status
    checks: Annotated[list[Check], Field(max_length=MAX_CHECKS)] = []
    time: Moment

    @property
    def moment(self) -> datetime:
        """What must not be in the future."""
        return self.time


Telemetry = RateLimitWindow | HealthReport
MODELS: dict[str, type[Telemetry]] = {WINDOW: RateLimitWindow, REPORT: HealthReport}


class _Head(msgspec.Struct):
    type: str


_decode_head = msgspec.json.Decoder(_Head).decode


def decode(record: Record, *, now: datetime, max_bytes: int = MAX_RECORD_BYTES) -> Telemetry:
    """Return what `record` says; raises `InvalidRecordError`, whose detail repeats no content."""
    value = record.value
    if value is None:
        raise InvalidRecordError(Reason.EMPTY, "the record has no value")
    if len(value) > max_bytes:
        raise InvalidRecordError(Reason.TOO_LARGE, f"{len(value)} bytes, {max_bytes} allowed")
    kind = _type(value)
    model = MODELS.get(kind)
    if model is None:
        raise InvalidRecordError(Reason.UNKNOWN_TYPE, f"`type` is none of {', '.join(TYPES)}")
    try:
        said = model.model_validate_json(value)
    except ValidationError as error:
        raise InvalidRecordError(schema_reason(error), describe(error, "value"), kind) from None
    if said.moment > now + MAX_AHEAD:
        ahead = f"its time is more than {MAX_AHEAD.total_seconds() / 60:g} minutes ahead: whose clock is wrong?"
        raise InvalidRecordError(Reason.SCHEMA, ahead, kind)
    return said


def _type(value: bytes) -> str:
    try:
        return _decode_head(value).type
    except msgspec.ValidationError as error:
        raise InvalidRecordError(Reason.SCHEMA, str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRecordError(Reason.JSON, first_line(error)) from None
