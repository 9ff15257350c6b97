"""What access control lists forbid is said with topic and operation: before the start, and while running."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from consumers import broker
from consumers.broker import Outgoing
from consumers.broker_access import Access, DeniedError
from publisher.preconditions import check_topics, groups_of, needs_of
from publisher.roles import NotReadyError
from runtime import settings as runtime_settings
from tests.support.apache_kafka.secured import GROUP, PASSWORD, READ, TOPIC, USER, WRITE, SecuredKafka
from tests.support.commands import get
from tests.support.ledger import produce, until_admitted
from tests.support.process import environ_of, run, started, until

if TYPE_CHECKING:
    from runtime.settings import Settings

CONSUME = frozenset({"consume"})
OPERATIONS = {"READ": READ, "WRITE": WRITE}


@pytest.fixture(scope="module")
def bootstrap(secured: SecuredKafka) -> str:
    return secured.bootstrap


@pytest.fixture
async def restricted(secured: SecuredKafka, settings: Settings) -> Settings:
    """Settings of a user who may do what docs/operations.md says it needs, and nothing more."""
    for topic, operation in needs_of(settings, CONSUME).items():
        await secured.allow(TOPIC, topic, OPERATIONS[operation])
    for group in groups_of(settings, CONSUME):
        await secured.allow(GROUP, group, READ)
    return runtime_settings.load(environ=environ_of(settings), **secured.settings_of("SASLTLS"))


@pytest.mark.parametrize(
    ("kind", "setting", "operation"),
    [
        (TOPIC, "kafka_topic_events", "READ"),
        (TOPIC, "kafka_topic_telemetry", "READ"),
        (TOPIC, "kafka_topic_credentials", "READ"),
        (TOPIC, "kafka_topic_dead_letters", "WRITE"),
        (TOPIC, "kafka_topic_announcements", "WRITE"),
        (GROUP, "kafka_group", "READ"),
    ],
)
async def test_what_is_denied_is_said_before_the_start(
    secured: SecuredKafka, restricted: Settings, kind: int, setting: str, operation: str
) -> None:
    await check_topics(restricted, CONSUME)
    name = getattr(restricted, setting)
    await secured.deny(kind, name, OPERATIONS[operation])
    with pytest.raises(NotReadyError) as raised:
        await check_topics(restricted, CONSUME)
    what = f"{operation} {'group' if kind == GROUP else 'topic'} {name}"
    assert str(raised.value) == (
        f"Kafka does not let user {USER} {what}: allow it with an ACL (Kafka at {restricted.kafka_bootstrap[0]})"
    )


async def test_a_topic_that_may_not_be_described_is_one_that_is_not_there(
    secured: SecuredKafka, settings: Settings
) -> None:
    stranger = runtime_settings.load(environ=environ_of(settings), **secured.settings_of("SASL"))
    with pytest.raises(NotReadyError, match=r"has no topic .* that this user may see: create it, allow DESCRIBE"):
        await check_topics(stranger, CONSUME)


async def test_a_process_does_not_start_and_doctor_says_the_same(secured: SecuredKafka, restricted: Settings) -> None:
    topic = restricted.kafka_topic_dead_letters
    await secured.deny(TOPIC, topic, WRITE)
    finished = await run("serve", "--role", "consume", environ=environ_of(restricted), seconds=60)
    assert (finished.code, finished.stdout) == (1, []), finished
    words = f"heliograph: Kafka does not let user {USER} WRITE topic {topic}: allow it with an ACL "
    assert finished.stderr[-1].startswith(words), finished
    told = await run("doctor", environ=environ_of(restricted), seconds=60)
    [line] = [line for line in told.stdout if line.startswith("FAIL  access")]
    assert line.endswith(f"denied: WRITE topic {topic}"), told
    assert PASSWORD not in str(finished) + str(told)


async def test_what_may_be_done_is_not_known_of_a_broker_that_tells_nothing() -> None:
    access = Access({"events": None, "dead": frozenset({"READ"})}, frozenset())
    assert access.denied({"events": "READ", "dead": "WRITE", "missing": "READ"}) == ["WRITE topic dead"]


async def test_rights_that_are_taken_away_while_running_are_named_and_once_back_nothing_is_lost(
    secured: SecuredKafka, restricted: Settings, settings: Settings
) -> None:
    """Read, commit as a member of the group, write a dead letter: each is denied in turn, and allowed again."""
    events, letters, group = (
        restricted.kafka_topic_events,
        restricted.kafka_topic_dead_letters,
        restricted.kafka_group,
    )
    async with started("serve", "--role", "consume", environ=environ_of(restricted)) as service:
        admin = (await service.ready())["admin"]

        async def is_ready() -> bool:
            return (await get(f"{admin}/readyz")).status == 200

        async def is_not_ready() -> bool:
            return (await get(f"{admin}/readyz")).status == 503

        await produce(settings, range(10))
        await until_admitted(settings, range(10), service)

        await secured.deny(TOPIC, events, READ)
        await service.says(f"Kafka does not let user {USER} READ topic {events}: allow it with an ACL")
        await produce(settings, range(10, 20))
        await until(is_not_ready, "readiness tells")
        assert f"READ topic {events}" in (await get(f"{admin}/readyz")).text
        await secured.deny_no_more(TOPIC, events, READ)
        await until_admitted(settings, range(20), service)
        await until(is_ready, "readiness tells")

        await secured.deny(GROUP, group, READ)
        await service.says(f"Kafka does not let user {USER} READ group {group}: allow it with an ACL")
        await produce(settings, range(20, 30))
        await until(is_not_ready, "readiness tells")
        await secured.deny_no_more(GROUP, group, READ)
        await until_admitted(settings, range(30), service)
        await until(is_ready, "readiness tells")

        await secured.deny(TOPIC, letters, WRITE)
        await poison(settings)
        await service.says(f"Kafka does not let user {USER} WRITE topic {letters}: allow it with an ACL")
        await until(is_not_ready, "readiness tells")
        await secured.deny_no_more(TOPIC, letters, WRITE)
        await until(is_ready, "readiness tells")
        listed = await run("deadletters", "list", environ=environ_of(settings))
        assert [orjson.loads(line)["reason"] for line in listed.stdout] == ["json"], listed
        assert (await service.terminate()).code == 0
        assert PASSWORD not in "".join(service.stderr)


async def test_a_session_timeout_the_cluster_does_not_take_is_named(restricted: Settings) -> None:
    consumer = broker.KafkaConsumer(
        restricted.model_copy(update={"kafka_session_timeout": 1}), [restricted.kafka_topic_events], lambda: None
    )
    await consumer.start()
    try:
        with pytest.raises(DeniedError, match=r"^HELIOGRAPH_KAFKA_SESSION_TIMEOUT: Kafka does not take 1 s; "):
            await consumer.poll(1, 5)
    finally:
        await consumer.stop()


async def poison(settings: Settings) -> None:
    producer = broker.KafkaProducer(settings)
    await producer.start()
    try:
        header = ("content-type", b"application/cloudevents+json")
        await producer.send([Outgoing(settings.kafka_topic_events, b"key", b"{", [header])])
    finally:
        await producer.stop()
