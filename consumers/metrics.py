"""What intake exports; names and labels are the public contract's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

from consumers.catalogue import CATALOGUE
from consumers.decode import UNKNOWN_TYPE, Reason
from consumers.telemetry import TYPES

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class ConsumerMetrics:
    """Counters of the intake; every label set exists from the start."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register everything on `registry`."""
        self.ingested = Counter(
            "heliograph_events_ingested", "Events and telemetry read from Kafka", ("type", "result"), registry=registry
        )
        self.dead_letters = Counter(
            "heliograph_dead_letters", "Records that could not be handled", ("reason",), registry=registry
        )
        self.rebalances = Counter(
            "heliograph_kafka_rebalances", "Times partitions were assigned to this process", registry=registry
        )
        self.restarts = Counter(
            "heliograph_kafka_consumer_restarts",
            "Times a consumer that got nowhere was started anew",
            registry=registry,
        )
        self.lag = Gauge(
            "heliograph_kafka_lag_records",
            "Records waiting in the partitions of this process",
            ("topic", "partition"),
            registry=registry,
        )
        self.last_record = Gauge(
            "heliograph_kafka_last_record_timestamp_seconds",
            "Timestamp of the last record handled",
            ("topic", "partition"),
            registry=registry,
        )
        for event_type in (*CATALOGUE, *TYPES, UNKNOWN_TYPE):
            for result in ("new", "duplicate", "dead_lettered"):
                self.ingested.labels(event_type, result)
        for reason in Reason:
            self.dead_letters.labels(reason)
