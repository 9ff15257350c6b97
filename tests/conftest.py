"""The real parts every test may ask for: a migrated database of its own, a broker, settings that fit both.

PostgreSQL and the broker start once a run. A test's database is cloned from a migrated template (milliseconds),
its topics and consumer group carry its own random name, so tests share servers and nothing else.
`HELIOGRAPH_TEST_BROKER=apache` puts a real Apache Kafka where the embedded broker stands.
"""

from __future__ import annotations

import asyncio
import base64
import os
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import hypothesis
import pytest

from consumers import broker
from migrations import runner
from runtime import settings as runtime_settings
from runtime.embedded import EmbeddedBroker, EmbeddedPostgres
from tests.support.apache_kafka.server import ApacheKafka, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.settings import Settings

#: No test asserts how quick a machine is.
hypothesis.settings.register_profile(
    "heliograph", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("heliograph")

TEMPLATE = "template_heliograph"
SECRET_KEYS = f"test:{base64.b64encode(bytes(range(32))).decode()}"
PARTITIONS = 4


def pytest_report_header() -> str:
    """Say which broker this run is about."""
    return f"broker: {os.environ.get('HELIOGRAPH_TEST_BROKER', 'embedded')}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """DSN of a PostgreSQL with a migrated template database.

    Not below pytest's own folder: as root the server runs under another account, and a second pytest that starts
    meanwhile closes that folder to it.
    """
    with tempfile.TemporaryDirectory(prefix="heliograph-tests-") as folder:
        server = EmbeddedPostgres(Path(folder, "postgres"))
        asyncio.run(server.start())
        try:
            # Only a machine that dies loses anything by it, and a database for each test costs a tenth.
            asyncio.run(_execute(server.dsn, "ALTER SYSTEM SET fsync = off"))
            asyncio.run(_execute(server.dsn, "SELECT pg_reload_conf()"))
            asyncio.run(_execute(server.dsn, f"CREATE DATABASE {TEMPLATE}"))
            asyncio.run(runner.migrate(_settings(database_url=_in_database(server.dsn, TEMPLATE))))
            yield server.dsn
        finally:
            asyncio.run(server.stop())


@pytest.fixture
def dsn(postgres: str) -> Iterator[str]:
    """DSN of a fresh database at the newest migration."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    asyncio.run(_execute(postgres, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}"))
    yield _in_database(postgres, name)
    asyncio.run(_execute(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a broker."""
    if os.environ.get("HELIOGRAPH_TEST_BROKER") == "apache":
        try:
            with ApacheKafka() as kafka:
                yield kafka.bootstrap
        except Unavailable as error:
            pytest.skip(f"REAL KAFKA NOT TESTED: {error}")
        return
    embedded = EmbeddedBroker(tmp_path_factory.mktemp("broker") / "broker.log")
    asyncio.run(embedded.start())
    yield embedded.bootstrap
    asyncio.run(embedded.stop())


@pytest.fixture
def settings(dsn: str, bootstrap: str) -> Settings:
    """Complete settings: this test's database, topics (created) and consumer group."""
    name = uuid.uuid4().hex[:12]
    made = _settings(
        database_url=dsn,
        kafka_bootstrap=bootstrap,
        kafka_group=f"group-{name}",
        kafka_topic_events=f"events-{name}",
        kafka_topic_dead_letters=f"deadletters-{name}",
        kafka_topic_announcements=f"announcements-{name}",
        kafka_topic_credentials=f"credentials-{name}",
        kafka_topic_telemetry=f"telemetry-{name}",
    )
    topics = {
        made.kafka_topic_events: PARTITIONS,
        made.kafka_topic_dead_letters: 1,
        made.kafka_topic_announcements: 1,
        made.kafka_topic_credentials: 1,
        made.kafka_topic_telemetry: 1,
    }
    asyncio.run(broker.create_topics(made, topics, compacted=[made.kafka_topic_credentials]))
    return made


def _settings(**values: Any) -> Settings:
    is_embedded = os.environ.get("HELIOGRAPH_TEST_BROKER") != "apache"
    return runtime_settings.load(
        environ={},
        **{
            "env": "development",
            "egress_allow": runtime_settings.LOOPBACK,
            "api_listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
            "secret_keys": SECRET_KEYS,
            # Each broker's shortest: a killed member's partitions are handed on only when its session has ended.
            "kafka_session_timeout": 3 if is_embedded else 6,
            **values,
        },
    )


def _in_database(dsn: str, name: str) -> str:
    return dsn.replace("/postgres?", f"/{name}?")


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
