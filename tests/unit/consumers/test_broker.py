"""How the clients are told to connect: every way a cluster may want to be spoken to, without a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import MessageSizeTooLargeError, NotEnoughReplicasError

from consumers import broker, broker_access
from runtime import settings as runtime_settings

if TYPE_CHECKING:
    from pathlib import Path


def security(**given: Any) -> dict[str, Any]:
    settings = runtime_settings.load(environ={}, kafka_bootstrap="a.example:9092,b.example:9093", **given)
    return broker_access.security(settings)


def test_plaintext_is_the_bootstrap_servers_and_nothing_else() -> None:
    assert security() == {
        "bootstrap_servers": ["a.example:9092", "b.example:9093"],
        "client_id": "heliograph",
        "security_protocol": "PLAINTEXT",
    }


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_sasl(protocol: str) -> None:
    options = security(
        kafka_security_protocol=protocol,
        kafka_sasl_mechanism="SCRAM-SHA-256",
        kafka_sasl_username="heliograph",
        kafka_sasl_password="pässword",  # noqa: S106 - not one
    )
    assert (options["security_protocol"], options["sasl_mechanism"]) == (protocol, "SCRAM-SHA-256")
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("heliograph", "pässword")
    assert ("ssl_context" in options) is (protocol == "SASL_SSL")


def test_tls_verifies_whom_it_speaks_to() -> None:
    options = security(kafka_security_protocol="SSL")
    context = options["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert not any(name.startswith("sasl") for name in options)


async def test_a_rebalance_is_reported_and_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []
    settings = runtime_settings.load(environ={}, kafka_bootstrap="a.example:9092")
    consumer = broker.KafkaConsumer(settings, ["events"], lambda: seen.append(1))
    try:
        with caplog.at_level("INFO"):
            consumer.on_partitions_assigned([TopicPartition("events", 1), TopicPartition("events", 0)])
            consumer.on_partitions_assigned([])
            consumer.on_partitions_revoked([TopicPartition("events", 0)])
        assert len(seen) == 2
        assert "assigned events/0, events/1" in caplog.text
        assert "assigned nothing" in caplog.text
    finally:
        await consumer.stop()


def test_offsets_are_ours_to_commit_and_a_new_group_starts_at_the_first_record(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(broker, "AIOKafkaConsumer", lambda **options: given.update(options))
    monkeypatch.setattr(broker, "AIOKafkaProducer", lambda **options: given.update(options))
    settings = runtime_settings.load(environ={}, kafka_bootstrap="a.example:9092", kafka_session_timeout=10)
    broker.KafkaConsumer(settings, ["events"], lambda: None)
    broker.KafkaProducer(settings, linger_ms=5)
    assert given["enable_auto_commit"] is False
    assert given["auto_offset_reset"] == "earliest"
    assert given["group_id"] == "heliograph"
    assert (given["session_timeout_ms"], given["heartbeat_interval_ms"]) == (10_000, 3_000)
    assert "value_deserializer" not in given
    assert (given["acks"], given["linger_ms"]) == ("all", 5)


class Unanswered:
    """A client whose records wait to be acknowledged."""

    def __init__(self, **_: object) -> None:
        self.acknowledgements: list[asyncio.Future[None]] = []
        self.sent = asyncio.Event()

    async def send(self, *_: object, **__: object) -> asyncio.Future[None]:
        self.acknowledgements.append(asyncio.get_running_loop().create_future())
        if len(self.acknowledgements) == 2:
            self.sent.set()
        return self.acknowledgements[-1]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, None),
        (NotEnoughReplicasError(), NotEnoughReplicasError),
        (MessageSizeTooLargeError(), broker.RecordTooLargeError),
    ],
)
async def test_sending_is_over_when_every_record_is_acknowledged(
    monkeypatch: pytest.MonkeyPatch, answer: Exception | None, expected: type[Exception] | None
) -> None:
    monkeypatch.setattr(broker, "AIOKafkaProducer", Unanswered)
    producer = broker.KafkaProducer(runtime_settings.load(environ={}, kafka_bootstrap="a.example:9092"))
    client = producer._client
    sending = asyncio.create_task(producer.send([broker.Outgoing("events", b"k", b"v", [])] * 2))
    await asyncio.wait_for(client.sent.wait(), 10)
    client.acknowledgements[0].set_result(None)
    await asyncio.wait_for(asyncio.shield(client.acknowledgements[0]), 10)
    assert not sending.done()
    if answer is None:
        client.acknowledgements[1].set_result(None)
    else:
        client.acknowledgements[1].set_exception(answer)
    with contextlib.nullcontext() if expected is None else pytest.raises(expected):
        await asyncio.wait_for(sending, 10)


async def test_a_file_without_a_certificate_is_a_setting_that_is_wrong(tmp_path: Path) -> None:
    garbage = tmp_path / "ca.pem"
    garbage.write_text("none")
    given = runtime_settings.load(
        environ={}, kafka_bootstrap="127.0.0.1:1", kafka_security_protocol="SSL", kafka_ssl_cafile=garbage
    )
    with pytest.raises(runtime_settings.SettingsError, match=r"^HELIOGRAPH_KAFKA_SSL_CAFILE: cannot be used"):
        await broker.list_topics(given)
