"""Settings of tracing: a collector is a URL and nothing secret."""

from __future__ import annotations

import pytest

from runtime.settings import SettingsError, load


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:4318", "https://collector.example/otlp/", "http://[::1]:4318/v1/traces", "http://collector"],
)
def test_a_collector_is_a_url(endpoint: str) -> None:
    assert load(environ={"HELIOGRAPH_OTLP_ENDPOINT": endpoint}).otlp_endpoint == endpoint


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("127.0.0.1:4318", "must be http(s)://"),
        ("grpc://collector:4317", "must be http(s)://"),
        ("http://", "must be http(s)://"),
        ("http://collector:port", "must be http(s)://"),
        ("http://collector:0", "must be http(s)://"),
        ("http://[::1", "must be http(s)://"),
        ("http://collector/\n", "must be http(s)://"),
        ("http://user:hunter2@collector", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("http://collector/?token=hunter2", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("http://collector/#hunter2", "OTEL_EXPORTER_OTLP_HEADERS"),
    ],
)
def test_what_is_none_is_refused_and_not_repeated(endpoint: str, why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ={"HELIOGRAPH_OTLP_ENDPOINT": endpoint})
    assert "HELIOGRAPH_OTLP_ENDPOINT" in str(caught.value)
    assert why in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("share", ["-0.1", "1.1", "nan"])
def test_a_share_is_between_nothing_and_all(share: str) -> None:
    with pytest.raises(SettingsError, match="HELIOGRAPH_TRACE_SAMPLE"):
        load(environ={"HELIOGRAPH_TRACE_SAMPLE": share})


def test_nothing_is_traced_unless_somebody_takes_it() -> None:
    assert load(environ={}).otlp_endpoint is None
