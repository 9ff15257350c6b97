"""Rules and dashboards ask for what the service exports, by name and by label: a typing error never fires."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from publisher.app import Service
from tests.support.observability import expressions, matchers_of, metrics_of

if TYPE_CHECKING:
    from runtime.settings import Settings

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",), "info": ("_info",)}
#: Labels Prometheus adds when it scrapes.
SCRAPED = {"instance", "job"}


async def test_what_rules_and_dashboards_ask_for_is_exported(settings: Settings) -> None:
    async with Service(settings) as service:
        families = list(service.registry.collect())
    exported = {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}
    labels: dict[tuple[str, str], set[str]] = {}
    with_samples = set()
    for family in families:
        for sample in family.samples:
            with_samples.add(sample.name)
            for label, value in sample.labels.items():
                labels.setdefault((sample.name, label), set()).add(value)
    asked = expressions()
    used = {name for expression in asked for name in metrics_of(expression)}
    assert used - exported == set()
    for expression in asked:
        for metric, label, patterns in matchers_of(expression):
            if metric in with_samples and label not in SCRAPED:  # lag has series only once there is a partition
                values = labels.get((metric, label), set())
                for pattern in patterns:
                    assert any(re.fullmatch(pattern, value) for value in values), f"{pattern} of {expression}"


def test_the_reading_of_expressions_finds_names_and_labels() -> None:
    expression = 'sum by (le) (rate(heliograph_a_bucket{le="1.0",x=~"a|b"}[5m])) / heliograph:b:rate5m > compute_api_c'
    assert metrics_of(expression) == {"heliograph_a_bucket", "compute_api_c"}
    assert list(matchers_of(expression)) == [
        ("heliograph_a_bucket", "le", [r"1\.0"]),
        ("heliograph_a_bucket", "x", ["a", "b"]),
    ]
