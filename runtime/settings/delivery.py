"""Settings of delivery: who may be called, how often and for how long, and what is kept of it."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings

from runtime.settings.values import PREFIX, CommaSeparated, Ports, Seconds, variable


class DeliverySettings(BaseSettings):
    """Egress, schedule, fairness, retention."""

    egress_allow: CommaSeparated = Field(
        (), description="CIDRs receivers may have although they are refused, http too; development only"
    )
    egress_deny: CommaSeparated = Field((), description="CIDRs receivers may not have, beside the special-purpose ones")
    egress_ports: Ports = Field((443, 8443), description="ports of receivers")

    retries: int = Field(3, ge=0, le=20, description="attempts after the first")
    window: Seconds = Field(3600, description="seconds from the first attempt within which the last one ends")
    max_retries: int = Field(10, ge=0, le=20, description="retries an endpoint may choose at most")
    max_window: float = Field(
        86_400, ge=1, le=2_592_000, description="seconds of window an endpoint may choose at most"
    )
    attempt_timeout: Seconds = Field(15, description="seconds one attempt may take, connect to last byte read")
    lease_margin: Seconds = Field(15, description="seconds a lease outlives the attempt it covers")
    disable_after: Seconds = Field(432_000, description="seconds an endpoint may fail without one success")
    disable_dropped: int = Field(20, ge=1, description="dropped deliveries it takes besides to disable it")
    max_in_flight: int = Field(512, ge=1, le=20_000, description="attempts under way at once in this process")
    endpoint_in_flight: int = Field(10, ge=1, le=1000, description="of them, to one endpoint")
    account_in_flight: int = Field(50, ge=1, le=10_000, description="of them, to all endpoints of one account")
    stall: Seconds = Field(2, description="seconds after which an unanswered attempt keeps others to its endpoint back")
    circuit_share: float = Field(
        0.7, gt=0, le=1, description="share of failed attempts that opens an endpoint's circuit: one probe at a time"
    )
    circuit_minimum: int = Field(10, ge=1, description="attempts below this number never open it")
    circuit_window: Seconds = Field(300, description="seconds over which that share is counted")
    circuit_probe: Seconds = Field(30, description="seconds between two probes")
    account_queue: int = Field(
        100_000, ge=1, description="deliveries an account may have waiting; further ones are logged as cancelled"
    )
    claim_interval: Seconds = Field(1, description="seconds between looks for due retries when nothing wakes us")
    record_interval: float = Field(0.02, ge=0, le=1, description="seconds results wait to be written together")
    response_bytes: int = Field(16_384, ge=0, le=1_048_576, description="of a receiver's answer that is read and kept")

    retention_payloads: Seconds = Field(604_800, description="seconds a message's payload is kept")
    retention_attempts: Seconds = Field(2_592_000, description="seconds the delivery log and its attempts are kept")
    retention_dedup: Seconds = Field(3_888_000, description="seconds within which an event that comes again is known")

    @field_validator("egress_allow", "egress_deny")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network)
        return value

    @model_validator(mode="after")
    def _window(self) -> Self:
        needed = (self.retries + 1) * self.attempt_timeout
        if self.retries and self.window <= needed:
            attempts = f"{self.retries + 1} attempts of up to {self.attempt_timeout:g} s"
            msg = f"{PREFIX}WINDOW: {attempts} need more than {needed:g} s"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _retention(self) -> Self:
        for shorter, longer, why in (
            ("window", "retention_payloads", "a retry needs its payload"),
            ("max_window", "retention_payloads", "a retry needs its payload"),
            ("retention_payloads", "retention_attempts", "a payload is found through the log"),
        ):
            least = getattr(self, shorter)
            if getattr(self, longer) < least:
                msg = f"{variable(longer)}: {why}, so it is at least {variable(shorter)} ({least:.12g} s)"
                raise ValueError(msg)
        if self.retention_dedup <= self.retention_attempts:
            least = self.retention_attempts
            msg = f"{variable('retention_dedup')}: must be more than {variable('retention_attempts')} ({least:.12g} s)"
            raise ValueError(msg)
        return self

    @property
    def lease(self) -> float:
        """Seconds a claimed delivery belongs to its worker: a whole attempt and the margin."""
        return self.attempt_timeout + self.lease_margin
