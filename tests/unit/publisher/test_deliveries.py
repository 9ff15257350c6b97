"""What is decided about the log, redelivery and recovery without a database, as tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from publisher import ids
from publisher.deliveries import MOST_ATTEMPTS, Found, Redelivery, judge
from publisher.delivery import headers, request
from publisher.ids import Ids
from publisher.log import Delivery, id_range, possible, sent
from publisher.recovery import State, state_of
from tests.support.jobs import a_job
from tests.support.time import FakeClock

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
DELIVERY = Delivery("dlv_1", "we_1", "msg_1", "server.power.on", "delivered", None, 2, "2xx", None, NOON, NOON, NOON)


@pytest.mark.parametrize(
    ("state", "attempts", "has_payload", "is_active", "is_full", "expected"),
    [
        (None, 0, True, True, False, Redelivery.NOT_FOUND),
        (None, 0, True, False, True, Redelivery.NOT_FOUND),
        ("leased", 0, True, True, False, Redelivery.UNDER_WAY),
        ("leased", 0, True, False, False, Redelivery.UNDER_WAY),
        ("pending", 0, True, True, False, Redelivery.QUEUED),
        ("retry", 2, True, True, True, Redelivery.QUEUED),
        ("retry", 2, True, False, False, Redelivery.ENDPOINT_INACTIVE),
        ("retry", 2, False, True, False, Redelivery.EXPIRED),
        ("delivered", 1, True, True, False, Redelivery.QUEUED),
        ("dropped", 4, True, True, False, Redelivery.QUEUED),
        ("cancelled", 0, True, True, False, Redelivery.QUEUED),
        ("dropped", 4, False, True, False, Redelivery.EXPIRED),
        ("dropped", 4, False, True, True, Redelivery.EXPIRED),
        ("dropped", 4, True, False, True, Redelivery.ENDPOINT_INACTIVE),
        ("dropped", 4, True, True, True, Redelivery.QUEUE_FULL),
        ("delivered", MOST_ATTEMPTS, True, True, False, Redelivery.TOO_MANY_ATTEMPTS),
        ("retry", MOST_ATTEMPTS, True, True, False, Redelivery.QUEUED),
    ],
)
def test_what_may_be_sent_again(
    state: str | None, attempts: int, *, has_payload: bool, is_active: bool, is_full: bool, expected: Redelivery
) -> None:
    found = None if state is None else Found(state, attempts, has_payload)
    assert judge(found, is_active=is_active, is_full=is_full) is expected


def test_as_many_attempts_as_are_made_fit_their_column() -> None:
    longest_schedule = 20  # retries of a schedule at most, by the settings
    assert MOST_ATTEMPTS + 1 + longest_schedule < 2**15


LIVE, UNDELIVERED, ENDED = (
    ["pending", "leased", "retry"],
    ["dropped", "cancelled"],
    ["delivered", "dropped", "cancelled"],
)


@pytest.mark.parametrize(
    ("states", "last_result", "expected"),
    [
        (None, None, [LIVE, ENDED]),
        (None, "2xx", [LIVE, ENDED]),
        (None, "timeout", [LIVE, UNDELIVERED]),
        (["delivered", "dropped"], None, [ENDED]),
        (["delivered"], "timeout", [UNDELIVERED]),
        (["dropped"], None, [UNDELIVERED]),
        (["dropped"], "2xx", [UNDELIVERED]),
        (["dropped", "pending"], None, [LIVE, UNDELIVERED]),
        (["delivered", "pending"], "2xx", [LIVE, ENDED]),
        (LIVE, None, [LIVE]),
        (["retry"], "timeout", [LIVE]),
        ([], None, []),
    ],
)
def test_a_list_looks_only_where_what_is_meant_can_be(
    states: list[str] | None, last_result: str | None, expected: list[list[str]]
) -> None:
    assert possible(states, last_result) == expected


@pytest.mark.parametrize("microseconds", [0, 1, 999, 1000, 500_500, 999_999])
def test_both_ends_of_a_range_are_in_it_to_the_millisecond(microseconds: int) -> None:
    moment = NOON + timedelta(microseconds=microseconds)
    millisecond = timedelta(milliseconds=1)
    before, same, after = (
        Ids(FakeClock(at), lambda count: b"\x00" * count).new(ids.DELIVERY)
        for at in (moment - millisecond, moment, moment + millisecond)
    )
    first, beyond = id_range(moment, moment)
    assert before < first < same < beyond < after
    last = Ids(FakeClock(moment), lambda count: b"\xff" * count).new(ids.DELIVERY)
    assert last < beyond


def test_an_open_range_has_every_id() -> None:
    first, beyond = id_range(None, None)
    assert first < "dlv_000000000000" + 20 * "0"
    assert first < Ids(FakeClock()).new(ids.DELIVERY) < beyond
    assert id_range(datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC))[0] == first


def test_what_is_shown_is_what_is_signed_and_sent() -> None:
    job = a_job(attempt=2)
    at = datetime(2026, 11, 1, 12, 0, 7, 999_999, tzinfo=UTC)
    headers_sent = request.headers(job, int(at.timestamp()), "x-nb-")
    shown = sent(DELIVERY, 2, at, signature=headers_sent["webhook-signature"], agent="Agent/1", prefix="x-nb-")
    assert shown is not None
    assert list(shown.items()) == [*headers.fixed("Agent/1").items(), *headers_sent.items()]


@pytest.mark.parametrize(("signature", "agent"), [(None, "Agent/1"), ("v1,x", None), (None, None)])
def test_headers_that_were_not_kept_are_not_made_up(signature: str | None, agent: str | None) -> None:
    assert sent(DELIVERY, 1, NOON, signature=signature, agent=agent, prefix="x-nb-") is None


def test_a_recovery_is_done_when_its_cursor_is_at_the_end() -> None:
    first, beyond = id_range(NOON, NOON)
    assert state_of(None, first, NOON, NOON) is State.RUNNING
    assert state_of(None, beyond, NOON, NOON) is State.RUNNING
    assert state_of(NOON, beyond, NOON, NOON) is State.DONE
    assert state_of(NOON, first + "0", NOON, NOON) is State.STOPPED
