"""The clients of Kafka: records in, offsets back, records out, topics looked up and held whole.

Choices that are not defaults, with the trap each avoids: values are consumed as bytes (a raising deserialiser
loops for ever); offsets are committed explicitly (an argument-less commit follows the position, which moves
even when handling failed); a new group starts at the earliest record; producers wait for all replicas but are
not idempotent, which the embedded broker refuses, so a dead letter may be written twice, never lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    MessageSizeTooLargeError,
    OffsetOutOfRangeError,
    TopicAlreadyExistsError,
    for_code,
)

from consumers.broker_access import (
    READ,
    WRITE,
    Access,
    DeniedError,
    MembershipLostError,
    access_of,
    denials,
    explained,
    security,
)
from consumers.progress import Sight
from runtime.lifecycle import close_within, reason_of, until_reachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence

    from consumers.decode import Record
    from runtime.settings import Settings

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT_MS = 10_000
#: Kafka answers a fetch as soon as there is a record; a broker that keeps it for the whole wait (the embedded one)
#: would add half a second to every event and make bursts of them.
FETCH_WAIT_MS = 20
#: New partitions of a topic are found within this time, and read from their beginning.
METADATA_MAX_AGE_MS = 30_000
#: How long a broker may hold back its answer to whoever looks through a topic and has reached its end.
READ_WAIT_MS = 250
#: Room for a record that is refused as too large and still has to reach the dead letters.
PRODUCER_MAX_BYTES = 32 * 1024 * 1024

#: Seconds each part of a client that may be stuck gets to end.
ABANDON_SECONDS = 3.0
#: Seconds to disconnect without leaving: a member that joins its group hears nothing until all others have joined.
DISCONNECT_SECONDS = 0.5

CLEANUP_POLICY = "cleanup.policy"

#: What a broker that is down, starting or changing hands raises: worth another try.
TRANSIENT: tuple[type[BaseException], ...] = (KafkaError, OSError, TimeoutError)
#: What it raises, among them, when it is asked for an offset that it does not have, or has no more.
OUT_OF_RANGE: type[BaseException] = OffsetOutOfRangeError


class Partition(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


class Outgoing(NamedTuple):
    """A record to produce."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class RecordTooLargeError(Exception):
    """The broker refuses a record of this size."""


