"""What publishing exports: the contract's names, every label set from the start, and no customer in any of them."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, disable_created_metrics

from consumers.catalogue import CATALOGUE
from publisher.delivery.outcome import Result
from publisher.metrics import OUTCOMES, PublisherMetrics, watch_process
from tests.support.jobs import a_job, a_message, an_endpoint

disable_created_metrics()  # type: ignore[no-untyped-call]  # as the service does


def never(endpoint_id: str) -> float | None:  # noqa: ARG001 - the promise's own name
    """Say that no endpoint has kept anything waiting."""
    return None


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> PublisherMetrics:
    return PublisherMetrics(registry, profile="nordbastion")


def _series(registry: CollectorRegistry) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    return {(s.name, frozenset(s.labels.items())) for family in registry.collect() for s in family.samples}


@pytest.mark.usefixtures("metrics")
def test_every_label_set_is_there_before_anything_happened(registry: CollectorRegistry) -> None:
    for result in Result:
        assert registry.get_sample_value("heliograph_attempts_total", {"result": result}) == 0
        assert registry.get_sample_value("heliograph_attempt_duration_seconds_count", {"result": result}) == 0
    for event_type in CATALOGUE:
        for outcome in OUTCOMES:
            labels = {"type": event_type, "outcome": outcome}
            assert registry.get_sample_value("heliograph_deliveries_total", labels) == 0
    for attempt in ("first", "retry"):
        assert registry.get_sample_value("heliograph_delivery_latency_seconds_count", {"attempt": attempt}) == 0
    [build] = [family for family in registry.collect() if family.name == "heliograph_build_info"]
    assert build.samples[0].value == 1
    assert build.samples[0].labels["profile"] == "nordbastion"


def test_no_customer_becomes_a_label(registry: CollectorRegistry, metrics: PublisherMetrics) -> None:
    before = _series(registry)
    for number in range(1000):
        endpoint = an_endpoint(f"https://r{number}.example/", endpoint_id=f"we_{number}", account=f"acct_{number}")
        job = a_job(f"dlv_{number}", endpoint=endpoint, message=a_message(f"msg_{number}", account=endpoint.account))
        metrics.attempted(job, Result.OK, 0.1, 1.0, never)
        metrics.recorded(job.message.type, "delivered")
    assert _series(registry) == before


def test_attempts_are_counted_by_result_with_their_duration(
    registry: CollectorRegistry, metrics: PublisherMetrics
) -> None:
    metrics.attempted(a_job(), Result.TIMEOUT, 15.0, 1.0, never)
    metrics.attempted(a_job(), Result.TIMEOUT, 5.0, 1.0, never)
    assert registry.get_sample_value("heliograph_attempts_total", {"result": "timeout"}) == 2
    assert registry.get_sample_value("heliograph_attempt_duration_seconds_sum", {"result": "timeout"}) == 20
    assert registry.get_sample_value("heliograph_delivery_latency_seconds_count", {"attempt": "first"}) == 0


def test_latency_runs_from_the_commit_to_the_2xx(registry: CollectorRegistry, metrics: PublisherMetrics) -> None:
    fresh = a_job()
    fresh.taken_at, fresh.is_fresh = 100.0, True
    metrics.attempted(fresh, Result.OK, duration=0.2, now=100.5, hindered_at=never)
    retried = a_job(attempt=2)
    retried.tried = 1
    retried.age, retried.taken_at = 95.0, 4241.75
    metrics.attempted(retried, Result.OK, duration=0.2, now=4242.0, hindered_at=never)
    assert registry.get_sample_value("heliograph_delivery_latency_seconds_sum", {"attempt": "first"}) == 0.5
    assert registry.get_sample_value("heliograph_delivery_latency_seconds_sum", {"attempt": "retry"}) == 95.25


@pytest.mark.parametrize(
    ("waited", "hindered_at", "late"),
    [
        (29.9, None, 0),
        (30.0, None, 1),
        (600.0, None, 1),
        (600.0, 300.0, 1),  # long before the event: it has waited for us
        (600.0, 400.0, 0),  # when it happened
        (600.0, 999.0, 0),  # until a second ago
    ],
)
def test_late_is_what_no_receiver_kept_waiting(
    registry: CollectorRegistry, metrics: PublisherMetrics, waited: float, hindered_at: float | None, late: int
) -> None:
    claimed = a_job()
    claimed.age, claimed.taken_at = waited - 1, 999.0
    metrics.attempted(claimed, Result.OK, 0.2, 1000.0, {claimed.endpoint.id: hindered_at}.get)
    assert registry.get_sample_value("heliograph_late_deliveries_total") == late


def test_a_late_retry_is_no_late_delivery(registry: CollectorRegistry, metrics: PublisherMetrics) -> None:
    retried = a_job(attempt=2)
    retried.tried, retried.age = 1, 600.0
    metrics.attempted(retried, Result.OK, 0.2, 1000.0, never)
    assert registry.get_sample_value("heliograph_late_deliveries_total") == 0


def test_a_redelivery_has_no_latency(registry: CollectorRegistry, metrics: PublisherMetrics) -> None:
    metrics.attempted(a_job(attempt=5), Result.OK, duration=0.2, now=100.5, hindered_at=never)
    for attempt in ("first", "retry"):
        assert registry.get_sample_value("heliograph_delivery_latency_seconds_count", {"attempt": attempt}) == 0
    assert registry.get_sample_value("heliograph_attempts_total", {"result": "2xx"}) == 1


@pytest.mark.parametrize(("state", "counted"), [("delivered", 1), ("dropped", 1), ("cancelled", 1), ("retry", 0)])
def test_a_delivery_is_counted_when_it_ends(
    state: str, counted: int, registry: CollectorRegistry, metrics: PublisherMetrics
) -> None:
    metrics.recorded("server.power.on", state)
    values = {
        outcome: registry.get_sample_value(
            "heliograph_deliveries_total", {"type": "server.power.on", "outcome": outcome}
        )
        for outcome in OUTCOMES
    }
    assert values == {outcome: counted if outcome == state else 0 for outcome in OUTCOMES}


def test_what_ends_unsent_is_counted_as_cancelled(registry: CollectorRegistry, metrics: PublisherMetrics) -> None:
    metrics.cancelled("topup.confirmed")
    metrics.cancelled("topup.confirmed", 7)
    metrics.cancelled("of.no-type-we-know", 3)
    values = [
        registry.get_sample_value("heliograph_deliveries_total", {"type": event_type, "outcome": outcome})
        for event_type in CATALOGUE
        for outcome in OUTCOMES
    ]
    labels = {"type": "topup.confirmed", "outcome": "cancelled"}
    assert registry.get_sample_value("heliograph_deliveries_total", labels) == sum(filter(None, values)) == 8


def test_the_process_itself_is_exported(registry: CollectorRegistry) -> None:
    watch_process(registry)
    names = {sample.name for family in registry.collect() for sample in family.samples}
    expected = {
        "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds",
        "python_info", "python_gc_collections_total",
    }  # fmt: skip
    assert not expected - names
