"""An event becomes a message and its deliveries, inside the consumer's transaction.

Private events go to their account's endpoints; those that find a free slot are inserted with the lease already
held and handed to the worker the moment the transaction is committed, so a fresh delivery is never read back.
Public events go to everyone who asked, inserted set-wise in the database and claimed from there: a hundred
thousand rows would not fit into the slots anyway. An event nobody subscribed leaves no trace but its inbox row.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

from consumers.catalogue import CATALOGUE
from publisher import ids, queue
from publisher.delivery import request
from publisher.endpoints import selectors
from publisher.queue import Enqueued, Job, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from contextlib import AbstractContextManager
    from random import Random

    from consumers.events import Event
    from consumers.loop import AfterCommit
    from publisher.endpoints import Directory, Endpoint
    from publisher.ids import Ids
    from runtime.database import Connection

    _Sequences = dict[tuple[str, str], Iterator[int]]

#: The account of what belongs to everyone.
PUBLIC = ""


class FanOut:
    """The handler that publishes; `choose`, `submit` and `wake` are the worker's, `full` is the quota's."""

    def __init__(
        self,
        *,
        directory: Directory,
        ids: Ids,
        rng: Random,
        lease_seconds: float,
        choose: Callable[[Sequence[Job]], tuple[Sequence[Job], Sequence[Job]]],
        submit: Callable[[Sequence[Job]], None],
        wake: Callable[[], None],
        full: Callable[[], Collection[str]],
        offered: Collection[str] = CATALOGUE,
        on_turned_away: Callable[[str], None] = lambda _: None,
        traced: Callable[[Sequence[Event]], AbstractContextManager[Sequence[Event]]] = contextlib.nullcontext,
    ) -> None:
        """`choose` splits new deliveries into those leased to this process's worker and those that wait.

        `full` gives the accounts whose queue is full: what is new for them is logged as cancelled, and `on_turned_away`
        told the type of each once that is committed. Types that are not `offered` by the provider are published to
        nobody, whatever `*` was subscribed. `traced` surrounds it all, and yields the events, where they are traced
        under another parent.
        """
        self._directory = directory
        self._ids = ids
        self._rng = rng
        self._lease_seconds = lease_seconds
        self._choose = choose
        self._submit = submit
        self._wake = wake
        self._full = full
        self._offered = frozenset(offered)
        self._on_turned_away = on_turned_away
        self._traced = traced

    async def __call__(self, connection: Connection, events: Sequence[Event]) -> AfterCommit | None:
        """Insert what `events` mean; return what is to happen once that is committed."""
        with self._traced([event for event in events if event.type in self._offered]) as offered:
            return await self._publish(connection, offered)

    async def _publish(self, connection: Connection, events: Sequence[Event]) -> AfterCommit | None:
        private = await self._addressed(connection, events)
        public = [
            event
            for event in events
            if event.account is None and await queue.is_wanted(connection, sorted(selectors(event.type)))
        ]
        if not private and not public:
            return None
        sequences = await _number(connection, [*(event for event, _ in private), *public])
        waiting = 0
        for event in public:  # first: thousands of rows take their time, which no lease should begin with
            message = self._message(event, next(sequences[PUBLIC, event.resource]))
            waiting += await queue.enqueue_public(
                connection, message, sorted(selectors(event.type)), self._ids.stem(ids.DELIVERY), list(self._full())
            )
        new = await self._enqueue(connection, private, sequences) if private else Enqueued((), ())
        waiting += len(new.waiting)

        def after_commit() -> None:
            self._submit(new.leased)
            for job in new.turned_away:
                self._on_turned_away(job.message.type)
            if waiting:
                self._wake()

        return after_commit

    async def _addressed(self, connection: Connection, events: Sequence[Event]) -> list[tuple[Event, list[Endpoint]]]:
        """Pair private events with the endpoints that want them; leave out those nobody wants."""
        accounts = {event.account for event in events if event.account is not None}
        if not accounts:
            return []
        of_account = await self._directory.of_accounts(connection, accounts)
        paired = (
            (event, [endpoint for endpoint in of_account.get(event.account, ()) if endpoint.wants(event.type)])
            for event in events
            if event.account is not None
        )
        return [(event, endpoints) for event, endpoints in paired if endpoints]

    async def _enqueue(
        self,
        connection: Connection,
        private: Sequence[tuple[Event, list[Endpoint]]],
        sequences: _Sequences,
    ) -> Enqueued:
        """Insert messages and deliveries; say which are leased from here on, and which are not."""
        lease = self._rng.getrandbits(63)
        full = self._full()
        messages: list[Message] = []
        jobs: list[Job] = []
        turned_away: list[Job] = []
        for event, endpoints in private:
            message = self._message(event, next(sequences[event.account or PUBLIC, event.resource]))
            messages.append(message)
            made = [Job(self._ids.new(ids.DELIVERY), lease, endpoint, message) for endpoint in endpoints]
            (turned_away if event.account in full else jobs).extend(made)
        leased, waiting = self._choose(jobs)
        new = Enqueued(leased, waiting, turned_away)
        await queue.enqueue(connection, messages, new, self._lease_seconds)
        return new

    def _message(self, event: Event, sequence: int) -> Message:
        message_id = self._ids.new(ids.MESSAGE)
        body = request.body(message_id, event.type, event.time, sequence, event.raw)
        return Message(event.account or PUBLIC, message_id, event.type, body, event.traceparent)


async def _number(connection: Connection, events: Sequence[Event]) -> _Sequences:
    """Take sequence numbers for `events`: per account and resource, growing by one, in order."""
    counts = Counter((event.account or PUBLIC, event.resource) for event in events)
    last = await queue.number(connection, counts)
    return {key: iter(range(last[key] - count + 1, last[key] + 1)) for key, count in counts.items()}
