"""What intake exports is there from the first scrape, so that an alert on a rate never waits for a first event."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from consumers.catalogue import CATALOGUE
from consumers.decode import Reason
from consumers.metrics import ConsumerMetrics


def test_every_label_set_exists_from_the_start() -> None:
    registry = CollectorRegistry()
    ConsumerMetrics(registry)
    for event_type in (*CATALOGUE, "ratelimit.window", "health.report", "unknown"):
        for result in ("new", "duplicate", "dead_lettered"):
            labels = {"type": event_type, "result": result}
            assert registry.get_sample_value("heliograph_events_ingested_total", labels) == 0
    reasons = {"empty", "too_large", "encoding", "json", "envelope", "unknown_type", "schema", "handler"}
    assert {str(reason) for reason in Reason} == reasons
    for reason in reasons:
        assert registry.get_sample_value("heliograph_dead_letters_total", {"reason": reason}) == 0
    assert registry.get_sample_value("heliograph_kafka_rebalances_total") == 0
    assert registry.get_sample_value("heliograph_kafka_consumer_restarts_total") == 0


def test_names_and_labels_are_the_contracts_and_there_are_no_others() -> None:
    registry = CollectorRegistry()
    metrics = ConsumerMetrics(registry)
    metrics.lag.labels("events", "0").set(7)
    metrics.last_record.labels("events", "0").set(1.5)
    found = {
        (sample.name, tuple(sorted(sample.labels)))
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
    assert found == {
        ("heliograph_events_ingested_total", ("result", "type")),
        ("heliograph_dead_letters_total", ("reason",)),
        ("heliograph_kafka_rebalances_total", ()),
        ("heliograph_kafka_consumer_restarts_total", ()),
        ("heliograph_kafka_lag_records", ("partition", "topic")),
        ("heliograph_kafka_last_record_timestamp_seconds", ("partition", "topic")),
    }
