"""The bodies of what is published for all to see: documentation comes from these, and tests hold answers to them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from feeds.canary import FAULTS
from publisher.api.models import Out
from signer.canary_dates import State
from signer.statement import Statement

FaultCode = Annotated[str, Field(json_schema_extra={"enum": list(FAULTS)})]
Number = Annotated[
    int,
    Field(
        ge=1,
        description="Its place in the history, counted from 1 by this service; `/history/{sequence}` takes it. The "
        "same as `sequence` but for a retirement, which has a place and no `sequence`. Not signed.",
    ),
]
Sequence = Annotated[
    int | None,
    Field(description="As the signed statement has it: one more than its predecessor's. Null for a retirement."),
]
Due = Annotated[datetime | None, Field(description="From then on it is overdue; null for one that ended for good.")]
Expiry = Annotated[datetime | None, Field(description="From then on it is expired.")]
How = Annotated[
    State,
    Field(
        description="`current`; `due`, from seven days before `next_due` on; `overdue`, from `next_due` on; `expired`, "
        "from `expires_at` on; `changed`: something its predecessor said is gone, which `acknowledged_removals` of the "
        "statement name (it stays `changed` while it is due: `next_due` says when); `invalid`: it is not to be "
        "believed; `revoked`: it has ended for good where `retirement` is not null, else its keys were revoked; "
        "`missing`: there is none."
    ),
]
Said = Statement | None
PublishedAt = Annotated[datetime, Field(description="When this service took it. Not signed.")]


class CanarySignature(Out):
    """A detached signature of `document`."""

    fingerprint: Annotated[str, Field(description="Of the signer's primary key; compare it with one you have.")]
    armored: Annotated[str, Field(description="The signature, as a file `.asc`.")]


class SignedCanary(Out):
    """What was signed, to be verified offline: `document` is the exact text, encoded in UTF-8."""

    document: str
    sha256: Annotated[str, Field(description="Of the exact bytes, hexadecimal; the next canary names it.")]
    signatures: list[CanarySignature]
    threshold: Annotated[
        int | None,
        Field(
            description="How many signatures by distinct keys it takes: of the newest canary as the service has it, in "
            "the history as the statement asks for. Null where no keys are known."
        ),
    ]


class Canary(Out):
    """The newest warrant canary and how it stands now; null where there is none."""

    state: How
    state_until: Annotated[
        datetime | None, Field(description="When the state changes if no other canary comes; null for never.")
    ]
    retirement: Annotated[
        str | None, Field(description="How its signers ended the canary for good; null for one that they did not end.")
    ]
    faults: Annotated[list[FaultCode], Field(description="Why it is not to be believed; empty where it is.")]
    number: Number | None
    sequence: Sequence
    issued_at: datetime | None
    next_due: Due
    expires_at: Expiry
    published_at: PublishedAt | None
    statement: Annotated[
        Said,
        Field(description="What `signed.document` says; null where that is not readable, or no keys are known."),
    ]
    signed: SignedCanary | None
    history_url: Annotated[str, Field(description="Where all canaries are.", json_schema_extra={"format": "uri"})]


class CanarySummary(Out):
    """A warrant canary of the history."""

    number: Number
    is_latest: bool
    is_retirement: Annotated[bool, Field(description="Whether it ends the canary for good.")]
    acknowledged_removals: Annotated[
        list[str] | None,
        Field(
            description="What the one before it said and this one does not: ids of statements, `scope`, "
            "`jurisdictions`. Null where what was stored is not readable."
        ),
    ]
    sequence: Sequence
    issued_at: datetime | None
    next_due: Due
    expires_at: Expiry
    published_at: PublishedAt
    sha256: Annotated[str, Field(description="Of the exact bytes, hexadecimal.")]
    signers: Annotated[list[str], Field(description="Fingerprints of the primary keys that signed.")]


class CanaryRecord(CanarySummary):
    """A warrant canary of the history, with what was signed."""

    statement: Annotated[Said, Field(description="Null where what was stored is not readable.")]
    signed: SignedCanary
