"""What becomes of a consumer that is stuck, and of its successors: on a client that does what the test says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from consumers import watchdog
from consumers.broker import Partition
from consumers.broker_access import MembershipLostError
from consumers.progress import Sight
from consumers.watchdog import StuckError, WatchedConsumer
from tests.support.fake_broker import Stored, UnavailableError
from tests.support.time import FakeClock
from tests.support.workers import some_turns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WHERE = Partition("events", 0)
PATIENCE = 30.0
RECORD = Stored(*WHERE, 5, 0, None, b"{}", ())


class Client:
    """A member of a group; by default it is healthy and idle."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.is_frozen = self.is_away = self.hangs = self.refuses = self.is_joining = self.is_out = False
        self.records: Sequence[Stored] = ()
        self.position = self.end = 5
        self.answered_at = 0
        #: How long a question where partitions end takes, on this clock.
        self.seconds_of_ends = 0.0
        self.clock = FakeClock()

    async def start(self) -> None:
        self.events.append("start")
        if self.is_away:
            raise UnavailableError("no broker")

    async def stop(self) -> None:
        self.events.append("stop")

    async def abandon(self) -> None:
        self.events.append("abandon")

    async def poll(self, limit: int, seconds: float) -> Sequence[Stored]:  # noqa: ARG002 - the promise's own names
        if self.hangs:
            await asyncio.Event().wait()
        if self.is_out:
            raise MembershipLostError("denied")
        return self.records

    async def commit(self, offsets: Mapping[Partition, int]) -> None:  # noqa: ARG002 - as above
        if self.refuses:
            raise UnavailableError("unknown member")

    def rewind(self, offsets: Mapping[Partition, int]) -> None:
        self.events.append(f"rewind {offsets[WHERE]}")

    def lag(self) -> Mapping[Partition, int]:
        return {WHERE: 0}

    def sights(self) -> Mapping[Partition, Sight] | None:
        if self.is_joining:
            return None
        self.answered_at += not self.is_frozen
        return {WHERE: Sight(self.position, self.answered_at, has_records=False)}

    async def ends(self) -> Mapping[Partition, int]:
        self.clock.advance(self.seconds_of_ends)
        if self.is_frozen:
            raise UnavailableError("no answer")
        return {WHERE: self.end}