class Consumer(Protocol):
    """What the loop needs of a consumer; the in-memory one in the tests keeps the same promises."""

    async def poll(self, limit: int, seconds: float) -> Sequence[Record]:
        """Return at most `limit` records, in order within each partition; none after `seconds`."""
        ...

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit the next offset to read of each partition; raises when the group has moved on."""
        ...

    def rewind(self, offsets: Mapping[Partition, int]) -> None:
        """Make the next poll start at these offsets; partitions no longer assigned are left alone."""
        ...

    def lag(self) -> Mapping[Partition, int]:
        """Return how many records wait in each assigned partition, as of the last fetch."""
        ...


class Producer(Protocol):
    """What dead letters and `emit` need of a producer."""

    async def send(self, records: Iterable[Outgoing]) -> None:
        """Return once every record is acknowledged by all replicas; raise otherwise."""
        ...


class KafkaConsumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """A member of the consumer group, on a real broker."""

    def __init__(
        self, settings: Settings, topics: Sequence[str], on_rebalance: Callable[[], None], *, group: str | None = None
    ) -> None:
        """Subscribe to `topics`; `on_rebalance` is called whenever partitions are assigned.

        `group` is another than that of the settings, for another walk through other topics.
        """
        self._on_rebalance = on_rebalance
        self._topics = topics
        self._settings = settings
        self._client = AIOKafkaConsumer(
            group_id=group or settings.kafka_group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            isolation_level="read_committed",  # what a producer's transaction took back is published to nobody
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            session_timeout_ms=int(settings.kafka_session_timeout * 1000),
            heartbeat_interval_ms=int(settings.kafka_session_timeout * 300),
            max_poll_interval_ms=300_000,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            **security(settings),
        )

    async def start(self) -> None:
        """Connect and join the group."""
        async with explained(self._settings):
            await self._client.start()
        self._client.subscribe(topics=list(self._topics), listener=self)

    async def stop(self) -> None:
        """Leave the group, so that others take over at once; cut off while it waits for them, disconnect."""
        try:
            await self._client.stop()
        except asyncio.CancelledError:
            await close_within(DISCONNECT_SECONDS, self._client._client.close)  # noqa: SLF001 - stop() does it last
            raise

    def on_partitions_revoked(self, revoked: object) -> None:
        """Nothing to flush: offsets are committed batch by batch."""

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Report the rebalance; exceptions here would be swallowed, so nothing that can fail happens here."""
        logger.info("assigned %s", ", ".join(sorted(f"{tp.topic}/{tp.partition}" for tp in assigned)) or "nothing")
        self._on_rebalance()

    async def poll(self, limit: int, seconds: float) -> Sequence[Record]:
        """Return at most `limit` records."""
        try:
            with denials(self._settings, READ):
                batches = await self._client.getmany(timeout_ms=int(seconds * 1000), max_records=limit)
        except (DeniedError, KafkaError) as error:
            if self._is_out():
                raise MembershipLostError(reason_of(error)) from None
            raise
        return [record for records in batches.values() for record in records]

    def _is_out(self) -> bool:
        """Say whether its heartbeat ended in an error: aiokafka then repeats that for ever, whatever has changed."""
        coordinator = self._client._coordinator  # noqa: SLF001 - nothing public tells
        beating = coordinator._heartbeat_task if coordinator else None  # noqa: SLF001 - as above
        return beating is not None and beating.done() and not beating.cancelled() and beating.exception() is not None

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit the next offset to read of each partition."""
        with denials(self._settings, READ):
            await self._client.commit({TopicPartition(*where): offset for where, offset in offsets.items()})

    def rewind(self, offsets: Mapping[Partition, int]) -> None:
        """Seek back, where the partition is still ours."""
        for where, offset in offsets.items():
            try:
                self._client.seek(TopicPartition(*where), offset)
            except IllegalStateError:
                logger.info("%s/%d was assigned to another member", *where)

    def lag(self) -> Mapping[Partition, int]:
        """Return high watermark less position of each assigned partition that has been fetched from."""
        lags = {}
        for where in self._client.assignment():
            high = self._client.highwater(where)
            state = self._client._subscription.subscription.assignment.state_value(where)  # noqa: SLF001 - position() is a coroutine that waits for a fetch; a scrape must not
            if high is not None and state.has_valid_position:
                lags[Partition(where.topic, where.partition)] = max(0, high - state.position)
        return lags

    def sights(self) -> Mapping[Partition, Sight] | None:
        """Return what is seen of each assigned partition without asking anybody; None while the group is joined."""
        subscriptions = self._client._subscription  # noqa: SLF001 - as above; and nothing public tells whether records wait
        if subscriptions.reassignment_in_progress:
            return None
        seen = {}
        for where in subscriptions.assigned_partitions():
            state = subscriptions.subscription.assignment.state_value(where)
            position = state.position if state.has_valid_position else None
            has_records = where in self._client._fetcher._records  # noqa: SLF001 - as above
            seen[Partition(where.topic, where.partition)] = Sight(position, state.timestamp, has_records)
        return seen

    async def ends(self) -> Mapping[Partition, int]:
        """Ask the broker where the assigned partitions end; the embedded one names its last batch's beginning."""
        found = await self._client.end_offsets(self._client.assignment())
        return {Partition(where.topic, where.partition): end for where, end in found.items()}

    async def abandon(self) -> None:
        """Stop a client that may be stuck: whatever of it does not end in time is cut off, and the rest still ended."""
        await close_within(ABANDON_SECONDS, self._client.stop)
        coordinator, fetcher = self._client._coordinator, self._client._fetcher  # noqa: SLF001 - cut off, stop() leaves them running
        parts = [coordinator._stop_heartbeat_task] if coordinator else []  # noqa: SLF001 - as above
        for part in (*parts, *([fetcher.close] if fetcher else ()), self._client._client.close):  # noqa: SLF001 - as above
            await close_within(ABANDON_SECONDS, part)


class KafkaProducer:
    """A producer on a real broker."""

    def __init__(self, settings: Settings, *, linger_ms: int = 0) -> None:
        """Configure; `start` connects."""
        self._settings = settings
        self._client = AIOKafkaProducer(
            acks="all",
            linger_ms=linger_ms,
            max_request_size=PRODUCER_MAX_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            **security(settings),
        )

    async def start(self) -> None:
        """Connect."""
        async with explained(self._settings):
            await self._client.start()

    async def stop(self) -> None:
        """Send what is buffered and disconnect."""
        await self._client.stop()

    async def send(self, records: Iterable[Outgoing]) -> None:
        """Produce and wait for every acknowledgement."""
        try:
            with denials(self._settings, WRITE):
                waiting = [
                    await self._client.send(topic, value, _key(key, value), headers=list(headers))
                    for topic, key, value, headers in records
                ]
                await asyncio.gather(*waiting)
        except MessageSizeTooLargeError as error:
            raise RecordTooLargeError(str(error)) from None


