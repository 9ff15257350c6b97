"""The run on a real Apache Kafka: the tests that meet it, or one line that says why there is none.

Tests that bring a broker of their own (`--embedded`, the demo) prove nothing about this one and are left to `make
test`. Without Java, Maven or the jars the run is over at once, loudly and with exit code 0: it has failed nothing
and proved nothing.
"""

from __future__ import annotations

import os

import pytest

from tests.support.apache_kafka import server

IS_ABOUT_APACHE = os.environ.get("HELIOGRAPH_TEST_BROKER") == "apache"


def pytest_sessionstart() -> None:
    """Ask for Java and the broker's jars before the first test does."""
    if IS_ABOUT_APACHE:
        try:
            server._program("java", "install a Java 17 runtime")
            server.resolve()
        except server.Unavailable as error:
            pytest.exit(f"REAL KAFKA NOT TESTED: {error}", returncode=0)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that never meet the broker of this run."""
    if IS_ABOUT_APACHE:
        aside = [item for item in items if "bootstrap" not in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=aside)
        items[:] = [item for item in items if item not in aside]
