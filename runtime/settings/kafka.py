"""Settings of Kafka: brokers, credentials, topics, and when bad records stop the intake."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, FilePath, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from runtime.settings.values import PREFIX, CommaSeparated, Seconds


class KafkaSettings(BaseSettings):
    """How to reach the brokers, and what is where on them."""

    kafka_bootstrap: CommaSeparated = Field((), description="brokers, host:port, comma-separated")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how to speak to the brokers"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="used with a SASL_* protocol"
    )
    kafka_sasl_username: str | None = Field(None, description="user for SASL")
    kafka_sasl_password: SecretStr | None = Field(None, description="password for SASL")
    kafka_ssl_cafile: FilePath | None = Field(None, description="CA bundle for the brokers (the system's when unset)")
    kafka_ssl_certfile: FilePath | None = Field(None, description="client certificate for the brokers")
    kafka_ssl_keyfile: FilePath | None = Field(None, description="key of that certificate")
    kafka_group: str = Field("heliograph", description="consumer group")
    kafka_session_timeout: Seconds = Field(
        10, description="seconds after which the group gives a silent member's partitions to others"
    )
    kafka_topic_events: str = Field("controlplane.events", description="domain events in")
    kafka_topic_dead_letters: str = Field("heliograph.deadletters", description="what could not be handled")
    kafka_topic_announcements: str = Field("heliograph.events", description="what this service tells, out")
    kafka_topic_credentials: str = Field("controlplane.credentials", description="API keys and sessions in, compacted")
    kafka_topic_telemetry: str = Field(
        "computeapi.telemetry", description="health and rate limits of the compute API in"
    )
    kafka_batch: int = Field(1000, ge=1, le=10_000, description="records in one transaction at most")
    kafka_record_bytes: int = Field(1_048_576, ge=1024, description="a larger record is a dead letter")
    dead_letter_share: float = Field(
        0.5, gt=0, le=1, description="share of bad records within the window that stops the consumer"
    )
    dead_letter_window: Seconds = Field(60, description="seconds over which that share is counted")
    dead_letter_minimum: int = Field(20, ge=1, description="bad records below this number never stop the consumer")

    @field_validator("kafka_bootstrap")
    @classmethod
    def _bootstrap(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for broker in value:
            if not re.fullmatch(r"[^\s:]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", broker):
                msg = f"{broker!r} is not host:port"
                raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _sasl(self) -> Self:
        if self.kafka_security_protocol.startswith("SASL") and not (
            self.kafka_sasl_username and self.kafka_sasl_password
        ):
            msg = f"{PREFIX}KAFKA_SASL_USERNAME and {PREFIX}KAFKA_SASL_PASSWORD are needed with a SASL_* protocol"
            raise ValueError(msg)
        return self
