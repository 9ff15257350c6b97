"""A consumer that is started anew when it is stuck: the loop polls it like any other and never hears of it.

Everything happens within the loop's own calls, so nothing is restarted under a batch in hand. Records that were polled
and not committed come again, as after a crash, and the inbox makes that harmless. What counts as stuck is decided in
consumers/progress.py.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from consumers.broker import TRANSIENT, Consumer
from consumers.broker_access import MembershipLostError
from consumers.progress import Progress
from runtime.lifecycle import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consumers.broker import Partition
    from consumers.decode import Record
    from consumers.progress import Sight
    from runtime.clock import Clock

logger = logging.getLogger(__name__)

#: Seconds after which a client that gets nowhere is given up. Longer than a broker's restart takes, so that those
#: which recover by themselves may; and the most there is between two restarts that did not help.
PATIENCE, LONGEST_PATIENCE = 30.0, 600.0
#: Seconds after which a standstill is worth telling those who share out the load.
UNREADY = 10.0
#: Seconds between two looks; between two questions where partitions end; and the most a look makes of the time since
#: the one before, most of which may have been a batch's.
LOOK, ASK, LONGEST_STEP = 0.5, 5.0, 2.0
#: Seconds a poll may take beyond what it was given: aiokafka's waits for as long as a group is being joined.
OVERTIME = 1.0
#: Seconds a new client may take to connect, and the broker to say where partitions end.
CONNECT, ANSWER = 15.0, 5.0


class Client(Consumer, Protocol):
    """What is watched: a member of a group on a real broker."""

    async def start(self) -> None:
        """Connect and join the group."""
        ...

    async def stop(self) -> None:
        """Leave the group."""
        ...

    async def abandon(self) -> None:
        """End, whatever of it does not answer any more."""
        ...

    def sights(self) -> Mapping[Partition, Sight] | None:
        """Return what is seen of each partition, None while the group is being joined."""
        ...

    async def ends(self) -> Mapping[Partition, int]:
        """Ask where the partitions end."""
        ...


class StuckError(Exception):
    """There is no client now: it was given up and its successor cannot connect."""


class WatchedConsumer:
    """Keeps the promises of `consumers.broker.Consumer`, and gets on."""

    def __init__(
        self,
        make: Callable[[], Client],
        *,
        clock: Clock,
        on_restart: Callable[[], None],
        patience: float = PATIENCE,
    ) -> None:
        """`make` returns a client that is not started; `on_restart` is called whenever one is given up."""
        self._make = make
        self._clock = clock
        self._on_restart = on_restart
        self._first_patience = self._patience = patience
        self._committing_since: float | None = None
        #: What the last one was stuck in, until this one has got on for a while.
        self._was_stuck = ""
        self._client: Client | None = make()
        self._unconnected = ""
        self._begin()

    def _begin(self) -> None:
        self._progress = Progress()
        self._looked_at = self._asked_at = self._well_since = self._clock.monotonic()

    async def start(self) -> None:
        """Connect the first client; may be called again after it raised."""
        if self._client is None:
            self._client = self._make()
        await self._client.start()
        self._begin()

    async def stop(self) -> None:
        """Leave the group."""
        client, self._client = self._client, None
        if client is not None:
            await client.stop()

    async def poll(self, limit: int, seconds: float) -> Sequence[Record]:
        """Return at most `limit` records; raises `StuckError`, or what the broker raises."""
        client = await self._connected()
        records: Sequence[Record] = ()
        try:
            async with asyncio.timeout(seconds + OVERTIME) as limit_of_time:
                records = await client.poll(limit, seconds)
        except MembershipLostError as error:
            await self._give_up(client, str(error))
            raise
        except Exception as error:  # whatever it was, look at it
            await self._look(client)
            if not (isinstance(error, TimeoutError) and limit_of_time.expired()):
                raise
        else:
            await self._look(client)
        return records if self._client is client else ()  # they come again: nobody could commit them

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit the next offset to read of each partition; one that hangs is cut off."""
        client = self._client
        if client is None:
            raise StuckError("there is no consumer to commit with")
        began = self._committing_since = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._first_patience):
                await client.commit(offsets)
        except Exception:
            self._progress.committed(is_refused=True, after=self._clock.monotonic() - began)
            raise
        finally:
            self._committing_since = None
        self._progress.committed(is_refused=False)

    def rewind(self, offsets: Mapping[Partition, int]) -> None:
        """Make the next poll start at these offsets; a new client starts at what was committed anyway."""
        if self._client is not None:
            self._client.rewind(offsets)

    def lag(self) -> Mapping[Partition, int]:
        """Return how many records wait: as of the last fetch, or as the broker says where nothing is fetched."""
        if self._client is None:
            return {}
        return {**self._client.lag(), **self._progress.waiting()}

    @property
    def assigned(self) -> int | None:
        """How many partitions there are to read; None while the group is being joined, or nobody is connected."""
        return self._progress.assigned if self._client is not None else None

    def trouble(self) -> str:
        """Return why this consumer does not get on, empty while it does.

        One that was started anew has yet to show that it gets on: restarts that do not help must not look like health.
        """
        if self._client is None:
            return f"it is being started anew ({self._unconnected})"
        standstill = self._progress.standstill
        if self._committing_since is not None:  # nobody polls, and so nobody looks, while a commit hangs
            hanging = self._clock.monotonic() - self._committing_since
            if hanging >= UNREADY:
                return f"no offset could be committed for {hanging:.0f} s"
        if standstill < UNREADY:
            return f"it was started anew and has yet to get on: {self._was_stuck}" if self._was_stuck else ""
        return self._progress.stuck(UNREADY) or f"it has not become a member of its group for {standstill:.0f} s"

    async def _connected(self) -> Client:
        """Return the client, or a new one in its place; raises `StuckError` when that cannot connect."""
        if self._client is not None:
            return self._client
        client = self._make()
        try:
            async with asyncio.timeout(CONNECT):
                await client.start()
        except BaseException as error:
            self._unconnected = reason_of(error)
            await client.abandon()
            if not isinstance(error, TRANSIENT):
                raise
            raise StuckError(f"the new consumer cannot connect: {reason_of(error)}") from None
        self._client = client
        self._begin()
        return client

    async def _look(self, client: Client) -> None:
        """See how it is getting on, twice a second at most; give it up when it is stuck."""
        now = self._clock.monotonic()
        if now - self._looked_at < LOOK:
            return
        self._see(client, min(now - self._looked_at, LONGEST_STEP))
        if now - self._asked_at >= ASK:
            self._asked_at = now
            await self._ask(client)
            self._see(client, self._clock.monotonic() - now)  # all of it: nothing else was done meanwhile
        if reason := self._progress.stuck(self._patience):
            await self._give_up(client, reason)

    def _see(self, client: Client, elapsed: float) -> None:
        now = self._looked_at = self._clock.monotonic()
        self._progress.look(elapsed, client.sights())
        if self._progress.standstill:
            self._well_since = now
            return
        well = now - self._well_since
        if well >= self._patience:
            self._patience = self._first_patience
        if well >= UNREADY:
            self._was_stuck = ""

    async def _ask(self, client: Client) -> None:
        """Ask where partitions end: a client that hears nothing knows of no lag."""
        try:
            async with asyncio.timeout(ANSWER):
                self._progress.told(await client.ends())
        except TRANSIENT as error:
            logger.debug("where partitions end is not known (%s)", reason_of(error))

    async def _give_up(self, client: Client, reason: str) -> None:
        logger.warning("the consumer is stuck: %s; starting another one in its place", reason)
        self._client, self._unconnected = None, reason
        self._was_stuck = reason
        self._patience = min(self._patience * 2, LONGEST_PATIENCE)
        self._on_restart()
        await client.abandon()
