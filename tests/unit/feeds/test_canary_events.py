"""What subscribers are told of a canary: its own dates and addresses, or, of one that ended, dates that alarm."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import orjson
import pytest

from consumers.public_events import CanaryUpdated
from feeds.canary_events import announcement, updated
from feeds.documents import Published
from tests.support.canaries import FIRST, STATEMENTS, first, retirement, successor

if TYPE_CHECKING:
    from signer.statement import Document

LOCATION = "https://heliograph.example/v1/transparency/canary"
PUBLISHED = datetime(2026, 12, 24, 18, 0, 0, 123_456, tzinfo=UTC)
HEALTHY = first()
TRIPPED = successor(
    HEALTHY, FIRST + timedelta(days=29), statements=STATEMENTS[1:], removed=frozenset({"warrants"})
)  # fmt: skip


def stored(document: Document, number: int = 1) -> Published:
    return Published(number, document.content, document.sha256, PUBLISHED, ())


@pytest.mark.parametrize(("document", "state"), [(HEALTHY, "current"), (TRIPPED, "changed"), (retirement(), "revoked")])
def test_the_state_is_what_the_statement_makes_it(document: Document, state: str) -> None:
    assert updated(stored(document), document.statement, LOCATION).state == state


def test_dates_are_those_that_were_signed_and_addresses_those_that_stay() -> None:
    told = updated(stored(TRIPPED, 2), TRIPPED.statement, LOCATION)
    signed = TRIPPED.statement
    assert (told.issued_at, told.next_due, told.expires_at) == (signed.issued_at, signed.next_due, signed.expires_at)
    assert (told.sequence, told.sha256) == (2, TRIPPED.sha256)
    assert told.url == f"{LOCATION}/history/2.json"
    assert told.signature_url == f"{LOCATION}/history/2.json.asc"


def test_the_deadline_of_one_that_ended_has_passed_and_it_is_the_newest_by_any_order() -> None:
    ended = retirement()
    told = updated(stored(ended, 3), ended.statement, LOCATION)
    assert told.issued_at == told.next_due == told.expires_at == PUBLISHED.replace(microsecond=0)
    assert told.next_due < PUBLISHED
    assert told.issued_at > TRIPPED.statement.issued_at > ended.statement.issued_at
    assert told.sequence == 3


def test_the_event_is_public_and_its_text_is_its_data() -> None:
    event = announcement(stored(HEALTHY), HEALTHY.statement, source="https://heliograph.example", location=LOCATION)
    assert (event.source, event.id) == ("https://heliograph.example", f"canary-{HEALTHY.sha256}")
    assert (event.type, event.time, event.account, event.resource) == ("canary.updated", PUBLISHED, None, "canary")
    assert CanaryUpdated.model_validate_json(event.raw) == event.data
    assert orjson.loads(event.raw)["next_due"] == "2026-12-01T00:00:00Z"