class Startable(Protocol):
    """A client that connects when it is told to."""

    async def start(self) -> None:
        """Connect; may be called again after it raised."""
        ...


async def start_patiently(client: Startable, settings: Settings) -> None:
    """Start `client`, waiting up to `startup_timeout` for a broker that is not up yet."""
    await until_reachable(
        "Kafka",
        ",".join(settings.kafka_bootstrap),
        client.start,
        errors=TRANSIENT,
        timeout=settings.startup_timeout,
    )


@contextlib.asynccontextmanager
async def open_topic(settings: Settings, topic: str, *, begins_again: bool) -> AsyncIterator[AIOKafkaConsumer]:
    """Open a client that has all partitions of `topic`, in no group: consumers/reader.py reads with it.

    The topic exists: asked for one that does not, a broker may make it. Offsets out of range begin again at the first
    record, or raise `OUT_OF_RANGE`. Raises `UnreachableError` when no broker answers in time.
    """

    async def connect() -> AIOKafkaConsumer:
        client = AIOKafkaConsumer(
            topic,
            group_id=None,
            auto_offset_reset="earliest" if begins_again else "none",
            enable_auto_commit=False,
            isolation_level="read_committed",
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            fetch_max_wait_ms=READ_WAIT_MS,
            **security(settings),
        )
        try:
            async with explained(settings):
                await client.start()
        except BaseException:
            await client.stop()
            raise
        return client

    address = ",".join(settings.kafka_bootstrap)
    client = await until_reachable("Kafka", address, connect, errors=TRANSIENT, timeout=settings.startup_timeout)
    try:
        yield client
    finally:
        # While its broker is away, stopping a consumer raises the cancellation of its own fetches as if it were ours.
        await asyncio.gather(client.stop(), return_exceptions=True)


async def list_topics(settings: Settings) -> frozenset[str]:
    """Return the topics this user may see; raises `UnreachableError` when no broker answers in time."""
    return frozenset((await look(settings)).topics)


async def look(settings: Settings, groups: Iterable[str] = ()) -> Access:
    """Return the topics this user may see, what it may do to each, and which `groups` it may not join.

    Raises `UnreachableError` when no broker answers in time, at once where Kafka refuses us.
    """

    async def connect() -> Access:
        admin = AIOKafkaAdminClient(request_timeout_ms=REQUEST_TIMEOUT_MS, **security(settings))
        try:
            async with explained(settings):
                await admin.start()
            return await access_of(admin, groups)
        finally:
            await admin.close()

    address = ",".join(settings.kafka_bootstrap)
    return await until_reachable("Kafka", address, connect, errors=TRANSIENT, timeout=settings.startup_timeout)


async def is_compacted(settings: Settings, topic: str) -> bool:
    """Say whether a topic that exists keeps each key's last record; raises what the broker raises."""
    admin = AIOKafkaAdminClient(request_timeout_ms=REQUEST_TIMEOUT_MS, **security(settings))
    try:
        await admin.start()
        [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    finally:
        await admin.close()
    policies = [entry[1] for *_, entries in answer.resources for entry in entries if entry[0] == CLEANUP_POLICY]
    return any("compact" in policy for policy in policies)


async def create_topics(settings: Settings, partitions: Mapping[str, int], compacted: Collection[str] = ()) -> None:
    """Create topics with one replica (embedded broker, tests); those that exist are left as they are."""
    admin = AIOKafkaAdminClient(request_timeout_ms=REQUEST_TIMEOUT_MS, **security(settings))
    await admin.start()
    try:
        response = await admin.create_topics(
            [
                NewTopic(
                    name,
                    num_partitions=count,
                    replication_factor=1,
                    topic_configs={CLEANUP_POLICY: "compact"} if name in compacted else {},
                )
                for name, count in partitions.items()
            ]
        )
        for topic, code, *_ in response.topic_errors:
            error = cast("type[KafkaError]", for_code(code))
            if code and error is not TopicAlreadyExistsError:
                msg = f"topic {topic}: {error.__name__}"
                raise KafkaError(msg)
    finally:
        await admin.close()


def _key(key: bytes | None, value: bytes | None) -> bytes | None:
    """Return `key`, empty where there is neither key nor value: the client asserts that there is one of them."""
    return b"" if key is None and value is None else key