class Bench:
    """A watched consumer, the clients it has made so far, and the restarts it has reported."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.clients: list[Client] = []
        self.restarts = 0
        self.next_is_away = False
        self.consumer = WatchedConsumer(self._make, clock=self.clock, on_restart=self._restarted, patience=PATIENCE)

    def _make(self) -> Client:
        client = Client()
        client.is_away = self.next_is_away
        self.clients.append(client)
        return client

    def _restarted(self) -> None:
        self.restarts += 1

    async def polls(self, seconds: float) -> None:
        """Poll twice a second for so long."""
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)
            await self.consumer.poll(10, 0.5)


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.consumer.start()
    return made


async def test_one_that_gets_on_is_left_alone(bench: Bench) -> None:
    await bench.polls(3600)
    assert (bench.restarts, len(bench.clients)) == (0, 1)
    assert (bench.consumer.assigned, bench.consumer.trouble()) == (1, "")
    await bench.consumer.stop()
    assert bench.clients[0].events == ["start", "stop"]


async def test_one_whose_fetches_nobody_answers_is_given_up_for_another(bench: Bench) -> None:
    bench.clients[0].is_frozen = True
    await bench.polls(PATIENCE - 1)
    assert bench.restarts == 0
    await bench.polls(2)
    assert bench.restarts == 1
    assert bench.clients[0].events == ["start", "abandon"]
    assert bench.clients[1].events == ["start"]
    await bench.polls(PATIENCE)
    assert bench.restarts == 1


async def test_one_that_is_answered_and_reads_nothing_is_given_up_too(bench: Bench) -> None:
    """Where partitions end is asked of the broker, for what the client itself knows says that all is well."""
    bench.clients[0].end = 9
    await bench.polls(watchdog.ASK)
    assert bench.consumer.lag() == {WHERE: 4}
    await bench.polls(PATIENCE + 1)
    assert bench.restarts == 1


async def test_readiness_hears_of_it_sooner(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.clients[0].is_frozen = True
    await bench.polls(watchdog.UNREADY - 1)
    assert bench.consumer.trouble() == ""
    await bench.polls(2)
    assert bench.consumer.trouble() == "events/0 has not answered for 10 s"
    await bench.polls(PATIENCE)
    assert "the consumer is stuck: events/0 has not answered for 30 s" in caplog.text
    assert bench.consumer.trouble() == ""


async def test_where_that_does_not_help_it_is_done_less_and_less_often(bench: Bench) -> None:
    times = []
    for _ in range(8):
        before = bench.clock.monotonic()
        while bench.consumer._client is bench.clients[-1]:
            bench.clients[-1].is_frozen = True
            await bench.polls(0.5)
        await bench.polls(0.5)
        times.append(round(bench.clock.monotonic() - before))
    assert times[0] == pytest.approx(PATIENCE, abs=2)
    assert times[1] == pytest.approx(2 * PATIENCE, abs=2)
    assert times[-1] == pytest.approx(watchdog.LONGEST_PATIENCE, abs=2)


async def test_when_it_has_helped_the_next_time_is_as_quick_as_the_first(bench: Bench) -> None:
    bench.clients[0].is_frozen = True
    await bench.polls(PATIENCE + 1)
    await bench.polls(3 * PATIENCE)
    bench.clients[1].is_frozen = True
    await bench.polls(PATIENCE + 1)
    assert bench.restarts == 2


async def test_a_successor_that_cannot_connect_is_ended_and_tried_again(bench: Bench) -> None:
    bench.clients[0].is_frozen = bench.next_is_away = True
    with pytest.raises(StuckError, match="the new consumer cannot connect: no broker"):
        await bench.polls(PATIENCE + 1)
    assert bench.clients[1].events == ["start", "abandon"]
    assert bench.consumer.trouble() == "it is being started anew (no broker)"
    assert (bench.consumer.assigned, bench.consumer.lag()) == (None, {})
    bench.consumer.rewind({WHERE: 3})
    with pytest.raises(StuckError):
        await bench.consumer.commit({WHERE: 6})
    bench.next_is_away = False
    await bench.polls(watchdog.UNREADY + 1)
    assert (bench.restarts, bench.consumer.trouble()) == (1, "")


async def test_a_first_start_that_fails_may_be_tried_again() -> None:
    bench = Bench()
    bench.clients[0].is_away = True
    with pytest.raises(UnavailableError):
        await bench.consumer.start()
    bench.clients[0].is_away = False
    await bench.consumer.start()
    assert bench.clients[0].events == ["start", "start"]
    assert bench.restarts == 0


async def test_records_polled_by_one_that_is_given_up_at_that_moment_come_again(bench: Bench) -> None:
    client = bench.clients[0]
    client.is_frozen = True
    await bench.polls(PATIENCE - 1)
    client.records = [RECORD]
    for _ in range(3):
        bench.clock.advance(0.5)
        records = await bench.consumer.poll(10, 0.5)
        assert len(records) == (bench.restarts == 0)
    assert bench.restarts == 1


async def test_commits_that_are_refused_for_ever_end_it(bench: Bench) -> None:
    bench.clients[0].refuses = True
    with pytest.raises(UnavailableError):
        await bench.consumer.commit({WHERE: 6})
    await bench.polls(PATIENCE + 1)
    assert bench.restarts == 1
    await bench.consumer.commit({WHERE: 6})
    await bench.polls(watchdog.UNREADY)
    assert bench.consumer.trouble() == ""


async def test_restarts_that_do_not_help_never_look_like_health(bench: Bench) -> None:
    """Or readiness would come and go with each of them, and an alert that waits for minutes of it would never fire."""
    bench.clients[0].is_frozen = True
    await bench.polls(watchdog.UNREADY + 1)
    while bench.restarts < 4:
        bench.clients[-1].is_frozen = True
        assert bench.consumer.trouble() != ""
        await bench.polls(0.5)
    await bench.polls(watchdog.UNREADY - 1)
    assert bench.consumer.trouble() == "it was started anew and has yet to get on: events/0 has not answered for 240 s"
    await bench.polls(2)
    assert bench.consumer.trouble() == ""


async def test_the_time_a_question_takes_counts(bench: Bench) -> None:
    """A broker that is frozen lets each question run into its limit; half of the patience would be lost on them."""
    client = bench.clients[0]
    client.is_frozen, client.seconds_of_ends = True, watchdog.ANSWER
    client.clock = bench.clock
    began = bench.clock.monotonic()
    while not bench.restarts:
        await bench.polls(0.5)
    assert bench.clock.monotonic() - began == pytest.approx(PATIENCE, abs=watchdog.ANSWER)


async def test_a_commit_that_was_refused_once_is_forgotten_with_the_next(bench: Bench) -> None:
    bench.clients[0].refuses = True
    with pytest.raises(UnavailableError):
        await bench.consumer.commit({WHERE: 6})
    bench.clients[0].refuses = False
    await bench.polls(1)
    await bench.consumer.commit({WHERE: 6})
    await bench.polls(PATIENCE + 1)
    assert (bench.restarts, bench.consumer.trouble()) == (0, "")


async def test_a_commit_that_hangs_is_told_of_while_it_does_and_counts_when_it_is_cut_off(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody polls meanwhile: a broker that is away would go unnoticed for as long as the client tries again."""

    async def hangs(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(bench.clients[0], "commit", hangs)
    committing = asyncio.create_task(bench.consumer.commit({WHERE: 6}))
    await some_turns()
    bench.clock.advance(watchdog.UNREADY - 1)
    assert bench.consumer.trouble() == ""
    bench.clock.advance(1)
    assert bench.consumer.trouble() == f"no offset could be committed for {watchdog.UNREADY:.0f} s"
    bench.clock.advance(PATIENCE)
    committing.cancel()
    await asyncio.gather(committing, return_exceptions=True)
    assert bench.consumer.trouble() == ""

    async def takes_long(*_: object) -> None:
        bench.clock.advance(watchdog.UNREADY)
        await asyncio.Event().wait()

    monkeypatch.setattr(bench.clients[0], "commit", takes_long)
    monkeypatch.setattr(bench.consumer, "_first_patience", 0.0)
    with pytest.raises(TimeoutError):
        await bench.consumer.commit({WHERE: 6})
    assert bench.consumer.trouble() == f"no offset could be committed for {watchdog.UNREADY:.0f} s"


async def test_a_poll_that_does_not_come_back_is_cut_off(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "OVERTIME", 0.0)
    bench.clients[0].hangs = bench.clients[0].is_joining = True
    async with asyncio.timeout(5):
        for _ in range(25):
            bench.clock.advance(0.5)
            assert list(await bench.consumer.poll(10, 0.001)) == []
    assert bench.consumer.assigned is None
    assert bench.consumer.trouble() == "it has not become a member of its group for 12 s"


async def test_a_batch_that_takes_minutes_is_no_fault_of_the_consumers(bench: Bench) -> None:
    bench.clients[0].is_frozen = True  # nothing is fetched while records wait
    for _ in range(10):
        bench.clock.advance(300)
        await bench.consumer.poll(10, 0.5)
    assert bench.restarts == 0


async def test_what_it_is_told_reaches_the_client(bench: Bench) -> None:
    bench.consumer.rewind({WHERE: 3})
    assert bench.clients[0].events == ["start", "rewind 3"]


async def test_one_that_is_no_member_any_more_is_replaced_at_once_and_says_why(bench: Bench) -> None:
    bench.clients[0].is_out = True
    with pytest.raises(MembershipLostError, match="denied"):
        await bench.polls(1)
    assert (bench.restarts, bench.clients[0].events) == (1, ["start", "abandon"])
    assert bench.consumer.trouble() == "it is being started anew (denied)"
    await bench.polls(PATIENCE)
    assert (len(bench.clients), bench.consumer.trouble()) == (2, "")
