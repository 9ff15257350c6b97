"""Every way a cluster may want to be spoken to, on a cluster that wants it; and what is said when it refuses."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from consumers import broker
from consumers.broker_access import RefusedError
from publisher.preconditions import check_topics, needs_of
from runtime import settings as runtime_settings
from runtime.lifecycle import UnreachableError
from tests.support.apache_kafka.secured import PASSWORD, READ, TOPIC, SecuredKafka
from tests.support.process import environ_of, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runtime.settings import Settings

MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
BATTERY = "wrong-battery"


@pytest.fixture(scope="module")
def bootstrap(secured: SecuredKafka) -> str:
    return secured.bootstrap


def by_way_of(kafka: SecuredKafka, settings: Settings, listener: str, **others: Any) -> Settings:
    """Return settings for the same topics that go in by another listener."""
    return runtime_settings.load(environ=environ_of(settings), **kafka.settings_of(listener, **others))


@pytest.mark.parametrize(
    ("listener", "mechanism"),
    [("TLS", "PLAIN"), ("MUTUAL", "PLAIN"), *product(["SASL", "SASLTLS"], MECHANISMS)],
)
async def test_each_way_in_is_a_way_to_see_what_may_be_seen(
    secured: SecuredKafka, settings: Settings, listener: str, mechanism: str
) -> None:
    await secured.allow(TOPIC, settings.kafka_topic_events, READ)
    by = by_way_of(secured, settings, listener, kafka_sasl_mechanism=mechanism)
    # Without a certificate or a password one is nobody, as the administrator is; with a certificate, somebody else.
    needs = set(needs_of(settings, {"consume"}))
    seen = {"TLS": needs, "MUTUAL": set()}.get(listener, {settings.kafka_topic_events})
    assert await broker.list_topics(by) & needs == seen


@pytest.mark.parametrize(
    ("listener", "others", "words"),
    [
        pytest.param(
            "SASL",
            {"kafka_sasl_password": BATTERY, "kafka_sasl_mechanism": mechanism},
            ["HELIOGRAPH_KAFKA_SASL_PASSWORD: ", "the user 'heliograph' with this password", mechanism],
            id=f"a wrong password, {mechanism}",
        )
        for mechanism in MECHANISMS
    ]
    + [
        pytest.param(
            "SASLTLS",
            {"kafka_sasl_username": "stranger"},
            ["HELIOGRAPH_KAFKA_SASL_PASSWORD: ", "the user 'stranger'", "HELIOGRAPH_KAFKA_SASL_USERNAME"],
            id="an unknown user",
        ),
        pytest.param(
            "TLS", {"kafka_ssl_cafile": None}, ["HELIOGRAPH_KAFKA_SSL_CAFILE: ", "issuer certificate"], id="a wrong CA"
        ),
        pytest.param("ELSEWHERE", {}, ["HELIOGRAPH_KAFKA_BOOTSTRAP: ", "127.0.0.1"], id="a wrong host name"),
        pytest.param("EXPIRED", {}, ["HELIOGRAPH_KAFKA_BOOTSTRAP: ", "expired"], id="an expired certificate"),
        pytest.param(
            "MUTUAL",
            {"kafka_ssl_certfile": None},
            ["HELIOGRAPH_KAFKA_SSL_CERTFILE: ", "a client without one"],
            id="no certificate of ours",
        ),
        pytest.param(
            "TLS",
            {
                "kafka_security_protocol": "SASL_SSL",
                "kafka_sasl_username": "heliograph",
                "kafka_sasl_password": PASSWORD,
            },
            ["HELIOGRAPH_KAFKA_SECURITY_PROTOCOL: ", "SASL_SSL", "SSL may be what listens there"],
            id="a password nobody wants",
        ),
    ],
)
async def test_a_refusal_is_said_at_once_in_one_line_that_names_the_setting(
    secured: SecuredKafka, settings: Settings, listener: str, others: dict[str, Any], words: list[str]
) -> None:
    by = by_way_of(secured, settings, listener, startup_timeout=300, **others)
    with pytest.raises(RefusedError) as raised:
        await check_topics(by, {"consume"})
    line = str(raised.value)
    assert line.startswith(f"{words[0]}Kafka at {by.kafka_bootstrap[0]} ")
    assert all(word in line for word in words), line
    assert PASSWORD not in line
    assert BATTERY not in line


async def test_a_process_that_is_refused_ends_with_that_line(secured: SecuredKafka, settings: Settings) -> None:
    by = by_way_of(secured, settings, "SASLTLS", startup_timeout=300, kafka_sasl_password=BATTERY)
    for command, code in (("serve", "--role", "consume"), 1), (("emit", "server.power.on"), 1):
        finished = await run(*command, environ=environ_of(by), seconds=60)
        assert finished.code == code, finished
        assert finished.stderr[-1].startswith("heliograph: HELIOGRAPH_KAFKA_SASL_PASSWORD: "), finished
        assert BATTERY not in str(finished)
        assert "Traceback" not in str(finished)


async def test_a_file_that_is_no_certificate_is_a_usage_error(
    secured: SecuredKafka, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "none.pem").write_text("none")
    by = by_way_of(secured, settings, "MUTUAL", kafka_ssl_certfile=str(tmp_path / "none.pem"))
    finished = await run("serve", "--role", "consume", environ=environ_of(by), seconds=60)
    assert finished.code == 2, finished
    assert finished.stderr[-1].startswith("heliograph: HELIOGRAPH_KAFKA_SSL_CERTFILE with "), finished


@pytest.mark.parametrize(
    ("listener", "protocol"),
    [("TLS", "PLAINTEXT"), ("SASL", "SSL"), ("SASL", "PLAINTEXT"), ("SASLTLS", "SASL_PLAINTEXT")],
)
async def test_another_protocol_than_the_listeners_is_guessed_at_while_it_is_tried_again(
    secured: SecuredKafka, settings: Settings, listener: str, protocol: str
) -> None:
    by = by_way_of(secured, settings, listener, kafka_security_protocol=protocol, startup_timeout=1)
    with pytest.raises(UnreachableError) as raised:
        await check_topics(by, {"consume"})
    assert f"is HELIOGRAPH_KAFKA_SECURITY_PROTOCOL={protocol} what listens there?" in str(raised.value)
    assert not isinstance(raised.value, RefusedError)


@pytest.mark.parametrize(
    "client", [broker.KafkaProducer, partial(broker.KafkaConsumer, topics=[], on_rebalance=lambda: None)]
)
async def test_every_client_says_why_it_does_not_start(
    secured: SecuredKafka, settings: Settings, client: Callable[[Settings], broker.KafkaProducer]
) -> None:
    refused = client(by_way_of(secured, settings, "SASL", kafka_sasl_password=BATTERY))
    try:
        with pytest.raises(RefusedError, match=r"^HELIOGRAPH_KAFKA_SASL_PASSWORD: "):
            await refused.start()
    finally:
        await refused.stop()
