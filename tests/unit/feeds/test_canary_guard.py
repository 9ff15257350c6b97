"""What Kafka may say of a canary: what its signers said, each field once, and of the newest alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from consumers.public_events import CanaryUpdated
from feeds.canary_events import updated
from feeds.canary_guard import fault_of
from feeds.documents import Published
from tests.support.canaries import FIRST, STATEMENTS, first, retirement, successor
from tests.support.domain_events import an_event

if TYPE_CHECKING:
    from signer.statement import Document

LOCATION = "https://heliograph.example/v1/transparency/canary"
PUBLISHED = datetime(2026, 11, 30, 12, 0, 0, 5, tzinfo=UTC)
FIRST_ONE = first()
SECOND = successor(FIRST_ONE, FIRST + timedelta(days=29))
TRIPPED = successor(
    FIRST_ONE, FIRST + timedelta(days=29), statements=STATEMENTS[1:], removed=frozenset({"warrants"})
)  # fmt: skip
ENDED = retirement()


def stored(document: Document, number: int = 2) -> Published:
    return Published(number, document.content, document.sha256, PUBLISHED, ())


def told(document: Document, number: int = 2, **changes: Any) -> dict[str, Any]:
    """Return what a control plane says of a canary: `canary.updated` as JSON; a change to None leaves a field out."""
    data = updated(stored(document, number), document.statement, LOCATION)
    said = orjson.loads(data.model_dump_json()) | changes
    return {name: value for name, value in said.items() if value is not None}


def fault(said: dict[str, Any] | bytes, newest: Published | None) -> str:
    raw = said if isinstance(said, bytes) else orjson.dumps(said)
    event = replace(an_event(CanaryUpdated.TYPE, raw=raw), time=PUBLISHED)
    return fault_of(event, newest, LOCATION)


@pytest.mark.parametrize("document", [SECOND, TRIPPED, ENDED])
def test_what_was_signed_is_let_through(document: Document) -> None:
    assert fault(told(document), stored(document)) == ""


def test_a_control_plane_that_knows_nothing_of_states_may_speak_of_one_that_is_current() -> None:
    assert fault(told(SECOND, state=None), stored(SECOND)) == ""
    for document in (TRIPPED, ENDED):
        assert fault(told(document, state=None), stored(document)) == (
            "data.state: not as in the canary that was signed"
        )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sequence": 3}, "data.sequence: is not that of the newest"),
        ({"sequence": 1}, "data.sequence: is not that of the newest"),
        ({"sha256": "0" * 64}, "data.sha256: not as in"),
        ({"issued_at": "2026-11-30T09:30:01Z"}, "data.issued_at: not as in"),
        ({"issued_at": "2026-11-30T09:30:00.5Z"}, "data.issued_at: not as in"),
        ({"next_due": "2027-02-01T00:00:00Z"}, "data.next_due: not as in"),
        ({"expires_at": "2027-02-08T00:00:00Z"}, "data.expires_at: not as in"),
        ({"sha256": "0" * 64, "state": "revoked"}, "data.sha256, data.state: not as in"),
        ({"state": "changed"}, "data.state: not as in"),
        ({"url": f"{LOCATION}.json"}, "data.url: not as in"),
        ({"url": f"{LOCATION}/history/1.json"}, "data.url: not as in"),
        ({"signature_url": f"{LOCATION}/history/2.json.asc?x"}, "data.signature_url: not as in"),
        ({"note": "All is well."}, "data: has a field twice, or one that no canary has"),
        ({"SHA256": "0" * 64}, "data: has a field twice, or one that no canary has"),
    ],
)
def test_whatever_else_it_says_is_refused_and_named(changes: dict[str, Any], words: str) -> None:
    assert fault(told(SECOND, **changes), stored(SECOND)).startswith(words)


def test_a_moment_written_otherwise_is_the_same_moment() -> None:
    assert fault(told(SECOND, issued_at="2026-11-30T10:30:00+01:00"), stored(SECOND)) == ""


@pytest.mark.parametrize("name", ["sha256", "next_due", "url", "state"])
def test_a_field_that_is_there_twice_is_refused(name: str) -> None:
    """Some read the first, some the last: pydantic the last."""
    said = orjson.dumps(told(SECOND))
    evil = orjson.dumps({name: "changed" if name == "state" else CanaryUpdated.EXAMPLE[name]})
    assert fault(evil[:-1] + b"," + said[1:], stored(SECOND)) == "data: has a field twice, or one that no canary has"


def test_the_dates_of_one_that_ended_are_those_of_its_publication() -> None:
    signed = ENDED.statement.issued_at.isoformat()
    assert fault(told(ENDED, issued_at=signed), stored(ENDED)).startswith("data.issued_at: not as in")
    assert fault(told(ENDED, next_due="2027-02-01T00:00:00Z"), stored(ENDED)).startswith("data.next_due: not as in")


def test_nothing_can_be_said_where_nothing_is_stored_or_what_is_cannot_be_read() -> None:
    assert fault(told(SECOND), None) == "no canary has been published here"
    broken = Published(2, b"none", SECOND.sha256, PUBLISHED, ())
    assert fault(told(SECOND), broken) == "what is stored as the newest canary is none"
